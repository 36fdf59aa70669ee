//! How long each agent usually takes to answer, so that one that takes longer is noticed.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;

/// Answers remembered of each agent and kind of request.
const WINDOW: usize = 32;
/// Agents remembered, at most; of others nothing is known.
const AGENTS_LIMIT: usize = 4096;
/// Bytes of an answer up to which it counts as small.
const SMALL_BYTES: usize = 128 * 1024;

/// The kinds of request whose times are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// Asking for a shard or a part of it.
    Get,
    /// Having a shard kept.
    Put,
}

/// The answer times of all agents.
#[derive(Default)]
pub(crate) struct Latencies {
    agents: Mutex<HashMap<AgentId, [Window; 4]>>,
}

#[derive(Clone, Copy)]
struct Window {
    samples_us: [u32; WINDOW],
    count: usize,
    p95_us: u32,
}

impl Window {
    const EMPTY: Self = Self { samples_us: [0; WINDOW], count: 0, p95_us: 0 };

    fn record(&mut self, sample_us: u32) {
        self.samples_us[self.count % WINDOW] = sample_us;
        self.count += 1;
        let known = self.count.min(WINDOW);
        let mut sorted = self.samples_us;
        sorted[..known].sort_unstable();
        self.p95_us = sorted[(known * 95 / 100).min(known - 1)];
    }
}

impl Latencies {
    /// Remembers how long an answer of so many bytes took.
    pub(crate) fn record(&self, agent: AgentId, request: Request, bytes: usize, took: Duration) {
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        if agents.len() >= AGENTS_LIMIT && !agents.contains_key(&agent) {
            return;
        }
        let windows = agents.entry(agent).or_insert([Window::EMPTY; 4]);
        windows[slot(request, bytes)].record(u32::try_from(took.as_micros()).unwrap_or(u32::MAX));
    }

    /// The time in which 95 of 100 such answers came lately; `None` when nothing is known.
    pub(crate) fn p95(&self, agent: AgentId, request: Request, bytes: usize) -> Option<Duration> {
        let agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let window = &agents.get(&agent)?[slot(request, bytes)];
        (window.count > 0).then(|| Duration::from_micros(u64::from(window.p95_us)))
    }
}

fn slot(request: Request, bytes: usize) -> usize {
    match (request, bytes <= SMALL_BYTES) {
        (Request::Get, true) => 0,
        (Request::Get, false) => 1,
        (Request::Put, true) => 2,
        (Request::Put, false) => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AGENT: AgentId = AgentId([1; 32]);

    #[test]
    fn the_p95_follows_the_last_answers() {
        let latencies = Latencies::default();
        assert_eq!(latencies.p95(AGENT, Request::Get, 10), None);
        for milliseconds in 1..=100 {
            latencies.record(AGENT, Request::Get, 10, Duration::from_millis(milliseconds));
        }
        assert_eq!(latencies.p95(AGENT, Request::Get, 10), Some(Duration::from_millis(99)));
        for _ in 0..WINDOW {
            latencies.record(AGENT, Request::Get, 10, Duration::from_millis(2));
        }
        assert_eq!(latencies.p95(AGENT, Request::Get, 10), Some(Duration::from_millis(2)));
    }

    #[test]
    fn large_answers_and_puts_do_not_count_for_small_gets() {
        let latencies = Latencies::default();
        latencies.record(AGENT, Request::Get, 1 << 20, Duration::from_secs(1));
        latencies.record(AGENT, Request::Put, 10, Duration::from_secs(1));
        assert_eq!(latencies.p95(AGENT, Request::Get, 10), None);
    }
}
