//! What nobody counts on any more and may be dropped, after a grace time by the ledger's own time. Each holder asks the ledger
//! for itself before it drops anything.

use std::collections::BTreeSet;

use dci_proto::AgentId;
use shoal_ledger::{GarbageStripe, KvError, KvRead, SurplusShard, query};

/// How long what nobody counts on is left alone: readers may be at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleaningGrace {
    /// Of stripes nothing refers to, in ms.
    pub garbage_ms: u64,
    /// Of shards that are on another agent now, in ms: a reader that finds one gone looks again where it is.
    pub surplus_ms: u64,
}

/// What may be dropped now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Droppable {
    /// Stripes all of whose holders can be told.
    pub garbage: Vec<GarbageStripe>,
    /// Shards whose holders can be told.
    pub surplus: Vec<SurplusShard>,
    /// Surplus shards of agents that are no members any more: there is nobody to tell.
    pub forgotten: Vec<SurplusShard>,
}

/// What may be dropped now, of the oldest `limit` of each kind.
///
/// # Errors
/// If the view cannot be read.
pub fn droppable(
    view: &dyn KvRead,
    grace: CleaningGrace,
    answers: &dyn Fn(AgentId) -> bool,
    limit: usize,
) -> Result<Droppable, KvError> {
    let now_ms = query::time_ms(view)?;
    let members: BTreeSet<AgentId> = query::agents(view)?.into_iter().map(|member| member.id).collect();
    let can_drop = |agent: AgentId| !members.contains(&agent) || answers(agent);
    let is_due = |garbage: &GarbageStripe| {
        garbage.since_ms.saturating_add(grace.garbage_ms) <= now_ms
            && garbage.record.shards.iter().filter_map(|place| place.agent).all(can_drop)
    };
    let garbage = query::garbage(view, limit)?.into_iter().filter(is_due).collect();
    let surplus = query::surplus(view, limit)?;
    let (surplus, forgotten): (Vec<_>, Vec<_>) = surplus.into_iter().partition(|one| members.contains(&one.agent));
    let is_due = |one: &SurplusShard| one.since_ms.saturating_add(grace.surplus_ms) <= now_ms && answers(one.agent);
    Ok(Droppable { garbage, surplus: surplus.into_iter().filter(is_due).collect(), forgotten })
}
