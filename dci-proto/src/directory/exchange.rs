//! Comparing with a neighbour, and answering it.
//!
//! Of two neighbours the one with the lower id goes into a difference: otherwise both would, since both compare when their
//! link comes up. Whatever a neighbour is sent as an answer counts against what it may have
//! ([`super::DirectoryLimits::answer_bytes_per_s`]).

use std::collections::BTreeMap;

use super::entries::bucket_of;
use super::signed::Stamp;
use super::wire::{BUCKETS, DirectoryMessage, Version};
use super::{Directory, Effect};
use crate::AgentId;

/// Bytes of a version on the wire, at most.
const VERSION_BYTES: usize = 56;
/// Bytes of a message besides what it lists, at most.
const HEAD_BYTES: usize = 64;

impl Directory {
    pub(super) fn message(&mut self, now_ms: u64, from: AgentId, message: DirectoryMessage, effects: &mut Vec<Effect>) {
        if !self.peers.contains_key(&from) {
            return;
        }
        match message {
            DirectoryMessage::Digest(theirs) => self.compare(now_ms, from, &theirs, effects),
            DirectoryMessage::Versions { bucket, after, versions, whole } => {
                if self.is_page(bucket, after, &versions, whole) {
                    self.page(now_ms, from, (bucket, after), &versions, whole, effects);
                }
            }
            DirectoryMessage::Next { bucket, after } => self.send_page(now_ms, from, (bucket, after), effects),
            DirectoryMessage::Have(versions) => {
                let page = versions.get(..self.limits.page_versions.min(versions.len())).unwrap_or_default();
                self.note(now_ms, from, page, effects);
            }
            DirectoryMessage::Want(agents) => self.give(now_ms, from, &agents, effects),
            // They come as `Event::Received`, checked.
            DirectoryMessage::Offers { .. } => {}
        }
    }

    /// Says what is known, as hashes; nothing, if the agent is no neighbour.
    pub(super) fn send_digest(&mut self, now_ms: u64, to: AgentId, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&to) else { return };
        peer.digest_ms = Some(now_ms);
        effects.push(Effect::Send { to, message: DirectoryMessage::Digest(self.entries.digests()) });
    }

    fn compare(&mut self, now_ms: u64, from: AgentId, theirs: &[[u8; 8]], effects: &mut Vec<Effect>) {
        let ours = self.entries.digests();
        if theirs.len() != BUCKETS || ours == theirs {
            return;
        }
        if self.agent > from {
            let said_ms = self.peers.get(&from).and_then(|peer| peer.digest_ms);
            if said_ms.is_none_or(|said| now_ms.saturating_sub(said) >= self.limits.settle_ms) {
                self.send_digest(now_ms, from, effects);
            }
            return;
        }
        for (bucket, _) in (0_u8..).zip(ours.iter().zip(theirs)).filter(|(_, (ours, theirs))| ours != theirs) {
            self.send_page(now_ms, from, (bucket, None), effects);
        }
    }

    fn send_page(
        &mut self,
        now_ms: u64,
        to: AgentId,
        (bucket, after): (u8, Option<AgentId>),
        effects: &mut Vec<Effect>,
    ) {
        if usize::from(bucket) >= BUCKETS {
            return;
        }
        let (versions, whole) = self.entries.page(bucket, after, self.limits.page_versions.max(1));
        if self.may_have(now_ms, to, versions.len() * VERSION_BYTES) {
            effects.push(Effect::Send { to, message: DirectoryMessage::Versions { bucket, after, versions, whole } });
        }
    }

    /// Whether a page is as pages are: in order, within its bucket, and with something in it if there is more to come.
    fn is_page(&self, bucket: u8, after: Option<AgentId>, versions: &[Version], whole: bool) -> bool {
        let first = after.into_iter().chain(versions.iter().map(|version| version.agent));
        let in_bucket = versions.iter().all(|version| bucket_of(version.agent) == bucket);
        let bounded = usize::from(bucket) < BUCKETS && versions.len() <= self.limits.page_versions;
        bounded && in_bucket && (whole || !versions.is_empty()) && first.is_sorted_by(|one, next| one < next)
    }

    fn page(
        &mut self,
        now_ms: u64,
        from: AgentId,
        (bucket, after): (u8, Option<AgentId>),
        versions: &[Version],
        whole: bool,
        effects: &mut Vec<Effect>,
    ) {
        let last = versions.last().map(|version| version.agent).filter(|_| !whole);
        let theirs: BTreeMap<AgentId, Stamp> = versions.iter().map(|one| (one.agent, one.stamp)).collect();
        let lacks = |ours: &Version| theirs.get(&ours.agent).is_none_or(|theirs| *theirs < ours.stamp);
        let ours: Vec<Version> = self.entries.versions(bucket, after, last).filter(lacks).collect();
        for page in ours.chunks(self.limits.page_versions.max(1)) {
            if self.may_have(now_ms, from, page.len() * VERSION_BYTES) {
                effects.push(Effect::Send { to: from, message: DirectoryMessage::Have(page.to_vec()) });
            }
        }
        self.note(now_ms, from, versions, effects);
        let Some(peer) = self.peers.get_mut(&from).filter(|_| last.is_some()) else { return };
        if peer.has.len() < self.limits.pending {
            effects.push(Effect::Send { to: from, message: DirectoryMessage::Next { bucket, after: last } });
        } else {
            peer.more |= 1 << bucket;
        }
    }

    /// Answers with the offers a neighbour wants: as many as fit, and none where there is none, so that it need not wait.
    fn give(&mut self, now_ms: u64, to: AgentId, agents: &[AgentId], effects: &mut Vec<Effect>) {
        let (mut offers, mut bytes) = (Vec::new(), 0);
        let wanted = agents.iter().take(self.limits.want_agents);
        for offer in wanted.filter_map(|agent| self.entries.get(*agent)) {
            let more = bytes + offer.size_bytes();
            if !offers.is_empty() && more > self.limits.offers_bytes {
                break;
            }
            bytes = more;
            offers.push(offer.envelope().clone());
        }
        if !self.may_have(now_ms, to, bytes) {
            offers.clear();
        }
        effects.push(Effect::Send { to, message: DirectoryMessage::Offers { offers, answer: true } });
    }

    fn may_have(&mut self, now_ms: u64, to: AgentId, bytes: usize) -> bool {
        let limits = self.limits;
        self.peers.get_mut(&to).is_some_and(|peer| peer.spend(now_ms, bytes + HEAD_BYTES, &limits))
    }
}
