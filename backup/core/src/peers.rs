//! Who holds an owner's copies: chosen by room, uptime, site and load, spread over sites, never on the owner's own machine.
//!
//! [`choose`] looks at everybody and says who is to begin and who to end. It is calm: a peer that is away is waited for
//! ([`REPLACE_AFTER_MS`]), a better one alone is no reason to move copies, and who is replaced ends only when enough
//! others hold everything. Agents that an admin assigned come before those it would choose. A holder that cannot take what it lacks
//! ([`CopyState::Stuck`]) counts for nothing, and others are chosen as if it were not there; what it has is kept until they are whole.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};

use crate::now::{DAY_MS, mix_ids};

/// A peer that did not answer for this time is replaced: longer than most holidays. One that left the pool is at once.
pub const REPLACE_AFTER_MS: u64 = 21 * DAY_MS;
/// A newcomer has room for this much more than is needed now, in percent: backups grow. If nobody has, one that has just enough
/// is better than none.
const ROOM_PERCENT: u64 = 150;

/// What stands for a computer: two agents may run on one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MachineId(pub [u8; 16]);

/// What a peer gives to others' backups, and how much of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Share {
    /// It gives so much; 0: nothing.
    pub limit_bytes: u64,
    /// So much of that is used, the trash too.
    pub used_bytes: u64,
    /// Free on its disk.
    pub free_bytes: u64,
    /// So much stays free for its own user, whatever the share.
    pub reserve_bytes: u64,
}

impl Share {
    /// How much more fits.
    #[must_use]
    pub fn room_bytes(&self) -> u64 {
        let of_share = self.limit_bytes.saturating_sub(self.used_bytes);
        of_share.min(self.free_bytes.saturating_sub(self.reserve_bytes))
    }

    /// Whether an object of this size fits. Asked by a holder before it takes one.
    #[must_use]
    pub fn fits(&self, size_bytes: u64) -> bool {
        size_bytes <= self.room_bytes()
    }
}

/// What is known of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub agent: AgentId,
    /// On which computer.
    pub machine: MachineId,
    /// Where, if that is known.
    pub site: Option<String>,
    /// What it gives.
    pub share: Share,
    /// How much of the last month it could be reached, in thousandths.
    pub uptime_permille: u16,
    /// Owners that it holds copies of.
    pub owners: u32,
    /// For how long it has not answered; `None`: it does.
    pub away_ms: Option<u64>,
    /// It was found to lie and has not proven its copies since.
    pub is_distrusted: bool,
}

/// What an owner wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Whose copies.
    pub owner: AgentId,
    /// Its computer.
    pub machine: MachineId,
    /// Where that is.
    pub site: Option<String>,
    /// How many copies.
    pub copies: usize,
    /// Bytes of its repository.
    pub size_bytes: u64,
    /// Agents that an admin assigned.
    pub assigned: Vec<AgentId>,
}

/// How the copy of a holder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// It has everything.
    Whole,
    /// It lacks something, and gets it.
    Growing,
    /// It lacks something and cannot take it.
    Stuck,
}

impl CopyState {
    /// Of a holder that lacks so many bytes, `coming_bytes` of which it has set room aside for. `refuses`: it said that it takes no
    /// more. `share`: what it gives, if it said so just now.
    #[must_use]
    pub fn of(is_whole: bool, refuses: bool, lacks_bytes: u64, coming_bytes: u64, share: Option<&Share>) -> Self {
        let too_little = |share: &Share| share.room_bytes().saturating_add(coming_bytes) < lacks_bytes;
        match is_whole {
            true => Self::Whole,
            false if refuses || share.is_some_and(too_little) => Self::Stuck,
            false => Self::Growing,
        }
    }
}

/// Who begins and who ends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choice {
    /// They get copies from now on.
    pub begin: Vec<AgentId>,
    /// Their copies may go.
    pub end: Vec<AgentId>,
    /// Copies that nobody was found for.
    pub missing: usize,
    /// Assigned agents that cannot hold a copy, and why.
    pub unusable: Vec<(AgentId, Unusable)>,
}

/// Why an assigned agent cannot hold a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unusable {
    /// It is not in the pool.
    Unknown,
    /// It is the owner's own computer, which is lost together with what it keeps.
    OwnMachine,
    /// Another copy is on the same computer.
    SameMachine,
    /// It has no room.
    NoRoom,
}

/// Looks at everybody. `holders`: who holds copies now, and how they are. Agents that are not among `candidates` have
/// left the pool.
#[must_use]
pub fn choose(wanted: &Wanted, candidates: &[Candidate], holders: &BTreeMap<AgentId, CopyState>) -> Choice {
    let known: BTreeMap<AgentId, &Candidate> =
        candidates.iter().map(|candidate| (candidate.agent, candidate)).collect();
    let mut choice = Choice::default();
    let mut picked = Picked::default();
    let is_stuck = |agent: &AgentId| holders.get(agent) == Some(&CopyState::Stuck);
    for agent in wanted.assigned.iter().filter(|agent| !is_stuck(agent)) {
        match usable(wanted, known.get(agent).copied(), holders.contains_key(agent), &picked) {
            Ok(candidate) => picked.add(candidate),
            Err(why) => choice.unusable.push((*agent, why)),
        }
    }
    // Those that hold copies go on, the good ones first, those that are away for long never.
    let mut present: Vec<&Candidate> = holders.keys().filter_map(|agent| known.get(agent).copied()).collect();
    present.retain(|candidate| {
        !is_stuck(&candidate.agent) && is_good(candidate) && usable(wanted, Some(candidate), true, &picked).is_ok()
    });
    present.sort_by_key(|candidate| {
        (holders.get(&candidate.agent) != Some(&CopyState::Whole), candidate.away_ms, candidate.agent)
    });
    for candidate in present {
        if picked.count() < wanted.copies && usable(wanted, Some(candidate), true, &picked).is_ok() {
            picked.add(candidate);
        }
    }
    for percent in [ROOM_PERCENT, 100] {
        while picked.count() < wanted.copies {
            let can = |candidate: &&Candidate| {
                candidate.away_ms.is_none()
                    && is_good(candidate)
                    && !is_stuck(&candidate.agent)
                    && has_room(wanted, candidate, percent)
                    && usable(wanted, Some(candidate), true, &picked).is_ok()
            };
            let best = candidates.iter().filter(can).min_by_key(|candidate| cost(wanted, candidate, &picked));
            let Some(best) = best else { break };
            picked.add(best);
        }
    }
    choice.begin = picked.agents.iter().filter(|agent| !holders.contains_key(agent)).copied().collect();
    choice.missing = wanted.copies.saturating_sub(picked.count());
    // What is there is not given up before what takes its place is whole.
    let whole = picked.agents.iter().filter(|agent| holders.get(agent) == Some(&CopyState::Whole)).count();
    if whole >= wanted.copies {
        // Whom an admin assigned stays, full or not.
        let stays =
            |agent: &AgentId| picked.agents.contains(agent) || wanted.assigned.contains(agent) && is_stuck(agent);
        choice.end = holders.keys().filter(|agent| !stays(agent)).copied().collect();
    }
    // Who left the pool holds nothing that anybody could get.
    choice.end.extend(holders.keys().filter(|agent| !known.contains_key(agent)));
    choice.end.sort();
    choice.end.dedup();
    choice
}

#[derive(Default)]
struct Picked {
    agents: BTreeSet<AgentId>,
    machines: BTreeSet<MachineId>,
    sites: BTreeMap<String, usize>,
}

impl Picked {
    fn count(&self) -> usize {
        self.agents.len()
    }

    fn add(&mut self, candidate: &Candidate) {
        self.agents.insert(candidate.agent);
        self.machines.insert(candidate.machine);
        if let Some(site) = &candidate.site {
            *self.sites.entry(site.clone()).or_default() += 1;
        }
    }
}

/// Whether it may go on holding a copy that nobody assigned to it.
fn is_good(candidate: &Candidate) -> bool {
    !candidate.is_distrusted && candidate.away_ms.is_none_or(|away_ms| away_ms < REPLACE_AFTER_MS)
}

fn usable<'a>(
    wanted: &Wanted,
    candidate: Option<&'a Candidate>,
    is_holder: bool,
    picked: &Picked,
) -> Result<&'a Candidate, Unusable> {
    let candidate = candidate.ok_or(Unusable::Unknown)?;
    if candidate.agent == wanted.owner || candidate.machine == wanted.machine {
        return Err(Unusable::OwnMachine);
    }
    if picked.machines.contains(&candidate.machine) {
        return Err(Unusable::SameMachine);
    }
    if candidate.share.limit_bytes == 0 || (!is_holder && !has_room(wanted, candidate, ROOM_PERCENT)) {
        return Err(Unusable::NoRoom);
    }
    Ok(candidate)
}

/// Whether it has room for a copy, and so many percent of that.
fn has_room(wanted: &Wanted, candidate: &Candidate, percent: u64) -> bool {
    let needed = u128::from(wanted.size_bytes) * u128::from(percent) / 100;
    u128::from(candidate.share.room_bytes()) >= needed
}

/// Less is better: a site that has no copy yet and is not the owner's, then one that is up, has few owners and much room.
/// Between equal ones, each owner prefers others.
fn cost(wanted: &Wanted, candidate: &Candidate, picked: &Picked) -> (usize, u64, u64) {
    let copies_there = candidate.site.as_ref().map_or(0, |site| picked.sites.get(site).copied().unwrap_or(0));
    let is_owners = usize::from(candidate.site.is_some() && candidate.site == wanted.site);
    let downtime = u64::from(1000 - candidate.uptime_permille.min(1000));
    let load = u64::from(candidate.owners).saturating_mul(50);
    let share = candidate.share.limit_bytes.max(1);
    let fullness = 200u64.saturating_sub((u128::from(candidate.share.room_bytes()) * 200 / u128::from(share)) as u64);
    let tie = mix_ids(0x9ee5, &[&wanted.owner.0, &candidate.agent.0]);
    (copies_there * 2 + is_owners, (downtime + load + fullness) / 50, tie)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GIB: u64 = 1 << 30;

    fn candidate(number: u8, site: &str) -> Candidate {
        Candidate {
            agent: AgentId([number; 32]),
            machine: MachineId([number; 16]),
            site: Some(site.to_owned()),
            share: Share { limit_bytes: 100 * GIB, used_bytes: 0, free_bytes: 500 * GIB, reserve_bytes: 10 * GIB },
            uptime_permille: 900,
            owners: 0,
            away_ms: None,
            is_distrusted: false,
        }
    }

    fn wanted(copies: usize) -> Wanted {
        let site = Some("a".to_owned());
        let machine = MachineId([0; 16]);
        Wanted { owner: AgentId([0; 32]), machine, site, copies, size_bytes: 10 * GIB, assigned: vec![] }
    }

    fn state(whole: bool) -> CopyState {
        if whole { CopyState::Whole } else { CopyState::Growing }
    }

    fn holders(agents: &[(u8, bool)]) -> BTreeMap<AgentId, CopyState> {
        agents.iter().map(|(number, whole)| (AgentId([*number; 32]), state(*whole))).collect()
    }

    fn numbers(agents: &[AgentId]) -> Vec<u8> {
        agents.iter().map(|agent| agent.0[0]).collect()
    }

    #[test]
    fn sites_are_spread_and_the_owners_machine_is_never_one() {
        let mut candidates =
            vec![candidate(0, "a"), candidate(1, "a"), candidate(2, "b"), candidate(3, "b"), candidate(4, "c")];
        candidates.push(Candidate { machine: MachineId([0; 16]), ..candidate(5, "d") });
        let begin = choose(&wanted(3), &candidates, &BTreeMap::new()).begin;
        assert!(begin.len() == 3 && numbers(&begin).contains(&4), "{begin:?}");
        let four = choose(&wanted(4), &candidates, &BTreeMap::new());
        assert_eq!((numbers(&four.begin), four.missing), (vec![1, 2, 3, 4], 0));
        assert_eq!(choose(&wanted(5), &candidates, &BTreeMap::new()).missing, 1);
    }

    #[test]
    fn room_uptime_and_load_matter() {
        let full = Candidate { share: Share { used_bytes: 99 * GIB, ..candidate(1, "b").share }, ..candidate(1, "b") };
        let stingy = Candidate { share: Share { limit_bytes: 0, ..candidate(2, "b").share }, ..candidate(2, "b") };
        let often_off = Candidate { uptime_permille: 100, ..candidate(3, "b") };
        let loaded = Candidate { owners: 5, ..candidate(4, "b") };
        let all = [full, stingy, often_off, loaded, candidate(5, "b")];
        let begin = |copies| numbers(&choose(&wanted(copies), &all, &BTreeMap::new()).begin);
        assert_eq!((begin(1), begin(2), begin(9)), (vec![5], vec![4, 5], vec![3, 4, 5]));
    }

    #[test]
    fn who_is_away_is_waited_for_and_who_left_is_replaced() {
        let away = |away_ms| Candidate { away_ms: Some(away_ms), ..candidate(1, "b") };
        let others = [candidate(2, "b"), candidate(3, "c")];
        let with = |first: Candidate| [vec![first], others.to_vec()].concat();
        let now = holders(&[(1, true), (2, true)]);
        assert_eq!(choose(&wanted(2), &with(away(REPLACE_AFTER_MS - 1)), &now), Choice::default());
        let replaced = choose(&wanted(2), &with(away(REPLACE_AFTER_MS)), &now);
        assert_eq!((numbers(&replaced.begin), replaced.end), (vec![3], vec![]), "kept until the other is whole");
        let whole = holders(&[(1, true), (2, true), (3, true)]);
        assert_eq!(numbers(&choose(&wanted(2), &with(away(REPLACE_AFTER_MS)), &whole).end), [1]);
        // Back before that: the two that were whole first stay, the third ends when that is safe.
        let back = choose(&wanted(2), &with(candidate(1, "b")), &holders(&[(1, true), (2, true), (3, false)]));
        assert_eq!((back.begin, numbers(&back.end)), (vec![], vec![3]));
        let left = choose(&wanted(2), &others, &now);
        assert_eq!((numbers(&left.begin), numbers(&left.end)), (vec![3], vec![1]));
    }

    #[test]
    fn assigned_ones_win_and_say_why_if_they_cannot() {
        let candidates = [candidate(0, "a"), candidate(1, "a"), candidate(2, "b"), candidate(3, "c")];
        let assigned = [1, 0, 9].map(|number| AgentId([number; 32])).to_vec();
        let choice = choose(&Wanted { assigned, ..wanted(2) }, &candidates, &holders(&[(2, true), (3, true)]));
        assert_eq!((numbers(&choice.begin), choice.end), (vec![1], vec![]));
        let unusable = [(AgentId([0; 32]), Unusable::OwnMachine), (AgentId([9; 32]), Unusable::Unknown)];
        assert_eq!(choice.unusable, unusable);
    }

    #[test]
    fn holders_that_cannot_take_what_they_lack_are_all_replaced_and_end_when_that_is_safe() {
        let candidates = [1, 2, 3, 4, 5].map(|number| candidate(number, "b"));
        let stuck = |agents: &[u8], others: &[(u8, bool)]| {
            let stuck = agents.iter().map(|number| (AgentId([*number; 32]), CopyState::Stuck));
            holders(others).into_iter().chain(stuck).collect::<BTreeMap<_, _>>()
        };
        let both = choose(&wanted(2), &candidates, &stuck(&[1, 2], &[]));
        assert_eq!((both.begin.len(), both.missing, both.end), (2, 0, vec![]));
        assert!(both.begin.iter().all(|agent| agent.0[0] > 2), "{:?}", both.begin);
        assert_eq!(numbers(&choose(&wanted(2), &candidates, &stuck(&[2], &[(1, true)])).begin).len(), 1);
        assert_eq!(choose(&wanted(2), &candidates, &stuck(&[1, 2], &[(3, true), (4, false)])).end, []);
        assert_eq!(numbers(&choose(&wanted(2), &candidates, &stuck(&[1, 2], &[(3, true), (4, true)])).end), [1, 2]);
        // Whom an admin assigned stays and counts for nothing.
        let assigned = Wanted { assigned: vec![AgentId([1; 32])], ..wanted(2) };
        let choice = choose(&assigned, &candidates, &stuck(&[1, 2], &[(3, true), (4, true)]));
        assert_eq!((choice.begin, numbers(&choice.end)), (vec![], vec![2]));
        let short = Share { limit_bytes: 9 * GIB, ..candidates[0].share };
        let of = |refuses, lacks, coming| CopyState::of(false, refuses, lacks * GIB, coming * GIB, Some(&short));
        assert_eq!([of(false, 9, 0), of(false, 10, 1), of(false, 10, 0), of(true, 1, 0)], {
            use CopyState::{Growing, Stuck};
            [Growing, Growing, Stuck, Stuck]
        });
        assert_eq!(CopyState::of(true, true, 0, 0, None), CopyState::Whole);
    }

    #[test]
    fn one_with_just_enough_room_is_better_than_none() {
        let share = Share { limit_bytes: 11 * GIB, ..candidate(1, "b").share };
        let tight = Candidate { share, ..candidate(1, "b") };
        let none = Candidate { share: Share { limit_bytes: 9 * GIB, ..share }, ..candidate(2, "c") };
        let choice = choose(&wanted(3), &[tight, none, candidate(3, "d")], &BTreeMap::new());
        assert_eq!((numbers(&choice.begin), choice.missing), (vec![1, 3], 1));
    }

    fn any_candidate() -> impl Strategy<Value = Candidate> {
        let bits = (any::<bool>(), any::<bool>(), 0u8..4, proptest::option::of(0u64..2 * REPLACE_AFTER_MS));
        (0u8..12, 0u8..6, bits, 0u64..300).prop_map(|(number, machine, (liar, big, site, away_ms), used)| {
            let share = Share { used_bytes: used * GIB / 3, ..candidate(number, "").share };
            Candidate {
                machine: MachineId([machine; 16]),
                site: (site > 0).then(|| site.to_string()),
                share: if big { share } else { Share { limit_bytes: 0, ..share } },
                away_ms,
                is_distrusted: liar && used % 3 == 0,
                ..candidate(number, "")
            }
        })
    }

    proptest! {
        #[test]
        fn copies_never_share_a_machine_are_never_given_up_early_and_choices_come_to_rest(
            mut candidates in proptest::collection::vec(any_candidate(), 0..12), copies in 1usize..5,
            held in proptest::collection::btree_map(0u8..12, 0u8..3, 0..5),
        ) {
            candidates.sort_by_key(|candidate| candidate.agent);
            candidates.dedup_by_key(|candidate| candidate.agent);
            let wanted = wanted(copies);
            let states = [CopyState::Whole, CopyState::Growing, CopyState::Stuck];
            let mut holders: BTreeMap<AgentId, CopyState> =
                held.into_iter().map(|(number, state)| (AgentId([number; 32]), states[usize::from(state)])).collect();
            let machine = |agent: &AgentId| candidates.iter().find(|candidate| candidate.agent == *agent).map(|c| c.machine);
            for _ in 0..3 {
                let choice = choose(&wanted, &candidates, &holders);
                let whole_before = holders.iter().filter(|(agent, state)| **state == CopyState::Whole && machine(agent).is_some()).count();
                for agent in &choice.begin {
                    prop_assert!(machine(agent).is_some_and(|machine| machine != wanted.machine));
                }
                choice.end.iter().for_each(|agent| _ = holders.remove(agent));
                let whole_after = holders.values().filter(|state| **state == CopyState::Whole).count();
                prop_assert!(whole_after >= whole_before.min(copies), "{choice:?}");
                choice.begin.iter().for_each(|agent| _ = holders.insert(*agent, CopyState::Whole));
            }
            let rest = choose(&wanted, &candidates, &holders);
            prop_assert_eq!((rest.begin, rest.end), (vec![], vec![]));
        }
    }
}
