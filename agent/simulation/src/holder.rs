//! A holder of shards: keeps them, gives them, drops them on proof; sweeps for orphans.

use dci_proto::{ShardHash, ShardKey};
use shoal_care::{OrphanLook, OrphanRules, drop_on_order as may_drop, drop_orphan};
use shoal_ledger::{KvRead, ShardStanding, StripeRecord, query};

use crate::bugs::Bug;
use crate::checkers;
use crate::disk::{DiskFault, Put};
use crate::exec::{MS, SECOND};
use crate::ledger::{NoQuorum, barrier, look, shard, shard_number};
use crate::serve::{Reply, Request};
use crate::world::{Sim, agent_id};

/// How long the ledger must not have named a shard before it is swept away, by the ledger's time.
pub(crate) const ORPHAN_GRACE_MS: u64 = 90_000;
/// Time between two sweeps.
const SWEEP_EVERY_US: u64 = 25 * SECOND;
/// How long an agent without a ledger waits for one that has it.
const WITNESS_TIMEOUT_US: u64 = 4 * SECOND;
/// Shards a sweep remembers.
const REMEMBERED: usize = 1_000;

/// Shards the ledger counts on an agent for, and those of them that it has as bad.
type Counted = (Vec<(ShardKey, StripeRecord)>, query::BadShards);

/// At which position of the log, the ledger's time then, and a standing for each shard.
type Standings = (u64, u64, Vec<ShardStanding>);

/// On what grounds a shard is dropped, for the checkers to judge.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof {
    /// Somebody asked when the log had `asked_at` entries; the ledger was looked at as of `proved_at`.
    Order { asked_at: u64, proved_at: u64 },
    /// Nobody has named it for the whole grace time.
    Unnamed,
}

/// Keeps a shard: on disk before it is answered.
pub(crate) async fn put(
    sim: &Sim,
    me: usize,
    key: ShardKey,
    token: ShardHash,
    expected: ShardHash,
    bytes: u32,
) -> Reply {
    let unverified = sim.with(|world| world.planted(Bug::CopyUnverified));
    if token != expected && !unverified {
        return Reply::Refused;
    }
    let _guard = locked(sim, me, key).await;
    let begun = sim.with(|world| {
        let begun = world.agents[me].disk.begin_put(key, expected, bytes);
        if begun == Ok(Put::Write) {
            if token != expected {
                world.agents[me].disk.damage(key);
            }
            checkers::after_put(world, me);
        }
        begun
    });
    match begun {
        Err(_) => return Reply::Failed,
        Ok(Put::There) => {
            sim.with(|world| note_durable(world, me, key, "kept already"));
            return Reply::Done;
        }
        Ok(Put::Write) => {}
    }
    if sim.with(|world| world.planted(Bug::AckBeforeFsync)) {
        let here = sim.clone();
        sim.spawn_on(me, async move { sync(&here, me, key).await.map_or((), |()| ()) });
        return Reply::Done;
    }
    match sync(sim, me, key).await {
        Ok(()) => Reply::Done,
        Err(_) => Reply::Failed,
    }
}

async fn sync(sim: &Sim, me: usize, key: ShardKey) -> Result<(), DiskFault> {
    disk_time(sim, me, 2 * MS, 25 * MS).await;
    sim.with(|world| {
        world.agents[me].disk.sync(key)?;
        note_durable(world, me, key, "kept");
        Ok(())
    })
}

fn note_durable(world: &mut crate::world::World, me: usize, key: ShardKey, what: &'static str) {
    let position = world.log.len();
    world.agents[me].disk.note_told(key, position);
    let now_ms = world.ledger_ms();
    world.atlas.repaired(me, key, now_ms);
    world.note(Some(me), what, shard_number(key), || shard(key));
}

/// Gives a shard, its bytes checked.
pub(crate) async fn get(sim: &Sim, me: usize, key: ShardKey) -> Reply {
    disk_time(sim, me, MS / 5, 6 * MS).await;
    let unverified = sim.with(|world| world.planted(Bug::CopyUnverified));
    sim.with(|world| match world.agents[me].disk.read(key, &mut world.rng) {
        Ok(token) => Reply::Token(token),
        Err(DiskFault::Damaged) if unverified => Reply::Token(ShardHash([0xdd; 16])),
        Err(_) => Reply::Failed,
    })
}

/// Drops a shard somebody asks to be dropped, if the ledger, asked now, wants it gone.
pub(crate) async fn drop_on_order(sim: &Sim, me: usize, key: ShardKey) -> Reply {
    let asked_at = sim.with(|world| world.log.len());
    let _guard = locked(sim, me, key).await;
    let stale = sim.with(|world| world.planted(Bug::DropWithoutReadPoint) && world.agents[me].holds_ledger());
    let found = if stale { standings(sim, me, me, &[key]) } else { fresh_standings(sim, me, &[key]).await.ok() };
    let Some((proved_at, _, found)) = found else { return Reply::Refused };
    let Some(standing) = found.first() else { return Reply::Refused };
    if may_drop(*standing).is_err() {
        return Reply::Refused;
    }
    unlink(sim, me, key, "dropped", Proof::Order { asked_at, proved_at }).await
}

/// A planted bug.
pub(crate) fn drop_unasked(sim: &Sim, me: usize, key: ShardKey) -> Reply {
    sim.with(|world| remove(world, me, key, "dropped unasked", Proof::Unnamed))
}

async fn unlink(sim: &Sim, me: usize, key: ShardKey, what: &'static str, proof: Proof) -> Reply {
    disk_time(sim, me, MS, 10 * MS).await;
    sim.with(|world| remove(world, me, key, what, proof))
}

fn remove(world: &mut crate::world::World, me: usize, key: ShardKey, what: &'static str, proof: Proof) -> Reply {
    match world.agents[me].disk.delete(key) {
        Err(_) => Reply::Failed,
        Ok(None) => Reply::Done,
        Ok(Some(stored)) => {
            world.note(Some(me), what, shard_number(key), || shard(key));
            world.count_care(what);
            checkers::after_drop(world, me, key, &stored, proof);
            Reply::Done
        }
    }
}

async fn locked(sim: &Sim, me: usize, key: ShardKey) -> crate::exec::LockGuard<ShardKey> {
    sim.with(|world| world.agents[me].locks.lock(key)).await
}

async fn disk_time(sim: &Sim, me: usize, from_us: u64, to_us: u64) {
    let time_us = sim.with(|world| world.rng.range(from_us, to_us) * world.agents[me].disk.slowness.max(1));
    sim.sleep_on(me, time_us).await;
}

/// How the ledger stands to shards of this agent, at a read point taken now; and its time.
async fn fresh_standings(sim: &Sim, me: usize, keys: &[ShardKey]) -> Result<Standings, NoQuorum> {
    if sim.with(|world| world.agents[me].holds_ledger()) {
        barrier(sim, me).await?;
        return standings(sim, me, me, keys).ok_or(NoQuorum);
    }
    for witness in witnesses(sim, me) {
        let request = Request::Standings { keys: keys.to_vec() };
        if let Ok(Reply::Standings(position, now_ms, found)) = sim.call(me, witness, request, WITNESS_TIMEOUT_US).await
        {
            return Ok((position, now_ms, found));
        }
    }
    Err(NoQuorum)
}

fn standings(sim: &Sim, me: usize, holder: usize, keys: &[ShardKey]) -> Option<Standings> {
    look(sim, me, |view| {
        let found = keys.iter().map(|key| query::standing(view, *key, agent_id(holder))).collect::<Result<_, _>>()?;
        Ok((query::position(view)?, query::time_ms(view)?, found))
    })
}

/// Members with a ledger, in an order of chance.
fn witnesses(sim: &Sim, me: usize) -> Vec<usize> {
    sim.with(|world| {
        let holds = |agent: &usize| *agent != me && !world.agents[*agent].gone && world.agents[*agent].holds_ledger();
        let mut found: Vec<usize> = (0..world.agents.len()).filter(holds).collect();
        let first = world.rng.below(found.len() as u64) as usize;
        found.rotate_left(first);
        found.truncate(3);
        found
    })
}

/// Answers a holder without a ledger.
pub(crate) async fn standings_for(sim: &Sim, me: usize, holder: usize, keys: Vec<ShardKey>) -> Reply {
    if barrier(sim, me).await.is_err() {
        return Reply::Refused;
    }
    let found = standings(sim, me, holder, &keys);
    found.map_or(Reply::Refused, |(position, now_ms, found)| Reply::Standings(position, now_ms, found))
}

/// Sweeps for orphans for as long as the agent runs.
pub(crate) async fn sweep(sim: Sim, me: usize) {
    loop {
        sim.sleep_on(me, SWEEP_EVERY_US).await;
        sweep_once(&sim, me).await;
    }
}

async fn sweep_once(sim: &Sim, me: usize) {
    let Some(keys) = plugged_keys(sim, me) else { return };
    let Ok((_, mut now_ms, found)) = fresh_standings(sim, me, &keys).await else { return };
    let (own_clock, absence_is_proof) =
        sim.with(|world| (world.planted(Bug::WallClockGrace), world.planted(Bug::AbsenceIsProof)));
    if own_clock {
        now_ms = sim.with(|world| world.wall_ms(me));
    }
    let grace_ms = if absence_is_proof { 0 } else { ORPHAN_GRACE_MS };
    let before = sim.with(|world| world.agents[me].book.clone());
    let mut look = OrphanLook::begin(&before, OrphanRules { grace_ms, remembered: REMEMBERED }, now_ms);
    let due: Vec<ShardKey> =
        keys.iter().zip(found).filter(|(key, now)| look.see(**key, *now)).map(|(key, _)| *key).collect();
    let mut gone = Vec::new();
    for key in due {
        let _guard = locked(sim, me, key).await;
        let Ok((_, _, now)) = fresh_standings(sim, me, &[key]).await else { break };
        if now.first().is_some_and(|standing| drop_orphan(*standing).is_ok())
            && matches!(unlink(sim, me, key, "swept", Proof::Unnamed).await, Reply::Done)
        {
            gone.push(key);
        }
    }
    gone.into_iter().for_each(|key| look.dropped(key));
    let book = look.end();
    sim.with(|world| {
        checkers::memory_bounded::book(world, &book, REMEMBERED);
        world.agents[me].book = book;
    });
}

/// What is on the disk; `None` while that is unplugged: then nothing is known.
fn plugged_keys(sim: &Sim, me: usize) -> Option<Vec<ShardKey>> {
    sim.with(|world| {
        let disk = &world.agents[me].disk;
        (!disk.unplugged).then(|| disk.iter().filter(|(_, stored)| stored.durable).map(|(key, _)| key).collect())
    })
}

/// What the ledger counts on this agent for, and which of that it has as bad.
pub(crate) async fn counted(sim: &Sim, me: usize) -> Option<Counted> {
    if sim.with(|world| world.agents[me].holds_ledger()) {
        return counted_on(sim, me, me);
    }
    let witness = witnesses(sim, me).first().copied()?;
    match sim.call(me, witness, Request::Counted, WITNESS_TIMEOUT_US).await {
        Ok(Reply::Counted(shards, bad)) => Some((shards, bad)),
        _ => None,
    }
}

fn counted_on(sim: &Sim, me: usize, holder: usize) -> Option<Counted> {
    look(sim, me, |view| Ok((shards_of(view, holder)?, query::bad_shards(view, agent_id(holder))?)))
}

/// The shards the ledger counts on an agent for.
pub(crate) fn shards_of(
    view: &dyn KvRead,
    holder: usize,
) -> Result<Vec<(ShardKey, StripeRecord)>, shoal_ledger::KvError> {
    let mut found = Vec::new();
    query::stripes(view, None, &mut |stripe, record| {
        let index = record.shards.iter().position(|place| place.agent == Some(agent_id(holder)));
        if let Some(index) = index.and_then(|index| u8::try_from(index).ok()) {
            found.push((ShardKey { stripe, index }, record));
        }
        true
    })?;
    Ok(found)
}

/// Answers a holder without a ledger.
pub(crate) async fn counted_for(sim: &Sim, me: usize, holder: usize) -> Reply {
    if barrier(sim, me).await.is_err() {
        return Reply::Refused;
    }
    counted_on(sim, me, holder).map_or(Reply::Refused, |(shards, bad)| Reply::Counted(shards, bad))
}
