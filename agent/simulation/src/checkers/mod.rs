//! What must always hold (`docs/ARCHITECTURE.md`), one checker each. They see the whole world at once, as nobody in it can.

pub(crate) mod absence_is_not_proof;
pub(crate) mod acked_survives;
pub(crate) mod cap_and_reserve;
pub(crate) mod convergence;
pub(crate) mod formats;
pub(crate) mod memory_bounded;
pub(crate) mod names_linearizable;
pub(crate) mod no_clock_orders;
pub(crate) mod one_agent_one_shard;
pub(crate) mod reads_true;
pub(crate) mod time_passes;

use dci_proto::ShardKey;

use crate::disk::Stored;
use crate::holder::Proof;
use crate::world::World;

/// After an entry of the log was committed.
pub(crate) fn after_commit(world: &mut World, position: u64) {
    formats::entry(world, position);
    reads_true::note_versions(world, position);
    one_agent_one_shard::check(world, position);
    acked_survives::after_commit(world, position);
    memory_bounded::ledger(world);
    time_passes::after_commit(world);
}

/// After a shard was taken in.
pub(crate) fn after_put(world: &mut World, agent: usize) {
    cap_and_reserve::check(world, agent);
}

/// After a holder dropped a shard.
pub(crate) fn after_drop(world: &mut World, agent: usize, key: ShardKey, stored: &Stored, proof: Proof) {
    absence_is_not_proof::check(world, agent, key, stored, proof);
}

/// After an agent crashed.
pub(crate) fn after_crash(world: &mut World, agent: usize) {
    acked_survives::holder(world, agent);
}

/// When all is over and has come right.
pub(crate) fn at_the_end(world: &mut World) {
    acked_survives::all(world);
    convergence::books(world);
    time_passes::at_the_end(world);
    formats::newer_is_refused(world);
    no_clock_orders::check(world);
}
