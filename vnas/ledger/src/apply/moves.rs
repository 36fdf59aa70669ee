//! Shards that change their agent: announced, then done or given up, and the copy left behind dropped.
//!
//! A move is announced before the first byte is copied, so that nobody drops what is about to be counted on; the stripe's
//! record changes only when the new shard is durable. What the old agent holds is surplus from then on, and may not be
//! moved back before it is gone: a late order to drop it would hit what has come anew.

use dci_proto::{AgentId, ShardKey, StripeId};

use super::state::State;
use super::{Step, bad};
use crate::tables;
use crate::{BegunMove, KvError, MoveId, Outcome, Rejection, ShardMove, SurplusShard, query};

/// Moves and surplus shards one command may name.
pub const MOVES_PER_COMMAND_LIMIT: usize = 256;
/// Moves under way in a pool, at most.
pub const MOVES_LIMIT: usize = 2_048;

pub(super) fn begin(state: &mut State, moves: &[ShardMove]) -> Step<Outcome> {
    check_count(moves.len())?;
    let mut under_way = state.count(&tables::MOVES.key(&[]), MOVES_LIMIT)?;
    let mut accepted = Vec::with_capacity(moves.len());
    for one in moves {
        let may = under_way < MOVES_LIMIT && may_begin(state, one)?;
        if may {
            let row = BegunMove { what: *one, begun: state.meta.position };
            state.put(tables::MOVES, &tables::shard_key(tables::MOVES, one.key), &row)?;
            under_way += 1;
        }
        accepted.push(may);
    }
    Ok(Outcome::Accepted(accepted))
}

fn may_begin(state: &State, one: &ShardMove) -> Result<bool, KvError> {
    let Some(record) = query::stripe(&*state.kv, one.key.stripe)? else { return Ok(false) };
    let Some(place) = record.shards.get(usize::from(one.key.index)) else { return Ok(false) };
    let stores = query::agent(&*state.kv, one.to)?.is_some_and(|member| member.roles.store);
    let taken = record.shards.iter().any(|place| place.agent == Some(one.to));
    if place.agent != one.from || !stores || taken {
        return Ok(false);
    }
    let others = query::moves_of(&*state.kv, one.key.stripe)?;
    if others.iter().any(|other| other.what.key == one.key || other.what.to == one.to) {
        return Ok(false);
    }
    Ok(!is_surplus(state, one.key, one.to)?)
}

pub(super) fn finish(state: &mut State, moves: &[MoveId]) -> Step<Outcome> {
    check_count(moves.len())?;
    let mut accepted = Vec::with_capacity(moves.len());
    for one in moves {
        accepted.push(finish_one(state, *one)?);
    }
    Ok(Outcome::Accepted(accepted))
}

/// Has the record name the new agent. A move whose agent is no member any more cannot be finished.
fn finish_one(state: &mut State, id: MoveId) -> Result<bool, KvError> {
    let Some(ShardMove { key, to, .. }) = under_way(state, id)? else { return Ok(false) };
    let Some(mut record) = query::stripe(&*state.kv, key.stripe)? else { return Ok(false) };
    if query::agent(&*state.kv, to)?.is_none() {
        return Ok(false);
    }
    let bytes = u64::from(record.shard_bytes);
    let Some(place) = record.shards.get_mut(usize::from(key.index)) else { return Ok(false) };
    let before = place.agent.replace(to);
    state.put(tables::STRIPES, &tables::stripe_key(tables::STRIPES, key.stripe), &record)?;
    state.delete(&tables::shard_key(tables::MOVES, key))?;
    let usage = state.usage_mut(to)?;
    usage.shards += 1;
    usage.bytes += bytes;
    if let Some(before) = before {
        let usage = state.usage_mut(before)?;
        usage.shards = usage.shards.saturating_sub(1);
        usage.bytes = usage.bytes.saturating_sub(bytes);
        bad::forget(state, before, key)?;
        put_surplus(state, key, before)?;
    }
    Ok(true)
}

pub(super) fn abort(state: &mut State, moves: &[MoveId]) -> Step<Outcome> {
    check_count(moves.len())?;
    let mut accepted = Vec::with_capacity(moves.len());
    for id in moves {
        let one = under_way(state, *id)?;
        if let Some(one) = &one {
            state.delete(&tables::shard_key(tables::MOVES, one.key))?;
            put_surplus(state, one.key, one.to)?;
        }
        accepted.push(one.is_some());
    }
    Ok(Outcome::Accepted(accepted))
}

/// The move of this name, if that very one is under way.
fn under_way(state: &State, id: MoveId) -> Result<Option<ShardMove>, KvError> {
    let row: Option<BegunMove> = state.read(tables::MOVES, &tables::shard_key(tables::MOVES, id.key))?;
    Ok(row.filter(|row| row.begun == id.begun).map(|row| row.what))
}

/// Gives up the moves of a stripe that is no longer in use: what has been copied is to go.
pub(super) fn abort_stripe(state: &mut State, stripe: StripeId) -> Result<(), KvError> {
    for BegunMove { what: one, .. } in query::moves_of(&*state.kv, stripe)? {
        state.delete(&tables::shard_key(tables::MOVES, one.key))?;
        put_surplus(state, one.key, one.to)?;
    }
    Ok(())
}

/// Forgets surplus shards that their holders have dropped; ones that are not there are no error.
pub(super) fn forget_surplus(state: &mut State, shards: &[SurplusShard]) -> Step<Outcome> {
    check_count(shards.len())?;
    for shard in shards {
        let place_key = tables::place_key(tables::SURPLUS_PLACES, shard.key, shard.agent);
        if state.read::<u64>(tables::SURPLUS_PLACES, &place_key)? == Some(shard.since_ms) {
            state.delete(&tables::surplus_key(shard))?;
            state.delete(&place_key)?;
        }
    }
    Ok(Outcome::Done)
}

/// Notes that an agent holds a shard nobody counts on. One who is no member is not asked to drop anything.
pub(super) fn put_surplus(state: &mut State, key: ShardKey, agent: AgentId) -> Result<(), KvError> {
    if query::agent(&*state.kv, agent)?.is_none() || is_surplus(state, key, agent)? {
        return Ok(());
    }
    let shard = SurplusShard { key, agent, since_ms: state.now_ms() };
    state.put(tables::SURPLUS, &tables::surplus_key(&shard), &())?;
    state.put(tables::SURPLUS_PLACES, &tables::place_key(tables::SURPLUS_PLACES, key, agent), &shard.since_ms)
}

fn is_surplus(state: &State, key: ShardKey, agent: AgentId) -> Result<bool, KvError> {
    Ok(state.kv.get(&tables::place_key(tables::SURPLUS_PLACES, key, agent))?.is_some())
}

pub(super) fn check_count(count: usize) -> Step<()> {
    if count > MOVES_PER_COMMAND_LIMIT {
        return Err(Rejection::TooMany("shards in one command".to_owned()).into());
    }
    Ok(())
}
