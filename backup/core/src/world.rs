//! An owner and its peers over links that lose and delay what they carry, while processes die, disks are lost or rot, peers
//! are away for weeks or lie, and clocks leap. Laws are checked as it goes; a broken one ends the run with a sentence.

mod link;
mod owner;
mod peer;

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::AgentId;

use crate::now::{DAY_MS, HOUR_MS, MINUTE_MS, Now, mix};
use crate::object::ObjectName;

use link::{Links, Packet};
use owner::Owner;
use peer::PeerNode;

pub(crate) const PEERS: usize = 4;
const OWNER: usize = 0;
const WALL_MS: u64 = 1_770_000_000_000;
const TICK_MS: u64 = 20 * MINUTE_MS;

/// The same numbers for the same seed.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0) % limit
    }

    fn one_in(&mut self, number: u64) -> bool {
        number > 0 && self.below(number) == 0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.below(256) as u8).collect()
    }
}

fn agent(number: usize) -> AgentId {
    AgentId([number as u8 + 1; 32])
}

/// How unkind the world is; each is "one in so many" ticks (or packets), 0 never.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Unkindness {
    pub(crate) loses: u64,
    pub(crate) dies: u64,
    pub(crate) loses_disk: u64,
    pub(crate) rots: u64,
    pub(crate) lies: u64,
    pub(crate) goes_away: u64,
    pub(crate) clock_leaps: u64,
}

pub(crate) const KIND: Unkindness =
    Unkindness { loses: 0, dies: 0, loses_disk: 0, rots: 0, lies: 0, goes_away: 0, clock_leaps: 0 };

/// The clocks of one machine.
#[derive(Debug, Clone, Copy, Default)]
struct Clocks {
    started_ms: u64,
    skew_ms: i64,
    leaps: u64,
}

impl Clocks {
    fn now(&self, now_ms: u64) -> Now {
        Now { steady_ms: now_ms - self.started_ms, wall_ms: (WALL_MS + now_ms).saturating_add_signed(self.skew_ms) }
    }
}

/// Bytes that a peer does not have though its owner may count on them, and since when: nobody can know yet.
#[derive(Debug, Default)]
struct Excused(BTreeMap<ObjectName, (u64, bool)>);

pub(crate) struct World {
    random: Random,
    unkind: Unkindness,
    now_ms: u64,
    links: Links,
    owner: Owner,
    peers: Vec<PeerNode>,
    /// Until when a node is away. The owner is node 0.
    away_until_ms: [u64; PEERS + 1],
    excused: Vec<Excused>,
    /// A law that was broken.
    broken: Option<String>,
}

impl World {
    pub(crate) fn new(seed: u64, unkind: Unkindness) -> Self {
        let mut random = Random(seed);
        let owner = Owner::new(&mut random);
        let peers = (1..=PEERS).map(|number| PeerNode::new(number, Clocks::default())).collect();
        Self {
            random,
            unkind,
            now_ms: 0,
            links: Links::default(),
            owner,
            peers,
            away_until_ms: [0; PEERS + 1],
            excused: (0..PEERS).map(|_| Excused::default()).collect(),
            broken: None,
        }
    }

    fn law(&mut self, holds: bool, said: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(format!("after {} h: {}", self.now_ms / HOUR_MS, said()));
        }
    }

    fn is_away(&self, node: usize) -> bool {
        self.now_ms < self.away_until_ms[node]
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, for_ms: u64) -> Result<(), String> {
        let until_ms = self.now_ms + for_ms;
        while self.now_ms < until_ms {
            let tick_ms = self.now_ms + TICK_MS;
            while let Some((at_ms, from, to, life, packet)) = self.links.next_before(tick_ms) {
                self.now_ms = self.now_ms.max(at_ms);
                self.deliver(from, to, life, packet);
                if let Some(broken) = self.broken.take() {
                    return Err(broken);
                }
            }
            self.now_ms = tick_ms;
            self.misfortune();
            self.tick();
            self.check();
            if let Some(broken) = self.broken.take() {
                return Err(broken);
            }
        }
        Ok(())
    }

    fn send(&mut self, from: usize, to: usize, packet: Packet) {
        if !self.random.one_in(self.unkind.loses) {
            let delay_ms = 1 + self.random.below(60_000);
            let life = self.life(to);
            self.links.put(self.now_ms, delay_ms, (from, to, life, packet));
        }
    }

    fn life(&self, node: usize) -> u64 {
        if node == OWNER { self.owner.clocks.started_ms } else { self.peers[node - 1].clocks.started_ms }
    }

    fn deliver(&mut self, from: usize, to: usize, life: u64, packet: Packet) {
        if self.is_away(from) || self.is_away(to) || life != self.life(to) {
            return;
        }
        let answers = if to == OWNER {
            self.clear_excuses(from, &packet);
            self.owner.take(from, packet, self.now_ms)
        } else {
            self.peers[to - 1].take(from, packet, self.now_ms, &mut self.random)
        };
        for (node, packet) in answers {
            self.send(to, node, packet);
        }
        self.take_facts();
    }

    /// What the owner learns now it can know from now on.
    fn clear_excuses(&mut self, from: usize, packet: &Packet) {
        let excused = &mut self.excused[from - 1].0;
        match packet {
            Packet::Report { sent_ms, .. } => excused.retain(|_, (since_ms, told)| !*told || *since_ms > *sent_ms),
            Packet::Answer { sent_ms, challenge, answer } if self.owner.is_lie(from, challenge, *answer) => {
                excused.retain(|_, (since_ms, _)| *since_ms > *sent_ms);
            }
            _ => {}
        }
    }

    fn take_facts(&mut self) {
        for index in 0..PEERS {
            for name in std::mem::take(&mut self.peers[index].not_kept) {
                self.excused[index].0.insert(name, (self.now_ms, false));
            }
            for name in std::mem::take(&mut self.peers[index].kept) {
                self.excused[index].0.remove(&name);
            }
            for dropped in std::mem::take(&mut self.peers[index].dropped) {
                let needed = self.owner.is_needed(&dropped.name);
                self.law(!needed, || format!("peer {index} dropped {:?}, which a kept archive needs", dropped.name));
                let credit_ms = crate::aging::AWAY_CREDIT_MS * self.peers[index].clocks.leaps;
                let at_least_ms = crate::aging::GRACE_MS.saturating_sub(credit_ms + HOUR_MS);
                let kept_ms = self.now_ms - dropped.learnt_ms;
                self.law(kept_ms >= at_least_ms, || {
                    format!("peer {index} kept what was deleted for {kept_ms} ms only")
                });
            }
        }
        if let Some(broken) = self.owner.broken.take() {
            self.law(false, || broken);
        }
    }

    fn misfortune(&mut self) {
        let unkind = self.unkind;
        if self.random.one_in(unkind.dies) {
            self.owner.restart(self.now_ms);
        }
        if self.random.one_in(unkind.clock_leaps) {
            self.owner.clocks.skew_ms = self.leap();
        }
        for index in 0..PEERS {
            let node = index + 1;
            if self.random.one_in(unkind.dies) {
                self.peers[index].restart(self.now_ms);
            }
            if self.random.one_in(unkind.loses_disk) {
                for name in self.peers[index].lose_disk(self.now_ms) {
                    self.excused[index].0.insert(name, (self.now_ms, true));
                }
            }
            if self.random.one_in(unkind.rots)
                && let Some(name) = self.peers[index].rot(&mut self.random)
            {
                self.excused[index].0.insert(name, (self.now_ms, false));
            }
            if unkind.lies > 0 {
                self.peers[index].lies = self.random.one_in(unkind.lies);
            }
            if !self.is_away(node) && self.random.one_in(unkind.goes_away) {
                let hours = if self.random.one_in(3) { 24 * 30 } else { 24 };
                self.away_until_ms[node] = self.now_ms + self.random.below(hours * HOUR_MS);
            }
            if self.random.one_in(unkind.clock_leaps) && self.peers[index].clocks.leaps < 2 {
                self.peers[index].clocks.skew_ms = self.leap();
                self.peers[index].clocks.leaps += 1;
            }
        }
    }

    fn leap(&mut self) -> i64 {
        self.random.below(4_000 * DAY_MS) as i64 - (400 * DAY_MS) as i64
    }

    /// A peer that is away sleeps: its clocks go on, it does nothing.
    fn tick(&mut self) {
        let reachable: Vec<bool> = (1..=PEERS).map(|node| !self.is_away(node)).collect();
        let mut packets: Vec<(usize, usize, Packet)> = Vec::new();
        let busy = self.unkind.dies > 0 || self.owner.archives() < 3;
        for (node, packet) in self.owner.tick(self.now_ms, &reachable, &mut self.random, busy) {
            packets.push((OWNER, node, packet));
        }
        for (peer, _) in self.peers.iter_mut().zip(&reachable).filter(|(_, reachable)| **reachable) {
            let from = peer.node;
            packets.extend(peer.tick(self.now_ms, &mut self.random).into_iter().map(|(to, packet)| (from, to, packet)));
        }
        packets.into_iter().for_each(|(from, to, packet)| self.send(from, to, packet));
        self.take_facts();
    }

    fn check(&mut self) {
        for index in 0..PEERS {
            let changed = std::mem::take(&mut self.peers[index].changed);
            let wrong = if changed { self.owner.truth.what_is_invalid(&self.peers[index]) } else { None };
            self.law(wrong.is_none(), || {
                format!("the copy of peer {index} is no valid repository: {}", wrong.unwrap_or_default())
            });
            let (known, said) = (self.peers[index].copy.catalogue().state().sequence(), self.owner.sequence());
            self.law(known <= said, || format!("peer {index} knows what was never said"));
            let counted = self.owner.counted(index + 1);
            let not_there = counted
                .into_iter()
                .find(|name| !self.peers[index].has_intact(name) && !self.excused[index].0.contains_key(name));
            self.law(not_there.is_none(), || format!("{not_there:?} counts at peer {index}, which does not have it"));
        }
    }

    /// All comes back, nothing goes wrong any more.
    pub(crate) fn heal(&mut self) {
        self.unkind = KIND;
        self.away_until_ms = [0; PEERS + 1];
        self.peers.iter_mut().for_each(|peer| peer.lies = false);
    }

    /// What is not as it should be when all has been well for long.
    pub(crate) fn what_is_missing(&self) -> Option<String> {
        if let Some(wrong) = self.owner.what_is_missing() {
            return Some(wrong);
        }
        let live = self.owner.live();
        let lacks = |peer: &&PeerNode| live.iter().any(|name| !peer.has_intact(name));
        self.peers.iter().find(lacks).map(|peer| format!("peer {} lacks something", peer.node - 1))
    }

    /// Somebody took over the owner's PC and deletes all.
    pub(crate) fn hijack(&mut self) -> BTreeSet<ObjectName> {
        self.owner.delete_all(self.now_ms)
    }

    /// Whether each peer that is not lying still has all of these.
    pub(crate) fn all_have(&self, names: &BTreeSet<ObjectName>) -> bool {
        self.peers.iter().all(|peer| names.iter().all(|name| peer.has_intact(name)))
    }
}
