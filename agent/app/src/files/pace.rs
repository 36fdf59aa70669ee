//! How fast something goes, of late. Pure: the time is a parameter.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// What is looked back at.
const WINDOW: Duration = Duration::from_secs(10);
/// Time between two marks.
const MARK_EVERY: Duration = Duration::from_millis(500);

/// Bytes over time.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    /// When there were how many, the oldest first: some twenty at most.
    marks: VecDeque<(Instant, u64)>,
}

impl Pace {
    /// So many bytes are there now.
    pub(super) fn note(&mut self, now: Instant, bytes: u64) {
        // Less than before: it began anew.
        if self.marks.back().is_some_and(|mark| mark.1 > bytes) {
            self.marks.clear();
        }
        if self.marks.back().is_none_or(|mark| now.duration_since(mark.0) >= MARK_EVERY) {
            self.marks.push_back((now, bytes));
        }
        while self.marks.len() > 2 && self.marks.front().is_some_and(|mark| now.duration_since(mark.0) > WINDOW) {
            self.marks.pop_front();
        }
    }

    /// Bytes a second of late; `None`: not known, or nothing came for a while.
    pub(super) fn rate(&self, now: Instant) -> Option<u64> {
        let (first, last) = (self.marks.front()?, self.marks.back()?);
        if now.duration_since(last.0) > WINDOW {
            return None;
        }
        let time_ms = u64::try_from(last.0.duration_since(first.0).as_millis()).ok().filter(|time_ms| *time_ms > 0)?;
        let rate = u128::from(last.1.saturating_sub(first.1)) * 1000 / u128::from(time_ms);
        u64::try_from(rate).ok().filter(|rate| *rate > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds() {
        let begin = Instant::now();
        let at = |ms: u64| begin + Duration::from_millis(ms);
        let mut pace = Pace::default();
        assert_eq!(pace.rate(at(0)), None);
        for step in 0..=100 {
            pace.note(at(step * 1000), step * 500);
        }
        assert_eq!(pace.rate(at(100_000)), Some(500));
        for step in 1..=40 {
            pace.note(at(100_000 + step * 1000), 50_000 + step * 2_000);
        }
        assert_eq!(pace.rate(at(140_000)), Some(2_000));
        assert!(pace.marks.len() <= 22);
        assert_eq!(pace.rate(at(160_000)), None);
        pace.note(at(161_000), 10);
        assert_eq!(pace.rate(at(161_000)), None, "it began anew");
    }
}
