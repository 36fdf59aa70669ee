//! Whether the owner's disk has room for a run.
//!
//! What is reserved stays free for the PC's user: no run begins with less, and one that comes down to it ends. A run for which the room
//! was not enough gives up what it wrote, and none begins by itself with no more room than that one took in vain: it would fill the disk
//! again and send everything to the peers again. After a day one is tried all the same: there may be less to keep by then.

use crate::now::DAY_MS;

/// A run needs this much at least, for what it notes.
pub const RUN_LEAST_BYTES: u64 = 1 << 20;
/// What a run that had no room was about to write, at most: packs in the making.
const IN_THE_MAKING_BYTES: u64 = 32 << 20;
/// However much the last run took in vain, one is tried after this time.
const TRY_ANYHOW_MS: u64 = DAY_MS;

/// What is known of the room that runs need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunRoom {
    reserve_bytes: u64,
    /// What the last run wrote that failed for want of room, and when it did, on the steady clock.
    in_vain: Option<(u64, u64)>,
}

impl RunRoom {
    /// So much stays free.
    #[must_use]
    pub fn new(reserve_bytes: u64) -> Self {
        Self { reserve_bytes, in_vain: None }
    }

    /// So much must be free for a run to begin; one that its owner asked for is tried with whatever there is over the reserve.
    #[must_use]
    pub fn needs_bytes(&self, asked: bool, steady_ms: u64) -> u64 {
        let recent = self.in_vain.filter(|(_, at_ms)| !asked && steady_ms.saturating_sub(*at_ms) < TRY_ANYHOW_MS);
        let more = recent.map_or(0, |(bytes, _)| bytes.saturating_add(bytes / 8).saturating_add(IN_THE_MAKING_BYTES));
        self.reserve_bytes.saturating_add(more).saturating_add(RUN_LEAST_BYTES)
    }

    /// Whether a run that is on must end.
    #[must_use]
    pub fn is_used_up(&self, free_bytes: u64) -> bool {
        free_bytes < self.reserve_bytes
    }

    /// A run failed for want of room; it had written so much.
    pub fn failed(&mut self, wrote_bytes: u64, steady_ms: u64) {
        self.in_vain = Some((wrote_bytes, steady_ms));
    }

    /// A run came to its end, or another plan is kept: what failed before says nothing.
    pub fn forget(&mut self) {
        self.in_vain = None;
    }
}

/// Bytes as people read them.
#[must_use]
pub fn in_words(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if bytes < 1_000 {
        return format!("{bytes} B");
    }
    let (mut tenths, mut unit) = (bytes / 100, 0);
    while tenths >= 10_000 && unit + 1 < UNITS.len() {
        (tenths, unit) = (tenths / 1_000, unit + 1);
    }
    match tenths {
        0..100 => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
        _ => format!("{} {}", tenths / 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn no_run_begins_by_itself_with_as_much_room_as_was_not_enough() {
        let mut room = RunRoom::new(100 * MIB);
        assert_eq!((room.needs_bytes(false, 0), room.needs_bytes(true, 0)), (101 * MIB, 101 * MIB));
        assert!(room.is_used_up(100 * MIB - 1) && !room.is_used_up(100 * MIB));
        room.failed(80 * MIB, 5);
        assert_eq!(room.needs_bytes(false, 5), (100 + 80 + 10 + 32 + 1) * MIB);
        assert_eq!(room.needs_bytes(true, 5), 101 * MIB, "its owner knows");
        assert_eq!(room.needs_bytes(false, 5 + DAY_MS), 101 * MIB, "there may be less to keep");
        room.forget();
        assert_eq!(room.needs_bytes(false, 5), 101 * MIB);
        room.failed(u64::MAX, 5);
        assert_eq!(room.needs_bytes(false, 5), u64::MAX);
    }

    #[test]
    fn bytes_in_words() {
        let said = [0, 999, 1_000, 12_345, 999_999, 12_000_000, 5_400_000_000, u64::MAX].map(in_words);
        assert_eq!(said, ["0 B", "999 B", "1.0 kB", "12 kB", "999 kB", "12 MB", "5.4 GB", "18 EB"]);
    }
}
