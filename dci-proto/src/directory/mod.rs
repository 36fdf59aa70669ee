//! The directory: who offers what. Each agent signs an [`Offer`] of its peerlets; every agent holds the newest of each member.
//!
//! Pure: events and the time go in, effects come out. The shell checks signatures, keeps links to neighbours, and does what
//! the effects say. No clock orders anything: an agent's own offers are numbered by itself, and nothing else is compared.
//!
//! ```text
//! own offer changes ─ Offers ─► neighbours ─ Have (48 bytes each) ─► theirs ─ Want ─► … ─ Offers ─►
//! link comes up, every 30 s with one neighbour in turn:
//!     Digest (128 bytes) ─► same: nothing · else: Versions of what differs ─► Have, Want ─► Offers
//! ```
//!
//! So an offer reaches each agent once, over whichever neighbour told of it first; what floods is its number. Who learns an
//! offer from a neighbour does not tell those that are neighbours of that one too. What is lost on the way, and what
//! was said while a link was down, is found by the comparisons (anti-entropy, Demers and others 1987).
//!
//! An agent that has lost its numbering (its data went, its clock was set back) finds its own older offer with others, and is
//! told to go on from there ([`Effect::Reissue`]).

mod entries;
mod exchange;
mod limits;
mod offer;
mod peer;
mod pull;
mod signed;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::AgentId;
use crate::router::links::Links;

use entries::Entries;
pub use limits::DirectoryLimits;
pub use offer::{
    DESCRIPTION_LIMIT_CHARS, DIRECTORY_NAMESPACE, DIRECTORY_TYPE, OFFER_LIMIT_BYTES, OFFER_PEERLETS_LIMIT, Offer,
    PeerletMode, PeerletOffer, VERSION_LIMIT_BYTES,
};
use peer::Peer;
pub use signed::{SignedOffer, Stamp, offer_message};
pub use wire::{BUCKETS, DirectoryMessage, Version};

/// What happens to a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A neighbour can be reached.
    LinkUp(AgentId),
    /// It cannot any more.
    LinkDown(AgentId),
    /// A neighbour's own neighbours, anew whenever they change.
    Neighbours(AgentId, Vec<AgentId>),
    /// The members of the pool, anew whenever they change. Who is none is forgotten.
    Members(BTreeSet<AgentId>),
    /// What this agent offers has changed: signed, with a sequence of [`Directory::next_sequence`].
    OwnChanged(SignedOffer),
    /// Offers came from a neighbour ([`DirectoryMessage::Offers`]). Their signatures are right; those that were not are left out.
    Received {
        /// The neighbour.
        from: AgentId,
        /// The offers.
        offers: Vec<SignedOffer>,
        /// Whether they are what was wanted.
        answer: bool,
    },
    /// Anything else a neighbour said.
    Message {
        /// The neighbour.
        from: AgentId,
        /// What it said.
        message: DirectoryMessage,
    },
    /// Time has passed: at [`Directory::due_ms`], or more often.
    Tick,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Tell a neighbour something. It may be lost.
    Send {
        /// The neighbour.
        to: AgentId,
        /// What.
        message: DirectoryMessage,
    },
    /// Others have a newer offer of this agent than it knows of: sign the own one again, with a greater sequence than this.
    Reissue {
        /// The sequence it has to be greater than, as that of [`Directory::next_sequence`] is.
        above: u64,
    },
}

/// The directory, as one agent has it.
#[derive(Debug, Clone)]
pub struct Directory {
    agent: AgentId,
    limits: DirectoryLimits,
    /// The agent itself among them.
    members: BTreeSet<AgentId>,
    entries: Entries,
    links: Links,
    peers: BTreeMap<AgentId, Peer>,
    /// Whose offers are on their way here, and from whom.
    asked_of: BTreeMap<AgentId, AgentId>,
    /// Whose offers neighbours are to be told of, and from whom they came.
    news: BTreeMap<AgentId, AgentId>,
    /// The last sequence that others were seen to have of this agent.
    own_seen: u64,
    announce_from_ms: u64,
    compare_due_ms: u64,
    /// The neighbour compared with last.
    turn: Option<AgentId>,
}

impl Directory {
    /// An empty directory, of an agent that knows no members and no neighbours yet.
    #[must_use]
    pub fn new(agent: AgentId, limits: DirectoryLimits) -> Self {
        Self {
            agent,
            members: BTreeSet::from([agent]),
            entries: Entries::default(),
            links: Links::new(limits.links),
            peers: BTreeMap::new(),
            asked_of: BTreeMap::new(),
            news: BTreeMap::new(),
            own_seen: 0,
            announce_from_ms: 0,
            compare_due_ms: 0,
            turn: None,
            limits,
        }
    }

    /// Takes in what happened at a time (ms of a steady clock); answers what to do, in order.
    pub fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::LinkUp(agent) => self.link_up(now_ms, agent, &mut effects),
            Event::LinkDown(agent) => self.link_down(now_ms, agent, &mut effects),
            Event::Neighbours(agent, neighbours) => self.links.set_neighbours(agent, neighbours),
            Event::Members(members) => self.set_members(now_ms, members, &mut effects),
            Event::OwnChanged(offer) => self.own_changed(offer, &mut effects),
            Event::Received { from, offers, answer } => self.received(now_ms, from, offers, answer, &mut effects),
            Event::Message { from, message } => self.message(now_ms, from, message, &mut effects),
            Event::Tick => self.tick(now_ms, &mut effects),
        }
        self.announce(now_ms, &mut effects);
        effects
    }

    /// When [`Event::Tick`] is next of use; `None`: not before something else happens.
    #[must_use]
    pub fn due_ms(&self) -> Option<u64> {
        let announce = (!self.news.is_empty()).then_some(self.announce_from_ms);
        let compare = (!self.peers.is_empty()).then_some(self.compare_due_ms);
        let asked = self.peers.values().filter_map(|peer| peer.asked.as_ref());
        let patience = asked.map(|asked| asked.at_ms.saturating_add(self.limits.patience_ms)).min();
        [announce, compare, patience].into_iter().flatten().min()
    }

    /// The sequence that this agent's next offer must have: the time of its own clock, or one more than the last.
    #[must_use]
    pub fn next_sequence(&self, wall_clock_ms: u64) -> u64 {
        let last = self.get(self.agent).map_or(0, |own| own.stamp().sequence).max(self.own_seen);
        wall_clock_ms.max(last.saturating_add(1))
    }

    /// Whether an offer would be taken in: one that would not need not have its signature checked.
    #[must_use]
    pub fn lacks(&self, offer: &SignedOffer) -> bool {
        let agent = offer.agent();
        self.members.contains(&agent) && self.entries.lacks(Version { agent, stamp: offer.stamp() })
    }

    /// An agent's offer, if it is known.
    #[must_use]
    pub fn get(&self, agent: AgentId) -> Option<&SignedOffer> {
        self.entries.get(agent)
    }

    /// All offers, in order of their agents.
    pub fn iter(&self) -> impl Iterator<Item = &SignedOffer> {
        self.entries.iter()
    }

    /// Offers known, and versions noted that are to be asked for: for figures.
    #[must_use]
    pub fn table_sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.peers.values().map(|peer| peer.has.len()).sum())
    }

    fn link_up(&mut self, now_ms: u64, agent: AgentId, effects: &mut Vec<Effect>) {
        if agent == self.agent || self.peers.contains_key(&agent) {
            return;
        }
        self.links.up(agent);
        if self.links.slot(agent).is_none() {
            return;
        }
        if self.peers.is_empty() {
            // Not all agents of a pool at once.
            let part = self.limits.compare_every_ms.saturating_mul(u64::from(self.agent.0[31])) / 256;
            self.compare_due_ms = now_ms.saturating_add(self.limits.compare_every_ms).saturating_add(part);
        }
        self.peers.insert(agent, Peer::new(now_ms, &self.limits));
        self.send_digest(now_ms, agent, effects);
    }

    fn link_down(&mut self, now_ms: u64, agent: AgentId, effects: &mut Vec<Effect>) {
        self.links.down(agent);
        let Some(asked) = self.peers.remove(&agent).and_then(|peer| peer.asked) else { return };
        self.free(now_ms, &asked.agents, effects);
        self.compare_due_ms = self.compare_due_ms.min(now_ms);
    }

    fn set_members(&mut self, now_ms: u64, members: BTreeSet<AgentId>, effects: &mut Vec<Effect>) {
        let mut members: BTreeSet<AgentId> = members.into_iter().take(self.limits.entries).collect();
        members.insert(self.agent);
        let before = std::mem::replace(&mut self.members, members);
        self.entries.retain(&self.members);
        self.news.retain(|agent, _| self.members.contains(agent));
        for peer in self.peers.values_mut() {
            peer.has.retain(|agent, _| self.members.contains(agent));
        }
        // What came of a new one while it was none has been passed over.
        let added: Vec<AgentId> = self.members.difference(&before).copied().collect();
        if !added.is_empty() {
            self.compare_due_ms = self.compare_due_ms.min(now_ms);
        }
        for agent in added {
            self.send_digest(now_ms, agent, effects);
        }
    }

    fn own_changed(&mut self, offer: SignedOffer, effects: &mut Vec<Effect>) {
        if offer.agent() != self.agent {
            return;
        }
        let last = self.get(self.agent).map_or(0, |own| own.stamp().sequence).max(self.own_seen);
        if offer.stamp().sequence <= last {
            if self.get(self.agent) != Some(&offer) {
                effects.push(Effect::Reissue { above: last });
            }
            return;
        }
        let envelope = offer.envelope().clone();
        self.entries.put(offer);
        self.settle(self.agent);
        for to in self.peers.keys().copied() {
            let message = DirectoryMessage::Offers { offers: vec![envelope.clone()], answer: false };
            effects.push(Effect::Send { to, message });
        }
    }

    fn tick(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        let late = |peer: &Peer| {
            peer.asked.as_ref().is_some_and(|asked| now_ms.saturating_sub(asked.at_ms) >= self.limits.patience_ms)
        };
        let late: Vec<AgentId> = self.peers.iter().filter(|(_, peer)| late(peer)).map(|(agent, _)| *agent).collect();
        for agent in late {
            self.answered(now_ms, agent, &BTreeSet::new(), effects);
            self.compare_due_ms = self.compare_due_ms.min(now_ms);
        }
        if now_ms < self.compare_due_ms {
            return;
        }
        self.compare_due_ms = now_ms.saturating_add(self.limits.compare_every_ms);
        let after = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.peers.range((after, Bound::Unbounded)).next().or_else(|| self.peers.iter().next());
        if let Some(next) = next.map(|(agent, _)| *agent) {
            self.turn = Some(next);
            self.send_digest(now_ms, next, effects);
        }
    }

    /// Tells neighbours of what is new, unless they were told of something just now.
    fn announce(&mut self, now_ms: u64, effects: &mut Vec<Effect>) {
        if self.news.is_empty() || now_ms < self.announce_from_ms {
            return;
        }
        self.announce_from_ms = now_ms.saturating_add(self.limits.announce_gap_ms);
        let news = std::mem::take(&mut self.news);
        for to in self.peers.keys().copied() {
            let lacks = |from: &AgentId| *from != to && !self.links.is_neighbour_of(*from, to);
            let told = news.iter().filter(|(_, from)| lacks(from));
            let versions: Vec<Version> = told.filter_map(|(agent, _)| self.entries.version(*agent)).collect();
            for page in versions.chunks(self.limits.page_versions.max(1)) {
                effects.push(Effect::Send { to, message: DirectoryMessage::Have(page.to_vec()) });
            }
        }
    }

    /// What is wrong with it, if anything is: for tests, after every event.
    ///
    /// # Errors
    /// What is wrong.
    pub fn validate(&self) -> Result<(), String> {
        self.entries.validate(&self.members)?;
        if self.members.len() > self.limits.entries + 1 || self.peers.len() > self.limits.links {
            return Err("there are more members or neighbours than there may be".into());
        }
        for (neighbour, peer) in &self.peers {
            if peer.has.len() > self.limits.pending {
                return Err(format!("too much is noted of {neighbour}"));
            }
            if peer.asked.as_ref().is_some_and(|asked| asked.agents.len() > self.limits.want_agents) {
                return Err(format!("too much is asked of {neighbour}"));
            }
            let known =
                |(agent, stamp): (&AgentId, &Stamp)| !self.entries.lacks(Version { agent: *agent, stamp: *stamp });
            if peer.has.iter().any(known) {
                return Err(format!("of {neighbour} something is noted that is here"));
            }
            let idle = |agent: &AgentId| !self.asked_of.contains_key(agent);
            if peer.asked.is_none() && peer.has.keys().any(idle) {
                return Err(format!("{neighbour} has something that nobody is asked for"));
            }
        }
        for (agent, neighbour) in &self.asked_of {
            let asked = self.peers.get(neighbour).and_then(|peer| peer.asked.as_ref());
            if asked.is_none_or(|asked| !asked.agents.contains(agent)) {
                return Err(format!("the offer of {agent} is awaited from {neighbour}, who was not asked"));
            }
        }
        Ok(())
    }
}
