//! Shards that their holders have found bad and could not mend in place. Each row is of a shard the agent is counted on for:
//! whatever takes the shard off the agent takes the row along.

use dci_proto::{AgentId, ShardKey, StripeId};

use super::state::State;
use super::{Step, members, moves};
use crate::tables;
use crate::{KvError, Outcome, ShardStanding, StripeRecord, query};

/// Shards of one agent that are noted as bad, at most: one with more is likely to fail, and is emptied as a whole.
pub const BAD_SHARDS_PER_AGENT: usize = 1_024;
/// Shards of all agents that are noted as bad, at most: who looks after the volume has them all in hand.
pub const BAD_SHARDS_LIMIT: usize = 16_384;

pub(super) fn report(state: &mut State, agent: AgentId, keys: &[ShardKey]) -> Step<Outcome> {
    moves::check_count(keys.len())?;
    members::check_member(state, agent)?;
    let mut of_agent = state.count(&tables::agent_key(tables::BAD, agent), BAD_SHARDS_PER_AGENT)?;
    let mut of_all = state.count(&tables::BAD.key(&[]), BAD_SHARDS_LIMIT)?;
    let mut accepted = Vec::with_capacity(keys.len());
    for key in keys {
        let may = of_agent < BAD_SHARDS_PER_AGENT
            && of_all < BAD_SHARDS_LIMIT
            && query::standing(&*state.kv, *key, agent)? == ShardStanding::Counted
            && !query::is_bad(&*state.kv, agent, *key)?;
        if may {
            let since_ms = state.now_ms();
            state.put(tables::BAD, &tables::bad_key(agent, *key), &since_ms)?;
            (of_agent, of_all) = (of_agent + 1, of_all + 1);
        }
        accepted.push(may);
    }
    Ok(Outcome::Accepted(accepted))
}

pub(super) fn withdraw(state: &mut State, agent: AgentId, keys: &[ShardKey]) -> Step<Outcome> {
    moves::check_count(keys.len())?;
    let mut accepted = Vec::with_capacity(keys.len());
    for key in keys {
        let noted = query::is_bad(&*state.kv, agent, *key)?;
        if noted {
            forget(state, agent, *key)?;
        }
        accepted.push(noted);
    }
    Ok(Outcome::Accepted(accepted))
}

/// Nothing counts on a shard there any more.
pub(super) fn forget(state: &mut State, agent: AgentId, key: ShardKey) -> Result<(), KvError> {
    state.delete(&tables::bad_key(agent, key))
}

/// Nothing counts on any shard of a stripe any more.
pub(super) fn forget_stripe(state: &mut State, stripe: StripeId, record: &StripeRecord) -> Result<(), KvError> {
    for (index, place) in (0u8..).zip(&record.shards) {
        if let Some(agent) = place.agent {
            forget(state, agent, ShardKey { stripe, index })?;
        }
    }
    Ok(())
}

/// An agent is no member any more.
pub(super) fn forget_agent(state: &mut State, agent: AgentId) -> Result<(), KvError> {
    for (_, key) in query::bad_shards(&*state.kv, agent)? {
        forget(state, agent, key)?;
    }
    Ok(())
}
