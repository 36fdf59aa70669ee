//! A holder reads its shards again: what is bad is rebuilt in place, and reported where that fails.

use dci_proto::ShardKey;
use shoal_ledger::limits::MOVES_PER_COMMAND_LIMIT;
use shoal_ledger::{Command, StripeRecord};

use crate::disk::DiskFault;
use crate::exec::SECOND;
use crate::holder::{counted, put};
use crate::ledger::{shard, shard_number, submit};
use crate::serve::Reply;
use crate::stripes;
use crate::world::{Sim, agent_id};

/// Time between two scrubs.
const SCRUB_EVERY_US: u64 = 30 * SECOND;

/// What a holder makes of a shard of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Sound,
    /// Missing or damaged.
    Bad,
    /// The disk does not give it, twice in a row.
    Unreadable,
    /// The disk is not there: that says nothing.
    Unplugged,
}

/// Reads all shards that count again, for as long as the agent runs.
pub(crate) async fn scrub(sim: Sim, me: usize) {
    loop {
        sim.sleep_on(me, SCRUB_EVERY_US).await;
        let Some((shards, noted)) = counted(&sim, me).await else { continue };
        let (mut bad, mut sound) = (Vec::new(), Vec::new());
        for (key, record) in shards {
            let is_noted = noted.contains(&(agent_id(me), key));
            let well = match look(&sim, me, key, &record) {
                Found::Unplugged => continue,
                Found::Sound => true,
                Found::Bad => repair(&sim, me, key, &record).await,
                Found::Unreadable => false,
            };
            match (well, is_noted) {
                (true, true) => sound.push(key),
                (false, false) => bad.push(key),
                _ => {}
            }
        }
        tell(&sim, me, bad, |keys| Command::ReportBad { agent: agent_id(me), keys }).await;
        tell(&sim, me, sound, |keys| Command::ReportSound { agent: agent_id(me), keys }).await;
    }
}

fn look(sim: &Sim, me: usize, key: ShardKey, record: &StripeRecord) -> Found {
    let Some(place) = record.shards.get(usize::from(key.index)) else { return Found::Sound };
    sim.with(|world| {
        let disk = &world.agents[me].disk;
        if disk.unplugged {
            return Found::Unplugged;
        }
        if !disk.is_sound(key, place.hash) {
            return Found::Bad;
        }
        let mut fails = || disk.read(key, &mut world.rng) == Err(DiskFault::Io);
        if fails() && fails() { Found::Unreadable } else { Found::Sound }
    })
}

async fn repair(sim: &Sim, me: usize, key: ShardKey, record: &StripeRecord) -> bool {
    let Some(hash) = record.shards.get(usize::from(key.index)).map(|place| place.hash) else { return true };
    sim.with(|world| world.note(Some(me), "found bad", shard_number(key), || shard(key)));
    let well = stripes::fetch(sim, me, key.stripe, record, Some(key.index)).await.is_some()
        && matches!(put(sim, me, key, hash, hash, record.shard_bytes).await, Reply::Done);
    if well {
        sim.with(|world| world.count_care("repaired in place"));
    }
    well
}

async fn tell(sim: &Sim, me: usize, mut keys: Vec<ShardKey>, command: impl FnOnce(Vec<ShardKey>) -> Command) {
    keys.truncate(MOVES_PER_COMMAND_LIMIT);
    if !keys.is_empty() {
        let command = command(keys);
        let what = if matches!(command, Command::ReportBad { .. }) { "reported bad" } else { "reported sound" };
        sim.with(|world| world.count_care(what));
        let _ = submit(sim, me, command).await;
    }
}
