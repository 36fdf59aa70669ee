//! The neighbours of an agent, and theirs.

use std::collections::{BTreeMap, BTreeSet};

use crate::AgentId;

#[derive(Debug, Clone)]
struct Link {
    slot: usize,
    neighbours: BTreeSet<AgentId>,
}

/// The neighbours. Each has a small number, its slot, as long as it is one.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    limit: usize,
    links: BTreeMap<AgentId, Link>,
    free: BTreeSet<usize>,
}

impl Links {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, links: BTreeMap::new(), free: (0..limit).collect() }
    }

    pub(crate) fn up(&mut self, agent: AgentId) {
        if self.links.contains_key(&agent) {
            return;
        }
        if let Some(slot) = self.free.pop_first() {
            self.links.insert(agent, Link { slot, neighbours: BTreeSet::new() });
        }
    }

    /// The slot that is free now.
    pub(crate) fn down(&mut self, agent: AgentId) -> Option<usize> {
        let slot = self.links.remove(&agent)?.slot;
        self.free.insert(slot);
        Some(slot)
    }

    pub(crate) fn set_neighbours(&mut self, agent: AgentId, neighbours: Vec<AgentId>) {
        if let Some(link) = self.links.get_mut(&agent) {
            link.neighbours = neighbours.into_iter().take(self.limit).collect();
        }
    }

    pub(crate) fn slot(&self, agent: AgentId) -> Option<usize> {
        self.links.get(&agent).map(|link| link.slot)
    }

    /// Whether a neighbour has said that another agent is its neighbour, and the other has said the same: a message lost for a
    /// link that only one end believes in would be nobody's.
    pub(crate) fn is_neighbour_of(&self, neighbour: AgentId, other: AgentId) -> bool {
        let says = |one: AgentId, two: AgentId| self.links.get(&one).is_some_and(|link| link.neighbours.contains(&two));
        says(neighbour, other) && says(other, neighbour)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (AgentId, usize)> {
        self.links.iter().map(|(agent, link)| (*agent, link.slot))
    }
}
