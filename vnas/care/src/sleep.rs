//! Whether this machine slept or hung: told from how far its clocks moved between two looks.
//!
//! A clock that jumps orders and deletes nothing here. All it does is make the agent more careful: what it held is
//! checked anew, and nobody is blamed for a silence it may have slept through. A jump that was no sleep costs just that.

use std::time::Duration;

/// Clocks that went further apart than this, or a look that came later than this, mean that the machine was away.
pub const AWAY_FROM: Duration = Duration::from_secs(10);

/// What the clocks show at one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Clocks {
    /// One that only goes forward and may stand still while the machine sleeps.
    pub monotonic: Duration,
    /// One that goes on while the machine sleeps, where there is one.
    pub since_boot: Option<Duration>,
    /// The time of day, since 1970. Anybody may set it to anything.
    pub wall: Duration,
}

/// Looks at the clocks now and then.
#[derive(Debug)]
pub struct SleepWatch {
    look_every: Duration,
    last: Clocks,
}

impl SleepWatch {
    /// Looks every `look_every`, from now on.
    #[must_use]
    pub fn new(look_every: Duration, now: Clocks) -> Self {
        Self { look_every, last: now }
    }

    /// Takes a look; how long the machine seems to have been away since the last one, if it was.
    pub fn look(&mut self, now: Clocks) -> Option<Duration> {
        let last = std::mem::replace(&mut self.last, now);
        let passed = now.monotonic.saturating_sub(last.monotonic);
        let late = passed.saturating_sub(self.look_every);
        let asleep = match (last.since_boot, now.since_boot) {
            (Some(before), Some(after)) => after.saturating_sub(before).saturating_sub(passed),
            _ => Duration::ZERO,
        };
        let jumped = now.wall.abs_diff(last.wall.saturating_add(passed));
        let away = late.max(asleep).max(jumped);
        (away > AWAY_FROM).then_some(away)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clocks(monotonic_s: u64, since_boot_s: Option<u64>, wall_s: u64) -> Clocks {
        Clocks {
            monotonic: Duration::from_secs(monotonic_s),
            since_boot: since_boot_s.map(Duration::from_secs),
            wall: Duration::from_secs(wall_s),
        }
    }

    #[test]
    fn a_machine_was_away_when_its_clocks_went_apart_or_a_look_came_late() {
        let first = clocks(100, Some(100), 5000);
        for (now, away_s, what) in [
            (clocks(101, Some(101), 5001), None, "a second passed"),
            (clocks(111, Some(111), 5011), None, "a look that came 10 s late"),
            (clocks(112, Some(112), 5012), Some(11), "it hung"),
            (clocks(101, Some(3701), 8601), Some(3600), "it slept for an hour"),
            (clocks(101, None, 8601), Some(3600), "it slept and only the wall clock tells"),
            (clocks(101, Some(101), 5011), None, "the wall clock was set a little"),
            (clocks(101, Some(101), 9001), Some(4000), "the wall clock was set ahead"),
            (clocks(101, Some(101), 1), Some(5000), "the wall clock was set back"),
            (clocks(90, Some(90), 4990), None, "clocks that go back are no sleep"),
        ] {
            let mut watch = SleepWatch::new(Duration::from_secs(1), first);
            assert_eq!(watch.look(now), away_s.map(Duration::from_secs), "{what}");
            assert_eq!(watch.look(now), None, "{what}: told once");
        }
    }

    #[test]
    fn clocks_at_the_end_of_their_range_are_no_crash() {
        let end = Clocks { monotonic: Duration::MAX, since_boot: Some(Duration::MAX), wall: Duration::MAX };
        let mut watch = SleepWatch::new(Duration::MAX, end);
        assert_eq!(watch.look(clocks(0, None, 0)), Some(Duration::MAX));
        assert_eq!(watch.look(end), None);
    }
}
