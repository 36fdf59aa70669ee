//! How much a counter grew within the last day.

use std::time::Duration;

/// Parts a day is counted in.
const PARTS: usize = 24;
/// How long one part is.
const PART_S: u64 = 60 * 60;

/// Counts by the hour; what is a day old is forgotten.
#[derive(Debug, Default)]
pub(super) struct Day {
    parts: [u64; PARTS],
    part: u64,
    total: u64,
}

impl Day {
    /// Takes in what the counter shows; how much it grew within the last day.
    pub(super) fn take(&mut self, now: Duration, total: u64) -> u64 {
        let part = now.as_secs() / PART_S;
        let passed = part.saturating_sub(self.part).min(PARTS as u64);
        for later in 1..=passed {
            *self.slot(self.part + later) = 0;
        }
        self.part = self.part.max(part);
        let grown = total.saturating_sub(self.total);
        self.total = total;
        *self.slot(self.part) += grown;
        self.parts.iter().sum()
    }

    fn slot(&mut self, part: u64) -> &mut u64 {
        let index = usize::try_from(part % PARTS as u64).unwrap_or(0);
        // The remainder is always within.
        &mut self.parts[index]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_day_old_is_forgotten_by_the_hour() {
        let mut day = Day::default();
        let hour = |hours: u64| Duration::from_secs(hours * PART_S);
        assert_eq!(day.take(hour(0), 5), 5);
        assert_eq!(day.take(hour(5), 7), 7);
        assert_eq!(day.take(hour(23), 7), 7);
        assert_eq!(day.take(hour(24), 8), 3, "the first five are a day old");
        assert_eq!(day.take(hour(1000), 8), 0);
        assert_eq!(day.take(hour(1000), 3), 0, "a counter that goes back grows by nothing");
        assert_eq!(day.take(hour(10), 4), 1, "a time before: it counts as now");
    }
}
