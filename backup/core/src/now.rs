//! The time as it is handed in, and numbers that look random but follow from their seed.

use serde::{Deserialize, Serialize};

/// Milliseconds in a second.
pub(crate) const SECOND_MS: u64 = 1_000;
/// Milliseconds in a minute.
pub(crate) const MINUTE_MS: u64 = 60 * SECOND_MS;
/// Milliseconds in an hour.
pub(crate) const HOUR_MS: u64 = 60 * MINUTE_MS;
/// Milliseconds in a day.
pub(crate) const DAY_MS: u64 = 24 * HOUR_MS;

/// The time, by two clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Now {
    /// ms of a clock that only goes forward, from any beginning, a new one with each start of the agent: for waiting.
    pub steady_ms: u64,
    /// ms since 1970 by the machine's clock, which may leap: for what people read, and for the hour of the day.
    pub wall_ms: u64,
}

/// Mixes a number well (the end of splitmix64).
pub(crate) fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A number that follows from these ids and this seed.
pub(crate) fn mix_ids(seed: u64, ids: &[&[u8; 32]]) -> u64 {
    let words = ids.iter().flat_map(|id| id.chunks_exact(8));
    words.fold(mix(seed), |mixed, word| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(word);
        mix(mixed ^ u64::from_le_bytes(bytes))
    })
}

/// How long to wait after so many failures in a row (1 and more), in ms: doubling from `first_ms`, at most `most_ms`.
pub(crate) fn backoff_ms(failures: u32, first_ms: u64, most_ms: u64) -> u64 {
    let doublings = failures.saturating_sub(1).min(40);
    first_ms.saturating_mul(1 << doublings).min(most_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound() {
        let waits: Vec<u64> = [1, 2, 3, 4, 99, u32::MAX].map(|failures| backoff_ms(failures, 10, 50)).into();
        assert_eq!(waits, [10, 20, 40, 50, 50, 50]);
    }

    #[test]
    fn mixing_depends_on_every_id() {
        let (one, other) = ([1; 32], [2; 32]);
        assert_ne!(mix_ids(0, &[&one, &other]), mix_ids(0, &[&other, &one]));
        assert_ne!(mix_ids(0, &[&one]), mix_ids(1, &[&one]));
        assert_eq!(mix_ids(7, &[&one]), mix_ids(7, &[&one]));
    }
}
