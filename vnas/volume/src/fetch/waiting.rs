//! How long an agent is waited for before another one is asked too, and before it is given up.

use std::time::Duration;

use dci_proto::AgentId;
use tokio::time::Instant;

use super::{Asked, Fetch};
use crate::PeerError;
use crate::latency::Request;
use crate::stats::add;

/// Another source is asked when one takes longer than it usually does, but not before this: noise.
const HEDGE_MIN: Duration = Duration::from_millis(20);
/// And not later than this, however slow it usually is.
const HEDGE_MAX: Duration = Duration::from_millis(500);
/// When it is not known how long an agent usually takes.
const HEDGE_UNKNOWN: Duration = Duration::from_millis(100);
/// An agent that is known to be in trouble is waited for this long.
const SUSPECT_PATIENCE: Duration = Duration::from_millis(600);
/// Any other agent is waited for at least this long, and three times what it usually takes or, if that is not known,
/// what another one has just taken. If none has answered, as long as the bytes take on a slow line.
const PATIENCE_MIN: Duration = Duration::from_millis(800);
/// But at most this long.
const PATIENCE_MAX: Duration = Duration::from_secs(5);
/// A line on which nobody should be given up too early.
const SLOW_LINE_BYTES_PER_MS: u64 = 1000;
/// How often it is checked whether an agent that is late has been found silent by others.
const LATE_TICK: Duration = Duration::from_millis(100);

impl Fetch<'_> {
    /// When the next request becomes late or is to be given up.
    pub(super) fn wake_at(&self) -> Instant {
        let now = Instant::now();
        let due = |asked: &Asked| {
            if asked.late {
                (now + LATE_TICK).min(asked.since + self.patience(asked))
            } else {
                asked.since + self.hedge_after(asked)
            }
        };
        self.asked.iter().map(due).min().unwrap_or(now)
    }

    pub(super) fn look_after_late(&mut self) {
        let now = Instant::now();
        let mut newly_late = 0;
        for at in 0..self.asked.len() {
            let asked = &self.asked[at];
            if !asked.late && now >= asked.since + self.hedge_after(asked) {
                let index = asked.index;
                self.asked[at].late = true;
                self.sources.iter_mut().filter(|source| source.index == index).for_each(|source| source.late = true);
                newly_late += 1;
            }
        }
        let given_up: Vec<usize> =
            self.asked.iter().filter(|asked| now >= asked.since + self.patience(asked)).map(|asked| asked.id).collect();
        if newly_late > 0 {
            add(&self.shared.counters.hedges, newly_late);
            self.ask_columns();
        }
        for id in given_up {
            if let Some(at) = self.asked.iter().position(|asked| asked.id == id) {
                let asked = self.asked.swap_remove(at);
                let reason = "no answer in time".to_owned();
                self.failed(&asked, PeerError::Unreachable { agent: asked.agent, reason });
            }
        }
    }

    fn p95(&self, asked: &Asked) -> Option<Duration> {
        self.shared.latencies.p95(asked.agent, Request::Get, asked.range.len())
    }

    fn hedge_after(&self, asked: &Asked) -> Duration {
        self.p95(asked).unwrap_or(HEDGE_UNKNOWN).clamp(HEDGE_MIN, HEDGE_MAX)
    }

    fn patience(&self, asked: &Asked) -> Duration {
        let waited = asked.since.elapsed();
        if asked.suspect || (waited >= SUSPECT_PATIENCE && self.is_suspect(asked.agent)) {
            return SUSPECT_PATIENCE;
        }
        let usual = match (self.p95(asked), self.slowest) {
            (Some(p95), _) => 3 * p95,
            (None, Some(slowest)) => 3 * slowest,
            (None, None) => PATIENCE_MIN + Duration::from_millis(asked.range.len() as u64 / SLOW_LINE_BYTES_PER_MS),
        };
        usual.clamp(PATIENCE_MIN, PATIENCE_MAX)
    }

    fn is_suspect(&self, agent: AgentId) -> bool {
        self.shared.peers.candidates().iter().any(|candidate| candidate.agent == agent && candidate.suspect)
    }
}
