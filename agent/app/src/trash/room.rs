//! How much trash must go for the pool to have room.

/// Of its capacity a pool keeps so many percent free as long as there is trash to let go of.
const FREE_AIM_PERCENT: u64 = 10;
/// A write takes a little more than its bytes.
const OVERHEAD_PERCENT: u64 = 5;

/// A pool's room, in bytes of users' files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// What fits into the empty pool.
    pub(super) capacity_bytes: u64,
    /// What still fits.
    pub(super) free_bytes: u64,
    /// What is in the trash.
    pub(super) trash_bytes: u64,
    /// What a refused write wanted; 0: nothing was refused.
    pub(super) wanted_bytes: u64,
}

/// Bytes of trash to let go of, the oldest first. Nothing goes for a write that would not fit even so.
pub(super) fn to_purge(room: &Room) -> u64 {
    let aim = room.capacity_bytes / 100 * FREE_AIM_PERCENT;
    let wanted = room.wanted_bytes.saturating_add(room.wanted_bytes / 100 * OVERHEAD_PERCENT);
    let possible = room.free_bytes.saturating_add(room.trash_bytes);
    let wanted = if wanted <= possible { wanted } else { 0 };
    aim.max(wanted).saturating_sub(room.free_bytes).min(room.trash_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trash_goes_for_room_and_for_nothing_else() {
        // Capacity, free, trash, wanted; what is to go.
        let cases = [
            ((10_000, 5_000, 3_000, 0), 0, "half of it is free"),
            ((10_000, 1_000, 3_000, 0), 0, "a tenth is free"),
            ((10_000, 400, 3_000, 0), 600, "less than a tenth is free"),
            ((10_000, 0, 3_000, 0), 1_000, "full"),
            ((10_000, 0, 300, 0), 300, "full, and little in the trash"),
            ((10_000, 0, 0, 0), 0, "full of files"),
            ((10_000, 2_000, 3_000, 4_000), 2_200, "a write found too little"),
            ((10_000, 2_000, 3_000, 1_000), 0, "there is room for that write by now"),
            ((10_000, 100, 3_000, 500), 900, "a small write found none: the tenth counts"),
            ((10_000, 2_000, 3_000, 8_000), 0, "a write that would not fit without any trash"),
            ((10_000, 500, 3_000, 8_000), 500, "such a write in a pool that is short anyway"),
            ((0, 0, 3_000, 0), 0, "no agent is up"),
            ((u64::MAX, u64::MAX, u64::MAX, u64::MAX), 0, "no number is too large"),
        ];
        for ((capacity_bytes, free_bytes, trash_bytes, wanted_bytes), expected, case) in cases {
            let room = Room { capacity_bytes, free_bytes, trash_bytes, wanted_bytes };
            assert_eq!(to_purge(&room), expected, "{case}");
        }
    }
}
