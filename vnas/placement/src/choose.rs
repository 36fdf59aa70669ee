//! Which agents take the shards of a stripe, and in which order they are read.

use std::cmp::Reverse;

use dci_proto::AgentId;

use crate::Candidate;

/// `count` distinct agents for shards of `shard_bytes` each, best first; fewer if fewer have room.
///
/// Each agent's chance grows with its free share of space (weighted rendezvous hashing), so agents fill evenly and stripes spread;
/// the same seed and candidates give the same answer. Full agents are never chosen, suspects only when nobody else is left.
#[must_use]
pub fn choose(
    candidates: &[Candidate],
    count: usize,
    shard_bytes: u64,
    seed: u64,
    exclude: &[AgentId],
) -> Vec<AgentId> {
    let mut scored: Vec<(bool, f64, AgentId)> = candidates
        .iter()
        .filter(|candidate| candidate.free_bytes >= shard_bytes && !exclude.contains(&candidate.agent))
        .map(|candidate| (candidate.suspect, score(candidate, seed), candidate.agent))
        .collect();
    scored.sort_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)).then(a.2.cmp(&b.2)));
    scored.dedup_by_key(|(_, _, agent)| *agent);
    scored.into_iter().take(count).map(|(_, _, agent)| agent).collect()
}

/// The next-best agent for one more shard of `shard_bytes`, none of `exclude`; suspects are no way out.
#[must_use]
pub fn spare(candidates: &[Candidate], shard_bytes: u64, seed: u64, exclude: &[AgentId]) -> Option<AgentId> {
    let well: Vec<Candidate> = candidates.iter().filter(|candidate| !candidate.suspect).cloned().collect();
    choose(&well, 1, shard_bytes, seed, exclude).into_iter().next()
}

/// The candidates in the order in which they are best read from: this agent's own disk first, then those that answer
/// soonest and are least asked, suspects last.
#[must_use]
pub fn read_order(candidates: &[Candidate]) -> Vec<&Candidate> {
    /// What one waiting request adds to the time an answer takes, in µs.
    const IN_FLIGHT_COST_US: u64 = 500;
    let mut order: Vec<&Candidate> = candidates.iter().collect();
    order.sort_by_key(|candidate| {
        let cost_us = u64::from(candidate.latency_us) + u64::from(candidate.in_flight) * IN_FLIGHT_COST_US;
        (candidate.suspect, Reverse(candidate.local), cost_us, candidate.agent)
    });
    order
}

/// Weighted rendezvous: `-weight / ln(hash)`, the largest wins with a chance in proportion to its weight.
fn score(candidate: &Candidate, seed: u64) -> f64 {
    let hash = candidate.agent.0.chunks(8).fold(mix(seed), |state, chunk| {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        mix(state ^ u64::from_le_bytes(word))
    });
    // In (0, 1), never 0 or 1.
    let unit = ((hash >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
    -(candidate.free_bytes as f64) / unit.ln()
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn candidate(number: u8, free_bytes: u64) -> Candidate {
        Candidate {
            agent: AgentId([number; 32]),
            local: false,
            site: String::new(),
            free_bytes,
            capacity_bytes: 1 << 40,
            suspect: false,
            latency_us: 0,
            in_flight: 0,
        }
    }

    #[test]
    fn agents_take_shards_in_proportion_to_their_free_space() {
        let candidates = [candidate(1, 1_000_000), candidate(2, 1_000_000), candidate(3, 2_000_000)];
        let mut taken = [0u32; 4];
        for seed in 0..20_000 {
            let chosen = choose(&candidates, 1, 1, seed, &[]);
            taken[usize::from(chosen[0].0[0])] += 1;
        }
        assert!((4_500..5_500).contains(&taken[1]), "{taken:?}");
        assert!((9_500..10_500).contains(&taken[3]), "{taken:?}");
    }

    #[test]
    fn suspects_come_last_and_full_or_excluded_agents_never() {
        let mut suspect = candidate(1, 100);
        suspect.suspect = true;
        let candidates = [suspect, candidate(2, 100), candidate(3, 9), candidate(4, 100)];
        let chosen = choose(&candidates, 4, 10, 7, &[AgentId([4; 32])]);
        assert_eq!(chosen, [AgentId([2; 32]), AgentId([1; 32])]);
        assert_eq!(spare(&candidates, 10, 7, &[AgentId([2; 32]), AgentId([4; 32])]), None);
    }

    #[test]
    fn the_own_disk_is_read_first_then_the_quick_then_the_idle_and_suspects_last() {
        let mut own = candidate(1, 1);
        own.local = true;
        own.latency_us = 9_999;
        let mut quick = candidate(2, 1);
        quick.latency_us = 100;
        let mut busy = candidate(3, 1);
        busy.latency_us = 100;
        busy.in_flight = 3;
        let mut suspect = candidate(4, 1);
        suspect.suspect = true;
        let candidates = [suspect, busy, quick, own];
        let order: Vec<u8> = read_order(&candidates).iter().map(|c| c.agent.0[0]).collect();
        assert_eq!(order, [1, 2, 3, 4]);
    }

    proptest! {
        #[test]
        fn chosen_agents_are_distinct_and_the_same_for_the_same_seed(
            free in proptest::collection::vec(0u64..1000, 0..12), count in 0usize..14, bytes in 0u64..1000, seed: u64
        ) {
            let candidates: Vec<_> = (0u8..).zip(&free).map(|(number, free)| candidate(number, *free)).collect();
            let chosen = choose(&candidates, count, bytes, seed, &[]);
            prop_assert_eq!(chosen.iter().collect::<BTreeSet<_>>().len(), chosen.len());
            let with_room = free.iter().filter(|free| **free >= bytes).count();
            prop_assert_eq!(chosen.len(), count.min(with_room));
            prop_assert_eq!(choose(&candidates, count, bytes, seed, &[]), chosen);
        }
    }
}
