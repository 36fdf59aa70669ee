//! What passed lately, and who has it.

use std::collections::{BTreeMap, VecDeque};

use super::{Passing, Spread};
use crate::AgentId;

/// What is remembered of a message that passed.
#[derive(Debug, Clone)]
pub(super) struct Passage {
    pub(super) to: Option<AgentId>,
    /// Hops it has left from here.
    pub(super) left: u8,
    /// How it was sent on; `None` if it was not.
    pub(super) spread: Option<Spread>,
    /// By slot: one more than the hops a neighbour has left for it, at least; 0 for one that may not have it.
    theirs: Vec<u8>,
}

impl Passage {
    pub(super) fn new(to: Option<AgentId>, left: u8) -> Self {
        Self { to, left, spread: None, theirs: Vec::new() }
    }

    /// A neighbour has it, with at least so many hops left.
    pub(super) fn know(&mut self, slot: usize, left: u8) {
        if slot >= self.theirs.len() {
            self.theirs.resize(slot + 1, 0);
        }
        if let Some(theirs) = self.theirs.get_mut(slot) {
            *theirs = (*theirs).max(left + 1);
        }
    }

    /// The hops a neighbour has left for it, at least; `None` if it may not have it.
    pub(super) fn known(&self, slot: usize) -> Option<u8> {
        self.theirs.get(slot).and_then(|theirs| theirs.checked_sub(1))
    }
}

/// What passed lately, bounded in number and time.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    limit: usize,
    life_ms: u64,
    passages: BTreeMap<Passing, Passage>,
    /// When each passed, oldest first.
    order: VecDeque<(u64, Passing)>,
}

impl Seen {
    pub(super) fn new(limit: usize, life_ms: u64) -> Self {
        Self { limit, life_ms, passages: BTreeMap::new(), order: VecDeque::new() }
    }

    pub(super) fn get_mut(&mut self, passing: Passing) -> Option<&mut Passage> {
        self.passages.get_mut(&passing)
    }

    pub(super) fn insert(&mut self, now_ms: u64, passing: Passing, passage: Passage) {
        while let Some((at_ms, oldest)) = self.order.front().copied() {
            if self.order.len() < self.limit && now_ms.saturating_sub(at_ms) <= self.life_ms {
                break;
            }
            self.order.pop_front();
            self.passages.remove(&oldest);
        }
        self.passages.insert(passing, passage);
        self.order.push_back((now_ms, passing));
    }

    /// Whoever has this slot next has none of it.
    pub(super) fn forget_link(&mut self, slot: usize) {
        for theirs in self.passages.values_mut().filter_map(|passage| passage.theirs.get_mut(slot)) {
            *theirs = 0;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.passages.len()
    }
}
