//! The directory: time until it is the same everywhere, and what that takes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dci_proto::directory::{
    Directory, DirectoryLimits, DirectoryMessage, Effect, Event, Offer, PeerletMode, PeerletOffer, SignedOffer,
    offer_message,
};
use dci_proto::message::Envelope;
use dci_proto::{AgentId, MessageId};
use serde::Serialize;

use crate::network::{Network, Post, agent, memory_kib, number};

/// When the agents' clocks begin.
const WALL_CLOCK_MS: u64 = 1_769_860_800_000;
/// How long nothing changes, to see what that costs.
const QUIET_MS: u64 = 10 * 60 * 1_000;

/// How long it is waited, when all is known, until all is said.
const SETTLED_MS: u64 = 5_000;

const SHIPPED: [(&str, &str); 10] = [
    ("chat", "Rooms and talks between two, with history"),
    ("run", "Runs commands on agents that allow it"),
    ("whiteboard", "A page to draw on together"),
    ("files", "Sends files and folders to other agents"),
    ("flow", "Runs steps on many agents, one after the other"),
    ("word-count", "Counts the lines, words and bytes of a text"),
    ("sql", "Answers SQL about tables of the message itself"),
    ("python", "Runs the Python program in the message"),
    ("tally", "Keeps a tally for each sender, and tells it"),
    ("titles", "Lists the titles of the books in a message"),
];

fn offer(whose: usize, sequence: u64) -> SignedOffer {
    let peerlets = SHIPPED.iter().map(|(kind, description)| PeerletOffer {
        kind: kind.parse().unwrap(),
        version: "1.0.0".into(),
        mode: PeerletMode::Service,
        description: (*description).into(),
        executes: *kind == "run",
    });
    let id = MessageId(agent(whose).0[..16].try_into().unwrap());
    let message = offer_message(id, agent(whose), sequence, &Offer::new("0.1.0", peerlets)).unwrap();
    SignedOffer::of(Arc::new(Envelope { message, ttl: 0, signature: [0; 64] })).unwrap()
}

fn size<T: Serialize>(value: &T) -> u64 {
    postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default()).unwrap() as u64
}

/// What went over links.
#[derive(Default)]
struct Traffic {
    messages: u64,
    bytes: u64,
    offers: u64,
}

struct World<'a> {
    network: &'a Network,
    directories: Vec<Directory>,
    post: Post<(AgentId, Arc<DirectoryMessage>)>,
    /// When each agent's directory wants to know the time.
    due: BTreeSet<(u64, usize)>,
    due_of: Vec<Option<u64>>,
    offer_bytes: BTreeMap<AgentId, u64>,
    /// What has been read of XML once; agents read and check it each for themselves.
    read: BTreeMap<(AgentId, u64), SignedOffer>,
    traffic: Traffic,
    most_pending: usize,
}

impl<'a> World<'a> {
    fn new(network: &'a Network, seed: u64) -> Self {
        let count = network.len();
        let mut world = Self {
            network,
            directories: (0..count).map(|one| Directory::new(agent(one), DirectoryLimits::default())).collect(),
            post: Post::new(seed),
            due: BTreeSet::new(),
            due_of: vec![None; count],
            offer_bytes: (0..count).map(|one| (agent(one), size(&**offer(one, WALL_CLOCK_MS).envelope()))).collect(),
            read: BTreeMap::new(),
            traffic: Traffic::default(),
            most_pending: 0,
        };
        let members: BTreeSet<AgentId> = (0..count).map(agent).collect();
        for one in 0..count {
            world.happens(one, Event::Members(members.clone()));
            world.happens(one, Event::OwnChanged(offer(one, WALL_CLOCK_MS)));
        }
        world
    }

    fn link_all(&mut self) {
        for one in 0..self.network.len() {
            for other in self.network.neighbours(one) {
                self.happens(one, Event::LinkUp(other));
            }
        }
        for one in 0..self.network.len() {
            for other in self.network.neighbours(one) {
                self.happens(number(other), Event::Neighbours(agent(one), self.network.neighbours(one)));
            }
        }
    }

    fn happens(&mut self, one: usize, event: Event) {
        let effects = self.directories[one].handle(self.post.now_ms, event);
        for effect in effects {
            let Effect::Send { to, message } = effect else { continue };
            self.traffic.messages += 1;
            self.traffic.bytes += match &message {
                DirectoryMessage::Offers { offers, .. } => {
                    self.traffic.offers += offers.len() as u64;
                    4 + offers.iter().map(|offer| self.offer_bytes[&offer.message.from.agent]).sum::<u64>()
                }
                message => size(message),
            };
            self.post.send(number(to), (agent(one), Arc::new(message)));
        }
        let due = self.directories[one].due_ms();
        if due != self.due_of[one] {
            if let Some(due) = self.due_of[one] {
                self.due.remove(&(due, one));
            }
            self.due.extend(due.map(|due| (due, one)));
            self.due_of[one] = due;
        }
    }

    fn read(&mut self, envelope: Arc<Envelope>) -> SignedOffer {
        let which = (envelope.message.from.agent, envelope.message.sent_ms);
        self.read.entry(which).or_insert_with(|| SignedOffer::of(envelope).unwrap()).clone()
    }

    /// Lets the next thing happen; answers to whom, if it is not later than that.
    fn step(&mut self, until_ms: u64) -> Option<usize> {
        let due = self.due.first().copied();
        let arrives_ms = self.post.next_ms();
        match due.filter(|(due_ms, _)| arrives_ms.is_none_or(|arrives_ms| *due_ms < arrives_ms)) {
            Some((due_ms, one)) if due_ms <= until_ms => {
                self.post.now_ms = self.post.now_ms.max(due_ms);
                self.happens(one, Event::Tick);
                Some(one)
            }
            None if arrives_ms.is_some_and(|arrives_ms| arrives_ms <= until_ms) => {
                let (to, (from, message)) = self.post.receive()?;
                let event = match Arc::unwrap_or_clone(message) {
                    DirectoryMessage::Offers { offers, answer } => {
                        let offers = offers.into_iter().map(|offer| self.read(offer)).collect();
                        Event::Received { from, offers, answer }
                    }
                    message => Event::Message { from, message },
                };
                self.happens(to, event);
                Some(to)
            }
            _ => None,
        }
    }

    /// Until all agents are as they should be; answers how long it took.
    fn until_all(&mut self, done: impl Fn(&Directory) -> bool) -> u64 {
        let begun_ms = self.post.now_ms;
        let mut waiting: BTreeSet<usize> =
            (0..self.network.len()).filter(|one| !done(&self.directories[*one])).collect();
        while !waiting.is_empty() {
            let one = self.step(u64::MAX).expect("something is due for ever");
            self.most_pending = self.most_pending.max(self.directories[one].table_sizes().1);
            if waiting.contains(&one) && done(&self.directories[one]) {
                waiting.remove(&one);
            }
        }
        self.post.now_ms - begun_ms
    }

    fn run(&mut self, for_ms: u64) {
        let until_ms = self.post.now_ms + for_ms;
        while self.step(until_ms).is_some() {}
        self.post.now_ms = until_ms;
    }

    fn take_traffic(&mut self) -> Traffic {
        std::mem::take(&mut self.traffic)
    }
}

pub(crate) fn head() {
    println!(
        "| agents | links | after | all the same in | messages, KB an agent | offers carried, least | noted at once | memory an agent |"
    );
    println!("|---|---:|---|---:|---:|---:|---:|---:|");
}

fn row(world: &World<'_>, after: &str, took: &str, traffic: &Traffic, least: u64, memory: &str) {
    let count = world.network.len() as u64;
    println!(
        "| {} | {} | {after} | {took} | {:.1}, {:.1} | {}, {least} | {} | {memory} |",
        world.network.name,
        world.network.links(),
        traffic.messages as f64 / count as f64,
        traffic.bytes as f64 / count as f64 / 1_000.0,
        traffic.offers,
        world.most_pending,
    );
}

pub(crate) fn measure(network: &Network, seed: u64) {
    let count = network.len();
    let before_kib = memory_kib("VmRSS:");
    let mut world = World::new(network, seed);
    world.link_all();
    let took_ms = world.until_all(|directory| directory.table_sizes().0 == count);
    let own_kib =
        before_kib.zip(memory_kib("VmRSS:")).map_or(0, |(before, now)| now.saturating_sub(before)) / count as u64;
    let offers_kib = world.directories[0].iter().map(SignedOffer::size_bytes).sum::<usize>() / 1024;
    // Of small pools it would be the allocator that is measured.
    let memory = if count >= 1_000 { format!("{own_kib} KiB, offers {offers_kib} KiB") } else { "".into() };
    let traffic = world.take_traffic();
    row(&world, "start", &format!("{took_ms} ms"), &traffic, (count * (count - 1)) as u64, &memory);
    world.run(SETTLED_MS);
    (world.traffic, world.most_pending) = Default::default();

    let changed = offer(count / 2, WALL_CLOCK_MS + 60_000);
    let (whose, stamp) = (changed.agent(), changed.stamp());
    world.happens(count / 2, Event::OwnChanged(changed));
    let took_ms = world.until_all(|directory| directory.get(whose).is_some_and(|offer| offer.stamp() == stamp));
    let traffic = world.take_traffic();
    row(&world, "a change", &format!("{took_ms} ms"), &traffic, count as u64 - 1, "");

    world.run(SETTLED_MS);
    (world.traffic, world.most_pending) = Default::default();
    world.run(QUIET_MS);
    let traffic = world.take_traffic();
    row(&world, "10 quiet minutes", "", &traffic, 0, "");
}
