//! The owner: makes archives, lets old ones go, sends what peers lack, challenges them. And the truth about its repository,
//! which nobody else can read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::link::Packet;
use super::peer::PeerNode;
use super::{Clocks, OWNER, PEERS, Random, agent};
use crate::aging::{Ages, ArchiveFacts, choose, unused};
use crate::catalogue::tests::owner;
use crate::catalogue::{Catalogue, Op};
use crate::challenge::{Answer, Challenge, Rounds};
use crate::civil::Zone;
use crate::object::{ArchiveId, Object, ObjectKind, ObjectName};
use crate::replication::{Lie, Replication};

const AGES: Ages = Ages { keep_last: 3, keep_daily: 0, keep_weekly: 0, keep_monthly: 0, max_age_days: None };

/// What index lists which packs, and what snapshot needs which.
#[derive(Default)]
pub(super) struct Truth {
    indexes: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
    snapshots: BTreeMap<ObjectName, BTreeSet<ObjectName>>,
}

impl Truth {
    /// What a copy has and cannot be used. What was found damaged and is fetched again is another matter.
    pub(super) fn what_is_invalid(&self, peer: &PeerNode) -> Option<String> {
        let has = |name: &ObjectName| peer.copy.has(name) || peer.missing.contains(name);
        let listing: Vec<_> = self.indexes.iter().filter(|(index, _)| has(index)).collect();
        for (index, packs) in listing.iter().filter(|(index, _)| peer.copy.has(index)) {
            if let Some(pack) = packs.iter().find(|pack| !has(pack)) {
                return Some(format!("index {index:?} lists {pack:?}"));
            }
        }
        for (snapshot, packs) in self.snapshots.iter().filter(|(snapshot, _)| peer.copy.has(snapshot)) {
            let is_listed = |pack: &&ObjectName| listing.iter().any(|(_, packs)| packs.contains(*pack));
            if let Some(pack) = packs.iter().find(|pack| !has(pack) || !is_listed(pack)) {
                return Some(format!("snapshot {snapshot:?} needs {pack:?}"));
            }
        }
        None
    }
}

struct Run {
    archive: ArchiveId,
    left: VecDeque<(Object, Vec<u8>)>,
    packs: BTreeSet<ObjectName>,
}

pub(super) struct Owner {
    pub(super) clocks: Clocks,
    pub(super) truth: Truth,
    pub(super) broken: Option<String>,
    catalogue: Catalogue,
    store: BTreeMap<ObjectName, Vec<u8>>,
    buried: Vec<Vec<u8>>,
    replication: Replication,
    archives: BTreeMap<ArchiveId, (ObjectName, BTreeSet<ObjectName>)>,
    run: Option<Run>,
    next: u64,
    known: [u64; PEERS + 1],
    asked: BTreeMap<(usize, [u8; 32]), Challenge>,
    distrusted: BTreeSet<usize>,
    rounds: [Rounds; PEERS + 1],
}

fn object(bytes: &[u8], kind: ObjectKind, archive: ArchiveId) -> Object {
    Object { name: ObjectName::of(bytes), kind, size_bytes: bytes.len() as u64, archive }
}

impl Owner {
    pub(super) fn new(random: &mut Random) -> Self {
        let mut new = Self {
            clocks: Clocks::default(),
            truth: Truth::default(),
            broken: None,
            catalogue: Catalogue::new(agent(OWNER)),
            store: BTreeMap::new(),
            buried: Vec::new(),
            replication: Replication::new(PEERS),
            archives: BTreeMap::new(),
            run: None,
            next: 1,
            known: [0; PEERS + 1],
            asked: BTreeMap::new(),
            distrusted: BTreeSet::new(),
            rounds: [Rounds::default(); PEERS + 1],
        };
        for kind in [ObjectKind::Config, ObjectKind::Key] {
            let bytes = random.bytes(30);
            new.add(object(&bytes, kind, ArchiveId(0)), bytes, 0);
        }
        new.restart(0);
        new
    }

    /// All but the disk is new.
    pub(super) fn restart(&mut self, now_ms: u64) {
        self.clocks.started_ms = now_ms;
        self.replication = Replication::new(PEERS);
        (1..=PEERS).for_each(|node| self.replication.assign(agent(node)).unwrap());
        for (sequence, object) in self.catalogue.state().iter() {
            self.replication.added(*object, sequence).unwrap();
        }
        self.distrusted.iter().for_each(|node| self.replication.distrust(agent(*node)));
        self.say_needs();
        self.known = [0; PEERS + 1];
        self.asked.clear();
    }

    fn say_needs(&mut self) {
        for (archive, (snapshot, packs)) in &self.archives {
            let needs = self.needs(snapshot, packs);
            if let Err(error) = self.replication.needs(*archive, needs) {
                self.broken = Some(error.to_string());
            }
        }
    }

    fn needs(&self, snapshot: &ObjectName, packs: &BTreeSet<ObjectName>) -> BTreeSet<ObjectName> {
        let lists = |(index, listed): &(&ObjectName, &BTreeSet<ObjectName>)| {
            self.catalogue.state().get(index).is_some() && !listed.is_disjoint(packs)
        };
        let indexes = self.truth.indexes.iter().filter(lists).map(|(index, _)| *index);
        packs.iter().copied().chain(indexes).chain([*snapshot]).collect()
    }

    pub(super) fn is_needed(&self, name: &ObjectName) -> bool {
        let live = self.catalogue.state().get(name);
        live.is_some() && self.archives.values().any(|(snapshot, packs)| self.needs(snapshot, packs).contains(name))
    }

    pub(super) fn sequence(&self) -> u64 {
        self.catalogue.state().sequence()
    }

    pub(super) fn archives(&self) -> usize {
        self.archives.len()
    }

    pub(super) fn live(&self) -> Vec<ObjectName> {
        self.catalogue.state().iter().map(|(_, object)| object.name).collect()
    }

    pub(super) fn counted(&self, node: usize) -> Vec<ObjectName> {
        self.replication.held(agent(node)).filter(|(_, counts)| *counts).map(|(object, _)| object.name).collect()
    }

    pub(super) fn what_is_missing(&self) -> Option<String> {
        for archive in self.archives.keys() {
            let protection = self.replication.protection(*archive)?;
            if protection.copies != PEERS {
                let progress: Vec<_> = (1..=PEERS).map(|node| self.replication.progress(agent(node))).collect();
                return Some(format!(
                    "archive {} is protected {} of {PEERS}: {progress:?}",
                    archive.0, protection.copies
                ));
            }
        }
        None
    }

    fn add(&mut self, object: Object, bytes: Vec<u8>, now_ms: u64) {
        let wall_ms = self.clocks.now(now_ms).wall_ms;
        if self.catalogue.append(&owner(1), wall_ms, Op::Add(object)).is_ok() {
            self.replication.added(object, self.sequence()).unwrap();
        }
        self.store.insert(object.name, bytes);
    }

    fn delete(&mut self, name: ObjectName, now_ms: u64) {
        let wall_ms = self.clocks.now(now_ms).wall_ms;
        self.catalogue.append(&owner(1), wall_ms, Op::Delete(name)).unwrap();
        self.replication.deleted(&name);
        let kind_is_pack = !self.truth.indexes.contains_key(&name) && !self.truth.snapshots.contains_key(&name);
        if let Some(bytes) = self.store.remove(&name).filter(|_| kind_is_pack) {
            self.buried.push(bytes);
        }
    }

    fn begin_run(&mut self, random: &mut Random) {
        let archive = ArchiveId(self.next);
        self.next += 1;
        let mut packs: BTreeSet<ObjectName> = BTreeSet::new();
        // Some of what older archives have is in this one too.
        for (_, older) in self.archives.values() {
            packs.extend(older.iter().filter(|_| random.one_in(2)));
        }
        let mut left = VecDeque::new();
        let mut new = BTreeSet::new();
        for _ in 0..=random.below(4) {
            // A file may come back as it was: the same pack again.
            let bytes = match self.buried.pop() {
                Some(bytes) if random.one_in(2) => bytes,
                _ => {
                    let length = 20 + random.below(100) as usize;
                    random.bytes(length)
                }
            };
            let pack = object(&bytes, ObjectKind::Pack, archive);
            new.insert(pack.name);
            left.push_back((pack, bytes));
        }
        let mut make = |kind| {
            let bytes = random.bytes(40);
            let made = object(&bytes, kind, archive);
            left.push_back((made, bytes));
            made.name
        };
        let index = make(ObjectKind::Index);
        let snapshot = make(ObjectKind::Snapshot);
        packs.extend(&new);
        self.truth.indexes.insert(index, new);
        self.truth.snapshots.insert(snapshot, packs.clone());
        self.run = Some(Run { archive, left, packs });
    }

    fn go_on(&mut self, now_ms: u64, random: &mut Random) {
        let Some(mut run) = self.run.take() else { return };
        for _ in 0..=random.below(3) {
            let Some((object, bytes)) = run.left.pop_front() else { break };
            self.add(object, bytes, now_ms);
            if object.kind == ObjectKind::Snapshot {
                self.archives.insert(run.archive, (object.name, run.packs.clone()));
                self.say_needs();
            }
        }
        self.run = Some(run).filter(|run| !run.left.is_empty());
    }

    fn age(&mut self, now_ms: u64, random: &mut Random) {
        let fact = |id: &ArchiveId| ArchiveFacts { id: *id, taken_ms: 0, complete: true };
        let facts: Vec<ArchiveFacts> = self.archives.keys().map(fact).collect();
        let choice = choose(&facts, &AGES, &Zone::UTC, None);
        if choice.forget.is_empty() {
            return;
        }
        for archive in choice.forget {
            self.archives.remove(&archive);
            self.replication.forgotten(archive);
        }
        let making = self.run.as_ref().map(|run| run.archive);
        let mut packs: BTreeSet<ObjectName> = self.archives.values().flat_map(|(_, packs)| packs.clone()).collect();
        // What the archive in the making relies on, as far as it is there.
        packs.extend(
            self.run.iter().flat_map(|run| &run.packs).filter(|pack| self.catalogue.state().get(pack).is_some()),
        );
        let bytes = random.bytes(40);
        let index = object(&bytes, ObjectKind::Index, ArchiveId(0));
        let making_adds =
            |pack: &&ObjectName| self.catalogue.state().get(pack).is_some_and(|it| Some(it.archive) == making);
        packs = packs.iter().filter(|pack| !making_adds(pack)).copied().collect();
        self.truth.indexes.insert(index.name, packs.clone());
        self.add(index, bytes, now_ms);
        let mut needed = packs;
        needed.insert(index.name);
        needed.extend(self.archives.values().map(|(snapshot, _)| *snapshot));
        for name in unused(self.catalogue.state(), &needed, making) {
            self.delete(name, now_ms);
            // The rest is done the next time.
            if random.one_in(40) {
                break;
            }
        }
        self.say_needs();
    }

    pub(super) fn delete_all(&mut self, now_ms: u64) -> BTreeSet<ObjectName> {
        let all: BTreeSet<ObjectName> = self.live().into_iter().collect();
        std::mem::take(&mut self.archives).keys().for_each(|archive| self.replication.forgotten(*archive));
        self.run = None;
        for name in unused(self.catalogue.state(), &BTreeSet::new(), None) {
            self.delete(name, now_ms);
        }
        all
    }

    pub(super) fn tick(
        &mut self,
        now_ms: u64,
        reachable: &[bool],
        random: &mut Random,
        busy: bool,
    ) -> Vec<(usize, Packet)> {
        let abandoned = self.run.is_some() && random.one_in(60);
        if abandoned && busy {
            self.run = None;
        }
        if self.run.is_none() && busy && random.one_in(12) {
            self.begin_run(random);
        }
        self.go_on(now_ms, random);
        if busy && random.one_in(10) {
            self.age(now_ms, random);
        }
        if random.one_in(50) {
            self.catalogue.compact_to(&owner(1), now_ms, 10);
        }
        let is_distrusted = |node: &usize| self.replication.progress(agent(*node)).is_some_and(|it| it.is_distrusted);
        self.distrusted = (1..=PEERS).filter(is_distrusted).collect();
        let mut packets = Vec::new();
        for (node, reachable) in (1..).zip(reachable) {
            self.replication.reachable(agent(node), *reachable);
            if *reachable && self.known[node] < self.sequence() {
                packets.push((node, Packet::Welcome { tail: self.catalogue.tail(self.known[node]), has: self.live() }));
            }
        }
        packets.extend(self.sends(now_ms));
        for (node, _) in (1..).zip(reachable).filter(|(_, reachable)| **reachable) {
            packets.extend(self.challenges(node, random));
        }
        packets
    }

    fn sends(&mut self, now_ms: u64) -> Vec<(usize, Packet)> {
        let sends = self.replication.due(self.clocks.now(now_ms).steady_ms);
        let packet = |send: &crate::replication::Send| {
            let bytes = self.store.get(&send.object.name)?.clone();
            Some((usize::from(send.peer.0[0]) - 1, Packet::Push { name: send.object.name, bytes }))
        };
        sends.iter().filter_map(packet).collect()
    }

    fn challenges(&mut self, node: usize, random: &mut Random) -> Vec<(usize, Packet)> {
        let distrusted = self.replication.progress(agent(node)).is_some_and(|progress| progress.is_distrusted);
        let held: Vec<Object> = self
            .replication
            .held(agent(node))
            .filter(|(_, counts)| !distrusted || !counts)
            .map(|(object, _)| *object)
            .collect();
        let mut packets = Vec::new();
        for _ in 0..if distrusted { 8 } else { 2 } {
            let Some(object) = self.rounds[node].next(7, agent(node), held.iter()) else { break };
            let mut nonce = [0; 32];
            nonce.copy_from_slice(&random.bytes(32));
            let challenge = Challenge::of_all(object, nonce);
            self.asked.insert((node, nonce), challenge);
            packets.push((node, Packet::Prove { challenge }));
        }
        packets
    }

    /// Whether it waits for this answer, and it is a wrong one.
    pub(super) fn is_lie(&self, from: usize, challenge: &Challenge, answer: Option<Answer>) -> bool {
        self.asked.contains_key(&(from, challenge.nonce)) && !self.is_right(challenge, answer)
    }

    fn is_right(&self, challenge: &Challenge, answer: Option<Answer>) -> bool {
        // What is deleted meanwhile nobody has to prove.
        self.store.get(&challenge.object).is_none_or(|bytes| answer == Some(challenge.answer(bytes)))
    }

    pub(super) fn take(&mut self, from: usize, packet: Packet, now_ms: u64) -> Vec<(usize, Packet)> {
        let (peer, steady_ms) = (agent(from), self.clocks.now(now_ms).steady_ms);
        match packet {
            Packet::Confirm { name } => {
                self.replication.confirmed(peer, &name);
                self.sends(now_ms)
            }
            Packet::Refuse { name, why } => {
                self.replication.failed(peer, &name, why, steady_ms);
                Vec::new()
            }
            Packet::Damaged { name } => {
                self.replication.damaged(peer, &name);
                Vec::new()
            }
            Packet::Report { holds, sequence, pulls, .. } => {
                self.known[from] = sequence;
                self.replication.pulls(peer, pulls);
                self.replication.reported(peer, holds);
                Vec::new()
            }
            Packet::Hello { sequence, lacks } => {
                let has = lacks.into_iter().filter(|name| self.store.contains_key(name)).collect();
                vec![(from, Packet::Welcome { tail: self.catalogue.tail(sequence), has })]
            }
            Packet::Ask { name, offset } => {
                let bytes = self.store.get(&name).map(|bytes| bytes[(offset as usize).min(bytes.len())..].to_vec());
                vec![(from, Packet::Piece { name, offset, bytes })]
            }
            Packet::Answer { challenge, answer, .. } => {
                if self.asked.remove(&(from, challenge.nonce)).is_some() {
                    if self.is_right(&challenge, answer) {
                        self.replication.proven(peer, &challenge.object);
                    } else {
                        self.replication.lied(peer, &challenge.object, Lie::FailedChallenge);
                        self.distrusted.insert(from);
                    }
                }
                Vec::new()
            }
            Packet::Push { .. } | Packet::Welcome { .. } | Packet::Piece { .. } | Packet::Prove { .. } => Vec::new(),
        }
    }
}
