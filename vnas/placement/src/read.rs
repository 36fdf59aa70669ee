//! Which shards of a stripe are best read.

use dci_proto::AgentId;

use crate::Candidate;

/// What a way over the network adds to the time an answer takes, in µs, however little it takes.
const NETWORK_COST_US: u64 = 50;
/// What one waiting request adds, in µs.
const IN_FLIGHT_COST_US: u64 = 500;
/// How much sooner, in µs, parity must come than data to be read instead: then there is more to decode.
const PARITY_COST_US: u64 = 1_000;

/// The shards of a stripe in the order in which they are best read, by index: the first `k` are the cheapest that give its
/// bytes back.
///
/// This agent's own disk first, then who answers soonest and is least asked; parity after data unless that is slow
/// (where `k` is 1 all are whole copies, none is parity); suspects last. Shards of agents that are no candidates are
/// left out: nobody knows the way to them.
#[must_use]
pub fn read_order(places: &[(u8, AgentId)], candidates: &[Candidate], k: u8) -> Vec<u8> {
    let mut order: Vec<(bool, u64, u8)> = places
        .iter()
        .filter_map(|(index, agent)| {
            let candidate = candidates.iter().find(|candidate| candidate.agent == *agent)?;
            let parity = k > 1 && *index >= k;
            Some((candidate.suspect, cost_us(candidate) + if parity { PARITY_COST_US } else { 0 }, *index))
        })
        .collect();
    order.sort_unstable();
    order.into_iter().map(|(_, _, index)| index).collect()
}

fn cost_us(candidate: &Candidate) -> u64 {
    let waiting_us = u64::from(candidate.in_flight) * IN_FLIGHT_COST_US;
    if candidate.local { 0 } else { NETWORK_COST_US + u64::from(candidate.latency_us) + waiting_us }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(number: u8, latency_us: u32) -> Candidate {
        Candidate {
            agent: AgentId([number; 32]),
            local: false,
            site: String::new(),
            free_bytes: 0,
            capacity_bytes: 0,
            suspect: false,
            latency_us,
            in_flight: 0,
            standing: 100,
        }
    }

    /// Shard `i` on agent `i`.
    fn order(candidates: &[Candidate], k: u8) -> Vec<u8> {
        let places: Vec<_> = candidates.iter().map(|candidate| (candidate.agent.0[0], candidate.agent)).collect();
        read_order(&places, candidates, k)
    }

    #[test]
    fn of_copies_the_own_is_read_first_then_the_quick_then_the_idle_and_suspects_last() {
        let own = Candidate { local: true, ..candidate(3, 9_999) };
        let busy = Candidate { in_flight: 3, ..candidate(1, 100) };
        let suspect = Candidate { suspect: true, ..candidate(0, 0) };
        assert_eq!(order(&[suspect, busy, candidate(2, 100), own], 1), [3, 2, 1, 0]);
    }

    #[test]
    fn parity_is_read_after_data_unless_that_is_slow_or_suspect() {
        let even: Vec<_> = (0..6).map(|number| candidate(number, 300)).collect();
        assert_eq!(order(&even, 4), [0, 1, 2, 3, 4, 5]);
        let mut quick_parity = even.clone();
        quick_parity[5].latency_us = 10;
        assert_eq!(order(&quick_parity, 4), [0, 1, 2, 3, 5, 4]);
        let mut slow_data = even.clone();
        slow_data[0].latency_us = 40_000;
        slow_data[2].suspect = true;
        assert_eq!(order(&slow_data, 4), [1, 3, 4, 5, 0, 2]);
    }

    proptest! {
        #[test]
        fn every_shard_of_a_known_agent_is_in_it_once_and_no_suspect_before_who_is_well(
            agents in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<bool>(), any::<bool>()), 0..12), k in 1u8..9
        ) {
            let candidates: Vec<_> = (0u8..).zip(&agents).map(|(number, (latency_us, in_flight, suspect, local))| Candidate {
                in_flight: *in_flight, suspect: *suspect, local: *local, ..candidate(number, *latency_us)
            }).collect();
            let mut places: Vec<_> = candidates.iter().map(|candidate| (candidate.agent.0[0], candidate.agent)).collect();
            places.push((200, AgentId([200; 32])));
            let order = read_order(&places, &candidates, k);
            let mut sorted = order.clone();
            sorted.sort_unstable();
            prop_assert_eq!(sorted, (0u8..).take(agents.len()).collect::<Vec<_>>());
            prop_assert!(order.is_sorted_by_key(|index| agents[usize::from(*index)].2));
        }
    }
}
