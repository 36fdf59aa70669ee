//! How messages find their way over agents in between: which neighbours get a copy, and when a message is delivered, has
//! been here already, or can go no further.
//!
//! Pure: events and the time go in, effects come out. The shell checks signatures before it hands anything in, keeps the bytes
//! of what passed lately, and does what the effects say.
//!
//! A message for an agent next to this one goes there and nowhere else; one for an agent from which something came lately goes
//! back the way that came; any other is flooded. Floods spare neighbours that the one before has as neighbours too (self-pruning,
//! Lim and Kim 2001), so that in a pool where everyone sees everyone a broadcast is sent once to each. A copy over a slow
//! short way may come after one over a fast long way, with more hops left: then only the number is passed on
//! ([`Effect::Raise`]), so that who is within reach is reached and no link carries the message twice in one direction.

mod early;
mod limits;
pub(crate) mod links;
mod routes;
mod seen;

use crate::message::TTL_LIMIT;
use crate::{AgentId, MessageId};

use early::EarlyRaises;
pub use limits::RouterLimits;
use links::Links;
use routes::Routes;
use seen::{Passage, Seen};

/// One sending of a message. Its sender sends it again while nobody has acknowledged it; agents in between must not take
/// that for the copy they have seen. Later sendings are flooded and spare nobody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Passing {
    /// The agent that signed it: an id is unique only among its messages, so that nobody stops another's by using its id.
    pub origin: AgentId,
    /// Which of its messages.
    pub id: MessageId,
    /// How often its sender had sent it before.
    pub attempt: u8,
}

/// What the router must know of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Card {
    /// Which message, and which sending of it.
    pub passing: Passing,
    /// The one agent it is for; `None`: a group or all.
    pub to: Option<AgentId>,
    /// Whether it is for this agent (too).
    pub mine: bool,
}

/// How a copy was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// To all neighbours.
    Flood,
    /// To one neighbour, because it is the recipient or the way there.
    Directed,
}

/// What happens to a router.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A neighbour can be reached.
    LinkUp(AgentId),
    /// It cannot any more.
    LinkDown(AgentId),
    /// A neighbour's own neighbours, anew whenever they change.
    Neighbours(AgentId, Vec<AgentId>),
    /// This agent sends a message, with so many hops.
    Send(Card, u8),
    /// A copy came from a neighbour, with so many hops. Its signature is right and it has not expired.
    Receive {
        /// The neighbour.
        from: AgentId,
        /// The message.
        card: Card,
        /// Hops left when it was sent here.
        ttl: u8,
        /// How it was sent.
        spread: Spread,
    },
    /// A neighbour says that what it sent may go further than it said then.
    Raised {
        /// The neighbour.
        from: AgentId,
        /// Which.
        passing: Passing,
        /// Hops left.
        ttl: u8,
    },
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Send a neighbour a copy.
    Forward {
        /// The neighbour.
        to: AgentId,
        /// Which.
        passing: Passing,
        /// Hops left.
        ttl: u8,
        /// How.
        spread: Spread,
    },
    /// Tell a neighbour that a copy it has may go further.
    Raise {
        /// The neighbour.
        to: AgentId,
        /// Which.
        passing: Passing,
        /// Hops left.
        ttl: u8,
    },
    /// It is for this agent. Whether it was delivered in an earlier sending is for the mailbox to know.
    Deliver(Passing),
    /// Its hops are used up here and there is somebody whom it would have gone to: its sender is told.
    Expired(Passing),
    /// It was here already.
    Duplicate(Passing),
}

/// The router of one agent.
#[derive(Debug, Clone)]
pub struct Router {
    agent: AgentId,
    limits: RouterLimits,
    links: Links,
    routes: Routes,
    seen: Seen,
    early: EarlyRaises,
}

impl Router {
    /// A router without neighbours.
    #[must_use]
    pub fn new(agent: AgentId, limits: RouterLimits) -> Self {
        Self {
            agent,
            links: Links::new(limits.links),
            routes: Routes::new(limits.routes, limits.route_life_ms),
            seen: Seen::new(limits.seen, limits.seen_life_ms),
            early: EarlyRaises::new(limits.early_raises),
            limits,
        }
    }

    /// Takes in what happened at a time (ms of a steady clock); answers what to do, in order.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::LinkUp(agent) => {
                if agent != self.agent {
                    self.links.up(agent);
                }
            }
            Event::LinkDown(agent) => {
                if let Some(slot) = self.links.down(agent) {
                    self.seen.forget_link(slot);
                }
                self.routes.forget_way(agent);
            }
            Event::Neighbours(agent, neighbours) => self.links.set_neighbours(agent, neighbours),
            Event::Send(card, ttl) => self.send(now_ms, card, ttl, &mut effects),
            Event::Receive { from, card, ttl, spread } => {
                self.receive(now_ms, from, card, (ttl.min(TTL_LIMIT), spread), &mut effects);
            }
            Event::Raised { from, passing, ttl } => self.raised(from, passing, ttl.min(TTL_LIMIT), &mut effects),
        }
        effects
    }

    /// The neighbours, in order.
    pub fn neighbours(&self) -> impl Iterator<Item = AgentId> {
        self.links.iter().map(|(agent, _)| agent)
    }

    /// The neighbour over which an agent would be reached now, if that is known.
    #[must_use]
    pub fn next_hop(&self, now_ms: u64, to: AgentId) -> Option<AgentId> {
        if self.links.slot(to).is_some() { Some(to) } else { self.routes.way(now_ms, to) }
    }

    /// Messages remembered, ways learnt: for figures.
    #[must_use]
    pub fn table_sizes(&self) -> (usize, usize) {
        (self.seen.len(), self.routes.len())
    }

    fn send(&mut self, now_ms: u64, card: Card, ttl: u8, effects: &mut Vec<Effect>) {
        let passing = card.passing;
        if self.seen.get_mut(passing).is_some() {
            effects.push(Effect::Duplicate(passing));
            return;
        }
        if card.mine {
            effects.push(Effect::Deliver(passing));
        }
        let mut passage = Passage::new(card.to, ttl.min(TTL_LIMIT));
        if card.to != Some(self.agent) {
            self.go_on(now_ms, passing, &mut passage, effects);
        }
        self.seen.insert(now_ms, passing, passage);
    }

    fn receive(
        &mut self,
        now_ms: u64,
        from: AgentId,
        card: Card,
        (ttl, spread): (u8, Spread),
        effects: &mut Vec<Effect>,
    ) {
        let passing = card.passing;
        // Who sends with no hops left breaks the protocol, who is no neighbour is not listened to.
        let (Some(slot), Some(mut left)) = (self.links.slot(from), ttl.checked_sub(1)) else { return };
        if self.seen.get_mut(passing).is_some() {
            effects.push(Effect::Duplicate(passing));
            return self.raised(from, passing, ttl, effects);
        }
        if passing.origin != self.agent {
            self.routes.learn(now_ms, passing.origin, from);
        }
        if let Some(raised) = self.early.take(passing) {
            left = left.max(raised.saturating_sub(1));
        }
        let mut passage = Passage::new(card.to, left);
        passage.know(slot, left + 1);
        if spread == Spread::Flood && passing.attempt == 0 {
            // They have it from the one it came from, with as many hops left as here.
            for (agent, shared) in self.links.iter() {
                if self.links.is_neighbour_of(from, agent) {
                    passage.know(shared, left);
                }
            }
        }
        if card.mine {
            effects.push(Effect::Deliver(passing));
        }
        if card.to != Some(self.agent) {
            self.go_on(now_ms, passing, &mut passage, effects);
        }
        self.seen.insert(now_ms, passing, passage);
    }

    /// Sends a message on for the first time, or says that it cannot be.
    fn go_on(&self, now_ms: u64, passing: Passing, passage: &mut Passage, effects: &mut Vec<Effect>) {
        let (targets, spread) = self.targets(now_ms, passing, passage);
        if targets.is_empty() {
            return;
        }
        if passage.left == 0 {
            effects.push(Effect::Expired(passing));
            return;
        }
        passage.spread = Some(spread);
        for (to, slot) in targets {
            passage.know(slot, passage.left - 1);
            effects.push(Effect::Forward { to, passing, ttl: passage.left, spread });
        }
    }

    /// Who should get a message that has not been sent on yet.
    fn targets(&self, now_ms: u64, passing: Passing, passage: &Passage) -> (Vec<(AgentId, usize)>, Spread) {
        let way = passage.to.and_then(|to| {
            let next = || self.routes.way(now_ms, to).filter(|_| passing.attempt == 0);
            let linked = |agent: AgentId| self.links.slot(agent).map(|slot| (agent, slot));
            linked(to).or_else(|| next().and_then(linked).filter(|(_, slot)| passage.known(*slot).is_none()))
        });
        match way {
            Some(way) => (vec![way], Spread::Directed),
            None => {
                let lack = self.links.iter().filter(|(_, slot)| passage.known(*slot).is_none());
                (lack.collect(), Spread::Flood)
            }
        }
    }

    /// A neighbour's copy has more hops left than the one that came first.
    fn raised(&mut self, from: AgentId, passing: Passing, ttl: u8, effects: &mut Vec<Effect>) {
        let (Some(from_slot), Some(left)) = (self.links.slot(from), ttl.checked_sub(1)) else { return };
        let Some(passage) = self.seen.get_mut(passing) else {
            self.early.note(passing, ttl);
            return;
        };
        passage.know(from_slot, left + 1);
        if left <= passage.left || passage.to == Some(self.agent) {
            return;
        }
        passage.left = left;
        let directed = passage.spread == Some(Spread::Directed);
        let direct = passage.to.and_then(|to| self.links.slot(to).map(|slot| (to, slot)));
        for (to, slot) in self.links.iter().filter(|link| direct.is_none_or(|direct| direct == *link)) {
            match passage.known(slot) {
                Some(theirs) if theirs + 1 < left => effects.push(Effect::Raise { to, passing, ttl: left }),
                // It went one way only, and this is not it.
                None if directed => continue,
                None => {
                    let spread = if direct.is_some() { Spread::Directed } else { Spread::Flood };
                    passage.spread = Some(spread);
                    effects.push(Effect::Forward { to, passing, ttl: left, spread });
                }
                Some(_) => continue,
            }
            passage.know(slot, left - 1);
        }
    }

    /// The limits it keeps.
    #[must_use]
    pub fn limits(&self) -> &RouterLimits {
        &self.limits
    }
}
