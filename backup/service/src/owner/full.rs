//! Holders without room: they are told apart from those that catch up, asked often whether they have some again, and replaced
//! ([`super::peers`]).

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use dci_proto::AgentId;
use futures::StreamExt as _;
use shoal_backup::catalogue::ENTRY_BYTES;

use super::books::{Books, Peer};
use super::{Owner, Setup};
use crate::call::{Answer, Ask, Room};

/// Holders that are asked at the same time.
const ASKED_AT_ONCE: usize = 16;

impl Owner {
    /// Asks holders without room whether they have some again.
    pub(super) async fn look_for_room(&self, setup: &Setup) {
        let asked: Vec<AgentId> = setup.books().full_peers().collect();
        let asked = futures::stream::iter(asked).map(async |agent| {
            let answer = self.call(agent, Ask::Room, Bytes::new()).await;
            (agent, answer)
        });
        let answers: Vec<_> = asked.buffer_unordered(ASKED_AT_ONCE).collect().await;
        let rooms = answers.into_iter().filter_map(|(agent, answer)| match answer {
            Ok((Answer::Room(room), _)) => Some((agent, room)),
            _ => None,
        });
        let rooms: BTreeMap<AgentId, Room> = rooms.collect();
        if setup.books().note_room(&rooms) {
            self.wake_copies.notify_one();
        }
    }

    /// A holder had no room for so many bytes.
    pub(super) fn note_full(&self, peer: &mut Peer, bytes: u64) {
        if !peer.is_full() {
            // Perhaps somebody else has.
            self.choose_now.store(true, Ordering::Relaxed);
        }
        peer.full_for_bytes = Some(peer.full_for_bytes.unwrap_or(u64::MAX).min(bytes));
    }

    /// Something came to a holder: whether it has a whole archive more, or everything, which others may have waited for.
    pub(super) fn note_whole(&self, books: &mut Books, agent: AgentId) {
        books.note_whole_archives();
        let more_than_wanted = books.replication.peers().count() > usize::from(books.plan.copies);
        if more_than_wanted && books.replication.is_full_copy(agent) {
            self.choose_now.store(true, Ordering::Relaxed);
        }
    }
}

impl Books {
    /// Holders that answer and have no room.
    pub(super) fn full_peers(&self) -> impl Iterator<Item = AgentId> {
        let is_full = |agent: &AgentId| self.peers.get(agent).is_some_and(|it| it.is_reachable && it.is_full());
        self.replication.peers().filter(is_full)
    }

    /// What holders give now. True if one that had no room has some.
    pub(super) fn note_room(&mut self, rooms: &BTreeMap<AgentId, Room>) -> bool {
        let mut any = false;
        for (agent, room) in rooms {
            if let Some(holder) = self.state.holders.get_mut(agent) {
                holder.room = Some(room.clone());
            }
            let Some(peer) = self.peers.get_mut(agent) else { continue };
            if peer.full_for_bytes.is_some_and(|bytes| room.share.fits(bytes)) {
                (peer.full_for_bytes, peer.refuses, peer.failures, peer.not_before_ms) = (None, None, 0, 0);
                self.replication.has_room(*agent);
                any = true;
            }
        }
        any
    }

    /// Notes for the recovery kit which archive each holder has, as far as it was heard of since the start.
    pub(super) fn note_whole_archives(&mut self) {
        let mut changed = false;
        for (agent, holder) in &mut self.state.holders {
            if self.peers.get(agent).is_none_or(|peer| peer.reported_ms.is_none()) {
                continue;
            }
            let numbers = self.archives.iter().rev().filter_map(|archive| archive.number);
            let newest = numbers.into_iter().find(|number| self.replication.holds_archive(*agent, *number));
            changed |= holder.whole_archive != newest;
            holder.whole_archive = newest;
        }
        if changed {
            self.save_or_warn();
        }
    }
}

/// What counts as too much for a holder that does not even take what follows of the catalogue.
pub(super) const CATALOGUE_BYTES: u64 = ENTRY_BYTES as u64;
