//! Getting what a neighbour says it has: one question under way to each, each offer asked of one at a time.
//!
//! A neighbour that says it has something and does not give it costs patience, once, and then the next that said so is asked.

use std::collections::BTreeSet;

use super::entries::bucket_of;
use super::peer::Asked;
use super::signed::SignedOffer;
use super::wire::{DirectoryMessage, Version};
use super::{Directory, Effect};
use crate::AgentId;

impl Directory {
    /// Notes what a neighbour says it has, and asks for it.
    pub(super) fn note(&mut self, now_ms: u64, from: AgentId, versions: &[Version], effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        for version in versions {
            if !self.members.contains(&version.agent) || !self.entries.lacks(*version) {
                continue;
            }
            if peer.has.len() < self.limits.pending || peer.has.contains_key(&version.agent) {
                peer.has.insert(version.agent, version.stamp);
            } else {
                peer.more |= 1 << bucket_of(version.agent);
            }
        }
        self.ask(now_ms, from, effects);
    }

    /// Asks a neighbour for what it has and nobody else is asked for.
    fn ask(&mut self, now_ms: u64, of: AgentId, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&of).filter(|peer| peer.asked.is_none()) else { return };
        let free = peer.has.keys().filter(|agent| !self.asked_of.contains_key(agent));
        let agents: BTreeSet<AgentId> = free.take(self.limits.want_agents).copied().collect();
        if agents.is_empty() {
            if peer.has.is_empty() && peer.more != 0 {
                let bucket = peer.more.trailing_zeros();
                peer.more &= !(1 << bucket);
                let message = DirectoryMessage::Next { bucket: u8::try_from(bucket).unwrap_or_default(), after: None };
                effects.push(Effect::Send { to: of, message });
            }
            return;
        }
        self.asked_of.extend(agents.iter().map(|agent| (*agent, of)));
        let message = DirectoryMessage::Want(agents.iter().copied().collect());
        peer.asked = Some(Asked { agents, at_ms: now_ms });
        effects.push(Effect::Send { to: of, message });
    }

    /// Takes in offers that a neighbour sent.
    pub(super) fn received(
        &mut self,
        now_ms: u64,
        from: AgentId,
        offers: Vec<SignedOffer>,
        answer: bool,
        effects: &mut Vec<Effect>,
    ) {
        if !self.peers.contains_key(&from) {
            return;
        }
        let mut got = BTreeSet::new();
        for offer in offers.into_iter().take(self.limits.want_agents) {
            got.insert(offer.agent());
            self.take(from, offer, effects);
        }
        if answer {
            self.answered(now_ms, from, &got, effects);
        }
    }

    fn take(&mut self, from: AgentId, offer: SignedOffer, effects: &mut Vec<Effect>) {
        let agent = offer.agent();
        if !self.lacks(&offer) {
            return;
        }
        if agent == self.agent && self.get(agent).is_some() {
            // Signed by this agent, and it does not know it: only its own word may take the place of its word.
            let above = offer.stamp().sequence;
            if above > self.own_seen {
                self.own_seen = above;
                effects.push(Effect::Reissue { above });
            }
            return;
        }
        self.entries.put(offer);
        self.settle(agent);
        self.news.insert(agent, from);
    }

    /// Forgets who has something of an agent that is no longer newer than what is here.
    pub(super) fn settle(&mut self, agent: AgentId) {
        for peer in self.peers.values_mut() {
            if let Some(stamp) = peer.has.get(&agent).copied()
                && !self.entries.lacks(Version { agent, stamp })
            {
                peer.has.remove(&agent);
            }
        }
    }

    /// A neighbour has answered with what it has of what it was asked for, or has let wait for too long.
    pub(super) fn answered(&mut self, now_ms: u64, from: AgentId, got: &BTreeSet<AgentId>, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&from) else { return };
        let Some(asked) = peer.asked.take() else { return };
        // What did not fit is asked for again, for as long as something comes.
        let nothing = asked.agents.is_disjoint(got);
        for agent in &asked.agents {
            if nothing || got.contains(agent) {
                peer.has.remove(agent);
            }
        }
        self.free(now_ms, &asked.agents, effects);
        self.ask(now_ms, from, effects);
    }

    /// These offers are not on their way any more: whoever has a newer one than is here is asked.
    pub(super) fn free(&mut self, now_ms: u64, agents: &BTreeSet<AgentId>, effects: &mut Vec<Effect>) {
        for agent in agents {
            self.asked_of.remove(agent);
        }
        let has = |peer: &super::Peer| agents.iter().any(|agent| peer.has.contains_key(agent));
        let idle = self.peers.iter().filter(|(_, peer)| peer.asked.is_none() && !peer.has.is_empty());
        let others: Vec<AgentId> = idle.filter(|(_, peer)| has(peer)).map(|(neighbour, _)| *neighbour).collect();
        for neighbour in others {
            self.ask(now_ms, neighbour, effects);
        }
    }
}
