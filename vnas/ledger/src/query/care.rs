//! Shards on their way, surplus ones, agents that are emptied, the pool's patience.

use std::collections::BTreeSet;

use dci_proto::{AgentId, ShardKey, StripeId};

use crate::tables;
use crate::{
    BegunMove, CarePolicy, DrainCertificate, DrainRecord, KvError, KvRead, ShardStanding, StripeRecord, SurplusShard,
};

/// Shards that their holders have found bad and could not mend in place; no more than
/// [`crate::limits::BAD_SHARDS_LIMIT`].
pub type BadShards = BTreeSet<(AgentId, ShardKey)>;

/// The pool's patience; the defaults where nobody said.
pub fn care_policy(kv: &dyn KvRead) -> Result<CarePolicy, KvError> {
    Ok(tables::read(kv, tables::CARE, &tables::CARE.key(&[]))?.unwrap_or_default())
}

/// All moves under way, by shard.
pub fn moves(kv: &dyn KvRead) -> Result<Vec<BegunMove>, KvError> {
    tables::read_all(kv, tables::MOVES, &tables::MOVES.key(&[]))
}

/// The moves under way of one stripe.
pub fn moves_of(kv: &dyn KvRead, stripe: StripeId) -> Result<Vec<BegunMove>, KvError> {
    tables::read_all(kv, tables::MOVES, &tables::stripe_key(tables::MOVES, stripe))
}

/// Shards nobody counts on that their holders are to drop, oldest first, at most `limit`.
pub fn surplus(kv: &dyn KvRead, limit: usize) -> Result<Vec<SurplusShard>, KvError> {
    surplus_where(kv, limit, &|_| true)
}

/// As [`surplus`], only those that are `wanted`. Looks at all there are until it has enough.
pub fn surplus_where(
    kv: &dyn KvRead,
    limit: usize,
    wanted: &dyn Fn(&SurplusShard) -> bool,
) -> Result<Vec<SurplusShard>, KvError> {
    let table = tables::SURPLUS;
    let prefix = table.key(&[]);
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    tables::visit(kv, table, &prefix, &prefix, &mut |key, ()| {
        let shard = tables::surplus_of_key(key);
        let corrupt = || KvError::Corrupt { table: table.1, reason: "a key is no time, shard and agent".to_owned() };
        let shard = shard.ok_or_else(corrupt)?;
        if wanted(&shard) {
            found.push(shard);
        }
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// When the first stripe became garbage, or shard surplus, after this time, in ms since 1970 UTC by the leader's clock.
pub fn next_useless(kv: &dyn KvRead, after_ms: u64) -> Result<(Option<u64>, Option<u64>), KvError> {
    let first = |table: tables::Table| {
        let from = table.key(&[&after_ms.saturating_add(1).to_be_bytes()]);
        let mut since = None;
        kv.scan(&from, &tables::after_prefix(&table.key(&[])), &mut |key, _| {
            since = key.get(1..).and_then(<[u8]>::first_chunk).map(|bytes| u64::from_be_bytes(*bytes));
            Ok(false)
        })?;
        Ok(since)
    };
    Ok((first(tables::GARBAGE)?, first(tables::SURPLUS)?))
}

/// How the ledger stands to a shard that `holder` has.
pub fn standing(kv: &dyn KvRead, key: ShardKey, holder: AgentId) -> Result<ShardStanding, KvError> {
    if kv.get(&tables::place_key(tables::SURPLUS_PLACES, key, holder))?.is_some() {
        return Ok(ShardStanding::Surplus);
    }
    let Some(record) = super::stripe(kv, key.stripe)? else {
        let garbage = kv.get(&tables::stripe_key(tables::GARBAGE_TIMES, key.stripe))?.is_some();
        return Ok(if garbage { ShardStanding::Garbage } else { ShardStanding::Unknown });
    };
    if record.shards.get(usize::from(key.index)).is_some_and(|place| place.agent == Some(holder)) {
        return Ok(ShardStanding::Counted);
    }
    let coming: Option<BegunMove> = tables::read(kv, tables::MOVES, &tables::shard_key(tables::MOVES, key))?;
    Ok(match coming {
        Some(one) if one.what.to == holder => ShardStanding::Coming,
        _ => ShardStanding::Elsewhere,
    })
}

/// The shards an agent has found bad where it is counted on for them.
pub fn bad_shards(kv: &dyn KvRead, agent: AgentId) -> Result<BadShards, KvError> {
    bad_under(kv, &tables::agent_key(tables::BAD, agent))
}

/// The shards all agents have found bad.
pub fn bad_shards_of_all(kv: &dyn KvRead) -> Result<BadShards, KvError> {
    bad_under(kv, &tables::BAD.key(&[]))
}

/// Whether an agent has found a shard bad that it is counted on for.
pub fn is_bad(kv: &dyn KvRead, agent: AgentId, key: ShardKey) -> Result<bool, KvError> {
    Ok(kv.get(&tables::bad_key(agent, key))?.is_some())
}

/// The places of a stripe whose holders have found their shards bad, by index.
pub fn bad_places(kv: &dyn KvRead, stripe: StripeId, record: &StripeRecord) -> Result<Vec<u8>, KvError> {
    let mut found = Vec::new();
    for (index, place) in (0u8..).zip(&record.shards) {
        if let Some(agent) = place.agent
            && is_bad(kv, agent, ShardKey { stripe, index })?
        {
            found.push(index);
        }
    }
    Ok(found)
}

fn bad_under(kv: &dyn KvRead, prefix: &[u8]) -> Result<BadShards, KvError> {
    let (table, mut found) = (tables::BAD, BadShards::new());
    kv.scan(prefix, &tables::after_prefix(prefix), &mut |key, _| {
        let place = tables::bad_of_key(key);
        let corrupt = || KvError::Corrupt { table: table.1, reason: "a key is no agent and shard".to_owned() };
        found.insert(place.ok_or_else(corrupt)?);
        Ok(true)
    })?;
    Ok(found)
}

/// What an agent held when its emptying began; `None` unless it is being emptied.
pub fn drain(kv: &dyn KvRead, agent: AgentId) -> Result<Option<DrainRecord>, KvError> {
    tables::read(kv, tables::DRAINS, &tables::agent_key(tables::DRAINS, agent))
}

/// The proof that an agent was emptied, where it was.
pub fn certificate(kv: &dyn KvRead, agent: AgentId) -> Result<Option<DrainCertificate>, KvError> {
    tables::read(kv, tables::CERTIFICATES, &tables::agent_key(tables::CERTIFICATES, agent))
}
