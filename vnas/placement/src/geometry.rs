//! How a stripe is cut, from what it must survive and who is up; and what one that is cut survives.

use std::collections::BTreeSet;

use dci_proto::AgentId;

use crate::{DATA_SHARDS_LIMIT, Geometry};

/// The geometry of a stripe: parity for the loss of `survive` agents, and as many data shards as the `agents` that are up
/// allow, at most [`DATA_SHARDS_LIMIT`]. With fewer agents there are fewer data shards; parity stays as long as there
/// is room for one data shard. With one agent (or none) nothing can be survived.
#[must_use]
pub fn geometry(survive: u8, agents: usize) -> Geometry {
    let small = small_file_geometry(survive, agents);
    let rest = agents.saturating_sub(usize::from(small.m)).clamp(1, usize::from(DATA_SHARDS_LIMIT));
    Geometry { k: u8::try_from(rest).unwrap_or(DATA_SHARDS_LIMIT), m: small.m }
}

/// The geometry of a small file: whole copies, one more than may be lost, as far as there are agents.
#[must_use]
pub fn small_file_geometry(survive: u8, agents: usize) -> Geometry {
    let others = u8::try_from(agents.saturating_sub(1)).unwrap_or(u8::MAX);
    Geometry { k: 1, m: survive.min(others) }
}

/// How many more agents a stripe of `k` data shards survives the loss of, of those that hold its shards and are up; `None`
/// if it cannot be read as it is. An agent that holds two shards is lost with both: it counts once.
#[must_use]
pub fn survives(k: u8, holders_up: &[AgentId]) -> Option<u8> {
    let distinct = holders_up.iter().collect::<BTreeSet<_>>().len();
    let more = distinct.checked_sub(usize::from(k))?;
    Some(u8::try_from(more).unwrap_or(u8::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parity_stays_and_data_shards_shrink_as_agents_go() {
        let cases = [
            (2, 12, (8, 2)),
            (2, 6, (4, 2)),
            (2, 5, (3, 2)),
            (2, 4, (2, 2)),
            (2, 3, (1, 2)),
            (2, 2, (1, 1)),
            (2, 1, (1, 0)),
            (2, 0, (1, 0)),
            (1, 6, (5, 1)),
            (0, 6, (6, 0)),
            (8, 6, (1, 5)),
        ];
        for (survive, agents, (k, m)) in cases {
            assert_eq!(geometry(survive, agents), Geometry { k, m }, "survive {survive} with {agents}");
        }
        assert_eq!(small_file_geometry(2, 6), Geometry { k: 1, m: 2 });
    }

    #[test]
    fn a_stripe_survives_what_is_more_than_its_data_shards() {
        let agents: Vec<AgentId> = (0..6).map(|number| AgentId([number; 32])).collect();
        assert_eq!(survives(4, &agents), Some(2));
        assert_eq!(survives(4, &agents[..4]), Some(0));
        assert_eq!(survives(4, &agents[..3]), None);
        assert_eq!(survives(1, &[agents[0], agents[0]]), Some(0), "two shards on one agent are lost together");
    }

    proptest! {
        #[test]
        fn a_new_stripe_survives_what_is_asked_where_there_are_agents(survive in 0u8..20, agents in 1u8..60) {
            let Geometry { k, m } = geometry(survive, usize::from(agents));
            let holders: Vec<AgentId> = (0..k + m).map(|number| AgentId([number; 32])).collect();
            prop_assert_eq!(survives(k, &holders), Some(survive.min(agents - 1)));
        }

        #[test]
        fn a_stripe_never_needs_more_agents_than_are_up(survive in 0u8.., agents in 1usize..2000) {
            let Geometry { k, m } = geometry(survive, agents);
            prop_assert!(usize::from(k) + usize::from(m) <= agents);
            prop_assert!((1..=DATA_SHARDS_LIMIT).contains(&k) && m <= survive);
        }
    }
}
