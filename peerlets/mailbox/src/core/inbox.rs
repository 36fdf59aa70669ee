//! What came to this agent and is not dealt with: in which order it is handed out, and how much one sender may leave here.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::AgentId;
use dci_proto::message::{Message, UserName};

use super::upkeep::HandOut;
use super::{Limits, Place};

/// Whose messages take turns with those of others: a user at an agent. Messages to a session keep their order whoever sent
/// them, so they count as the agent's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Sender {
    agent: AgentId,
    user: Option<UserName>,
}

impl Sender {
    pub(crate) fn of(message: &Message) -> Self {
        let user = message.from.user.clone().filter(|_| message.session.is_none());
        Self { agent: message.from.agent, user }
    }
}

impl From<AgentId> for Sender {
    fn from(agent: AgentId) -> Self {
        Self { agent, user: None }
    }
}

/// A message that came.
#[derive(Debug, Clone)]
struct Pending {
    sender: Sender,
    /// How often it was handed out, ever.
    attempts: u32,
}

/// What one sender has here.
#[derive(Debug, Clone, Default)]
struct OfSender {
    /// Not handed out since the mailbox was opened. They go in the order in which they came.
    ready: BTreeSet<Place>,
    /// Handed out and not dealt with.
    handed: usize,
}

impl OfSender {
    fn count(&self) -> usize {
        self.ready.len() + self.handed
    }
}

/// All that is not dealt with. Senders take turns, so that one that floods holds up nobody else.
#[derive(Debug, Clone)]
pub(crate) struct Inbox {
    limits: Limits,
    pending: BTreeMap<Place, Pending>,
    senders: BTreeMap<Sender, OfSender>,
    /// Whose message was handed out last.
    last: Option<Sender>,
}

impl Inbox {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, pending: BTreeMap::new(), senders: BTreeMap::new(), last: None }
    }

    /// A message came; `handed`: and is handed out.
    pub(crate) fn add(&mut self, place: Place, sender: Sender, attempts: u32, handed: bool) {
        if self.pending.insert(place, Pending { sender: sender.clone(), attempts }).is_some() {
            return;
        }
        let of_sender = self.senders.entry(sender).or_default();
        if handed {
            of_sender.handed += 1;
        } else {
            of_sender.ready.insert(place);
        }
    }

    /// A message was dealt with.
    pub(crate) fn settled(&mut self, place: Place) {
        let Some(pending) = self.pending.remove(&place) else { return };
        let Some(of_sender) = self.senders.get_mut(&pending.sender) else { return };
        if !of_sender.ready.remove(&place) {
            of_sender.handed = of_sender.handed.saturating_sub(1);
        }
        if of_sender.count() == 0 {
            self.senders.remove(&pending.sender);
        }
    }

    /// The next messages to be handed out, at most so many; they count as handed out.
    pub(super) fn hand_out(&mut self, limit: usize) -> Vec<HandOut> {
        let mut handouts = Vec::new();
        while handouts.len() < limit
            && let Some(sender) = self.whose_turn()
            && let Some(of_sender) = self.senders.get_mut(&sender)
            && let Some(place) = of_sender.ready.pop_first()
        {
            of_sender.handed += 1;
            self.last = Some(sender);
            let Some(pending) = self.pending.get_mut(&place) else { continue };
            pending.attempts = pending.attempts.saturating_add(1);
            handouts.push(HandOut { place, attempt: pending.attempts });
        }
        handouts
    }

    /// The sender after the last one that has something to be handed out.
    fn whose_turn(&self) -> Option<Sender> {
        let has_some = |(_, of_sender): &(&Sender, &OfSender)| self.may_hand_out(of_sender);
        let after = self.last.as_ref().and_then(|last| {
            let others = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
            self.senders.range(others).find(has_some)
        });
        after.or_else(|| self.senders.iter().find(has_some)).map(|(sender, _)| sender.clone())
    }

    fn may_hand_out(&self, of_sender: &OfSender) -> bool {
        !of_sender.ready.is_empty() && of_sender.handed < self.limits.handed_of_sender
    }

    /// Whether nothing that is here can be handed out now.
    pub(crate) fn is_idle(&self) -> bool {
        !self.senders.values().any(|of_sender| self.may_hand_out(of_sender))
    }

    /// Whether a message of a sender that comes now may be handed out at once: nothing of it waits, and not too much of it
    /// is out.
    pub(crate) fn is_free(&self, sender: &Sender) -> bool {
        let of_sender = self.senders.get(sender);
        of_sender.is_none_or(|of_sender| of_sender.ready.is_empty() && of_sender.handed < self.limits.handed_of_sender)
    }

    /// Whether there is room for one more of an agent.
    pub(crate) fn has_room(&self, agent: AgentId, limits: &Limits) -> bool {
        let of_agent = self.senders.range(Sender::from(agent)..).take_while(|(sender, _)| sender.agent == agent);
        let count: usize = of_agent.map(|(_, of_sender)| of_sender.count()).sum();
        self.pending.len() < limits.pending && count < limits.pending_of_sender
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
        let mut inbox = Inbox::new(Limits::default());
        for place in [3, 1, 2] {
            inbox.add(Place(place), AgentId([1; 32]).into(), 0, false);
        }
        let first: Vec<u64> = inbox.hand_out(2).into_iter().map(|handout| handout.place.0).collect();
        assert_eq!((first, inbox.is_idle()), (vec![1, 2], false));
        inbox.settled(Place(1));
        assert_eq!(inbox.hand_out(9), [HandOut { place: Place(3), attempt: 1 }]);
        assert!(inbox.is_idle() && inbox.hand_out(9).is_empty() && inbox.len() == 2);
    }

    #[test]
    fn senders_take_turns_and_none_has_too_many_out() {
        let limits = Limits { handed_of_sender: 2, ..Limits::default() };
        let (ana, ben) = (AgentId([1; 32]), AgentId([2; 32]));
        let mut inbox = Inbox::new(limits);
        (1..=5).for_each(|place| inbox.add(Place(place), ana.into(), 0, false));
        inbox.add(Place(6), ben.into(), 0, false);
        let mut next = || inbox.hand_out(1).first().map(|handout| handout.place.0);
        assert_eq!([next(), next(), next(), next()], [Some(1), Some(6), Some(2), None], "two of the first are out");
        assert!(inbox.is_idle() && !inbox.is_free(&ana.into()) && inbox.is_free(&ben.into()));
        inbox.settled(Place(1));
        assert_eq!(inbox.hand_out(9), [HandOut { place: Place(3), attempt: 1 }]);
    }

    #[test]
    fn users_of_one_agent_take_turns_too() {
        let of = |user: &str| Sender { agent: AgentId([1; 32]), user: Some(user.parse().expect("a name")) };
        let mut inbox = Inbox::new(Limits { pending_of_sender: 4, ..Limits::default() });
        (1..=3).for_each(|place| inbox.add(Place(place), of("ana"), 0, false));
        inbox.add(Place(4), of("ben"), 0, false);
        let order: Vec<u64> = inbox.hand_out(9).into_iter().map(|handout| handout.place.0).collect();
        assert_eq!(order, [1, 4, 2, 3]);
        assert!(!inbox.has_room(AgentId([1; 32]), &inbox.limits), "all of an agent count together");
    }

    #[test]
    fn one_sender_leaves_room_for_others() {
        let limits = Limits { pending: 3, pending_of_sender: 2, ..Limits::default() };
        let (ana, ben) = (AgentId([1; 32]), AgentId([2; 32]));
        let mut inbox = Inbox::new(limits);
        inbox.add(Place(1), ana.into(), 0, false);
        inbox.add(Place(2), ana.into(), 0, false);
        assert!(!inbox.has_room(ana, &limits) && inbox.has_room(ben, &limits));
        inbox.add(Place(3), ben.into(), 0, false);
        assert!(!inbox.has_room(ben, &limits), "all are {}", inbox.len());
        inbox.settled(Place(1));
        assert!(inbox.has_room(ana, &limits) && inbox.has_room(ben, &limits));
    }
}
