//! The owner's side of copies: who holds what, what is sent to whom next, how many copies an archive has.
//!
//! An archive is *protected k of N* when k peers hold every object it needs. An object counts at a peer only when the peer
//! confirmed that its disk has it; nothing is counted because it was sent. What each peer lacks is sent in the order of
//! [`crate::order`], so that its copy is a valid repository at every moment, also when the owner's PC then burns.
//!
//! A peer that gave wrong bytes or failed a challenge is *distrusted*: nothing it holds counts until that very object was
//! proven by a challenge; it is trusted again when all of its copy was.
//!
//! After a start it is built again from the catalogue, the engine's word on which archive needs what, and the peers' own
//! lists ([`Replication::reported`]). Only which peers are distrusted is to be stored and said again
//! ([`Replication::distrust`]), before their lists are. What is heard of a peer must be told in the order in which the peer
//! said it: a list from before a disk was exchanged would count what is gone.

mod peer;

use std::collections::BTreeMap;

use dci_proto::AgentId;

use crate::now::{HOUR_MS, MINUTE_MS, SECOND_MS};
use crate::object::{ArchiveId, Object, ObjectKind, ObjectName};
use crate::slots::{SlotTable, Slots};

use peer::Peer;

/// Archives of one owner, at most: hourly ones of a quarter and daily ones of five years.
pub const ARCHIVES_LIMIT: usize = 4_096;
/// Peers of one owner, at most; more than copies, for those that are on their way out.
pub const PEERS_LIMIT: usize = 64;
/// Objects on their way to one peer at once: with packs of 16 MiB enough for any link.
pub const IN_FLIGHT_OF_PEER: usize = 4;
/// Objects on their way to all peers together.
pub const IN_FLIGHT: usize = 16;
/// An object of which nothing was heard for this time is sent again.
pub const SEND_TIMEOUT_MS: u64 = 10 * MINUTE_MS;
const RETRY_FIRST_MS: u64 = 5 * SECOND_MS;
const RETRY_LIMIT_MS: u64 = HOUR_MS;
/// A peer that is full is asked again after this time.
const FULL_WAIT_MS: u64 = HOUR_MS;

/// Send an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Send {
    /// To whom.
    pub peer: AgentId,
    /// What.
    pub object: Object,
}

/// Why an object did not arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendFailure {
    /// No answer, or the connection broke.
    Unreachable,
    /// It has no room.
    Full,
    /// It would not have it: not this owner's holder any more, or the bytes were damaged on the way.
    Refused,
}

/// How a peer was found to lie. An honest one with a bad disk looks the same and is treated the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// It gave bytes that are not the object's.
    WrongBytes,
    /// It answered a challenge wrongly, or not at all though it was there.
    FailedChallenge,
}

/// How well an archive is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protection {
    /// Peers that hold all of it.
    pub copies: usize,
    /// Those of them that can be reached now.
    pub reachable: usize,
    /// Copies wanted.
    pub of: usize,
}

/// How far a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerProgress {
    /// Objects it lacks, and their bytes.
    pub lacks: usize,
    /// Bytes of what it lacks.
    pub lacks_bytes: u64,
    /// Objects on their way to it.
    pub in_flight: usize,
    /// It has no room for more.
    pub is_full: bool,
    /// It was found to lie and has not proven all of its copy since.
    pub is_distrusted: bool,
}

/// What is wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplicationError {
    /// A bound was reached.
    #[error("{what}: at most {limit} are possible")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many may be.
        limit: usize,
    },
    /// An archive is said to need what is not in the catalogue.
    #[error("the archive needs object {0}, which the catalogue does not have")]
    UnknownObject(ObjectName),
}

/// What the owner knows of its copies.
#[derive(Debug, Clone)]
pub struct Replication {
    copies: usize,
    table: SlotTable,
    /// Sequence of each object, and all objects that every archive needs.
    sequences: BTreeMap<ObjectName, u64>,
    needed_by_all: Slots,
    archives: BTreeMap<ArchiveId, Slots>,
    peers: BTreeMap<AgentId, Peer>,
    /// From whose turn on peers are served.
    turn: usize,
}

impl Replication {
    /// Of nothing yet; so many copies are wanted.
    #[must_use]
    pub fn new(copies: usize) -> Self {
        Self {
            copies,
            table: SlotTable::default(),
            sequences: BTreeMap::new(),
            needed_by_all: Slots::default(),
            archives: BTreeMap::new(),
            peers: BTreeMap::new(),
            turn: 0,
        }
    }

    /// Other copies are wanted.
    pub fn set_copies(&mut self, copies: usize) {
        self.copies = copies;
    }

    /// The catalogue has a new object.
    ///
    /// # Errors
    /// If there are too many.
    pub fn added(&mut self, object: Object, sequence: u64) -> Result<(), ReplicationError> {
        let too_many = ReplicationError::TooMany { what: "objects of a repository", limit: crate::OBJECTS_LIMIT };
        let slot = self.table.take(object).ok_or(too_many)?;
        if self.sequences.contains_key(&object.name) {
            return Ok(());
        }
        self.sequences.insert(object.name, sequence);
        if object.kind <= ObjectKind::Key {
            self.needed_by_all.insert(slot);
        }
        self.peers.values_mut().for_each(|peer| peer.lacks(slot, &object, sequence));
        Ok(())
    }

    /// The catalogue has an object no more. No archive may need it.
    pub fn deleted(&mut self, name: &ObjectName) {
        let (Some(slot), Some(sequence)) = (self.table.slot(name), self.sequences.remove(name)) else {
            return;
        };
        if let Some(object) = self.table.object(slot).copied() {
            self.peers.values_mut().for_each(|peer| peer.forget(slot, &object, sequence));
        }
        self.needed_by_all.remove(slot);
        self.archives.values_mut().for_each(|needs| _ = needs.remove(slot));
        self.table.free(name);
    }

    /// What an archive needs, configuration and keys aside. Said when its snapshot is in the catalogue, and again whenever
    /// the engine made new indexes.
    ///
    /// # Errors
    /// If it needs what is not there, or archives are too many. Then what was known before holds on.
    pub fn needs(
        &mut self,
        archive: ArchiveId,
        objects: impl IntoIterator<Item = ObjectName>,
    ) -> Result<(), ReplicationError> {
        if self.archives.len() >= ARCHIVES_LIMIT && !self.archives.contains_key(&archive) {
            return Err(ReplicationError::TooMany { what: "archives", limit: ARCHIVES_LIMIT });
        }
        let mut needs = Slots::default();
        for name in objects {
            needs.insert(self.table.slot(&name).ok_or(ReplicationError::UnknownObject(name))?);
        }
        self.archives.insert(archive, needs);
        Ok(())
    }

    /// An archive is kept no more.
    pub fn forgotten(&mut self, archive: ArchiveId) {
        self.archives.remove(&archive);
    }

    /// A peer holds copies from now on. Until it says what it has, it has nothing.
    ///
    /// # Errors
    /// If there are too many.
    pub fn assign(&mut self, agent: AgentId) -> Result<(), ReplicationError> {
        if self.peers.contains_key(&agent) {
            return Ok(());
        }
        if self.peers.len() >= PEERS_LIMIT {
            return Err(ReplicationError::TooMany { what: "peers of one owner", limit: PEERS_LIMIT });
        }
        let mut peer = Peer::default();
        for (name, sequence) in &self.sequences {
            let slot = self.table.slot(name);
            if let Some((slot, object)) = slot.and_then(|slot| Some((slot, self.table.object(slot)?))) {
                peer.lacks(slot, object, *sequence);
            }
        }
        self.peers.insert(agent, peer);
        Ok(())
    }

    /// A peer holds copies no more.
    pub fn unassign(&mut self, agent: AgentId) {
        self.peers.remove(&agent);
    }

    /// Who holds copies.
    pub fn peers(&self) -> impl Iterator<Item = AgentId> {
        self.peers.keys().copied()
    }

    /// A peer can be reached, or cannot any more.
    pub fn reachable(&mut self, agent: AgentId, reachable: bool) {
        if let Some(peer) = self.peers.get_mut(&agent) {
            peer.set_reachable(reachable);
        }
    }

    /// A peer catches up by itself ([`crate::peersync`]): nothing is sent to it meanwhile, or some things would travel twice.
    pub fn pulls(&mut self, agent: AgentId, pulls: bool) {
        if let Some(peer) = self.peers.get_mut(&agent) {
            peer.set_pulls(pulls);
        }
    }

    /// A peer says all that its disk has. What it does not name it has lost: a disk may have been exchanged.
    pub fn reported(&mut self, agent: AgentId, holds: impl IntoIterator<Item = ObjectName>) {
        let Some(peer) = self.peers.get_mut(&agent) else { return };
        let mut said = Slots::default();
        for slot in holds.into_iter().filter_map(|name| self.table.slot(&name)) {
            said.insert(slot);
        }
        let counted = peer.begin_report();
        for (name, sequence) in &self.sequences {
            let Some(slot) = self.table.slot(name) else { continue };
            let Some(object) = self.table.object(slot) else { continue };
            if said.contains(slot) {
                peer.holds(slot, object, *sequence);
                if counted.contains(slot) {
                    peer.named_again(slot);
                }
            } else {
                peer.lacks(slot, object, *sequence);
            }
        }
        peer.end_report();
    }

    /// What is to be sent now. Each is on its way until [`Self::confirmed`] or [`Self::failed`]; what is heard of no more is
    /// sent again.
    pub fn due(&mut self, steady_ms: u64) -> Vec<Send> {
        let in_flight: usize = self.peers.values_mut().map(|peer| peer.expire(steady_ms)).sum();
        let mut room = IN_FLIGHT.saturating_sub(in_flight);
        let mut sends = Vec::new();
        self.turn = self.turn.wrapping_add(1);
        let count = self.peers.len().max(1);
        let turn = self.turn % count;
        for index in (turn..count).chain(0..turn) {
            let Some((agent, peer)) = self.peers.iter_mut().nth(index) else { continue };
            for slot in peer.due(steady_ms, room) {
                if let Some(object) = self.table.object(slot) {
                    sends.push(Send { peer: *agent, object: *object });
                    room -= 1;
                }
            }
        }
        sends
    }

    /// A peer that was full says that it has room again.
    pub fn has_room(&mut self, agent: AgentId) {
        if let Some(peer) = self.peers.get_mut(&agent) {
            peer.has_room();
        }
    }

    /// A peer says that its disk has an object. True if that is new.
    pub fn confirmed(&mut self, agent: AgentId, name: &ObjectName) -> bool {
        self.at(agent, name, |peer, slot, object, sequence| peer.confirmed(slot, object, sequence)).unwrap_or(false)
    }

    /// An object did not arrive.
    pub fn failed(&mut self, agent: AgentId, name: &ObjectName, why: SendFailure, steady_ms: u64) {
        self.at(agent, name, |peer, slot, _, _| peer.failed(slot, why, steady_ms));
    }

    /// A peer scrubbed its copy, found an object damaged, and says so. That is honest: only this one is sent again.
    pub fn damaged(&mut self, agent: AgentId, name: &ObjectName) {
        self.at(agent, name, |peer, slot, object, sequence| peer.lacks(slot, object, sequence));
    }

    /// A peer lied about an object. Nothing it holds counts until it is proven.
    pub fn lied(&mut self, agent: AgentId, name: &ObjectName, _how: Lie) {
        self.distrust(agent);
        self.damaged(agent, name);
    }

    /// Nothing a peer says counts until it is proven, as was so before a restart.
    pub fn distrust(&mut self, agent: AgentId) {
        if let Some(peer) = self.peers.get_mut(&agent) {
            peer.distrust();
        }
    }

    /// A peer answered a challenge rightly.
    pub fn proven(&mut self, agent: AgentId, name: &ObjectName) {
        self.at(agent, name, |peer, slot, _, _| peer.proven(slot));
    }

    fn at<T>(
        &mut self,
        agent: AgentId,
        name: &ObjectName,
        act: impl FnOnce(&mut Peer, crate::slots::Slot, &Object, u64) -> T,
    ) -> Option<T> {
        let (slot, sequence) = (self.table.slot(name)?, *self.sequences.get(name)?);
        let object = self.table.object(slot)?;
        Some(act(self.peers.get_mut(&agent)?, slot, object, sequence))
    }

    /// What a peer says it holds: counted, and not counted until proven.
    pub fn held(&self, agent: AgentId) -> impl Iterator<Item = (&Object, bool)> {
        let peer = self.peers.get(&agent);
        let slots = peer.into_iter().flat_map(|peer| {
            let counted = peer.counted().iter().map(|slot| (slot, true));
            counted.chain(peer.claimed().iter().map(|slot| (slot, false)))
        });
        slots.filter_map(|(slot, counts)| Some((self.table.object(slot)?, counts)))
    }

    /// Peers whose word that they hold an object counts.
    pub fn holders(&self, name: &ObjectName) -> impl Iterator<Item = AgentId> {
        let slot = self.table.slot(name);
        let holds = move |peer: &Peer| slot.is_some_and(|slot| peer.counted().contains(slot));
        self.peers.iter().filter(move |(_, peer)| holds(peer)).map(|(agent, _)| *agent)
    }

    /// Whether a peer's word that it holds an object counts.
    #[must_use]
    pub fn is_counted(&self, agent: AgentId, name: &ObjectName) -> bool {
        let slot = self.table.slot(name);
        slot.zip(self.peers.get(&agent)).is_some_and(|(slot, peer)| peer.counted().contains(slot))
    }

    /// Whether any peer says that it holds an object, be its word counted or not.
    #[must_use]
    pub fn is_claimed(&self, name: &ObjectName) -> bool {
        let claims = |peer: &Peer, slot| peer.counted().contains(slot) || peer.claimed().contains(slot);
        self.table.slot(name).is_some_and(|slot| self.peers.values().any(|peer| claims(peer, slot)))
    }

    /// How well an archive is protected, if it is known.
    #[must_use]
    pub fn protection(&self, archive: ArchiveId) -> Option<Protection> {
        let needs = self.archives.get(&archive)?;
        let holds = |peer: &&Peer| self.needed_by_all.is_within(peer.counted()) && needs.is_within(peer.counted());
        let copies = self.peers.values().filter(holds).count();
        let reachable = self.peers.values().filter(holds).filter(|peer| peer.is_reachable()).count();
        Some(Protection { copies, reachable, of: self.copies })
    }

    /// Whether a peer holds all that an archive needs.
    #[must_use]
    pub fn holds_archive(&self, agent: AgentId, archive: ArchiveId) -> bool {
        let (Some(needs), Some(peer)) = (self.archives.get(&archive), self.peers.get(&agent)) else { return false };
        self.needed_by_all.is_within(peer.counted()) && needs.is_within(peer.counted())
    }

    /// Whether a peer has everything there is.
    #[must_use]
    pub fn is_full_copy(&self, agent: AgentId) -> bool {
        self.peers.get(&agent).is_some_and(|peer| peer.counted().len() == self.table.len())
    }

    /// All archives.
    pub fn archives(&self) -> impl Iterator<Item = ArchiveId> {
        self.archives.keys().copied()
    }

    /// How far a peer is.
    #[must_use]
    pub fn progress(&self, agent: AgentId) -> Option<PeerProgress> {
        let peer = self.peers.get(&agent)?;
        let sizes = peer.lacking().iter().filter_map(|slot| self.table.object(*slot)).map(|object| object.size_bytes);
        Some(PeerProgress {
            lacks: peer.lacking().len(),
            lacks_bytes: sizes.sum(),
            in_flight: peer.in_flight(),
            is_full: peer.is_full(),
            is_distrusted: peer.is_distrusted(),
        })
    }
}

#[cfg(test)]
mod tests;
