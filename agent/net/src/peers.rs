//! The members: who they are, where they listen, and the connections to and from each.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use dci_proto::AgentId;
use tokio_util::sync::CancellationToken;

use crate::limits::{
    ACCEPTED_PER_PEER, FOREGROUND_CONNECTIONS, IN_FLIGHT_BACKGROUND, IN_FLIGHT_CONTROL, IN_FLIGHT_CONTROL_BULK,
    IN_FLIGHT_FOREGROUND,
};
use crate::pool::Pool;
use crate::{Lane, Peer, PeerStatus};

/// A member and all that goes on with it.
pub(crate) struct PeerState {
    pub(crate) agent: AgentId,
    addresses: RwLock<Peer>,
    /// Ends every connection to and from the peer when it is struck off.
    pub(crate) struck_off: CancellationToken,
    pub(crate) control: Pool,
    pub(crate) control_bulk: Pool,
    pub(crate) foreground: Pool,
    pub(crate) background: Pool,
    accepted: Mutex<VecDeque<CancellationToken>>,
    control_connections: AtomicU32,
    round_trip_us: AtomicU32,
}

impl PeerState {
    fn new(peer: Peer, closing: &CancellationToken) -> Self {
        Self {
            agent: peer.agent,
            addresses: RwLock::new(peer),
            struck_off: closing.child_token(),
            control: Pool::new(1, IN_FLIGHT_CONTROL),
            control_bulk: Pool::new(1, IN_FLIGHT_CONTROL_BULK),
            foreground: Pool::new(FOREGROUND_CONNECTIONS, IN_FLIGHT_FOREGROUND),
            background: Pool::new(1, IN_FLIGHT_BACKGROUND),
            accepted: Mutex::default(),
            control_connections: AtomicU32::new(0),
            round_trip_us: AtomicU32::new(0),
        }
    }

    /// Where it listens for a lane, in the order to try.
    pub(crate) fn addresses(&self, lane: Lane) -> Vec<SocketAddr> {
        let peer = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        match lane {
            Lane::Control => peer.control_addresses.clone(),
            Lane::Foreground | Lane::Background => peer.data_addresses.clone(),
        }
    }

    fn update(&self, peer: Peer) {
        let mut addresses = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        if *addresses != peer {
            *addresses = peer;
            drop(addresses);
            self.retry_now();
        }
    }

    /// It was just heard from, or is to be reached elsewhere: earlier failures say nothing any more.
    pub(crate) fn retry_now(&self) {
        for pool in [&self.control, &self.control_bulk, &self.foreground, &self.background] {
            pool.retry_now();
        }
    }

    /// Registers a connection the peer made; the oldest is closed when there are too many.
    pub(crate) fn accept(&self) -> CancellationToken {
        let token = self.struck_off.child_token();
        let mut accepted = self.accepted.lock().unwrap_or_else(PoisonError::into_inner);
        accepted.retain(|other| !other.is_cancelled());
        if accepted.len() >= ACCEPTED_PER_PEER
            && let Some(oldest) = accepted.pop_front()
        {
            oldest.cancel();
        }
        accepted.push_back(token.clone());
        token
    }

    pub(crate) fn set_control_connections(&self, count: u32) {
        self.control_connections.store(count, Ordering::Relaxed);
    }

    /// Takes a round trip into the smoothed one, weighing an eighth as TCP does (RFC 6298).
    pub(crate) fn note_round_trip(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let smooth = |old: u32| Some(if old == 0 { took } else { old - old / 8 + took / 8 }.max(1));
        let _ = self.round_trip_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, smooth);
    }

    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus {
            connected: self.control_connections.load(Ordering::Relaxed) > 0,
            round_trip_us: self.round_trip_us.load(Ordering::Relaxed),
            in_flight: (self.foreground.in_flight() + self.background.in_flight()) as u32,
        }
    }
}

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
                Some(state) => state.update(peer),
                None => {
                    let state = PeerState::new(peer, &self.closing);
                    peers.insert(state.agent, Arc::new(state));
                }
            }
        }
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
        let (from_one, from_two) = (one.accept(), two.accept());
        table.replace(vec![peer(2), peer(3)]);
        assert!(from_one.is_cancelled());
        assert!(!from_two.is_cancelled());
        assert!(table.get(AgentId([1; 32])).is_none());
    }

    #[test]
    fn the_oldest_accepted_connection_makes_room_for_a_new_one() {
        let table = PeerTable::new(CancellationToken::new());
        table.replace(vec![peer(1)]);
        let state = table.get(AgentId([1; 32])).expect("one");
        let accepted: Vec<_> = (0..=ACCEPTED_PER_PEER).map(|_| state.accept()).collect();
        let closed: Vec<bool> = accepted.iter().map(CancellationToken::is_cancelled).collect();
        let mut expected = vec![false; ACCEPTED_PER_PEER + 1];
        expected[0] = true;
        assert_eq!(closed, expected);
    }

    #[test]
    fn the_round_trip_follows_slowly() {
        let table = PeerTable::new(CancellationToken::new());
        table.replace(vec![peer(1)]);
        let state = table.get(AgentId([1; 32])).expect("one");
        state.note_round_trip(Duration::from_micros(800));
        assert_eq!(state.status().round_trip_us, 800);
        state.note_round_trip(Duration::from_micros(1600));
        assert_eq!(state.status().round_trip_us, 900);
    }
}
