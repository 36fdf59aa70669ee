//! What came to this agent and is not dealt with: in which order it is handed out, and how much one sender may leave here.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::AgentId;

use super::upkeep::HandOut;
use super::{Limits, Place};

/// A message that came.
#[derive(Debug, Clone, Copy)]
struct Pending {
    sender: AgentId,
    /// How often it was handed out, ever.
    attempts: u32,
}

/// All that is not dealt with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inbox {
    pending: BTreeMap<Place, Pending>,
    /// Not handed out since the mailbox was opened. They go in the order in which they came.
    ready: BTreeSet<Place>,
    of_sender: BTreeMap<AgentId, usize>,
}

impl Inbox {
    /// A message came; `handed`: and is handed out.
    pub(crate) fn add(&mut self, place: Place, sender: AgentId, attempts: u32, handed: bool) {
        if self.pending.insert(place, Pending { sender, attempts }).is_none() {
            *self.of_sender.entry(sender).or_default() += 1;
        }
        if !handed {
            self.ready.insert(place);
        }
    }

    /// A message was dealt with.
    pub(crate) fn settled(&mut self, place: Place) {
        self.ready.remove(&place);
        let Some(pending) = self.pending.remove(&place) else { return };
        if let Some(count) = self.of_sender.get_mut(&pending.sender) {
            *count -= 1;
            if *count == 0 {
                self.of_sender.remove(&pending.sender);
            }
        }
    }

    /// The next messages to be handed out, at most so many; they count as handed out.
    pub(super) fn hand_out(&mut self, limit: usize) -> Vec<HandOut> {
        let mut handouts = Vec::new();
        while handouts.len() < limit
            && let Some(place) = self.ready.pop_first()
        {
            let Some(pending) = self.pending.get_mut(&place) else { continue };
            pending.attempts = pending.attempts.saturating_add(1);
            handouts.push(HandOut { place, attempt: pending.attempts });
        }
        handouts
    }

    /// Whether nothing must be handed out before a message that comes now.
    pub(crate) fn is_idle(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether there is room for one more of a sender.
    pub(crate) fn has_room(&self, sender: AgentId, limits: &Limits) -> bool {
        let of_sender = self.of_sender.get(&sender).copied().unwrap_or_default();
        self.pending.len() < limits.pending && of_sender < limits.pending_of_sender
    }

    /// Whether a message is not dealt with.
    pub(crate) fn has(&self, place: Place) -> bool {
        self.pending.contains_key(&place)
    }

    /// How many are not dealt with.
    pub(crate) fn len(&self) -> usize {
        self.pending.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_handed_out_once_in_the_order_in_which_they_came() {
        let mut inbox = Inbox::default();
        for place in [3, 1, 2] {
            inbox.add(Place(place), AgentId([1; 32]), 0, false);
        }
        let first: Vec<u64> = inbox.hand_out(2).into_iter().map(|handout| handout.place.0).collect();
        assert_eq!((first, inbox.is_idle()), (vec![1, 2], false));
        inbox.settled(Place(1));
        assert_eq!(inbox.hand_out(9), [HandOut { place: Place(3), attempt: 1 }]);
        assert!(inbox.is_idle() && inbox.hand_out(9).is_empty() && inbox.len() == 2);
    }

    #[test]
    fn one_sender_leaves_room_for_others() {
        let limits = Limits { pending: 3, pending_of_sender: 2, ..Limits::default() };
        let (ana, ben) = (AgentId([1; 32]), AgentId([2; 32]));
        let mut inbox = Inbox::default();
        inbox.add(Place(1), ana, 0, false);
        inbox.add(Place(2), ana, 0, false);
        assert!(!inbox.has_room(ana, &limits) && inbox.has_room(ben, &limits));
        inbox.add(Place(3), ben, 0, false);
        assert!(!inbox.has_room(ben, &limits), "all are {}", inbox.len());
        inbox.settled(Place(1));
        assert!(inbox.has_room(ana, &limits) && inbox.has_room(ben, &limits));
    }
}
