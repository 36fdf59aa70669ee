//! Which agents take the shards of a stripe, and in which order they are read.

use std::collections::BTreeSet;

use dci_proto::AgentId;

use crate::Candidate;

/// `count` distinct agents for shards of `shard_bytes` each, best first; fewer if fewer have room.
///
/// Each agent's chance grows with its free share of space (weighted rendezvous hashing), so agents fill evenly and stripes
/// spread; it shrinks with its standing. The same seed and candidates give the same answer. Full agents are never chosen, suspects only when nobody else is left.
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
    let mut seen = BTreeSet::new();
    scored.into_iter().map(|(_, _, agent)| agent).filter(|agent| seen.insert(*agent)).take(count).collect()
}

/// The next-best agent for one more shard of `shard_bytes`, none of `exclude`; suspects are no way out.
#[must_use]
pub fn spare(candidates: &[Candidate], shard_bytes: u64, seed: u64, exclude: &[AgentId]) -> Option<AgentId> {
    let well: Vec<Candidate> = candidates.iter().filter(|candidate| !candidate.suspect).cloned().collect();
    choose(&well, 1, shard_bytes, seed, exclude).into_iter().next()
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
    let weight = candidate.free_bytes as f64 * f64::from(candidate.standing.clamp(1, 100)) / 100.0;
    -weight / unit.ln()
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
            standing: 100,
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
    fn agents_of_poor_standing_take_less_and_have_no_less_room() {
        let poor = Candidate { standing: 25, ..candidate(1, 1_000_000) };
        let worst = Candidate { standing: 0, ..candidate(1, 1_000_000) };
        let well = candidate(2, 1_000_000);
        let taken_by_first = |first: &Candidate| {
            let pair = [first.clone(), well.clone()];
            (0..20_000).filter(|seed| choose(&pair, 1, 1, *seed, &[]) == [AgentId([1; 32])]).count()
        };
        assert!((3_500..4_500).contains(&taken_by_first(&poor)), "a quarter against a whole is a fifth");
        assert!((100..400).contains(&taken_by_first(&worst)), "it goes on being tried");
        assert_eq!(choose(&[worst], 1, 1_000_000, 7, &[]), [AgentId([1; 32])]);
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

        #[test]
        fn a_suspect_is_chosen_only_when_all_that_are_well_are(
            suspect in proptest::collection::vec(any::<bool>(), 0..12), count in 0usize..14, seed: u64
        ) {
            let candidates: Vec<_> = (0u8..)
                .zip(&suspect)
                .map(|(number, suspect)| Candidate { suspect: *suspect, ..candidate(number, 100) })
                .collect();
            let chosen = choose(&candidates, count, 1, seed, &[]);
            let well = suspect.iter().filter(|suspect| !**suspect).count();
            let suspects = chosen.iter().filter(|agent| suspect[usize::from(agent.0[0])]).count();
            prop_assert_eq!(suspects, chosen.len().saturating_sub(well));
        }

        #[test]
        fn an_agent_told_of_twice_is_chosen_once(free in proptest::collection::vec(1u64..1000, 1..12), seed: u64) {
            let candidates: Vec<_> = free.iter().map(|free| candidate(1, *free)).collect();
            prop_assert_eq!(choose(&candidates, 3, 1, seed, &[]), [AgentId([1; 32])]);
        }

        #[test]
        fn a_spare_is_well_has_room_and_is_new(
            agents in proptest::collection::vec((0u64..20, any::<bool>(), any::<bool>()), 0..9), seed: u64
        ) {
            let candidates: Vec<_> = (0u8..)
                .zip(&agents)
                .map(|(number, (free, suspect, _))| Candidate { suspect: *suspect, ..candidate(number, *free) })
                .collect();
            let used: Vec<_> = candidates.iter().zip(&agents).filter(|(_, a)| a.2).map(|(c, _)| c.agent).collect();
            let fits = |c: &&Candidate| c.free_bytes >= 10 && !c.suspect && !used.contains(&c.agent);
            match spare(&candidates, 10, seed, &used) {
                Some(agent) => prop_assert!(candidates.iter().filter(fits).any(|c| c.agent == agent)),
                None => prop_assert_eq!(candidates.iter().find(fits), None),
            }
        }
    }
}
