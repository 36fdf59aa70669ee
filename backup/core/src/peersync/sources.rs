//! Whom to ask: the nearest that is not busy. For holders that catch up and for restoring alike.

use dci_proto::AgentId;

use crate::now::mix_ids;
use crate::object::ObjectName;

/// Others that one holder fetches from, at most.
pub const SOURCES_LIMIT: usize = 64;
/// One transfer that a source has to do already counts as much as this much distance.
const LOAD_MS: u64 = 20;
/// Distances that differ by less are the same.
const NEAR_MS: u64 = 5;

/// One that has what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Who.
    pub agent: AgentId,
    /// How far: there and back, in ms. What is on another site costs more than it measures; the shell adds that.
    pub distance_ms: u64,
    /// Transfers it does for us now.
    pub busy: usize,
}

/// The best of these for an object: near first; those that are equally near share the load.
#[must_use]
pub fn nearest(candidates: impl IntoIterator<Item = Candidate>, object: &ObjectName) -> Option<AgentId> {
    let cost = |candidate: &Candidate| {
        let busy_ms = LOAD_MS.saturating_mul(candidate.busy as u64);
        (candidate.distance_ms / NEAR_MS * NEAR_MS).saturating_add(busy_ms)
    };
    let rank = |candidate: &Candidate| (cost(candidate), mix_ids(0x5042, &[&candidate.agent.0, &object.0]));
    candidates.into_iter().min_by_key(rank).map(|candidate| candidate.agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_ones_first_and_equal_ones_share() {
        let candidate = |number, distance_ms, busy| Candidate { agent: AgentId([number; 32]), distance_ms, busy };
        let best = |candidates: &[Candidate]| nearest(candidates.iter().copied(), &ObjectName::default()).unwrap().0[0];
        assert_eq!(best(&[candidate(1, 40, 0), candidate(2, 1, 0)]), 2);
        assert_eq!(best(&[candidate(1, 40, 0), candidate(2, 1, 1)]), 2);
        assert_eq!(best(&[candidate(1, 40, 0), candidate(2, 1, 3)]), 1);
        let chosen = |byte| nearest([candidate(1, 1, 0), candidate(2, 2, 0)], &ObjectName([byte; 32])).unwrap().0[0];
        let of_first = (0..100).filter(|byte| chosen(*byte) == 1).count();
        assert!((30..70).contains(&of_first), "{of_first}");
        assert_eq!(nearest([], &ObjectName::default()), None);
    }
}
