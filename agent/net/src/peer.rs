//! A member and all that goes on with it: where it listens, the connections to and from it, and what is known of the
//! ways there.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use dci_proto::AgentId;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::asking::Connection;
use crate::limits::{
    ACCEPTED_PER_PEER, FOREGROUND_CONNECTIONS, IN_FLIGHT_BACKGROUND, IN_FLIGHT_CONTROL, IN_FLIGHT_CONTROL_BULK,
    IN_FLIGHT_FOREGROUND,
};
use crate::pool::Pool;
use crate::tunnel::Ways;
use crate::{Lane, Peer, PeerStatus};

/// The two ports of an agent: one may be reachable while the other is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Port {
    Control,
    Data,
}

impl Port {
    /// Where the requests of a lane go.
    pub(crate) fn of(lane: Lane) -> Self {
        match lane {
            Lane::Control => Self::Control,
            Lane::Foreground | Lane::Background => Self::Data,
        }
    }
}

/// What is known of the direct way to a port.
#[derive(Default)]
struct Route {
    /// It failed and tunnels serve.
    is_indirect: AtomicBool,
    /// It is being tried again now and then.
    is_tried: AtomicBool,
    /// It may work now.
    retry: Notify,
}

/// A connection the peer made.
struct Accepted {
    closing: CancellationToken,
    direct: bool,
}

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
    accepted: Mutex<VecDeque<Accepted>>,
    control_connections: AtomicU32,
    round_trip_us: AtomicU32,
    control_route: Route,
    data_route: Route,
    data_dial_failed: Mutex<Option<Instant>>,
    /// Where its data port was last reached and proved to be its own.
    data_proven: Mutex<Option<SocketAddr>>,
    ways: Mutex<Ways>,
    /// One search for a way at a time: the next takes what it found.
    pub(crate) searching: tokio::sync::Mutex<()>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PeerState {
    pub(crate) fn new(peer: Peer, closing: &CancellationToken) -> Self {
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
            control_route: Route::default(),
            data_route: Route::default(),
            data_dial_failed: Mutex::default(),
            data_proven: Mutex::default(),
            ways: Mutex::default(),
            searching: tokio::sync::Mutex::default(),
        }
    }

    /// Where it listens, in the order to try.
    pub(crate) fn addresses(&self, port: Port) -> Vec<SocketAddr> {
        let peer = self.addresses.read().unwrap_or_else(PoisonError::into_inner);
        match port {
            Port::Control => peer.control_addresses.clone(),
            Port::Data => peer.data_addresses.clone(),
        }
    }

    /// Takes over where it listens; true if that is elsewhere now.
    pub(crate) fn update(&self, peer: Peer) -> bool {
        let mut addresses = self.addresses.write().unwrap_or_else(PoisonError::into_inner);
        let changed = *addresses != peer;
        if changed {
            *addresses = peer;
            drop(addresses);
            *locked(&self.data_proven) = None;
            self.retry_now();
        }
        changed
    }

    /// It was just heard from directly, or is to be reached elsewhere: earlier failures say nothing any more.
    pub(crate) fn retry_now(&self) {
        *locked(&self.data_dial_failed) = None;
        self.heard_from();
        self.control_route.retry.notify_one();
        self.data_route.retry.notify_one();
    }

    /// It was just heard from, if only over others.
    pub(crate) fn heard_from(&self) {
        self.ways().forgive();
        for pool in [&self.control, &self.control_bulk, &self.foreground, &self.background] {
            pool.retry_now();
        }
    }

    /// Registers a connection the peer made; the oldest is closed when there are too many.
    pub(crate) fn accept(&self, direct: bool) -> CancellationToken {
        let closing = self.struck_off.child_token();
        let mut accepted = locked(&self.accepted);
        accepted.retain(|other| !other.closing.is_cancelled());
        if accepted.len() >= ACCEPTED_PER_PEER
            && let Some(oldest) = accepted.pop_front()
        {
            oldest.closing.cancel();
        }
        accepted.push_back(Accepted { closing: closing.clone(), direct });
        closing
    }

    /// Sets how many connections of the control network stand; true if the first has come.
    pub(crate) fn set_control_connections(&self, count: u32) -> bool {
        self.control_connections.swap(count, Ordering::Relaxed) == 0 && count > 0
    }

    pub(crate) fn has_control_connection(&self) -> bool {
        self.control_connections.load(Ordering::Relaxed) > 0
    }

    /// What is remembered of the ways to it over others.
    pub(crate) fn ways(&self) -> MutexGuard<'_, Ways> {
        locked(&self.ways)
    }

    /// Its data port was dialled and proved to be its own at that address, or not.
    pub(crate) fn note_data_dial(&self, proven: Option<SocketAddr>) {
        *locked(&self.data_dial_failed) = proven.is_none().then(Instant::now);
        *locked(&self.data_proven) = proven;
    }

    /// Where its data port was last reached, if nothing has spoken against that since.
    pub(crate) fn data_proven(&self) -> Option<SocketAddr> {
        *locked(&self.data_proven)
    }

    /// Whether dialling its data port failed within that time, and nothing was heard from it since.
    pub(crate) fn data_dial_failed_within(&self, time: Duration) -> bool {
        locked(&self.data_dial_failed).is_some_and(|at| at.elapsed() < time)
    }

    fn route(&self, port: Port) -> &Route {
        match port {
            Port::Control => &self.control_route,
            Port::Data => &self.data_route,
        }
    }

    /// Whether the direct way is known to fail and tunnels serve.
    pub(crate) fn is_indirect(&self, port: Port) -> bool {
        self.route(port).is_indirect.load(Ordering::Relaxed)
    }

    pub(crate) fn set_indirect(&self, port: Port, is_indirect: bool) {
        self.route(port).is_indirect.store(is_indirect, Ordering::Relaxed);
    }

    /// Says whether the direct way is being tried now and then; returns whether it was.
    pub(crate) fn set_tried(&self, port: Port, is_tried: bool) -> bool {
        self.route(port).is_tried.swap(is_tried, Ordering::Relaxed)
    }

    /// Waits until the direct way may work again.
    pub(crate) async fn retry_wanted(&self, port: Port) {
        self.route(port).retry.notified().await;
    }

    fn pools(&self, port: Port) -> [&Pool; 2] {
        match port {
            Port::Control => [&self.control, &self.control_bulk],
            Port::Data => [&self.foreground, &self.background],
        }
    }

    /// Whether tunnels to a port stand or are being made.
    pub(crate) fn has_tunnels(&self, port: Port) -> bool {
        self.pools(port).iter().any(|pool| pool.has_tunnels())
    }

    /// Takes the tunnels to a port out of use, a direct connection in; returns those taken out.
    pub(crate) fn replace_tunnels(&self, port: Port, direct: Arc<Connection>) -> Vec<Arc<Connection>> {
        let [first, second] = self.pools(port);
        let mut replaced = first.replace_tunnels(Some(direct));
        replaced.extend(second.replace_tunnels(None));
        replaced
    }

    /// Whether a connection without others in between stands, made by whichever end.
    fn is_direct(&self) -> bool {
        let made = |port| self.pools(port).iter().any(|pool| pool.has_direct());
        let accepted = || locked(&self.accepted).iter().any(|other| other.direct && !other.closing.is_cancelled());
        self.has_control_connection() || made(Port::Data) || accepted()
    }

    /// Takes a round trip into the smoothed one, weighing an eighth as TCP does (RFC 6298).
    pub(crate) fn note_round_trip(&self, took: Duration) {
        let took = u32::try_from(took.as_micros()).unwrap_or(u32::MAX).max(1);
        let smooth = |old: u32| Some(if old == 0 { took } else { old - old / 8 + took / 8 }.max(1));
        let _ = self.round_trip_us.fetch_update(Ordering::Relaxed, Ordering::Relaxed, smooth);
    }

    pub(crate) fn status(&self) -> PeerStatus {
        PeerStatus {
            connected: self.has_control_connection() || self.control.has_tunnels(),
            direct: self.is_direct(),
            round_trip_us: self.round_trip_us.load(Ordering::Relaxed),
            in_flight: (self.foreground.in_flight() + self.background.in_flight()) as u32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> PeerState {
        let peer = Peer { agent: AgentId([1; 32]), control_addresses: vec![], data_addresses: vec![] };
        PeerState::new(peer, &CancellationToken::new())
    }

    #[test]
    fn the_oldest_accepted_connection_makes_room_for_a_new_one() {
        let state = state();
        let accepted: Vec<_> = (0..=ACCEPTED_PER_PEER).map(|_| state.accept(true)).collect();
        let closed: Vec<bool> = accepted.iter().map(CancellationToken::is_cancelled).collect();
        let mut expected = vec![false; ACCEPTED_PER_PEER + 1];
        expected[0] = true;
        assert_eq!(closed, expected);
    }

    #[test]
    fn a_peer_is_direct_while_a_connection_of_its_own_stands_that_came_over_nobody() {
        let state = state();
        let tunnelled = state.accept(false);
        assert!(!state.status().direct);
        let direct = state.accept(true);
        assert!(state.status().direct);
        direct.cancel();
        assert!(!state.status().direct && !tunnelled.is_cancelled());
        assert!(state.set_control_connections(1) && !state.set_control_connections(2));
        assert!(state.status().direct);
    }

    #[test]
    fn the_round_trip_follows_slowly() {
        let state = state();
        state.note_round_trip(Duration::from_micros(800));
        assert_eq!(state.status().round_trip_us, 800);
        state.note_round_trip(Duration::from_micros(1600));
        assert_eq!(state.status().round_trip_us, 900);
    }
}
