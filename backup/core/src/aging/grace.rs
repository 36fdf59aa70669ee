//! A holder's own time, by which it keeps what was deleted: whatever its clock does, a grace time cannot pass at once.
//!
//! While the holder runs, its steady clock counts. Time while it was off or asleep can only be told from the machine's
//! clock, which may have leapt: it counts for [`AWAY_CREDIT_MS`] at most each time, once for each time that the clock has
//! not yet shown, and only after an hour of running. So a leap of ten years takes three days of a grace time; a PC that is off
//! at night and over weekends counts every hour; one that is off for weeks keeps things longer, which does no harm.

use serde::{Deserialize, Serialize};

use crate::now::{DAY_MS, HOUR_MS, Now};
use crate::planted;

/// Time away counts for at most this each time: a weekend and a night.
pub const AWAY_CREDIT_MS: u64 = 3 * DAY_MS;
/// Running time between two times that time away counts.
const CREDIT_AFTER_MS: u64 = HOUR_MS;

/// Counts the time. Kept over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct GraceClock {
    passed_ms: u64,
    /// The latest the machine's clock has shown.
    latest_wall_ms: u64,
    /// Running time since time away last counted.
    ran_ms: u64,
    #[serde(skip)]
    steady_ms: Option<u64>,
}

impl GraceClock {
    /// A new one. `now`: when it is made.
    #[must_use]
    pub fn new(now: Now) -> Self {
        Self { passed_ms: 0, latest_wall_ms: now.wall_ms, ran_ms: CREDIT_AFTER_MS, steady_ms: Some(now.steady_ms) }
    }

    /// How much time has passed since it was made, in ms, at least.
    #[must_use]
    pub fn passed_ms(&self) -> u64 {
        self.passed_ms
    }

    /// Looks at the clocks: at the start, and every minute or so. Returns what has passed by then.
    pub fn tick(&mut self, now: Now) -> u64 {
        // A steady clock that is behind begins anew: the agent did.
        let ran_ms = self.steady_ms.map_or(0, |before_ms| now.steady_ms.saturating_sub(before_ms));
        let shown_ms = now.wall_ms.saturating_sub(self.latest_wall_ms);
        self.steady_ms = Some(now.steady_ms);
        self.latest_wall_ms = self.latest_wall_ms.max(now.wall_ms);
        self.ran_ms = self.ran_ms.saturating_add(ran_ms);
        let mut away_ms = shown_ms.saturating_sub(ran_ms).min(AWAY_CREDIT_MS);
        if planted::has(planted::Bug::TrustsClock) {
            away_ms = shown_ms.saturating_sub(ran_ms);
        } else if self.ran_ms < CREDIT_AFTER_MS {
            away_ms = 0;
        } else if away_ms > 0 {
            self.ran_ms = 0;
        }
        self.passed_ms = self.passed_ms.saturating_add(ran_ms).saturating_add(away_ms);
        self.passed_ms
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::aging::GRACE_MS;
    use crate::now::MINUTE_MS;

    const WALL_MS: u64 = 1_770_000_000_000;

    fn stored(clock: &GraceClock) -> GraceClock {
        postcard::from_bytes(&postcard::to_allocvec(clock).unwrap()).unwrap()
    }

    #[test]
    fn a_pc_that_is_off_at_night_counts_every_hour() {
        let mut clock = GraceClock::new(Now { steady_ms: 0, wall_ms: WALL_MS });
        for day in 0..10u64 {
            clock = stored(&clock);
            for minute in 0..=8 * 60u64 {
                let wall_ms = WALL_MS + day * DAY_MS + minute * MINUTE_MS;
                clock.tick(Now { steady_ms: minute * MINUTE_MS, wall_ms });
            }
        }
        let real_ms = 9 * DAY_MS + 8 * HOUR_MS;
        assert!(clock.passed_ms() <= real_ms && clock.passed_ms() > real_ms - HOUR_MS, "{}", clock.passed_ms());
    }

    #[test]
    fn one_leap_of_any_length_takes_three_days_at_most() {
        let mut clock = GraceClock::new(Now { steady_ms: 0, wall_ms: WALL_MS });
        clock.tick(Now { steady_ms: MINUTE_MS, wall_ms: WALL_MS + 9_999 * DAY_MS });
        assert!(clock.passed_ms() <= MINUTE_MS + AWAY_CREDIT_MS && AWAY_CREDIT_MS * 4 < GRACE_MS);
        clock.tick(Now { steady_ms: 2 * MINUTE_MS, wall_ms: WALL_MS });
        clock.tick(Now { steady_ms: 3 * MINUTE_MS, wall_ms: WALL_MS + 9_999 * DAY_MS });
        assert!(clock.passed_ms() <= 3 * MINUTE_MS + AWAY_CREDIT_MS, "to and fro is once");
    }

    proptest! {
        #[test]
        fn it_never_stands_still_while_it_runs_and_leaps_take_an_hour_each(
            steps in proptest::collection::vec((1u64..30, 0u64..10_000, any::<bool>()), 1..200),
        ) {
            let mut clock = GraceClock::new(Now { steady_ms: 0, wall_ms: WALL_MS });
            let mut steady_ms = 0;
            for (minutes, leap_hours, leaps) in steps {
                let before_ms = clock.passed_ms();
                steady_ms += minutes * MINUTE_MS;
                let wall_ms = if leaps { WALL_MS + leap_hours * HOUR_MS } else { WALL_MS + steady_ms };
                let passed_ms = clock.tick(Now { steady_ms, wall_ms }) - before_ms;
                prop_assert!(passed_ms >= minutes * MINUTE_MS && passed_ms <= minutes * MINUTE_MS + AWAY_CREDIT_MS);
            }
            prop_assert!(clock.passed_ms() <= steady_ms + (steady_ms / HOUR_MS + 1) * AWAY_CREDIT_MS);
        }
    }
}
