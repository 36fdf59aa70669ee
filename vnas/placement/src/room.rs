//! How much can really still be stored.

use crate::{Candidate, Geometry};

/// Bytes of users' data that still fit, when every stripe puts one shard on each of `k + m` different agents.
///
/// With `t` units of shard space on every agent, `n` stripes of unit shards fit exactly when the agents' free units,
/// each cut to `n`, sum up to at least `n * (k + m)`: the largest such `n` is found by halving.
#[must_use]
pub fn room_bytes(candidates: &[Candidate], geometry: Geometry) -> u64 {
    let width = u128::from(geometry.k) + u128::from(geometry.m);
    let total: u128 = candidates.iter().map(|candidate| u128::from(candidate.free_bytes)).sum();
    let fits = |shard_bytes: u64| {
        let sum: u128 = candidates.iter().map(|candidate| u128::from(candidate.free_bytes.min(shard_bytes))).sum();
        sum >= u128::from(shard_bytes) * width
    };
    let (mut low, mut high) = (0, u64::try_from(total / width.max(1)).unwrap_or(u64::MAX));
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if fits(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low.saturating_mul(u64::from(geometry.k))
}

#[cfg(test)]
mod tests {
    use dci_proto::AgentId;
    use proptest::prelude::*;

    use super::*;

    fn candidates(free: &[u64]) -> Vec<Candidate> {
        let candidate = |(number, free): (u8, &u64)| Candidate {
            agent: AgentId([number; 32]),
            local: false,
            site: String::new(),
            free_bytes: *free,
            capacity_bytes: *free,
            suspect: false,
            latency_us: 0,
            in_flight: 0,
            standing: 100,
        };
        (0u8..).zip(free).map(candidate).collect()
    }

    /// Puts one unit shard after another on the agents with most room: the best there is.
    fn naive(free: &[u64], geometry: Geometry) -> u64 {
        let mut free = free.to_vec();
        let width = usize::from(geometry.k + geometry.m);
        let mut stripes = 0;
        loop {
            free.sort_unstable_by(|a, b| b.cmp(a));
            if free.len() < width || free[width - 1] == 0 {
                return stripes * u64::from(geometry.k);
            }
            free[..width].iter_mut().for_each(|free| *free -= 1);
            stripes += 1;
        }
    }

    #[test]
    fn one_large_agent_does_not_make_room_alone() {
        assert_eq!(room_bytes(&candidates(&[1000, 10, 10]), Geometry { k: 2, m: 1 }), 20);
        assert_eq!(room_bytes(&candidates(&[10, 10]), Geometry { k: 2, m: 1 }), 0);
        assert_eq!(room_bytes(&[], Geometry { k: 1, m: 0 }), 0);
        assert_eq!(room_bytes(&candidates(&[u64::MAX; 6]), Geometry { k: 4, m: 2 }), u64::MAX);
    }

    proptest! {
        #[test]
        fn it_is_what_a_naive_solver_stores(free in proptest::collection::vec(0u64..40, 0..8), k in 1u8..5, m in 0u8..3) {
            let geometry = Geometry { k, m };
            prop_assert_eq!(room_bytes(&candidates(&free), geometry), naive(&free, geometry));
        }
    }
}
