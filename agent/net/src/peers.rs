//! The members: who they are right now.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, PoisonError, RwLock};

use dci_proto::AgentId;
use tokio_util::sync::CancellationToken;

use crate::Peer;
use crate::peer::PeerState;

/// Who is a member right now.
pub(crate) struct PeerTable {
    peers: RwLock<HashMap<AgentId, Arc<PeerState>>>,
    closing: CancellationToken,
}

impl std::fmt::Debug for PeerTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PeerTable")
    }
}

impl PeerTable {
    /// An empty table whose connections all end with `closing`.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        Self { peers: RwLock::default(), closing }
    }

    pub(crate) fn get(&self, agent: AgentId) -> Option<Arc<PeerState>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).get(&agent).cloned()
    }

    /// Replaces the list. Whoever is not in it any more has all connections closed.
    pub(crate) fn replace(&self, list: Vec<Peer>) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let mut news = false;
        let members: HashSet<AgentId> = list.iter().map(|peer| peer.agent).collect();
        peers.retain(|agent, state| {
            let stays = members.contains(agent);
            if !stays {
                state.struck_off.cancel();
            }
            stays
        });
        for peer in list {
            match peers.get(&peer.agent) {
                Some(state) => news |= state.update(peer),
                None => {
                    news = true;
                    let state = PeerState::new(peer, &self.closing);
                    peers.insert(state.agent, Arc::new(state));
                }
            }
        }
        if news {
            peers.values().for_each(|state| state.ways().forgive());
        }
    }

    /// Somebody new is there to go through: searches that found nothing may find something now.
    pub(crate) fn forgive_ways(&self) {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.values().for_each(|state| state.ways().forgive());
    }

    /// All members but this agent.
    pub(crate) fn all(&self) -> Vec<Arc<PeerState>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn agents(&self) -> Vec<AgentId> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(number: u8) -> Peer {
        Peer { agent: AgentId([number; 32]), control_addresses: vec![], data_addresses: vec![] }
    }

    #[test]
    fn a_member_that_is_struck_off_has_its_connections_closed_and_others_keep_theirs() {
        let table = PeerTable::new(CancellationToken::new());
        table.replace(vec![peer(1), peer(2)]);
        let (one, two) = (table.get(AgentId([1; 32])).expect("one"), table.get(AgentId([2; 32])).expect("two"));
        let (from_one, from_two) = (one.accept(true), two.accept(true));
        table.replace(vec![peer(2), peer(3)]);
        assert!(from_one.is_cancelled());
        assert!(!from_two.is_cancelled());
        assert!(table.get(AgentId([1; 32])).is_none());
    }
}
