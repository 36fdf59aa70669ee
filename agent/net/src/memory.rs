//! [`MemoryNetwork`]: a network within one process for tests, with faults that a seed decides.
//!
//! Stricter than reality: a request may come twice, the list of members is checked on both ends at every call, and
//! what is lost is lost without a word until the caller's time is up. All waiting is tokio's, so a paused clock makes
//! tests instant; what happens to the n-th message between two agents depends on the seed, the two and n alone.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use dci_proto::AgentId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::frame::oversize;
use crate::limits::{IN_FLIGHT_BACKGROUND, IN_FLIGHT_CONTROL, IN_FLIGHT_FOREGROUND, WAITING_REQUESTS};
use crate::{Handler, Lane, Network, NetworkError, Peer, PeerStatus, Request, Response};

/// What goes wrong on every way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// Messages of a thousand that are lost, requests and responses alike.
    pub lost_per_mille: u32,
    /// Requests of a thousand that are handled twice.
    pub twice_per_mille: u32,
    /// The shortest way of a message.
    pub delay_min: Duration,
    /// The longest way of a message; differing delays also reorder.
    pub delay_max: Duration,
}

#[derive(Default)]
struct HubState {
    agents: HashMap<AgentId, Weak<MemoryNetwork>>,
    faults: Faults,
    /// Ways that lose everything, from and to.
    cut: HashSet<(AgentId, AgentId)>,
    /// Agents that are gone: calls to them fail at once.
    stopped: HashSet<AgentId>,
    /// Messages sent so far on each way.
    sent: HashMap<(AgentId, AgentId), u64>,
}

/// What joins in-memory networks, and breaks them.
#[derive(Clone)]
pub struct MemoryHub {
    seed: u64,
    state: Arc<Mutex<HubState>>,
}

/// The seed of the n-th message between two agents, whatever else happened before.
fn message_seed(seed: u64, from: AgentId, to: AgentId, number: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        // Rotated, so that a way and its way back differ.
        *byte = from.0[index] ^ to.0[(index + 1) % 32].rotate_left(3);
    }
    for (byte, extra) in bytes.iter_mut().zip(seed.to_le_bytes().into_iter().chain(number.to_le_bytes())) {
        *byte ^= extra;
    }
    bytes
}

/// What becomes of one message.
struct Fate {
    arrives: bool,
    twice: bool,
    delay: Duration,
}

impl MemoryHub {
    /// A hub without faults; `seed` decides those that are set later.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, HubState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an agent, or replaces it as a restart would.
    pub fn join(&self, agent: AgentId, handler: Arc<dyn Handler>) -> Arc<MemoryNetwork> {
        let network = Arc::new(MemoryNetwork {
            local: agent,
            hub: self.clone(),
            handler,
            peers: Mutex::default(),
            life: Mutex::default(),
        });
        let mut state = self.state();
        state.stopped.remove(&agent);
        state.agents.insert(agent, Arc::downgrade(&network));
        network
    }

    /// Sets what goes wrong from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.state().faults = faults;
    }

    /// Loses everything from one agent to another; the way back stays.
    pub fn cut(&self, from: AgentId, to: AgentId) {
        self.state().cut.insert((from, to));
    }

    /// Cuts every way between agents of different groups.
    pub fn partition(&self, groups: &[&[AgentId]]) {
        let mut state = self.state();
        for (number, group) in groups.iter().enumerate() {
            for other in groups.iter().skip(number + 1) {
                for (&one, &two) in group.iter().flat_map(|one| other.iter().map(move |two| (one, two))) {
                    state.cut.extend([(one, two), (two, one)]);
                }
            }
        }
    }

    /// Mends all ways and ends all faults; stopped agents stay stopped.
    pub fn heal(&self) {
        let mut state = self.state();
        state.cut.clear();
        state.faults = Faults::default();
    }

    /// Takes an agent away: calls to it fail at once, as to a process that was killed.
    ///
    /// Whoever waits for its answers learns so, and what it is doing is cut off.
    pub fn stop(&self, agent: AgentId) {
        let network = self.reachable(agent);
        self.state().stopped.insert(agent);
        if let Some(network) = network {
            network.life().cancel();
        }
    }

    /// Brings a stopped agent back.
    pub fn resume(&self, agent: AgentId) {
        self.state().stopped.remove(&agent);
        if let Some(network) = self.reachable(agent) {
            *network.life.lock().unwrap_or_else(PoisonError::into_inner) = CancellationToken::new();
        }
    }

    fn reachable(&self, agent: AgentId) -> Option<Arc<MemoryNetwork>> {
        let state = self.state();
        if state.stopped.contains(&agent) {
            return None;
        }
        state.agents.get(&agent).and_then(Weak::upgrade)
    }

    /// Whether messages pass between two agents in both directions.
    fn joins(&self, one: AgentId, other: AgentId) -> bool {
        let state = self.state();
        let there = [one, other].iter().all(|agent| !state.stopped.contains(agent) && state.agents.contains_key(agent));
        there && !state.cut.contains(&(one, other)) && !state.cut.contains(&(other, one))
    }

    /// Decides the fate of the next message on a way.
    fn fate(&self, from: AgentId, to: AgentId) -> Fate {
        let mut state = self.state();
        let number = state.sent.entry((from, to)).or_insert(0);
        *number += 1;
        let mut random = StdRng::from_seed(message_seed(self.seed, from, to, *number));
        let faults = state.faults;
        let lost = random.random_ratio(faults.lost_per_mille.min(1000), 1000);
        let twice = random.random_ratio(faults.twice_per_mille.min(1000), 1000);
        let delay = random.random_range(faults.delay_min..=faults.delay_max.max(faults.delay_min));
        Fate { arrives: !lost && !state.cut.contains(&(from, to)), twice, delay }
    }

    /// Carries a message; one that is lost never arrives.
    async fn carry(&self, from: AgentId, to: AgentId) -> Fate {
        let fate = self.fate(from, to);
        if !fate.delay.is_zero() {
            sleep(fate.delay).await;
        }
        if !fate.arrives {
            std::future::pending::<()>().await;
        }
        fate
    }
}

/// A way to one peer as its owner sees it.
struct Way {
    lanes: [LaneState; 3],
    connected: AtomicBool,
    round_trip_us: AtomicU32,
    struck_off: CancellationToken,
}

struct LaneState {
    places: Semaphore,
    limit: usize,
    waiting: AtomicUsize,
}

impl LaneState {
    fn new(limit: usize) -> Self {
        Self { places: Semaphore::new(limit), limit, waiting: AtomicUsize::new(0) }
    }
}

impl Way {
    fn new() -> Self {
        Self {
            lanes: [IN_FLIGHT_CONTROL, IN_FLIGHT_FOREGROUND, IN_FLIGHT_BACKGROUND].map(LaneState::new),
            connected: AtomicBool::new(false),
            round_trip_us: AtomicU32::new(0),
            struck_off: CancellationToken::new(),
        }
    }

    fn lane(&self, lane: Lane) -> &LaneState {
        &self.lanes[match lane {
            Lane::Control => 0,
            Lane::Foreground => 1,
            Lane::Background => 2,
        }]
    }
}

/// One agent's end of a [`MemoryHub`]. Gone from the hub when dropped.
pub struct MemoryNetwork {
    local: AgentId,
    hub: MemoryHub,
    handler: Arc<dyn Handler>,
    peers: Mutex<HashMap<AgentId, Arc<Way>>>,
    /// From joining or resuming until it is stopped.
    life: Mutex<CancellationToken>,
}

impl MemoryNetwork {
    fn way(&self, agent: AgentId) -> Option<Arc<Way>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner).get(&agent).cloned()
    }

    fn life(&self) -> CancellationToken {
        self.life.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn call_peer(&self, way: &Way, to: AgentId, lane: Lane, request: Request) -> Result<Response, NetworkError> {
        let state = way.lane(lane);
        let _place = match state.places.try_acquire() {
            Ok(place) => place,
            Err(_) => state.wait().await.ok_or(NetworkError::Busy(to))?,
        };
        let unreachable = |reason: &str| NetworkError::Unreachable { agent: to, reason: reason.to_owned() };
        let peer = self.hub.reachable(to).ok_or_else(|| unreachable("it is not there"))?;
        let way_back = peer.way(self.local).ok_or_else(|| unreachable("it did not take us as a member"))?;
        let (own_life, its_life) = (self.life(), peer.life());
        way.connected.store(true, Ordering::Relaxed);
        let broken = tokio::select! {
            response = self.exchange(way, peer, lane, request) => return response,
            () = way.struck_off.cancelled() => "it was struck off",
            () = way_back.struck_off.cancelled() => "it struck us off",
            () = own_life.cancelled() => "we were stopped",
            () = its_life.cancelled() => "the connection broke",
        };
        way.connected.store(false, Ordering::Relaxed);
        Err(unreachable(broken))
    }

    async fn exchange(
        &self,
        way: &Way,
        peer: Arc<Self>,
        lane: Lane,
        request: Request,
    ) -> Result<Response, NetworkError> {
        let (to, sent) = (peer.local, Instant::now());
        let fate = self.hub.carry(self.local, to).await;
        let response = peer.handle(self.local, lane, request, fate.twice).await;
        if let Some(reason) = oversize("response", lane, response.head.len(), response.body.len()) {
            return Err(NetworkError::TooLarge(format!("{to}: {reason}")));
        }
        self.hub.carry(to, self.local).await;
        if lane == Lane::Control {
            let took = u32::try_from(sent.elapsed().as_micros()).unwrap_or(u32::MAX).max(1);
            way.round_trip_us.store(took, Ordering::Relaxed);
        }
        Ok(response)
    }

    /// Handles a request in a task of its own: that the caller gives up does not end it.
    async fn handle(self: Arc<Self>, from: AgentId, lane: Lane, request: Request, twice: bool) -> Response {
        let life = self.life();
        let handled = tokio::spawn(async move {
            let handle = async {
                if twice {
                    self.handler.handle(from, lane, request.clone()).await;
                }
                self.handler.handle(from, lane, request).await
            };
            life.run_until_cancelled(handle).await
        });
        match handled.await {
            Ok(Some(response)) => response,
            // It was stopped, the handler panicked, or the runtime ends: no response comes, as from a real agent.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }
}

impl LaneState {
    async fn wait(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiter = Waiter(&self.waiting);
        if before >= WAITING_REQUESTS {
            return None;
        }
        self.places.acquire().await.ok()
    }
}

struct Waiter<'a>(&'a AtomicUsize);

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl Network for MemoryNetwork {
    fn local(&self) -> AgentId {
        self.local
    }

    async fn call(&self, to: AgentId, lane: Lane, request: Request, limit: Duration) -> Result<Response, NetworkError> {
        if let Some(reason) = oversize("request", lane, request.head.len(), request.body.len()) {
            return Err(NetworkError::TooLarge(reason));
        }
        let late = |_| NetworkError::Timeout { agent: to, after: limit };
        if to == self.local {
            return timeout(limit, self.handler.handle(to, lane, request)).await.map_err(late);
        }
        let way = self.way(to).ok_or(NetworkError::UnknownPeer(to))?;
        timeout(limit, self.call_peer(&way, to, lane, request)).await.map_err(late)?
    }

    fn set_peers(&self, peers: Vec<Peer>) {
        let mut ways = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut old = std::mem::take(&mut *ways);
        for peer in peers.into_iter().filter(|peer| peer.agent != self.local) {
            let way = old.remove(&peer.agent).unwrap_or_else(|| Arc::new(Way::new()));
            ways.insert(peer.agent, way);
        }
        old.into_values().for_each(|way| way.struck_off.cancel());
    }

    fn status(&self, agent: AgentId) -> PeerStatus {
        let Some(way) = self.way(agent) else { return PeerStatus::default() };
        let in_flight = |lane: Lane| way.lane(lane).limit - way.lane(lane).places.available_permits();
        PeerStatus {
            connected: way.connected.load(Ordering::Relaxed),
            direct: self.hub.joins(self.local, agent),
            round_trip_us: way.round_trip_us.load(Ordering::Relaxed),
            in_flight: (in_flight(Lane::Foreground) + in_flight(Lane::Background)) as u32,
        }
    }
}
