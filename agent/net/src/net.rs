//! [`Net`]: the network of a real agent. Owns the sockets and the tasks, and routes calls to the lanes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dci_proto::AgentId;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::addresses::reachable;
use crate::answering::Shares;
use crate::asking::NoResponse;
use crate::back::Backs;
use crate::control::{self, Control};
use crate::data::{self, ServerConfigs};
use crate::frame::oversize;
use crate::identity::{IdentityError, agent_of_key, keypair};
use crate::join::JoinHandler;
use crate::limits::{CONTROL_BULK_FROM_BYTES, JOINS_AT_ONCE, SHUTDOWN_GRACE};
use crate::peer::PeerState;
use crate::peers::PeerTable;
use crate::pool::Pool;
use crate::reach;
use crate::tls::{TlsError, TlsIdentity};
use crate::tunnel::Tunnels;
use crate::{Handler, Lane, Network, NetworkError, Peer, PeerStatus, Request, Response};

/// What a network is started with.
pub struct NetConfig {
    /// The agent's ed25519 seed. Never printed; wiped when dropped.
    pub key_seed: Zeroizing<[u8; 32]>,
    /// Where the control network listens.
    pub control_listen: SocketAddr,
    /// Where the data channel, and with it the join protocol, listens.
    pub data_listen: SocketAddr,
}

impl std::fmt::Debug for NetConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NetConfig")
            .field("control_listen", &self.control_listen)
            .field("data_listen", &self.data_listen)
            .finish_non_exhaustive()
    }
}

/// Why a network did not start.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NetStartError {
    /// The agent's key is not usable.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// TLS could not be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error("the {what} cannot listen on {address}: {reason}")]
    Listen {
        /// Control network or data channel.
        what: &'static str,
        /// Where.
        address: SocketAddr,
        /// Why.
        reason: String,
    },
}

/// What all parts of a network share.
pub(crate) struct Core {
    pub(crate) local: AgentId,
    pub(crate) handler: Arc<dyn Handler>,
    pub(crate) join: Arc<dyn JoinHandler>,
    pub(crate) joins: Semaphore,
    pub(crate) peers: Arc<PeerTable>,
    pub(crate) shares: Arc<Shares>,
    pub(crate) tls: TlsIdentity,
    pub(crate) servers: ServerConfigs,
    pub(crate) control: Control,
    pub(crate) tunnels: Tunnels,
    pub(crate) backs: Backs,
    pub(crate) closing: CancellationToken,
    pub(crate) tasks: TaskTracker,
}

/// The network of an agent. Dropping it closes everything; [`Net::shutdown`] also waits for it.
pub struct Net {
    core: Arc<Core>,
    control_bound: SocketAddr,
    data_bound: SocketAddr,
    _closing: DropGuard,
}

impl std::fmt::Debug for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Net").field("local", &self.core.local).finish_non_exhaustive()
    }
}

impl Net {
    /// Listens on both ports. Without peers yet: until [`Network::set_peers`] only the join protocol answers.
    pub async fn start(
        config: NetConfig,
        handler: Arc<dyn Handler>,
        join: Arc<dyn JoinHandler>,
    ) -> Result<Self, NetStartError> {
        let keypair = keypair(&config.key_seed)?;
        let local = agent_of_key(&keypair)?;
        let closing = CancellationToken::new();
        let peers = Arc::new(PeerTable::new(closing.clone()));
        let tls = TlsIdentity::new(&keypair)?;
        let servers = ServerConfigs::new(&tls, &peers)?;
        let (listener, data_bound) = listen_data(config.data_listen).await?;
        let (control, network) = control::listen(&keypair, config.control_listen).await?;
        let control_bound = network.bound;
        let core = Arc::new(Core {
            local,
            handler,
            join,
            joins: Semaphore::new(JOINS_AT_ONCE),
            peers,
            shares: Arc::default(),
            tls,
            servers,
            control,
            tunnels: Tunnels::default(),
            backs: Backs::default(),
            closing: closing.clone(),
            tasks: TaskTracker::new(),
        });
        core.tasks.spawn(control::run(core.clone(), network));
        core.tasks.spawn(data::accept_connections(core.clone(), listener));
        Ok(Self { core, control_bound, data_bound, _closing: closing.drop_guard() })
    }

    /// Where others reach the control network.
    #[must_use]
    pub fn control_addresses(&self) -> Vec<SocketAddr> {
        reachable(self.control_bound)
    }

    /// Where others reach the data channel and the join protocol.
    #[must_use]
    pub fn data_addresses(&self) -> Vec<SocketAddr> {
        reachable(self.data_bound)
    }

    /// Closes all connections and ports, and waits a little for handlers at work.
    pub async fn shutdown(&self) {
        self.core.closing.cancel();
        self.core.tasks.close();
        if timeout(SHUTDOWN_GRACE, self.core.tasks.wait()).await.is_err() {
            tracing::warn!("some requests were still being handled when the network was shut down");
        }
    }
}

async fn listen_data(address: SocketAddr) -> Result<(TcpListener, SocketAddr), NetStartError> {
    let failed =
        |error: std::io::Error| NetStartError::Listen { what: "data channel", address, reason: error.to_string() };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

impl Core {
    fn pool<'a>(&self, peer: &'a PeerState, lane: Lane, request: &Request) -> &'a Pool {
        match lane {
            Lane::Control if request.body.len() > CONTROL_BULK_FROM_BYTES => &peer.control_bulk,
            Lane::Control => &peer.control,
            Lane::Foreground => &peer.foreground,
            Lane::Background => &peer.background,
        }
    }

    async fn call_peer(
        self: &Arc<Self>,
        peer: &Arc<PeerState>,
        lane: Lane,
        request: Request,
        limit: Duration,
    ) -> Result<Response, NetworkError> {
        let agent = peer.agent;
        let deadline = Instant::now() + limit;
        let late = |_| NetworkError::Timeout { agent, after: limit };
        let unreachable = |reason| NetworkError::Unreachable { agent, reason };
        let pool = self.pool(peer, lane, &request);
        let placed = tokio::time::timeout_at(deadline, pool.place()).await.map_err(late)?;
        let _place = placed.map_err(|_| NetworkError::Busy(agent))?;
        let (core, to) = (self.clone(), peer.clone());
        let connecting = pool.connection(move || reach::connect(core, to, lane));
        let connected = tokio::time::timeout_at(deadline, connecting).await.map_err(late)?;
        let connection = connected.map_err(unreachable)?;
        let sent = Instant::now();
        match tokio::time::timeout_at(deadline, connection.ask(request)).await {
            Ok(Ok(response)) => {
                if lane == Lane::Control {
                    peer.note_round_trip(sent.elapsed());
                }
                Ok(response)
            }
            Ok(Err(NoResponse::Broken(reason))) => Err(unreachable(reason)),
            Ok(Err(NoResponse::Refused(reason))) => Err(NetworkError::TooLarge(format!("{agent}: {reason}"))),
            Err(late_by) => {
                let (core, to, via) = (self.clone(), peer.clone(), connection.via());
                connection.suspect(&self.tasks, move || match via {
                    Some(hop) => to.ways().failed(hop),
                    None if lane == Lane::Control => control::drop_connection(&core, agent),
                    None => {}
                });
                Err(late(late_by))
            }
        }
    }
}

#[async_trait]
impl Network for Net {
    fn local(&self) -> AgentId {
        self.core.local
    }

    async fn call(&self, to: AgentId, lane: Lane, request: Request, limit: Duration) -> Result<Response, NetworkError> {
        if let Some(reason) = oversize("request", lane, request.head.len(), request.body.len()) {
            return Err(NetworkError::TooLarge(reason));
        }
        if to == self.core.local {
            let answered = timeout(limit, self.core.handler.handle(to, lane, request)).await;
            return answered.map_err(|_| NetworkError::Timeout { agent: to, after: limit });
        }
        let peer = self.core.peers.get(to).ok_or(NetworkError::UnknownPeer(to))?;
        self.core.call_peer(&peer, lane, request, limit).await
    }

    fn set_peers(&self, mut peers: Vec<Peer>) {
        peers.retain(|peer| peer.agent != self.core.local);
        self.core.peers.replace(peers);
        self.core.control.members_changed();
    }

    fn status(&self, agent: AgentId) -> PeerStatus {
        self.core.peers.get(agent).map(|peer| peer.status()).unwrap_or_default()
    }
}
