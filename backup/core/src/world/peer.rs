//! A peer: a disk that may rot, and a process that may die or lie.

use std::collections::{BTreeMap, BTreeSet};

use super::link::Packet;
use super::{Clocks, OWNER, PEERS, Random, agent};
use crate::aging::GRACE_MS;
use crate::catalogue::tests::Verify;
use crate::catalogue::{Catalogue, Tail};
use crate::object::ObjectName;
use crate::peersync::{Copy, CopyState, Fetch, FetchFailure, Fetched, Fetcher};
use crate::replication::SendFailure;

/// An object went from a disk.
pub(super) struct Dropped {
    pub(super) name: ObjectName,
    pub(super) learnt_ms: u64,
}

pub(super) struct PeerNode {
    pub(super) node: usize,
    pub(super) clocks: Clocks,
    pub(super) copy: Copy,
    fetcher: Fetcher,
    partial: BTreeMap<ObjectName, Vec<u8>>,
    /// What the disk has. A name with no bytes: it says that it has it and lies.
    disk: BTreeMap<ObjectName, Option<Vec<u8>>>,
    stored_state: CopyState,
    stored_catalogue: Catalogue,
    /// Objects that were found damaged and are not there again yet.
    pub(super) missing: BTreeSet<ObjectName>,
    pub(super) lies: bool,
    catches_up: bool,
    /// When it learnt of deletions, by the true time.
    learnt_ms: BTreeMap<ObjectName, u64>,
    pub(super) not_kept: Vec<ObjectName>,
    pub(super) kept: Vec<ObjectName>,
    pub(super) dropped: Vec<Dropped>,
    /// What it holds has changed since the laws were checked.
    pub(super) changed: bool,
}

impl PeerNode {
    pub(super) fn new(node: usize, clocks: Clocks) -> Self {
        let owner = agent(OWNER);
        let copy = Copy::new(owner, clocks.now(0));
        Self {
            node,
            clocks,
            stored_state: copy.state().clone(),
            copy,
            fetcher: Fetcher::default(),
            partial: BTreeMap::new(),
            disk: BTreeMap::new(),
            stored_catalogue: Catalogue::new(owner),
            missing: BTreeSet::new(),
            lies: false,
            catches_up: true,
            learnt_ms: BTreeMap::new(),
            not_kept: Vec::new(),
            kept: Vec::new(),
            dropped: Vec::new(),
            changed: false,
        }
    }

    pub(super) fn has_intact(&self, name: &ObjectName) -> bool {
        self.disk.get(name).and_then(Option::as_ref).is_some_and(|bytes| ObjectName::of(bytes) == *name)
    }

    fn save(&mut self) {
        self.stored_state = self.copy.state().clone();
        self.stored_catalogue = self.copy.catalogue().clone();
    }

    pub(super) fn restart(&mut self, now_ms: u64) {
        self.clocks.started_ms = now_ms;
        let names: Vec<ObjectName> = self.disk.keys().copied().collect();
        let state = self.stored_state.clone();
        self.copy = Copy::recover(self.stored_catalogue.clone(), names, state, self.clocks.now(now_ms));
        self.fetcher = Fetcher::default();
        self.partial.clear();
        self.changed = true;
        self.catches_up = true;
    }

    /// All is gone, the catalogue too.
    pub(super) fn lose_disk(&mut self, now_ms: u64) -> Vec<ObjectName> {
        let lost = std::mem::take(&mut self.disk).into_keys().collect();
        let fresh = Copy::new(agent(OWNER), self.clocks.now(now_ms));
        self.stored_state = fresh.state().clone();
        self.stored_catalogue = fresh.catalogue().clone();
        self.missing.clear();
        self.learnt_ms.clear();
        self.restart(now_ms);
        lost
    }

    /// A bit of an object is another.
    pub(super) fn rot(&mut self, random: &mut Random) -> Option<ObjectName> {
        let at = random.below(self.disk.len().max(1) as u64) as usize;
        let (name, bytes) = self.disk.iter_mut().nth(at)?;
        *bytes.as_mut()?.first_mut()? ^= 1;
        Some(*name)
    }

    fn store(&mut self, name: ObjectName, bytes: Vec<u8>) {
        // Who lies says that it stored it, and did not.
        let bytes = (!self.lies).then_some(bytes);
        if bytes.is_none() {
            self.not_kept.push(name);
        } else {
            self.kept.push(name);
        }
        self.missing.remove(&name);
        self.disk.insert(name, bytes);
        self.copy.stored(&name);
        self.changed = true;
    }

    /// The bytes, if they are what they should be; an honest peer notes if they are not.
    fn read(&mut self, name: &ObjectName) -> Option<Vec<u8>> {
        if self.has_intact(name) {
            return self.disk.get(name).cloned().flatten();
        }
        if self.disk.contains_key(name) && !self.lies {
            self.disk.remove(name);
            self.missing.insert(*name);
            self.copy.lost(name);
        }
        None
    }

    pub(super) fn tick(&mut self, now_ms: u64, random: &mut Random) -> Vec<(usize, Packet)> {
        let mut packets = Vec::new();
        let now = self.clocks.now(now_ms);
        for object in self.copy.droppable(now, GRACE_MS) {
            self.disk.remove(&object.name);
            self.missing.remove(&object.name);
            self.copy.dropped(&object.name);
            self.changed = true;
            let learnt_ms = self.learnt_ms.remove(&object.name).unwrap_or(now_ms);
            self.dropped.push(Dropped { name: object.name, learnt_ms });
        }
        if random.one_in(20) {
            let at = random.below(self.disk.len().max(1) as u64) as usize;
            if let Some(name) = self.disk.keys().nth(at).copied()
                && self.read(&name).is_none()
                && !self.lies
            {
                packets.push((OWNER, Packet::Damaged { name }));
            }
        }
        if self.catches_up || random.one_in(10) {
            let lacks: Vec<ObjectName> = self.copy.lacking().iter().map(|object| object.name).collect();
            let sequence = self.copy.catalogue().state().sequence();
            for node in (0..=PEERS).filter(|node| *node != self.node) {
                packets.push((node, Packet::Hello { sequence, lacks: lacks.clone() }));
            }
        }
        packets.extend(self.fetch(now_ms));
        packets.push((OWNER, self.report(now_ms)));
        self.stored_state = self.copy.state().clone();
        packets
    }

    fn report(&self, now_ms: u64) -> Packet {
        let holds = self.copy.held().copied().collect();
        let sequence = self.copy.catalogue().state().sequence();
        Packet::Report { holds, sequence, pulls: self.catches_up, sent_ms: now_ms }
    }

    fn fetch(&mut self, now_ms: u64) -> Vec<(usize, Packet)> {
        if !self.catches_up {
            return Vec::new();
        }
        let fetches = self.fetcher.due(self.copy.lacking(), self.clocks.now(now_ms).steady_ms);
        let ask = |fetch: &Fetch| {
            let node = usize::from(fetch.from.0[0]) - 1;
            (node, Packet::Ask { name: fetch.object.name, offset: fetch.offset })
        };
        fetches
            .iter()
            .for_each(|fetch| self.partial.entry(fetch.object.name).or_default().truncate(fetch.offset as usize));
        fetches.iter().map(ask).collect()
    }

    fn take_in(&mut self, tail: &Tail, now_ms: u64) {
        let before: BTreeSet<ObjectName> = self.copy.state().trash.iter().map(|trashed| trashed.object.name).collect();
        let Ok(taken) = self.copy.take_in(tail, &Verify, self.clocks.now(now_ms)) else {
            // A late answer to an earlier question: there is a gap. It asks again.
            return;
        };
        taken.given_up.iter().for_each(|object| self.fetcher.given_up(&object.name));
        for trashed in self.copy.state().trash.iter().filter(|trashed| !before.contains(&trashed.object.name)) {
            self.learnt_ms.insert(trashed.object.name, now_ms);
        }
        self.save();
    }

    pub(super) fn take(
        &mut self,
        from: usize,
        packet: Packet,
        now_ms: u64,
        random: &mut Random,
    ) -> Vec<(usize, Packet)> {
        match packet {
            Packet::Push { name, bytes } => {
                // An owner does not send what it takes for kept: the bytes are looked at.
                if self.copy.holds(&name) && (self.lies || self.read(&name).is_some()) {
                    vec![(OWNER, Packet::Confirm { name })]
                } else if ObjectName::of(&bytes) == name && self.copy.may_take(&name) {
                    self.store(name, bytes);
                    vec![(OWNER, Packet::Confirm { name })]
                } else {
                    vec![(OWNER, Packet::Refuse { name, why: SendFailure::Refused })]
                }
            }
            Packet::Hello { sequence, lacks } => {
                let tail = self.copy.catalogue().tail(sequence);
                let has = lacks.into_iter().filter(|name| self.copy.has(name)).collect();
                vec![(from, Packet::Welcome { tail, has })]
            }
            Packet::Welcome { tail, has } => {
                self.take_in(&tail, now_ms);
                self.fetcher.source(agent(from), from as u64, has);
                if self.copy.lacking().is_empty() && from == OWNER {
                    self.catches_up = false;
                }
                [self.fetch(now_ms), vec![(OWNER, self.report(now_ms))]].concat()
            }
            Packet::Ask { name, offset } => {
                let bytes = if self.lies && self.disk.contains_key(&name) {
                    Some(random.bytes(50))
                } else {
                    self.read(&name).map(|bytes| piece(&bytes, offset, random))
                };
                vec![(from, Packet::Piece { name, offset, bytes })]
            }
            Packet::Piece { name, offset, bytes } => self.take_piece(from, name, offset, bytes, now_ms),
            Packet::Prove { challenge } => {
                let bytes = self.read(&challenge.object);
                let range = bytes.as_ref().and_then(|bytes| challenge.range(bytes.len() as u64));
                let answer = bytes
                    .zip(range)
                    .map(|(bytes, range)| challenge.answer(&bytes[range.start as usize..range.end as usize]));
                vec![(OWNER, Packet::Answer { challenge, answer, sent_ms: now_ms })]
            }
            _ => Vec::new(),
        }
    }

    fn take_piece(
        &mut self,
        from: usize,
        name: ObjectName,
        offset: u64,
        bytes: Option<Vec<u8>>,
        now_ms: u64,
    ) -> Vec<(usize, Packet)> {
        let steady_ms = self.clocks.now(now_ms).steady_ms;
        let size = self.copy.catalogue().state().get(&name).map_or(0, |object| object.size_bytes) as usize;
        if self.fetcher.from_whom(&name) != Some(agent(from)) {
            return Vec::new();
        }
        if self.fetcher.from_whom(&name) != Some(agent(from)) {
            return Vec::new();
        }
        let Some(bytes) = bytes else {
            self.fetcher.failed(&name, FetchFailure::Missing, steady_ms);
            return self.fetch(now_ms);
        };
        let partial = self.partial.entry(name).or_default();
        if partial.len() as u64 != offset {
            return Vec::new();
        }
        partial.extend(bytes);
        partial.truncate(size);
        let came = partial.len();
        self.fetcher.came(&name, came as u64, steady_ms);
        if came < size {
            // The link breaks after each piece: it has to resume.
            self.fetcher.failed(&name, FetchFailure::Unreachable, steady_ms);
            return self.fetch(now_ms);
        }
        let whole = self.partial.remove(&name).unwrap_or_default();
        let good = ObjectName::of(&whole) == name;
        match self.fetcher.ended(&name, good) {
            Some(Fetched::Good) if self.copy.may_take(&name) => self.store(name, whole),
            Some(Fetched::Lied(liar)) => debug_assert_eq!(liar, agent(from)),
            _ => {}
        }
        self.fetch(now_ms)
    }
}

fn piece(bytes: &[u8], offset: u64, random: &mut Random) -> Vec<u8> {
    let rest = bytes.get(offset as usize..).unwrap_or_default();
    let most = if random.one_in(3) { 20 } else { rest.len() };
    rest[..rest.len().min(most)].to_vec()
}
