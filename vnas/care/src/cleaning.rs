//! What nobody counts on any more and may be dropped, after a grace time by the ledger's own time. Each holder asks the ledger
//! for itself before it drops anything.

use std::collections::BTreeSet;

use dci_proto::{AgentId, StripeId};
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
    /// Stripes some holder of which does not answer: each shard is to be dropped for itself.
    pub split: Vec<StripeId>,
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
    let mut found = Droppable::default();
    for garbage in query::garbage(view, limit)? {
        if garbage.since_ms.saturating_add(grace.garbage_ms) > now_ms {
            continue;
        }
        if garbage.record.shards.iter().filter_map(|place| place.agent).all(can_drop) {
            found.garbage.push(garbage);
        } else {
            found.split.push(garbage.stripe);
        }
    }
    let is_due = |one: &SurplusShard| one.since_ms.saturating_add(grace.surplus_ms) <= now_ms;
    found.surplus =
        query::surplus_where(view, limit, &|one| is_due(one) && members.contains(&one.agent) && answers(one.agent))?;
    found.forgotten = query::surplus_where(view, limit, &|one| !members.contains(&one.agent))?;
    Ok(found)
}
