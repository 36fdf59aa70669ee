//! Agents with directories, the links between them, and what is on its way; the same run for the same seed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dci_proto::directory::{
    Directory, DirectoryLimits, DirectoryMessage, Effect, Event, Offer, PeerletMode, PeerletOffer, SignedOffer, Stamp,
    offer_message,
};
use dci_proto::message::Envelope;
use dci_proto::{AgentId, MessageId};

/// Where the agents' clocks are when a run begins.
const WALL_CLOCK_MS: u64 = 1_769_860_800_000;

/// Ids as keys are: anywhere.
pub(crate) fn agent(number: usize) -> AgentId {
    AgentId(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

pub(crate) fn offer(whose: usize, sequence: u64, says: &str) -> SignedOffer {
    let peerlet = PeerletOffer {
        kind: "chat".parse().unwrap(),
        version: "1.0.0".into(),
        mode: PeerletMode::Service,
        description: says.into(),
        executes: false,
    };
    let offer = Offer::new("0.1.0", [peerlet]);
    let mut id = [0; 16];
    id[..8].copy_from_slice(&sequence.to_le_bytes());
    let message = offer_message(MessageId(id), agent(whose), sequence, &offer).unwrap();
    SignedOffer::of(Arc::new(Envelope { message, ttl: 0, signature: [0; 64] })).unwrap()
}

/// The same numbers for the same seed (splitmix64).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

struct Parcel {
    from: usize,
    to: usize,
    /// Which link it is on: one that was cut takes what is on it along.
    link: u64,
    message: DirectoryMessage,
}

pub(crate) struct World {
    pub(crate) directories: Vec<Directory>,
    limits: DirectoryLimits,
    numbers: BTreeMap<AgentId, usize>,
    members: Vec<BTreeSet<AgentId>>,
    links: BTreeMap<(usize, usize), u64>,
    made_links: u64,
    random: Random,
    slowest_ms: u64,
    pub(crate) lost_percent: u64,
    pub(crate) now_ms: u64,
    on_the_way: BTreeMap<(u64, u64), Parcel>,
    sent: u64,
    /// What each agent says of itself, and how far its clock is ahead of the first one's.
    pub(crate) says: Vec<String>,
    pub(crate) clock_ahead_ms: Vec<u64>,
    /// The newest each agent has seen of each, since it started.
    newest: Vec<BTreeMap<AgentId, Stamp>>,
    /// Messages by kind since they were last looked at.
    pub(crate) messages: BTreeMap<&'static str, u64>,
    /// Offers carried by messages, all together.
    pub(crate) offers_carried: u64,
}

impl World {
    /// So many agents, all members, none linked, each with an offer.
    pub(crate) fn new(count: usize, seed: u64, slowest_ms: u64, limits: DirectoryLimits) -> Self {
        let all: BTreeSet<AgentId> = (0..count).map(agent).collect();
        let mut world = Self {
            directories: (0..count).map(|one| Directory::new(agent(one), limits)).collect(),
            limits,
            numbers: (0..count).map(|one| (agent(one), one)).collect(),
            members: vec![all; count],
            links: BTreeMap::new(),
            made_links: 0,
            random: Random(seed),
            slowest_ms,
            lost_percent: 0,
            now_ms: 0,
            on_the_way: BTreeMap::new(),
            sent: 0,
            says: (0..count).map(|one| format!("agent {one}")).collect(),
            clock_ahead_ms: vec![0; count],
            newest: vec![BTreeMap::new(); count],
            messages: BTreeMap::new(),
            offers_carried: 0,
        };
        for one in 0..count {
            world.start(one);
        }
        world
    }

    /// An agent starts, or starts again and knows nothing.
    pub(crate) fn start(&mut self, one: usize) {
        let linked: Vec<usize> = (0..self.directories.len()).filter(|other| self.is_linked(one, *other)).collect();
        for other in &linked {
            self.cut(one, *other);
        }
        self.directories[one] = Directory::new(agent(one), self.limits);
        self.newest[one].clear();
        self.happens(one, Event::Members(self.members[one].clone()));
        self.issue(one);
        for other in linked {
            self.link(one, other);
        }
    }

    /// An agent signs what it says.
    pub(crate) fn issue(&mut self, one: usize) {
        let clock_ms = WALL_CLOCK_MS + self.now_ms + self.clock_ahead_ms[one];
        let sequence = self.directories[one].next_sequence(clock_ms);
        let offer = offer(one, sequence, &self.says[one]);
        self.happens(one, Event::OwnChanged(offer));
    }

    fn key(one: usize, two: usize) -> (usize, usize) {
        (one.min(two), one.max(two))
    }

    pub(crate) fn is_linked(&self, one: usize, two: usize) -> bool {
        self.links.contains_key(&Self::key(one, two))
    }

    pub(crate) fn link(&mut self, one: usize, two: usize) {
        if one == two || self.is_linked(one, two) {
            return;
        }
        self.made_links += 1;
        self.links.insert(Self::key(one, two), self.made_links);
        self.happens(one, Event::LinkUp(agent(two)));
        self.happens(two, Event::LinkUp(agent(one)));
        self.tell_neighbours(one);
        self.tell_neighbours(two);
    }

    pub(crate) fn cut(&mut self, one: usize, two: usize) {
        if self.links.remove(&Self::key(one, two)).is_none() {
            return;
        }
        self.happens(one, Event::LinkDown(agent(two)));
        self.happens(two, Event::LinkDown(agent(one)));
        self.tell_neighbours(one);
        self.tell_neighbours(two);
    }

    fn tell_neighbours(&mut self, one: usize) {
        let linked: Vec<usize> = (0..self.directories.len()).filter(|other| self.is_linked(one, *other)).collect();
        let told: Vec<AgentId> = linked.iter().map(|other| agent(*other)).collect();
        for other in linked {
            self.happens(other, Event::Neighbours(agent(one), told.clone()));
        }
    }

    /// One agent hears of the members.
    pub(crate) fn set_members(&mut self, one: usize, numbers: impl Iterator<Item = usize>) {
        self.members[one] = numbers.map(agent).collect();
        self.newest[one].retain(|agent, _| self.members[one].contains(agent));
        self.happens(one, Event::Members(self.members[one].clone()));
    }

    /// Lets time pass and everything happen that happens in it.
    pub(crate) fn run(&mut self, for_ms: u64) {
        let until_ms = self.now_ms + for_ms;
        loop {
            let parcel_ms = self.on_the_way.keys().next().map(|(at_ms, _)| *at_ms);
            let due = self.directories.iter().enumerate().filter_map(|(one, of)| of.due_ms().map(|due| (due, one)));
            let due = due.min();
            let next_ms = parcel_ms.into_iter().chain(due.map(|(due_ms, _)| due_ms)).min();
            let Some(next_ms) = next_ms.filter(|next_ms| *next_ms <= until_ms) else { break };
            self.now_ms = self.now_ms.max(next_ms);
            match due.filter(|(due_ms, _)| parcel_ms.is_none_or(|parcel_ms| *due_ms <= parcel_ms)) {
                Some((_, one)) => self.happens(one, Event::Tick),
                None => self.arrive(),
            }
        }
        self.now_ms = until_ms;
    }

    fn arrive(&mut self) {
        let Some((_, parcel)) = self.on_the_way.pop_first() else { return };
        let Parcel { from, to, link, message } = parcel;
        if self.links.get(&Self::key(from, to)) != Some(&link) {
            return;
        }
        let from = agent(from);
        let event = match message {
            DirectoryMessage::Offers { offers, answer } => {
                let offers = offers.into_iter().map(|envelope| SignedOffer::of(envelope).unwrap()).collect();
                Event::Received { from, offers, answer }
            }
            message => Event::Message { from, message },
        };
        self.happens(to, event);
    }

    /// Something happens to an agent; what must always hold is looked at.
    pub(crate) fn happens(&mut self, one: usize, event: Event) {
        let effects = self.directories[one].handle(self.now_ms, event);
        self.directories[one].validate().unwrap_or_else(|fault| panic!("agent {one} at {} ms: {fault}", self.now_ms));
        for (whose, newest) in &self.newest[one] {
            let now = self.directories[one].get(*whose).map(SignedOffer::stamp);
            assert!(now.is_some_and(|now| now >= *newest), "agent {one}: an older offer came in a newer one's place");
        }
        self.newest[one] = self.directories[one].iter().map(|offer| (offer.agent(), offer.stamp())).collect();
        for effect in effects {
            match effect {
                Effect::Send { to, message } => self.send(one, self.numbers[&to], message),
                Effect::Reissue { .. } => self.issue(one),
            }
        }
    }

    fn send(&mut self, from: usize, to: usize, message: DirectoryMessage) {
        let kind = match &message {
            DirectoryMessage::Digest(_) => "digest",
            DirectoryMessage::Versions { .. } => "versions",
            DirectoryMessage::Next { .. } => "next",
            DirectoryMessage::Have(_) => "have",
            DirectoryMessage::Want(_) => "want",
            DirectoryMessage::Offers { offers, .. } => {
                self.offers_carried += offers.len() as u64;
                "offers"
            }
        };
        *self.messages.entry(kind).or_default() += 1;
        let link = self.links.get(&Self::key(from, to)).copied();
        if let Some(link) = link.filter(|_| self.random.below(100) >= self.lost_percent) {
            self.sent += 1;
            let at_ms = self.now_ms + 1 + self.random.below(self.slowest_ms);
            self.on_the_way.insert((at_ms, self.sent), Parcel { from, to, link, message });
        }
    }

    /// What an agent knows others to say.
    pub(crate) fn known(&self, one: usize) -> BTreeMap<usize, String> {
        let said = |offer: &SignedOffer| offer.offer().peerlets()[0].description.clone();
        self.directories[one].iter().map(|offer| (self.numbers[&offer.agent()], said(offer))).collect()
    }

    /// What all of them say.
    pub(crate) fn said(&self) -> BTreeMap<usize, String> {
        self.says.iter().cloned().enumerate().collect()
    }

    pub(crate) fn all_agree(&self) -> bool {
        (0..self.directories.len()).all(|one| self.known(one) == self.said())
    }
}
