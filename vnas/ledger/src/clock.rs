//! What time it is for the ledger between two of its entries. Leaders stamp by it, and whoever waits for the ledger's time
//! waits by it.
//!
//! The ledger's time never goes back. Were it the leaders' wall clocks alone, it would stand still for as long as an earlier
//! leader's clock was ahead. So it passes by the steady clock of whoever has seen it, and wall clocks can only push it on:
//! those of the agents together, so that one that is wrong pushes nothing.

/// Time by the steady clock passes for the ledger this much slower than it does: one part in so many. A ledger ahead of the
/// wall clocks by a little, be it that steady clocks run fast, comes back to them.
const SLOWER_BY_ONE_IN: u64 = 1024;

/// The ledger's time as one agent has last seen it, and when that was by its steady clock: one that only goes forward, from
/// any beginning, and may stand still while the machine sleeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LedgerClock {
    seen_ms: u64,
    steady_ms: u64,
}

impl LedgerClock {
    /// Takes note of the ledger's time as it was applied. `seen_ms`: in ms since 1970 UTC.
    pub fn see(&mut self, seen_ms: u64, steady_ms: u64) {
        if seen_ms >= self.passed_ms(steady_ms) {
            *self = Self { seen_ms, steady_ms };
        }
    }

    /// The ledger's time now, in ms since 1970 UTC, never less than it was. `agreed_ms`: what the agents' wall clocks have
    /// reached ([`agreed_ms`]), where that is known.
    #[must_use]
    pub fn now_ms(&self, steady_ms: u64, agreed_ms: Option<u64>) -> u64 {
        self.passed_ms(steady_ms).max(agreed_ms.unwrap_or(0))
    }

    fn passed_ms(&self, steady_ms: u64) -> u64 {
        let passed_ms = steady_ms.saturating_sub(self.steady_ms);
        self.seen_ms.saturating_add(passed_ms - passed_ms / SLOWER_BY_ONE_IN)
    }
}

/// The latest time that more than half of these wall clocks have reached; `None` without any.
#[must_use]
pub fn agreed_ms(clocks_ms: impl IntoIterator<Item = u64>) -> Option<u64> {
    let mut clocks_ms: Vec<u64> = clocks_ms.into_iter().collect();
    clocks_ms.sort_unstable_by(|one, other| other.cmp(one));
    clocks_ms.get(clocks_ms.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_800_000_000_000;
    const DAY_MS: u64 = 86_400_000;

    #[test]
    fn time_goes_on_when_every_wall_clock_is_behind_the_ledger() {
        let mut clock = LedgerClock::default();
        clock.see(NOW_MS + 30 * DAY_MS, 5_000);
        assert_eq!(clock.now_ms(5_000, Some(NOW_MS)), NOW_MS + 30 * DAY_MS);
        assert_eq!(clock.now_ms(6_000, Some(NOW_MS + 1_000)), NOW_MS + 30 * DAY_MS + 1_000);
        let day_later = clock.now_ms(5_000 + DAY_MS, Some(NOW_MS + DAY_MS));
        assert!((NOW_MS + 31 * DAY_MS - 90_000..NOW_MS + 31 * DAY_MS).contains(&day_later), "{day_later}");
    }

    #[test]
    fn wall_clocks_push_time_on_over_what_the_steady_clock_slept_through() {
        let mut clock = LedgerClock::default();
        clock.see(NOW_MS, 5_000);
        assert_eq!(clock.now_ms(5_100, Some(NOW_MS + DAY_MS)), NOW_MS + DAY_MS);
        assert_eq!(clock.now_ms(5_100, None), NOW_MS + 100);
    }

    #[test]
    fn time_never_goes_back_whatever_is_seen() {
        let mut clock = LedgerClock::default();
        clock.see(NOW_MS, 1_000);
        clock.see(NOW_MS + 10, 900_000);
        assert!(
            clock.now_ms(900_000, None) > NOW_MS + 890_000,
            "an entry stamped by a slower clock takes nothing back"
        );
        assert_eq!(clock.now_ms(0, None), NOW_MS, "a steady clock that goes back");
        let mut last_ms = 0;
        for steady_ms in 0..5_000 {
            let now_ms = clock.now_ms(steady_ms, None);
            assert!(now_ms >= last_ms);
            last_ms = now_ms;
        }
    }

    #[test]
    fn a_ledger_a_little_ahead_comes_back_to_the_wall_clocks() {
        let mut clock = LedgerClock::default();
        clock.see(NOW_MS + 1_000, 0);
        assert_eq!(clock.now_ms(2_000_000, Some(NOW_MS + 2_000_000)), NOW_MS + 2_000_000);
    }

    #[test]
    fn one_wrong_clock_agrees_with_nobody() {
        for (clocks_ms, agreed) in [
            (vec![], None),
            (vec![NOW_MS], Some(NOW_MS)),
            (vec![NOW_MS, NOW_MS + 30 * DAY_MS], Some(NOW_MS)),
            (vec![NOW_MS + 30 * DAY_MS, NOW_MS, NOW_MS + 1], Some(NOW_MS + 1)),
            (vec![0, NOW_MS, NOW_MS + 1], Some(NOW_MS)),
            (vec![u64::MAX, u64::MAX, NOW_MS, 0], Some(NOW_MS)),
            (vec![5, 4, 3, 2, 1], Some(3)),
        ] {
            assert_eq!(agreed_ms(clocks_ms.clone()), agreed, "{clocks_ms:?}");
        }
    }
}
