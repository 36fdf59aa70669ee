//! Agents with their rows, and links that lose, double and mix up what they carry, while processes die and disks fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dci_proto::message::{Body, Envelope, Message, Receipt, ReceiptState, Recipient, Sender};
use dci_proto::{AgentId, MessageId, SessionId};

use super::memory::MemoryRows;
use super::{
    Accepted, Core, Fact, Limits, Note, Now, Outcome, Place, Plan, Retention, SentRow, Settlement, State, Sweep, Upkeep,
};

pub(super) const AGENTS: usize = 3;
/// The wall clock is this far ahead of the steady one.
const WALL_MS: u64 = 1_700_000_000_000;
const LONG_MS: u64 = 20 * 24 * 60 * 60 * 1_000;

/// The same numbers for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one_in(&mut self, number: u64) -> bool {
        number > 0 && self.below(number) == 0
    }
}

fn agent(number: usize) -> AgentId {
    AgentId([number as u8 + 1; 32])
}

/// What is on a link.
#[derive(Clone)]
enum Packet {
    Message(Arc<Envelope>),
    Receipt(Receipt),
    /// A peerlet is done; not a packet, but it takes its time as they do.
    Done(Place),
}

struct Node {
    rows: MemoryRows,
    core: Core,
    unsaved: Upkeep,
    sweep: Sweep,
    /// Counts starts, so that a peerlet of an earlier life says nothing any more.
    life: u32,
}

/// How unkind the world is; each is "one in so many", 0 never.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unkindness {
    pub(super) loses: u64,
    pub(super) doubles: u64,
    pub(super) dies: u64,
    pub(super) disk_fails: u64,
}

pub(super) const KIND: Unkindness = Unkindness { loses: 0, doubles: 0, dies: 0, disk_fails: 0 };

pub(super) struct World {
    nodes: Vec<Node>,
    random: Random,
    unkind: Unkindness,
    pub(super) away: [bool; AGENTS],
    pub(super) now_ms: u64,
    packets: BTreeMap<(u64, u64), (usize, usize, u32, Packet)>,
    count: u64,
    limits: Limits,
    retention: Retention,
    /// Ranks seen so far, by sender, place, recipient.
    ranks: BTreeMap<(usize, Place, AgentId), State>,
    /// What was taken as new, by recipient, sender, session: places of the sender in order.
    taken: BTreeMap<(usize, AgentId, Option<SessionId>), Vec<Place>>,
    pub(super) new: BTreeSet<(usize, AgentId, MessageId)>,
    /// Recipients that joined later.
    joined: BTreeSet<(usize, Place, AgentId)>,
    settled: BTreeSet<(usize, Place)>,
    pub(super) sent_again: usize,
}

impl World {
    pub(super) fn new(seed: u64, unkind: Unkindness, limits: Limits) -> Self {
        let node = |number| {
            let rows = MemoryRows::default();
            let now = Now { steady_ms: 0, wall_ms: WALL_MS };
            let Ok(core) = Core::recover(agent(number), limits, now, &rows);
            Node { rows, core, unsaved: Upkeep::default(), sweep: Sweep::default(), life: 0 }
        };
        Self {
            nodes: (0..AGENTS).map(node).collect(),
            random: Random(seed),
            unkind,
            away: [false; AGENTS],
            now_ms: 0,
            packets: BTreeMap::new(),
            count: 0,
            limits,
            retention: Retention { age_ms: 60 * 60 * 1_000, bytes: 20_000 },
            ranks: BTreeMap::new(),
            taken: BTreeMap::new(),
            new: BTreeSet::new(),
            joined: BTreeSet::new(),
            settled: BTreeSet::new(),
            sent_again: 0,
        }
    }

    fn now(&self) -> Now {
        Now { steady_ms: self.now_ms, wall_ms: WALL_MS + self.now_ms }
    }

    /// One transaction: with luck it is durable and told; else nothing, or the process dies before it tells.
    fn transact<T>(&mut self, at: usize, change: impl FnOnce(&mut Plan<'_, MemoryRows>) -> T) -> Option<T> {
        let now = self.now();
        let node = &mut self.nodes[at];
        let mut rows = node.rows.clone();
        let mut plan = Plan::new(&node.core, &mut rows, now, usize::MAX);
        let Ok(()) = plan.upkeep(&node.unsaved);
        let answer = change(&mut plan);
        let Outcome { facts, notes, next } = plan.finish();
        let Ok(sweep) = node.sweep.step(&node.core, &mut rows, now, self.retention);
        if self.random.one_in(self.unkind.disk_fails) {
            return None;
        }
        let node = &mut self.nodes[at];
        node.rows = rows;
        node.sweep = if sweep.is_due(now) { sweep } else { Sweep::default() };
        let unsaved = std::mem::take(&mut node.unsaved);
        self.note_new(at, &notes, &facts);
        if self.random.one_in(self.unkind.dies) {
            self.restart(at);
            return None;
        }
        self.nodes[at].core.committed(now, facts, next);
        for note in notes {
            if let Note::Relayed { of, .. } = note {
                let delay_ms = 1 + self.random.below(20_000);
                let life = self.nodes[at].life;
                self.put(delay_ms, (at, at, life, Packet::Done(of)));
            }
        }
        for sending in unsaved.sendings {
            self.send(at, sending);
        }
        self.check(at);
        Some(answer)
    }

    /// What was taken as new, whether or not anybody was told.
    fn note_new(&mut self, at: usize, notes: &[Note], facts: &[Fact]) {
        for note in notes {
            let Note::Logged { direction: super::Direction::Received, envelope, .. } = note else { continue };
            let message = &envelope.message;
            let sender = message.from.agent;
            assert!(self.new.insert((at, sender, message.id)), "taken twice");
            let from = (0..AGENTS).find(|number| agent(*number) == sender).expect("an agent");
            // Its place at the sender is in the body.
            let place = Place(message.body.text().parse().expect("a place"));
            let taken = self.taken.entry((at, sender, message.session)).or_default();
            if message.session.is_some() && !self.joined.contains(&(from, place, agent(at))) {
                assert!(taken.last().is_none_or(|last| *last < place), "out of order: {taken:?}, then {place:?}");
                taken.push(place);
            }
        }
        for fact in facts {
            if let Fact::Settled(place) = fact {
                assert!(self.settled.insert((at, *place)), "settled twice");
            }
        }
    }

    fn restart(&mut self, at: usize) {
        let now = self.now();
        let node = &mut self.nodes[at];
        let Ok(core) = Core::recover(agent(at), self.limits, now, &node.rows);
        (node.core, node.unsaved, node.sweep) = (core, Upkeep::default(), Sweep::default());
        node.life += 1;
        self.check(at);
    }

    /// No recipient's state goes back, nothing in memory contradicts the rows or itself.
    fn check(&mut self, at: usize) {
        let node = &self.nodes[at];
        node.core.outbox.validate();
        assert_eq!(node.core.inbox.len(), node.rows.pending.len());
        let sent: BTreeSet<Place> = node.rows.sent.values().map(|row| row.place).collect();
        let waiting = node.rows.waiting.iter().map(|(key, row)| (*key, row.state()));
        let ended = node.rows.ended.iter().map(|(key, status)| (*key, status.state.clone()));
        for ((place, recipient), state) in waiting.chain(ended).filter(|((place, _), _)| sent.contains(place)) {
            let before = self.ranks.insert((at, place, recipient), state.clone());
            let Some(before) = before else { continue };
            assert!(
                before.rank() <= state.rank() && (!before.is_final() || before == state),
                "{before:?} to {state:?}"
            );
        }
    }

    fn put(&mut self, delay_ms: u64, packet: (usize, usize, u32, Packet)) {
        self.count += 1;
        self.packets.insert((self.now_ms + delay_ms, self.count), packet);
    }

    /// Over a link, with its mischief.
    fn transmit(&mut self, from: usize, to: usize, packet: &Packet) {
        let copies = if self.random.one_in(self.unkind.doubles) { 2 } else { 1 };
        for _ in 0..copies {
            if self.away[from] || self.away[to] || self.random.one_in(self.unkind.loses) {
                self.dropped(from, to, packet);
                continue;
            }
            let delay_ms = 1 + self.random.below(3_000);
            self.put(delay_ms, (from, to, 0, packet.clone()));
        }
    }

    /// Some that are lost are dropped by the third agent, which says so.
    fn dropped(&mut self, from: usize, to: usize, packet: &Packet) {
        let Packet::Message(envelope) = packet else { return };
        if from != to && self.random.one_in(2) {
            let hop = AGENTS - from - to;
            let state = ReceiptState::Expired { hop: agent(hop), reason: "no hops left".into() };
            self.put(500, (hop, from, 0, Packet::Receipt(Receipt { of: envelope.message.id, state })));
        }
    }

    fn send(&mut self, at: usize, sending: super::Sendable) {
        let node = &self.nodes[at];
        let envelope = node.rows.envelope(sending.place);
        let message = &envelope.message;
        let mut attempts = 0;
        let mut to = Vec::new();
        for recipient in &sending.recipients {
            if !node.core.outbox.is_on_the_way(sending.place, *recipient) {
                continue;
            }
            let status = node.rows.status(sending.place, *recipient).expect("a recipient");
            assert!(status.state.is_waiting(), "sent though it is {status:?}");
            assert!(message.expires_ms > WALL_MS + self.now_ms, "sent though it has expired");
            let earlier = node.rows.waiting.iter().find(|((place, agent), row)| {
                *place < sending.place
                    && agent == recipient
                    && row.session.is_some()
                    && row.session == message.session
                    && row.expires_ms > WALL_MS + self.now_ms
            });
            assert!(earlier.is_none(), "{:?} is sent before {earlier:?}", sending.place);
            attempts = attempts.max(status.attempts);
            to.push(*recipient);
        }
        assert!(attempts >= sending.attempts || to.is_empty(), "the rows know of {attempts} of {}", sending.attempts);
        assert_eq!(usize::from(sending.attempt), (sending.attempts - 1).min(255) as usize);
        self.sent_again += usize::from(sending.attempt > 0);
        for recipient in to {
            let number = (0..AGENTS).find(|number| agent(*number) == recipient).expect("an agent");
            self.transmit(at, number, &Packet::Message(Arc::clone(&envelope)));
        }
    }

    pub(super) fn post(&mut self, at: usize) {
        self.count += 1;
        let mut id = [0; 16];
        id[..8].copy_from_slice(&self.count.to_be_bytes());
        let session = [None, Some(SessionId([1; 16])), Some(SessionId([2; 16]))][self.random.below(3) as usize];
        let one = (at + 1 + self.random.below(AGENTS as u64 - 1) as usize) % AGENTS;
        let all = self.random.one_in(3);
        let (to, mut recipients) = if all {
            (Recipient::All, (0..AGENTS).map(agent).collect())
        } else {
            (Recipient::Agent(agent(one)), vec![agent(one)])
        };
        if all && self.random.one_in(2) {
            recipients.truncate(AGENTS - 1);
        }
        let life_ms = if self.random.one_in(3) { 1_000 + self.random.below(120_000) } else { LONG_MS };
        let place = self.nodes[at].core.next_place();
        let message = Message {
            id: MessageId(id),
            kind: "test".parse().expect("a type"),
            session,
            sent_ms: WALL_MS + self.now_ms,
            expires_ms: WALL_MS + self.now_ms + life_ms,
            from: Sender { agent: agent(at), user: None, session: None },
            to,
            in_reply_to: None,
            replay_of: None,
            body: Body::of_text(&place.0.to_string()).expect("a body"),
        };
        let envelope = Arc::new(Envelope { message, ttl: 9, signature: [0; 64] });
        // What is due takes places first, so the place in the body is right only if nothing is.
        if self.nodes[at].unsaved.handouts.is_empty() {
            self.transact(at, |plan| plan.post(&envelope, &recipients).map(|posted| posted.expect("posted")));
        }
    }

    fn join(&mut self, at: usize) {
        let all: Vec<AgentId> = (0..AGENTS).map(agent).collect();
        let before: BTreeSet<_> = self.nodes[at].rows.waiting.keys().copied().collect();
        self.transact(at, |plan| plan.joined(&Recipient::All, &all));
        let after: Vec<_> = self.nodes[at].rows.waiting.keys().copied().filter(|key| !before.contains(key)).collect();
        self.joined.extend(after.into_iter().map(|(place, agent)| (at, place, agent)));
    }

    /// The next packet, if its time has come.
    fn arrive(&mut self) {
        let Some(((_, _), (from, to, life, packet))) = self.packets.pop_first() else { return };
        match packet {
            Packet::Message(envelope) => {
                let id = envelope.message.id;
                let answer = self.transact(to, |plan| plan.accept(&envelope, None));
                let state = match answer {
                    Some(Ok(Accepted::New(_))) => ReceiptState::Delivered,
                    Some(Ok(Accepted::Known(state))) => state,
                    Some(Ok(Accepted::Expired)) => {
                        ReceiptState::Expired { hop: agent(to), reason: "it had expired".into() }
                    }
                    Some(Ok(Accepted::Full)) | None => return,
                };
                self.transmit(to, from, &Packet::Receipt(Receipt { of: id, state }));
            }
            Packet::Receipt(receipt) => {
                self.transact(to, |plan| plan.receipt(agent(from), &receipt));
            }
            Packet::Done(place) if life == self.nodes[to].life => {
                let settlement = match self.random.below(3) {
                    0 => Settlement::Refused { reason: "no".into() },
                    1 => Settlement::Expired,
                    _ => Settlement::Handled { exit_status: 0 },
                };
                let pending = self.nodes[to].rows.pending.get(&place).copied();
                let settled = self.transact(to, |plan| plan.settle(place, &settlement));
                match (settled, pending) {
                    (Some(Ok(Some(state))), Some(pending)) => {
                        let sender = (0..AGENTS).find(|number| agent(*number) == pending.sender).expect("an agent");
                        self.transmit(to, sender, &Packet::Receipt(Receipt { of: pending.id, state }));
                    }
                    // The peerlet is still there, and says it again.
                    (None, Some(_)) => self.put(1_000, (from, to, life, Packet::Done(place))),
                    (settled, pending) => assert!(pending.is_none(), "{settled:?}"),
                }
            }
            Packet::Done(_) => {}
        }
    }

    /// Does what is due at an agent.
    fn step(&mut self, at: usize) {
        let now = self.now();
        let limit = 1 + self.random.below(8) as usize;
        let node = &mut self.nodes[at];
        if node.unsaved.is_empty() {
            let mut due = node.core.step(now, limit, limit);
            let (noted, at_once) = due.sendings.into_iter().partition(|sending| sending.to_note);
            due.sendings = noted;
            node.unsaved = due;
            Vec::into_iter(at_once).for_each(|sending| self.send(at, sending));
        }
        if !self.nodes[at].unsaved.is_empty() {
            self.transact(at, |_| ());
        }
    }

    /// Lets time go to the next thing that happens, but not beyond a time.
    fn pass(&mut self, until_ms: u64) {
        let now = self.now();
        let due = self.nodes.iter().filter_map(|node| {
            let idle = node.core.idle_ms(now).filter(|_| node.unsaved.is_empty() && node.core.inbox.is_idle());
            if node.unsaved.is_empty() && node.core.inbox.is_idle() { idle } else { Some(0) }
        });
        let due = due.min().map(|idle_ms| self.now_ms + idle_ms.max(1));
        let packet = self.packets.first_key_value().map(|((at_ms, _), _)| *at_ms);
        self.now_ms = due.into_iter().chain(packet).min().unwrap_or(until_ms).clamp(self.now_ms, until_ms);
        while self.packets.first_key_value().is_some_and(|((at_ms, _), _)| *at_ms <= self.now_ms) {
            self.arrive();
        }
        (0..AGENTS).for_each(|at| self.step(at));
    }

    pub(super) fn run(&mut self, until_ms: u64) {
        while self.now_ms < until_ms {
            self.pass(until_ms);
        }
    }

    /// A while of trouble, with things asked at random.
    pub(super) fn trouble(&mut self, acts: u64) {
        for _ in 0..acts {
            let at = self.random.below(AGENTS as u64) as usize;
            match self.random.below(12) {
                0..=5 => self.post(at),
                6 => self.away[at] = !self.away[at],
                7 => {
                    let other = agent(self.random.below(AGENTS as u64) as usize);
                    let now = self.now();
                    self.nodes[at].core.seen(now, other);
                }
                8 if self.unkind.dies > 0 => self.restart(at),
                9 => self.join(at),
                _ => {}
            }
            let until_ms = self.now_ms + self.random.below(5_000);
            self.run(until_ms);
        }
    }

    /// All is well again; `seen`: and everybody notices at once.
    pub(super) fn heal(&mut self, seen: bool) {
        (self.unkind, self.away) = (KIND, [false; AGENTS]);
        let now = self.now();
        for at in 0..AGENTS {
            for other in (0..AGENTS).filter(|_| seen) {
                self.nodes[at].core.seen(now, agent(other));
            }
        }
    }

    /// Messages that wait, at all agents.
    fn waiting(&self) -> usize {
        self.nodes.iter().map(|node| node.rows.waiting.len()).sum()
    }

    /// All that is still valid has arrived, and all that arrived was dealt with.
    pub(super) fn check_all_arrived(&self) {
        assert_eq!(self.waiting(), 0, "after all was well again");
        for node in &self.nodes {
            assert!(node.rows.pending.is_empty() && node.core.outbox.waiting() == 0);
            for (id, SentRow { place, .. }) in &node.rows.sent {
                let envelope = node.rows.envelope(*place);
                let message = &envelope.message;
                for ((_, recipient), status) in node.rows.ended.iter().filter(|((at, _), _)| at == place) {
                    let to = (0..AGENTS).find(|number| agent(*number) == *recipient).expect("an agent");
                    let taken = self.new.contains(&(to, message.from.agent, *id));
                    let valid = message.expires_ms > WALL_MS + self.now_ms;
                    assert!(taken || !valid, "{id} is valid, and {status:?}");
                }
            }
        }
    }
}
