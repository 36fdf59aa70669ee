//! 5. Names are linearizable: the log orders all changes, so what is left to check is real time. A request sees everything that was
//!    acknowledged to anyone before it was made, and takes effect between its call and its answer, once.

use crate::world::World;

const NAME: &str = "names-linearizable";

/// A read made when `acknowledged` was the latest position anyone had been told of saw the ledger at `seen`.
pub(crate) fn read(world: &mut World, acknowledged: u64, seen: u64) {
    if seen < acknowledged {
        world.fail(NAME, format!("a read saw the ledger at {seen}; {acknowledged} had been acknowledged before it"));
    }
}

/// A change made when the log had `before` entries took effect at `position`, and is acknowledged now.
pub(crate) fn change(world: &mut World, before: u64, position: u64) {
    if position <= before || position > world.log.len() {
        let now = world.log.len();
        world.fail(NAME, format!("a change called at {before} and answered at {now} took effect at {position}"));
    }
    world.record.acknowledged = world.record.acknowledged.max(position);
}
