//! Which agents vote on the ledger.
//!
//! Changed one at a time: a set that differs from today's by more than one agent could leave no majority of either.
//! No step takes the majority away from those that are up.

use std::cmp::Reverse;
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
    /// Its disk is full: its copy of the ledger may soon have no room. It votes where there is no other.
    pub full: bool,
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
/// Voters that are up stay. One that is away or may not vote any more is swapped for one that is up, if there is one; then
/// missing ones are added and surplus ones let go. An even number of voters survives no more than the odd one below it
/// and has one more to lose: it is only ever passed through, and left downwards when there is nobody to add.
#[must_use]
pub fn choose_voters(candidates: &[VoterCandidate], survive: u8) -> Option<BTreeSet<AgentId>> {
    let current: BTreeSet<AgentId> = candidates.iter().filter(|c| c.current).map(|c| c.agent).collect();
    let eligible = candidates.iter().filter(|c| c.may_vote).count();
    let wanted = voters_wanted(eligible, survive);
    let newcomers = candidates.iter().filter(|c| is_newcomer(c)).count();
    let newcomer = best_newcomer(candidates);
    let leaver = worst_voter(candidates);
    let due = leaver.filter(|leaver| !leaver.up || !leaver.may_vote);
    let even = current.len().is_multiple_of(2);

    let mut next = current.clone();
    if current.len() > wanted {
        next.remove(&leaver?.agent);
    } else if let (Some(leaver), Some(newcomer)) = (due, newcomer) {
        next.remove(&leaver.agent);
        next.insert(newcomer.agent);
    } else if current.len() < wanted {
        let reaches_odd = even || newcomers > 1;
        if let Some(newcomer) = newcomer.filter(|_| reaches_odd) {
            next.insert(newcomer.agent);
        } else if even {
            next.remove(&leaver?.agent);
        }
    }
    (next != current && !next.is_empty()).then_some(next)
}

fn is_newcomer(candidate: &VoterCandidate) -> bool {
    candidate.may_vote && candidate.up && !candidate.current
}

/// Who should vote next: up, with room on its disk, at the site with fewest voters, most up.
fn best_newcomer(candidates: &[VoterCandidate]) -> Option<&VoterCandidate> {
    let voters_at = |site: &str| candidates.iter().filter(|c| c.current && c.up && c.site == site).count();
    let possible = candidates.iter().filter(|c| is_newcomer(c));
    possible.min_by_key(|c| (c.full, voters_at(&c.site), Reverse(c.uptime_score), c.agent))
}

/// Who should stop voting first: away (or the majority could go with one that is up), then may not, then at the site with most voters, least up.
fn worst_voter(candidates: &[VoterCandidate]) -> Option<&VoterCandidate> {
    let voters_at = |site: &str| candidates.iter().filter(|c| c.current && c.up && c.site == site).count();
    let possible = candidates.iter().filter(|c| c.current);
    possible.min_by_key(|c| (c.up, c.may_vote, Reverse(voters_at(&c.site)), c.uptime_score, c.agent))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(number: u8, up: bool, current: bool) -> VoterCandidate {
        let agent = AgentId([number; 32]);
        VoterCandidate { agent, may_vote: true, up, current, uptime_score: 0, site: String::new(), full: false }
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
    fn there_are_never_two_voters_where_one_must_do() {
        let three = |third_up| vec![candidate(0, true, true), candidate(1, true, false), candidate(2, third_up, false)];
        assert_eq!(settle(three(false), 1), [0], "the third is away");
        assert_eq!(settle(three(true), 1), [0, 1, 2]);
        let two = vec![candidate(0, true, true), candidate(1, true, true), candidate(2, false, false)];
        assert_eq!(settle(two, 1).len(), 1, "the third went away before it could vote");
    }

    #[test]
    fn surplus_voters_that_are_away_go_before_one_that_is_up_and_may_not_vote() {
        let mut candidates: Vec<_> = (0..5).map(|number| candidate(number, number < 3, true)).collect();
        candidates[0].may_vote = false;
        let next = choose_voters(&candidates, 2).expect("four may vote: three are wanted");
        assert!(next.contains(&AgentId([0; 32])), "two of the four left would be up without it: no majority");
    }

    #[test]
    fn voters_spread_over_sites() {
        let mut candidates: Vec<_> = (0..6).map(|number| candidate(number, true, number == 0)).collect();
        for (index, candidate) in candidates.iter_mut().enumerate() {
            candidate.site = if index < 4 { "north" } else { "south" }.into();
        }
        assert_eq!(settle(candidates, 1), [0, 1, 4], "one more of each site in turn");
    }

    #[test]
    fn one_whose_disk_is_full_votes_only_where_there_is_no_other() {
        let with = |full: [bool; 4]| {
            let mut candidates: Vec<_> = (0u8..4).map(|number| candidate(number, true, number == 0)).collect();
            candidates.iter_mut().zip(full).for_each(|(one, full)| one.full = full);
            let next = choose_voters(&candidates, 2).expect("a step");
            next.into_iter().map(|agent| agent.0[0]).collect::<Vec<_>>()
        };
        assert_eq!(with([false, true, false, true]), [0, 2]);
        assert_eq!(with([false, true, true, true]), [0, 1]);
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
            let up = |voters: &BTreeSet<AgentId>| candidates.iter().filter(|c| c.up && voters.contains(&c.agent)).count();
            let mut reversed = candidates.clone();
            reversed.reverse();
            prop_assert_eq!(choose_voters(&reversed, survive), choose_voters(&candidates, survive));
            if let Some(next) = choose_voters(&candidates, survive) {
                prop_assert!(!next.is_empty());
                let added: Vec<_> = next.difference(&current).collect();
                let gone = current.difference(&next).count();
                prop_assert!(added.len() <= 1 && gone <= 1 && added.len() + gone >= 1);
                if up(&current) * 2 > current.len() {
                    prop_assert!(up(&next) * 2 > next.len(), "a majority stays with those that are up");
                }
                let wanted = voters_wanted(candidates.iter().filter(|c| c.may_vote).count(), survive);
                prop_assert!(next.len() <= wanted.max(current.len()));
                for agent in added {
                    let one = candidates.iter().find(|c| c.agent == *agent);
                    prop_assert!(one.is_some_and(|c| c.up && c.may_vote), "only who is up is added");
                }
            }
        }

        #[test]
        fn step_by_step_they_settle_on_an_odd_number(
            flags in proptest::collection::vec((any::<bool>(), any::<bool>(), any::<bool>(), 0u64..3), 1..9), survive in 0u8..4
        ) {
            let candidates: Vec<_> = (0u8..).zip(&flags).map(|(number, (may_vote, up, current, score))| VoterCandidate {
                may_vote: *may_vote, uptime_score: *score, ..candidate(number, *up, *current)
            }).collect();
            let nobody = !candidates.iter().any(|c| c.current || is_newcomer(c));
            let settled = settle(candidates, survive);
            prop_assert!(nobody || settled.len() % 2 == 1, "{} voters", settled.len());
        }
    }
}
