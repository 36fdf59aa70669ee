//! What the tests of the network share: a handler that does as the method says, and worlds of agents.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_net::{
    Handler, Lane, MemoryHub, MemoryNetwork, Net, NetConfig, Network, NetworkError, Peer, RefuseJoins, Request,
    Response, agent_id_of_seed,
};
use tokio::sync::Semaphore;

/// How long anything in a test may take before it failed.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Answers with what was asked.
pub(crate) const ECHO: u16 = 1;
/// Never answers.
pub(crate) const NEVER: u16 = 2;
/// Answers when the gate is opened.
pub(crate) const GATED: u16 = 3;
/// Answers more than the limit allows.
pub(crate) const TOO_MUCH: u16 = 4;

/// Does as the method says and counts.
pub(crate) struct Obedient {
    pub(crate) calls: AtomicUsize,
    pub(crate) at_work: AtomicUsize,
    pub(crate) most_at_work: AtomicUsize,
    pub(crate) gate: Semaphore,
}

impl Obedient {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            calls: AtomicUsize::new(0),
            at_work: AtomicUsize::new(0),
            most_at_work: AtomicUsize::new(0),
            gate: Semaphore::new(0),
        })
    }

    pub(crate) fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Handler for Obedient {
    async fn handle(&self, _from: AgentId, _lane: Lane, request: Request) -> Response {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let at_work = self.at_work.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_at_work.fetch_max(at_work, Ordering::SeqCst);
        let response = match request.method {
            NEVER => std::future::pending().await,
            GATED => {
                self.gate.acquire().await.expect("the gate is not closed").forget();
                Response::default()
            }
            TOO_MUCH => Response { body: Bytes::from(vec![0; shoal_net::BODY_LIMIT_BYTES + 1]), ..Response::default() },
            _ => Response { status: request.method, head: request.head, body: request.body },
        };
        self.at_work.fetch_sub(1, Ordering::SeqCst);
        response
    }
}

/// Agents that are members of one pool, over one implementation.
#[async_trait]
pub(crate) trait World: Send + Sync {
    /// Starts, or restarts, the agent of a seed. It knows nobody yet.
    async fn start(&mut self, seed: u8, handler: Arc<Obedient>) -> Arc<dyn Network>;
    /// Ends an agent as if it had been killed.
    async fn stop(&mut self, seed: u8);
    /// How others reach an agent.
    fn peer(&self, seed: u8) -> Peer;
}

pub(crate) fn agent(seed: u8) -> AgentId {
    agent_id_of_seed(&[seed; 32]).expect("a seed")
}

pub(crate) const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

pub(crate) async fn start_net(seed: u8, handler: Arc<dyn Handler>) -> Arc<Net> {
    let config = NetConfig { key_seed: [seed; 32].into(), control_listen: LOOPBACK, data_listen: LOOPBACK };
    Arc::new(Net::start(config, handler, Arc::new(RefuseJoins)).await.expect("starts"))
}

pub(crate) fn peer_of(net: &Net) -> Peer {
    Peer { agent: net.local(), control_addresses: net.control_addresses(), data_addresses: net.data_addresses() }
}

/// Real sockets on loopback.
#[derive(Default)]
pub(crate) struct RealWorld {
    nets: HashMap<u8, Arc<Net>>,
}

#[async_trait]
impl World for RealWorld {
    async fn start(&mut self, seed: u8, handler: Arc<Obedient>) -> Arc<dyn Network> {
        let net = start_net(seed, handler).await;
        self.nets.insert(seed, net.clone());
        net
    }

    async fn stop(&mut self, seed: u8) {
        self.nets.remove(&seed).expect("it was started").shutdown().await;
    }

    fn peer(&self, seed: u8) -> Peer {
        peer_of(&self.nets[&seed])
    }
}

/// The network within the process.
pub(crate) struct MemoryWorld {
    pub(crate) hub: MemoryHub,
    pub(crate) nets: HashMap<u8, Arc<MemoryNetwork>>,
}

impl Default for MemoryWorld {
    fn default() -> Self {
        Self { hub: MemoryHub::new(1), nets: HashMap::new() }
    }
}

#[async_trait]
impl World for MemoryWorld {
    async fn start(&mut self, seed: u8, handler: Arc<Obedient>) -> Arc<dyn Network> {
        let net = self.hub.join(agent(seed), handler);
        self.nets.insert(seed, net.clone());
        net
    }

    async fn stop(&mut self, seed: u8) {
        self.hub.stop(agent(seed));
    }

    fn peer(&self, seed: u8) -> Peer {
        Peer { agent: agent(seed), control_addresses: vec![], data_addresses: vec![] }
    }
}

/// Two members that know each other: the one that asks and the one that answers.
pub(crate) struct Pair<W> {
    pub(crate) world: W,
    pub(crate) asking: Arc<dyn Network>,
    pub(crate) answering: Arc<dyn Network>,
    pub(crate) handler: Arc<Obedient>,
}

pub(crate) const ASKING: u8 = 1;
pub(crate) const ANSWERING: u8 = 2;

pub(crate) async fn pair<W: World>(mut world: W) -> Pair<W> {
    let handler = Obedient::new();
    let asking = world.start(ASKING, Obedient::new()).await;
    let answering = world.start(ANSWERING, handler.clone()).await;
    asking.set_peers(vec![world.peer(ANSWERING)]);
    answering.set_peers(vec![world.peer(ASKING)]);
    Pair { world, asking, answering, handler }
}

impl<W: World> Pair<W> {
    pub(crate) async fn call(&self, lane: Lane, request: Request) -> Result<Response, NetworkError> {
        self.asking.call(agent(ANSWERING), lane, request, DEADLINE).await
    }
}

pub(crate) fn request(method: u16, head: &[u8], body: Vec<u8>) -> Request {
    Request { method, head: Bytes::copy_from_slice(head), body: Bytes::from(body) }
}

/// Waits until a condition holds.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(DEADLINE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("it never came to pass that {what}"));
}

pub(crate) fn locked<T: Clone>(mutex: &Mutex<T>) -> T {
    mutex.lock().expect("not poisoned").clone()
}
