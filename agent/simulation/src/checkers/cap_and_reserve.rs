//! 6. An agent never exceeds its cap and never touches the owner's reserve with what it takes in.

use crate::world::World;

/// An agent has taken a shard in.
pub(crate) fn check(world: &mut World, agent: usize) {
    let disk = &world.agents[agent].disk;
    let (used, cap) = (disk.used_bytes(), disk.cap_bytes);
    let left = disk.disk_bytes.saturating_sub(disk.owner_bytes + used);
    if used > cap || left < disk.reserve_bytes {
        let what = format!("agent {} uses {used} of {cap} bytes and leaves {left} to its owner", agent + 1);
        world.fail("cap-and-reserve", what);
    }
}
