//! Which agents are asked for a way, in which order, and how often. Pure: says whom to ask next and is told what came
//! of it; so does each agent asked, for its own part of the way.
//!
//! The way that worked last is tried first. Then each neighbour is asked whether it reaches the agent itself, and only
//! then those that know others are asked to look further, with all the neighbours counted as visited: what can be
//! reached over one of them is found over it directly. So ways are short, and in a pool where everyone sees everyone, a
//! search for an agent that is off asks each agent once and goes no further. Agents that may be neighbours, though there
//! is no connection with them yet, come last: dialling them may take long.

use std::collections::{HashSet, VecDeque};

use dci_proto::AgentId;

use super::ask::{Ask, HOPS_LIMIT, VISITED_LIMIT};

/// Agents asked in one search, at most, those asked by others on its behalf included.
pub(crate) const TRIES: u8 = 32;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// Who is asked.
    pub(crate) hop: AgentId,
    /// What.
    pub(crate) ask: Ask,
}

/// A search in progress.
#[derive(Debug)]
pub(crate) struct Search {
    target: AgentId,
    /// Connections the way may have from the agent that searches on.
    hops: u8,
    tries: u8,
    visited: Vec<AgentId>,
    remembered: Option<AgentId>,
    /// To be asked whether they reach the target themselves.
    near: VecDeque<AgentId>,
    /// To be asked to look further.
    far: VecDeque<AgentId>,
    /// Perhaps neighbours, to be asked when nobody else is left.
    others: VecDeque<AgentId>,
}

impl Search {
    /// Begins with what an agent was asked, itself among those visited, or with what it wants itself. Asked in their
    /// order are the `neighbours` it has connections with, then the `others` it might reach.
    pub(crate) fn new(ask: &Ask, remembered: Option<AgentId>, neighbours: Vec<AgentId>, others: Vec<AgentId>) -> Self {
        let barred: HashSet<AgentId> = ask.visited.iter().copied().chain([ask.target]).collect();
        let may = |agent: &AgentId| !barred.contains(agent);
        let neighbours: Vec<AgentId> = neighbours.into_iter().filter(may).collect();
        let remembered = remembered.filter(may);
        let fresh = |agent: &AgentId| may(agent) && Some(*agent) != remembered;
        let mut search = Self {
            target: ask.target,
            hops: ask.hops,
            tries: ask.tries,
            visited: ask.visited.clone(),
            remembered,
            near: neighbours.iter().copied().filter(fresh).collect(),
            far: VecDeque::new(),
            others: others.into_iter().filter(fresh).collect(),
        };
        neighbours.into_iter().for_each(|agent| search.visit(agent));
        search
    }

    /// Whoever is asked puts itself there too, so some room is left.
    fn visit(&mut self, agent: AgentId) {
        if self.visited.len() < VISITED_LIMIT - usize::from(HOPS_LIMIT) && !self.visited.contains(&agent) {
            self.visited.push(agent);
        }
    }

    /// Further agents that may be asked.
    pub(crate) fn tries(&self) -> u8 {
        self.tries
    }

    /// Whether there is anyone left to ask.
    pub(crate) fn knows_more(&self) -> bool {
        self.remembered.is_some() || [&self.near, &self.far, &self.others].iter().any(|agents| !agents.is_empty())
    }

    /// Whom to ask next; `None`: there is no way, or the search has used up what it may use.
    pub(crate) fn next(&mut self) -> Option<Step> {
        // One connection to whoever is asked, and at least one on from there.
        let hops = self.hops.checked_sub(1).filter(|hops| *hops > 0)?;
        let tries = self.tries.checked_sub(1)?;
        if self.near.is_empty() && self.far.is_empty() {
            self.near = std::mem::take(&mut self.others);
        }
        let (hop, hops) = if let Some(remembered) = self.remembered.take() {
            (remembered, hops)
        } else if let Some(near) = self.near.pop_front() {
            (near, 1)
        } else {
            (self.far.pop_front()?, hops)
        };
        self.tries = tries;
        let visited = self.visited.iter().copied().filter(|agent| *agent != hop).collect();
        Some(Step { hop, ask: Ask { target: self.target, hops, tries, time_ms: 0, visited } })
    }

    /// What was asked last led nowhere. `answer` is how many tries are left of those given and whether the agent knows
    /// others to ask; `None` if it did not answer.
    pub(crate) fn failed(&mut self, step: &Step, answer: Option<(u8, bool)>) {
        let Some((tries, more)) = answer else {
            // Others may reach it.
            return self.visited.retain(|agent| *agent != step.hop);
        };
        // It may have used up what it was given, not made more of it.
        self.tries = self.tries.min(tries);
        self.visit(step.hop);
        let looked_further = step.ask.hops > 1 || self.hops <= 2;
        if more && !looked_further {
            self.far.push_back(step.hop);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn id(number: usize) -> AgentId {
        AgentId([number as u8; 32])
    }

    struct Graph {
        links: BTreeSet<(usize, usize)>,
        agents: usize,
        asked: usize,
    }

    impl Graph {
        fn new(agents: usize, links: impl IntoIterator<Item = (usize, usize)>) -> Self {
            Self { links: links.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]).collect(), agents, asked: 0 }
        }

        fn neighbours(&self, of: usize) -> Vec<AgentId> {
            (0..self.agents).filter(|other| self.links.contains(&(of, *other))).map(id).collect()
        }

        /// Looks for a way as agents do; the way, or what is answered.
        fn find(&mut self, at: usize, ask: &Ask) -> Result<Vec<usize>, (u8, bool)> {
            let target = usize::from(ask.target.0[0]);
            if at != target && self.links.contains(&(at, target)) {
                return Ok(vec![at, target]);
            }
            let mut search = Search::new(ask, None, self.neighbours(at), vec![]);
            if ask.hops == 1 {
                return Err((search.tries(), search.knows_more()));
            }
            while let Some(step) = search.next() {
                self.asked += 1;
                let next = usize::from(step.hop.0[0]);
                assert!(!step.ask.visited.contains(&step.hop));
                let mut ask = step.ask.clone();
                ask.visited.push(step.hop);
                match self.find(next, &ask) {
                    Ok(way) => return Ok([vec![at], way].concat()),
                    Err(answer) => search.failed(&step, Some(answer)),
                }
            }
            Err((search.tries(), false))
        }

        fn search(&mut self, from: usize, target: usize, tries: u8) -> Option<Vec<usize>> {
            self.asked = 0;
            let ask = Ask { target: id(target), hops: HOPS_LIMIT, tries, time_ms: 0, visited: vec![id(from)] };
            self.find(from, &ask).ok()
        }

        /// Connections on the shortest way.
        fn distance(&self, from: usize, target: usize) -> Option<usize> {
            let mut reached = BTreeSet::from([from]);
            for hops in 0..self.agents {
                if reached.contains(&target) {
                    return Some(hops);
                }
                let next = self.links.iter().filter(|(a, _)| reached.contains(a)).map(|(_, b)| *b).collect::<Vec<_>>();
                reached.extend(next);
            }
            None
        }
    }

    #[test]
    fn a_row_is_crossed_as_far_as_nine_connections_reach() {
        let mut row = Graph::new(12, (0..11).map(|number| (number, number + 1)));
        assert_eq!(row.search(0, 3, TRIES), Some(vec![0, 1, 2, 3]));
        assert_eq!(row.search(0, 9, TRIES).map(|way| way.len()), Some(10));
        assert_eq!(row.search(0, 10, TRIES), None);
    }

    #[test]
    fn where_everyone_sees_everyone_a_search_for_who_is_off_asks_each_once() {
        let others = (0..10).flat_map(|a| (0..a).map(move |b| (a, b)));
        let mut mesh = Graph::new(11, others);
        assert_eq!(mesh.search(0, 10, TRIES), None);
        assert_eq!(mesh.asked, 9);
    }

    #[test]
    fn a_way_that_is_remembered_is_asked_first_and_as_far_as_need_be() {
        let ask = Ask { target: id(9), hops: HOPS_LIMIT, tries: TRIES, time_ms: 0, visited: vec![id(0)] };
        let mut search = Search::new(&ask, Some(id(2)), vec![id(1)], vec![id(3)]);
        let first = search.next().expect("a step");
        assert_eq!((first.hop, first.ask.hops), (id(2), HOPS_LIMIT - 1));
        search.failed(&first, Some((TRIES, true)));
        let second = search.next().expect("a step");
        assert_eq!((second.hop, second.ask.hops), (id(1), 1));
        assert_eq!(second.ask.visited, [id(0), id(2)]);
        search.failed(&second, None);
        let third = search.next().expect("a step");
        assert_eq!(third.hop, id(3));
        // The second gave no answer: perhaps others reach it.
        assert_eq!(third.ask.visited, [id(0), id(2)]);
    }

    #[test]
    fn whoever_claims_to_have_tries_left_that_it_was_not_given_gets_none() {
        let ask = Ask { target: id(9), hops: HOPS_LIMIT, tries: 2, time_ms: 0, visited: vec![id(0)] };
        let mut search = Search::new(&ask, None, (1..9).map(id).collect(), vec![]);
        let mut asked = 0;
        while let Some(step) = search.next() {
            asked += 1;
            search.failed(&step, Some((255, true)));
        }
        assert_eq!(asked, 2);
    }

    proptest! {
        #[test]
        fn searches_end_ask_no_more_than_allowed_and_find_ways_without_loops(
            links in proptest::collection::vec((0usize..10, 0usize..10), 0..30), tries in 0u8..40,
        ) {
            let mut graph = Graph::new(10, links);
            let found = graph.search(0, 9, tries);
            prop_assert!(graph.asked <= usize::from(tries));
            if let Some(way) = &found {
                let distinct: BTreeSet<_> = way.iter().collect();
                prop_assert_eq!(distinct.len(), way.len(), "{:?}", way);
                prop_assert!(way.len() <= usize::from(HOPS_LIMIT) + 1);
                prop_assert!(way.windows(2).all(|two| graph.links.contains(&(two[0], two[1]))));
            }
        }

        #[test]
        fn with_tries_enough_a_way_is_found_where_there_is_one(
            links in proptest::collection::vec((0usize..8, 0usize..8), 0..20),
        ) {
            let mut graph = Graph::new(8, links);
            // Searching begins where the direct way fails.
            graph.links.remove(&(0, 7));
            graph.links.remove(&(7, 0));
            let found = graph.search(0, 7, u8::MAX);
            prop_assert_eq!(found.is_some(), graph.distance(0, 7).is_some(), "{:?}", graph.links);
        }
    }
}
