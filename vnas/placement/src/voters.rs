//! Which agents vote on the ledger.
//!
//! Changed one at a time: a set that differs from today's by more than one agent could leave no majority of either.

use std::collections::BTreeSet;

use dci_proto::AgentId;

/// What is known of an agent that could vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoterCandidate {
    /// Which.
    pub agent: AgentId,
    /// Its roles and an admin's decisions allow it to.
    pub may_vote: bool,
    /// It answers, and has for long enough to be trusted with a vote; or has not been away for long enough to lose it.
    pub up: bool,
    /// It votes now.
    pub current: bool,
    /// The larger, the more it was up.
    pub uptime_score: u64,
    /// Its site; empty when unknown.
    pub site: String,
}

/// How many should vote: the quorum survives what the data survives, as far as there are agents. 1 with fewer than three
/// agents, 3 with three or four, 5 from five on, never more than `2 * survive + 1`.
#[must_use]
pub fn voters_wanted(agents: usize, survive: u8) -> usize {
    let by_agents = match agents {
        0..=2 => 1,
        3 | 4 => 3,
        _ => 5,
    };
    by_agents.min(usize::from(survive) * 2 + 1)
}

/// The next set of voters, one step from today's; `None` when there is nothing to change.
///
/// Voters that are up stay. One that may not vote or is away is swapped for one that is up, if there is one; missing ones
/// are added, surplus ones (those away, then those least up) let go. Nobody is let go for being away unless somebody takes the place: an absent voter costs
/// nothing that a smaller set would give back.
#[must_use]
pub fn choose_voters(candidates: &[VoterCandidate], survive: u8) -> Option<BTreeSet<AgentId>> {
    let current: BTreeSet<AgentId> = candidates.iter().filter(|c| c.current).map(|c| c.agent).collect();
    let eligible = candidates.iter().filter(|c| c.may_vote).count();
    let wanted = voters_wanted(eligible, survive);
    let newcomer = best_newcomer(candidates);
    let leaver = worst_voter(candidates);

    let mut next = current.clone();
    if current.len() < wanted {
        next.insert(newcomer?.agent);
    } else if current.len() > wanted {
        next.remove(&leaver?.agent);
    } else {
        let leaver = leaver.filter(|leaver| !leaver.up || !leaver.may_vote)?;
        next.insert(newcomer?.agent);
        next.remove(&leaver.agent);
    }
    (next != current && !next.is_empty()).then_some(next)
}

/// Who should vote next: up, at the site with fewest voters, most up.
fn best_newcomer(candidates: &[VoterCandidate]) -> Option<&VoterCandidate> {
    let voters_at = |site: &str| candidates.iter().filter(|c| c.current && c.up && c.site == site).count();
    let possible = candidates.iter().filter(|c| c.may_vote && c.up && !c.current);
    possible.min_by_key(|c| (voters_at(&c.site), std::cmp::Reverse(c.uptime_score), c.agent))
}

/// Who should stop voting first: may not, then away, then at the site with most voters, least up.
fn worst_voter(candidates: &[VoterCandidate]) -> Option<&VoterCandidate> {
    let voters_at = |site: &str| candidates.iter().filter(|c| c.current && c.up && c.site == site).count();
    let possible = candidates.iter().filter(|c| c.current);
    possible.min_by_key(|c| (c.may_vote, c.up, std::cmp::Reverse(voters_at(&c.site)), c.uptime_score, c.agent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(number: u8, up: bool, current: bool) -> VoterCandidate {
        let agent = AgentId([number; 32]);
        VoterCandidate { agent, may_vote: true, up, current, uptime_score: 0, site: String::new() }
    }

    fn settle(mut candidates: Vec<VoterCandidate>, survive: u8) -> Vec<u8> {
        for _ in 0..20 {
            match choose_voters(&candidates, survive) {
                Some(next) => candidates.iter_mut().for_each(|c| c.current = next.contains(&c.agent)),
                None => return candidates.iter().filter(|c| c.current).map(|c| c.agent.0[0]).collect(),
            }
        }
        panic!("the voters never settle");
    }

    #[test]
    fn voters_grow_with_the_pool() {
        for (agents, expected) in [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (6, 5), (40, 5)] {
            let candidates: Vec<_> = (0..agents).map(|number| candidate(number, true, number == 0)).collect();
            assert_eq!(settle(candidates, 2).len(), expected, "{agents} agents");
        }
        let candidates: Vec<_> = (0..9).map(|number| candidate(number, true, number == 0)).collect();
        assert_eq!(settle(candidates, 1).len(), 3, "no more than 2 * survive + 1");
    }

    #[test]
    fn an_absent_voter_is_swapped_only_when_another_can_take_its_place() {
        let absent = |number| candidate(number, false, true);
        let voter = |number| candidate(number, true, true);
        let five = vec![voter(0), voter(1), voter(2), voter(3), absent(4)];
        assert_eq!(settle(five.clone(), 2), [0, 1, 2, 3, 4]);
        let six = [five, vec![candidate(5, true, false)]].concat();
        assert_eq!(settle(six, 2), [0, 1, 2, 3, 5]);
    }

    #[test]
    fn voters_spread_over_sites() {
        let mut candidates: Vec<_> = (0..6).map(|number| candidate(number, true, number == 0)).collect();
        for (index, candidate) in candidates.iter_mut().enumerate() {
            candidate.site = if index < 4 { "north" } else { "south" }.into();
        }
        assert_eq!(settle(candidates, 1), [0, 1, 4], "one more of each site in turn");
    }

    proptest! {
        #[test]
        fn one_step_at_a_time_and_never_nobody(
            flags in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 0u64..3), 1..9), survive in 0u8..4
        ) {
            let candidates: Vec<_> = (0u8..).zip(&flags).map(|(number, (may_vote, up, current, score))| VoterCandidate {
                may_vote: *may_vote, uptime_score: *score, ..candidate(number, *up, *current)
            }).collect();
            let current: BTreeSet<_> = candidates.iter().filter(|c| c.current).map(|c| c.agent).collect();
            if let Some(next) = choose_voters(&candidates, survive) {
                prop_assert!(!next.is_empty());
                let added: Vec<_> = next.difference(&current).collect();
                let gone = current.difference(&next).count();
                prop_assert!(added.len() <= 1 && gone <= 1 && added.len() + gone >= 1);
                for agent in added {
                    let one = candidates.iter().find(|c| c.agent == *agent);
                    prop_assert!(one.is_some_and(|c| c.up && c.may_vote), "only who is up is added");
                }
            }
        }
    }
}
