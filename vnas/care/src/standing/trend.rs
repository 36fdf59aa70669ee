//! Whether something has become slower than it was.

/// Weight of one measurement in the mean of late: about the last 64 count.
const LATE_PART: u64 = 64;
/// Weight of one in the mean over the long run: about the last 16,384 count.
const LONG_PART: u64 = 16_384;
/// Measurements before anything is said.
const ENOUGH: u64 = 1000;
/// Means are kept in parts of a µs, so that small steps are not lost.
const PARTS: u64 = 1 << 16;
/// Longest time measured, in µs: an hour. What takes longer counts as this.
const LONGEST_US: u64 = 3_600_000_000;

/// Two moving means of one kind of measurement.
#[derive(Debug, Clone, Copy, Default)]
pub struct Trend {
    seen: u64,
    late_parts: u64,
    long_parts: u64,
}

impl Trend {
    /// Takes in how long something took, in µs.
    pub fn take(&mut self, took_us: u64) {
        let parts = took_us.min(LONGEST_US) * PARTS;
        self.seen = self.seen.saturating_add(1);
        // At first both are plain means of what there is.
        self.late_parts = moved(self.late_parts, parts, self.seen.min(LATE_PART));
        self.long_parts = moved(self.long_parts, parts, self.seen.min(LONG_PART));
    }

    /// The means of late and over the long run, in µs; zeros until enough was measured.
    #[must_use]
    pub fn means_us(&self) -> (u64, u64) {
        if self.seen < ENOUGH { (0, 0) } else { (self.late_parts / PARTS, self.long_parts / PARTS) }
    }
}

fn moved(mean: u64, towards: u64, part: u64) -> u64 {
    if towards >= mean { mean + (towards - mean) / part } else { mean - (mean - towards) / part }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(runs: &[(u64, u64)]) -> (u64, u64) {
        let mut trend = Trend::default();
        for (count, took_us) in runs {
            (0..*count).for_each(|_| trend.take(*took_us));
        }
        trend.means_us()
    }

    #[test]
    fn the_mean_of_late_runs_ahead_of_the_long_one() {
        assert_eq!(trend(&[(999, 500)]), (0, 0), "too few to say anything");
        assert_eq!(trend(&[(1000, 500)]), (500, 500));
        let (late, long) = trend(&[(20_000, 500), (300, 400_000)]);
        assert!((390_000..=400_000).contains(&late) && (5_000..10_000).contains(&long), "{late} {long}");
        let (late, long) = trend(&[(20_000, 500), (300, 400_000), (200_000, 500)]);
        assert!((490..=510).contains(&late) && (490..=510).contains(&long), "{late} {long}");
        assert_eq!(trend(&[(2000, u64::MAX)]), (LONGEST_US, LONGEST_US));
    }
}
