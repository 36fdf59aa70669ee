//! Which refusals are noted: only so many an hour of each agent. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use dci_proto::AgentId;

/// Refusals of one agent's wishes noted within [`WINDOW`].
const NOTED_LIMIT: u64 = 100;
/// The time that is counted in.
const WINDOW: Duration = Duration::from_secs(60 * 60);
/// Agents counted apart; beyond that all others count as one. A pool has fewer.
const AGENTS_LIMIT: usize = 4_096;

#[derive(Debug, Clone, Copy)]
struct Count {
    since: Duration,
    noted: u64,
    silent: u64,
}

/// How many were refused.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    counts: BTreeMap<AgentId, Count>,
}

impl Refusals {
    /// Counts a refusal. Answers whether it is to be noted, and then how many were not since the last one that was.
    pub(super) fn admit(&mut self, agent: AgentId, now: Duration) -> Option<u64> {
        let known = self.counts.contains_key(&agent) || self.counts.len() < AGENTS_LIMIT;
        let agent = if known { agent } else { AgentId::default() };
        let count = self.counts.entry(agent).or_insert(Count { since: now, noted: 0, silent: 0 });
        if now.saturating_sub(count.since) >= WINDOW {
            (count.since, count.noted) = (now, 0);
        }
        if count.noted >= NOTED_LIMIT {
            count.silent += 1;
            return None;
        }
        count.noted += 1;
        Some(std::mem::take(&mut count.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_counted_and_told_with_the_next_that_is_noted() {
        let (mut refusals, flooder, other) = (Refusals::default(), AgentId([1; 32]), AgentId([2; 32]));
        let noted = (0..1_000).filter(|_| refusals.admit(flooder, Duration::ZERO).is_some()).count();
        assert_eq!(noted as u64, NOTED_LIMIT);
        assert_eq!(refusals.admit(other, Duration::ZERO), Some(0), "one flood silences nobody else");
        assert_eq!(refusals.admit(flooder, WINDOW), Some(1_000 - NOTED_LIMIT));
        assert_eq!(refusals.admit(flooder, WINDOW), Some(0));
    }

    #[test]
    fn memory_is_bounded_whoever_asks() {
        let mut refusals = Refusals::default();
        for number in 0..2 * AGENTS_LIMIT as u64 {
            let mut id = [7; 32];
            id[..8].copy_from_slice(&number.to_be_bytes());
            refusals.admit(AgentId(id), Duration::ZERO);
        }
        assert!(refusals.counts.len() <= AGENTS_LIMIT + 1);
    }
}
