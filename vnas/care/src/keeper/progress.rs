//! How far the work is, and how long it will take.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Reason;
use crate::sweep::{Findings, Tally};

/// Work done longer ago than this says little about how fast it goes now.
const RATE_OVER: Duration = Duration::from_secs(60);
/// A rate is believed after this much time.
const RATE_LEAST: Duration = Duration::from_secs(2);
/// What would take longer than this is as good as not known: it hardly goes on.
const ETA_LIMIT_S: u64 = 60 * 24 * 60 * 60;

/// How far the work is.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Progress {
    /// What waits, by reason, what was done since it was counted taken off.
    pub waiting: BTreeMap<Reason, Tally>,
    /// What should be done and cannot be now, for want of agents that could take a shard.
    pub stuck: Tally,
    /// Stripes that cannot be read with the agents that count.
    pub lost: Tally,
    /// Jobs under way.
    pub under_way: u64,
    /// Bytes written so far, since this agent leads.
    pub done_bytes: u64,
    /// Bytes written a second lately.
    pub rate_bytes_per_s: u64,
    /// Seconds until nothing waits, at this rate; `None` while it is not known.
    pub eta_s: Option<u64>,
    /// Seconds until stripes are cut anew only to take less room, should agents neither come nor go meanwhile; 0: they are.
    #[serde(default)]
    pub settled_in_s: u64,
}

impl Progress {
    /// Seconds so many bytes take at this rate; `None` while it is not known, or where it hardly goes on.
    #[must_use]
    pub fn eta_of(&self, bytes: u64) -> Option<u64> {
        if self.rate_bytes_per_s == 0 {
            return None;
        }
        Some(bytes.div_ceil(self.rate_bytes_per_s)).filter(|seconds| *seconds <= ETA_LIMIT_S)
    }

    /// Bytes that wait.
    #[must_use]
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting.values().map(|tally| tally.bytes).sum()
    }

    /// Stripes that wait.
    #[must_use]
    pub fn waiting_stripes(&self) -> u64 {
        self.waiting.values().map(|tally| tally.stripes).sum()
    }
}

/// Counts what was done.
#[derive(Debug, Clone, Default)]
pub(super) struct Meter {
    waiting: BTreeMap<Reason, Tally>,
    done_bytes: u64,
    /// What was done since, to tell the rate.
    window: Option<(Duration, u64)>,
    rate_bytes_per_s: u64,
}

impl Meter {
    /// Time has gone on: a rate of which nothing came for a whole window is known no more.
    pub(super) fn tick(&mut self, now: Duration) {
        let Some((since, done)) = self.window else { return };
        let elapsed = now.saturating_sub(since);
        if elapsed >= RATE_OVER {
            self.rate_bytes_per_s = rate(done, elapsed);
            self.window = Some((now, 0));
        }
    }

    /// A sweep has counted anew.
    pub(super) fn swept(&mut self, now: Duration, findings: &Findings) {
        self.waiting.clone_from(&findings.waiting);
        if self.waiting.is_empty() {
            self.window = None;
            self.rate_bytes_per_s = 0;
        } else {
            self.window.get_or_insert((now, 0));
        }
    }

    /// A stripe has what it needs.
    pub(super) fn worked(&mut self, now: Duration, reason: Reason, bytes: u64) {
        self.done_bytes += bytes;
        if let Some(tally) = self.waiting.get_mut(&reason) {
            tally.stripes = tally.stripes.saturating_sub(1);
            tally.bytes = tally.bytes.saturating_sub(bytes);
            if tally.stripes == 0 {
                self.waiting.remove(&reason);
            }
        }
        let (since, done) = self.window.get_or_insert((now, 0));
        *done += bytes;
        let elapsed = now.saturating_sub(*since);
        if elapsed >= RATE_LEAST {
            self.rate_bytes_per_s = rate(*done, elapsed);
        }
        self.tick(now);
    }

    pub(super) fn report(&self, findings: &Findings, under_way: usize, settled_in: Duration) -> Progress {
        let mut progress = Progress {
            waiting: self.waiting.clone(),
            stuck: findings.stuck,
            lost: findings.lost,
            under_way: under_way as u64,
            done_bytes: self.done_bytes,
            rate_bytes_per_s: self.rate_bytes_per_s,
            eta_s: None,
            settled_in_s: settled_in.as_secs() + u64::from(settled_in.subsec_nanos() > 0),
        };
        progress.eta_s = Some(progress.waiting_bytes()).filter(|bytes| *bytes > 0).and_then(|all| progress.eta_of(all));
        progress
    }
}

/// Bytes a second.
fn rate(bytes: u64, elapsed: Duration) -> u64 {
    let rate = u128::from(bytes) * 1000 / elapsed.as_millis().max(1);
    u64::try_from(rate).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn eta_s(meter: &Meter) -> Option<u64> {
        meter.report(&Findings::default(), 0, Duration::ZERO).eta_s
    }

    #[test]
    fn the_time_left_is_told_only_while_the_rate_is_known() {
        let tally = Tally { stripes: 1_000, bytes: 1_000_000 };
        let findings = Findings { waiting: BTreeMap::from([(Reason::Balance, tally)]), ..Findings::default() };
        let mut meter = Meter::default();
        meter.swept(at(0), &findings);
        assert_eq!(eta_s(&meter), None, "nothing has come yet");
        meter.worked(at(10), Reason::Balance, 100_000);
        assert_eq!(eta_s(&meter), Some(90));
        meter.tick(at(61));
        assert!(eta_s(&meter).is_some(), "of the last minute");
        meter.tick(at(130));
        assert_eq!(eta_s(&meter), None, "nothing came for a minute");
        meter.worked(at(180), Reason::Balance, 1);
        assert_eq!(eta_s(&meter), None, "at this pace it would take a year");
        meter.swept(at(200), &Findings::default());
        assert_eq!(meter.report(&Findings::default(), 0, at(3)).rate_bytes_per_s, 0, "nothing waits");
    }
}
