//! The ledger's time passes: once all has healed it keeps pace with the steady clocks, whoever's clock was ahead before.

use crate::world::World;

const NAME: &str = "time-passes";
/// Steady clocks may pass this much slower for the ledger: one part in so many.
const SLOWER_BY_ONE_IN: u64 = 1_000;
/// What changes of leader may cost, in ms: a new one has seen the last entry a moment after it was stamped.
const MAY_BE_LOST_MS: u64 = 3_000;

/// Remembers when the time that is measured begins.
pub(crate) fn after_commit(world: &mut World) {
    if world.healed && world.first_healed.is_none() {
        world.first_healed = Some((world.now_us, world.ledger_ms()));
    }
}

/// What an entry would be stamped with now, against the time that has truly passed.
pub(crate) fn at_the_end(world: &mut World) {
    let (Some((begun_us, begun_ms)), Some(leader)) = (world.first_healed, world.log.leader) else { return };
    let truly_ms = (world.now_us - begun_us) / 1_000;
    let passed_ms = world.stamp_ms(leader).saturating_sub(begun_ms);
    if passed_ms + truly_ms / SLOWER_BY_ONE_IN + MAY_BE_LOST_MS < truly_ms {
        world.fail(NAME, format!("{passed_ms} ms passed for the ledger in {truly_ms} ms"));
    }
}
