//! How far the work is, and how long it will take.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::Reason;
use crate::sweep::{Findings, Tally};

/// Work done longer ago than this says little about how fast it goes now.
const RATE_OVER: Duration = Duration::from_secs(60);
/// A rate is believed after this much time.
const RATE_LEAST: Duration = Duration::from_secs(2);

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
}

impl Progress {
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
    /// A sweep has counted anew.
    pub(super) fn swept(&mut self, now: Duration, findings: &Findings) {
        self.waiting.clone_from(&findings.waiting);
        if self.waiting.is_empty() {
            self.window = None;
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
            self.rate_bytes_per_s = (u128::from(*done) * 1000 / elapsed.as_millis().max(1)) as u64;
        }
        if elapsed >= RATE_OVER {
            self.window = Some((now, 0));
        }
    }

    pub(super) fn report(&self, findings: &Findings, under_way: usize) -> Progress {
        let waiting_bytes: u64 = self.waiting.values().map(|tally| tally.bytes).sum();
        let known = self.rate_bytes_per_s > 0 && waiting_bytes > 0;
        Progress {
            waiting: self.waiting.clone(),
            stuck: findings.stuck,
            lost: findings.lost,
            under_way: under_way as u64,
            done_bytes: self.done_bytes,
            rate_bytes_per_s: self.rate_bytes_per_s,
            eta_s: known.then(|| waiting_bytes.div_ceil(self.rate_bytes_per_s)),
        }
    }
}
