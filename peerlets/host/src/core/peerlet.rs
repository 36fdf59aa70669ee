//! One peerlet's messages that wait, by the instance they are for.

use std::collections::{BTreeMap, VecDeque};

use dci_proto::SessionId;

use super::{BACKOFF_FIRST_MS, BACKOFF_LIMIT_MS, Policy, ProcessId, Ticket, Work};
use crate::manifest::Mode;

/// What an instance is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    /// All messages.
    Service,
    /// Those of a session.
    Session(SessionId),
    /// One.
    Message(Ticket),
}

/// The messages for one instance, which may have a process or wait for one.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) queue: VecDeque<Work>,
    pub(super) process: Option<ProcessId>,
    /// Starts in a row that came to nothing.
    pub(super) failures: u32,
    pub(super) retry_at_ms: u64,
}

/// A peerlet: its rules and its slots. Slots without process and messages are forgotten.
#[derive(Debug)]
pub(super) struct Peerlet {
    pub(super) policy: Policy,
    pub(super) slots: BTreeMap<Place, Slot>,
    /// Messages in all queues.
    pub(super) waiting: usize,
    /// Processes of it.
    pub(super) live: usize,
    /// It is to go when its processes have.
    pub(super) forgotten: bool,
}

impl Peerlet {
    pub(super) fn new(policy: Policy) -> Self {
        Self { policy, slots: BTreeMap::new(), waiting: 0, live: 0, forgotten: false }
    }

    /// Which instance a message is for. One for a session peerlet that names none begins a session with its own id.
    pub(super) fn place(&self, work: &Work) -> Place {
        match self.policy.mode {
            Mode::Oneshot => Place::Message(work.ticket),
            Mode::Session => Place::Session(work.session.unwrap_or(SessionId(work.id.0))),
            Mode::Service => Place::Service,
        }
    }

    pub(super) fn push(&mut self, work: Work) {
        let place = self.place(&work);
        self.slots.entry(place).or_default().queue.push_back(work);
        self.waiting += 1;
    }

    /// Takes the next message for a place out of its queue.
    pub(super) fn pop(&mut self, place: Place) -> Option<Work> {
        let work = self.slots.get_mut(&place)?.queue.pop_front()?;
        self.waiting -= 1;
        Some(work)
    }

    /// Takes all that waits, in the order in which it came.
    pub(super) fn take_waiting(&mut self) -> Vec<Work> {
        let mut all: Vec<Work> = self.slots.values_mut().flat_map(|slot| slot.queue.drain(..)).collect();
        all.sort_by_key(|work| work.ticket);
        self.waiting = 0;
        self.forget_empty();
        all
    }

    /// Takes what waits for one place.
    pub(super) fn take_queue(&mut self, place: Place) -> Vec<Work> {
        let queue: Vec<Work> =
            self.slots.get_mut(&place).map(|slot| slot.queue.drain(..).collect()).unwrap_or_default();
        self.waiting -= queue.len();
        queue
    }

    pub(super) fn forget_empty(&mut self) {
        self.slots.retain(|_, slot| slot.process.is_some() || !slot.queue.is_empty());
    }

    /// The place whose message has waited longest for a process that may be started now.
    pub(super) fn hungriest(&self, now_ms: u64) -> Option<(Ticket, Place)> {
        if self.waiting == 0 {
            return None;
        }
        let hungry = self.slots.iter().filter(|(_, slot)| slot.process.is_none() && slot.retry_at_ms <= now_ms);
        hungry.filter_map(|(place, slot)| slot.queue.front().map(|work| (work.ticket, *place))).min()
    }
}

/// How long to wait after so many failures in a row.
pub(super) fn backoff_ms(failures: u32) -> u64 {
    let doublings = failures.saturating_sub(1).min(u64::BITS / 2);
    BACKOFF_FIRST_MS.saturating_mul(1 << doublings).min(BACKOFF_LIMIT_MS)
}
