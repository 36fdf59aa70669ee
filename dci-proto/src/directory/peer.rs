//! What is known of one neighbour.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::DirectoryLimits;
use super::signed::Stamp;
use crate::AgentId;

/// What is known of one neighbour.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    /// What it says it has that is newer than what is here.
    pub(super) has: BTreeMap<AgentId, Stamp>,
    /// In which buckets it has more than was noted, a bit each.
    pub(super) more: u16,
    /// What it was asked for, and has not answered yet.
    pub(super) asked: Option<Asked>,
    /// When it was last sent a digest.
    pub(super) digest_ms: Option<u64>,
    budget_bytes: u64,
    budget_ms: u64,
}

/// What a neighbour was asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) agents: BTreeSet<AgentId>,
    pub(super) at_ms: u64,
}

impl Peer {
    pub(super) fn new(now_ms: u64, limits: &DirectoryLimits) -> Self {
        Self {
            has: BTreeMap::new(),
            more: 0,
            asked: None,
            digest_ms: None,
            budget_bytes: limits.answer_burst_bytes,
            budget_ms: now_ms,
        }
    }

    /// Whether it may have an answer of so many bytes; then they count.
    pub(super) fn spend(&mut self, now_ms: u64, bytes: usize, limits: &DirectoryLimits) -> bool {
        let passed_ms = now_ms.saturating_sub(self.budget_ms);
        // Only by whole bytes, so that asking often does not round all of it away.
        let earned = passed_ms.saturating_mul(limits.answer_bytes_per_s) / 1_000;
        if earned > 0 {
            self.budget_bytes = self.budget_bytes.saturating_add(earned).min(limits.answer_burst_bytes);
            self.budget_ms = now_ms;
        }
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let Some(left) = self.budget_bytes.checked_sub(bytes) else { return false };
        self.budget_bytes = left;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_rationed() {
        let limits = DirectoryLimits { answer_burst_bytes: 100, answer_bytes_per_s: 10, ..DirectoryLimits::default() };
        let mut peer = Peer::new(0, &limits);
        assert!(peer.spend(0, 60, &limits) && !peer.spend(0, 60, &limits) && peer.spend(0, 40, &limits));
        assert!(!peer.spend(1_000, 11, &limits) && peer.spend(1_000, 10, &limits));
        assert!(!peer.spend(60_000, 101, &limits), "never more than a burst");
        assert!(peer.spend(60_000, 100, &limits));
    }
}
