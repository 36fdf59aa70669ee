//! The control network: a libp2p swarm that only members can connect to, and streams of frames on it.
//!
//! Each end opens the streams it asks on and keeps them, so that a request costs no set-up; the other end's streams
//! are answered on. The swarm is owned by one task and told what to do through a bounded queue.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use dci_proto::AgentId;
use futures::StreamExt;
use libp2p::allow_block_list::{AllowedPeers, Behaviour as AllowList};
use libp2p::connection_limits::{Behaviour as LimitBehaviour, ConnectionLimits};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, NetworkBehaviour, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, identify, noise, ping, tcp, yamux};
use tokio::io::BufReader;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::compat::FuturesAsyncReadCompatExt;

use crate::addresses::first_of;
use crate::answering::{Answering, Channel};
use crate::asking::Connection;
use crate::identity::{agent_of_peer, peer_id};
use crate::limits::{
    CONNECT_TIMEOUT, CONTROL_CONNECTIONS_PER_PEER, CONTROL_STREAMS_PER_CONNECTION, IDLE_CONNECTION,
    PENDING_CONTROL_CONNECTIONS, PING_INTERVAL, STREAM_READ_BYTES, SWARM_COMMANDS,
};
use crate::net::{Core, NetStartError};
use crate::peer::{PeerState, Port};
use crate::pool::Connected;
use crate::{Lane, back};

/// What the streams speak.
const PROTOCOL: StreamProtocol = StreamProtocol::new("/shoal/control/1");
/// What identify says we are.
const IDENTIFY_PROTOCOL: &str = "/shoal/1";
/// How long the swarm may take to listen.
const LISTEN_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The order matters: who is no member is turned away by the first field, before any other is told of it.
#[derive(NetworkBehaviour)]
struct Behaviour {
    members: AllowList<AllowedPeers>,
    limits: LimitBehaviour,
    streams: libp2p_stream::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
}

/// What the swarm is told.
enum Command {
    Dial { peer: PeerId, address: Multiaddr, done: oneshot::Sender<Result<(), String>> },
    Disconnect(PeerId),
}

/// A handle to the swarm's task.
pub(crate) struct Control {
    commands: mpsc::Sender<Command>,
    streams: libp2p_stream::Control,
    /// Says that the list of members changed.
    members_changed: tokio::sync::Notify,
}

/// The swarm, listening but not yet run.
pub(crate) struct ControlNetwork {
    swarm: Swarm<Behaviour>,
    incoming: libp2p_stream::IncomingStreams,
    /// On which connections are asked for.
    backs: libp2p_stream::IncomingStreams,
    commands: mpsc::Receiver<Command>,
    pub(crate) bound: SocketAddr,
}

fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Tcp(address.port()))
}

fn port_of(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| if let Protocol::Tcp(port) = part { Some(port) } else { None })
}

fn build_swarm(keypair: &Keypair) -> Result<Swarm<Behaviour>, String> {
    let multiplexing = || {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(CONTROL_STREAMS_PER_CONNECTION);
        config
    };
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING_CONTROL_CONNECTIONS))
        .with_max_pending_outgoing(Some(PENDING_CONTROL_CONNECTIONS))
        .with_max_established_per_peer(Some(CONTROL_CONNECTIONS_PER_PEER));
    let identify = identify::Config::new(IDENTIFY_PROTOCOL.to_owned(), keypair.public())
        .with_interval(std::time::Duration::from_secs(24 * 3600))
        .with_cache_size(0);
    let swarm = SwarmBuilder::with_existing_identity(keypair.clone())
        .with_tokio()
        .with_tcp(tcp::Config::new().nodelay(true), noise::Config::new, multiplexing)
        .map_err(|error| error.to_string())?
        .with_behaviour(|_| Behaviour {
            members: AllowList::default(),
            limits: LimitBehaviour::new(limits),
            streams: libp2p_stream::Behaviour::new(),
            identify: identify::Behaviour::new(identify),
            ping: ping::Behaviour::new(ping::Config::new().with_interval(PING_INTERVAL)),
        })
        .map_err(|error| error.to_string())?
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_CONNECTION))
        .with_connection_timeout(CONNECT_TIMEOUT)
        .build();
    Ok(swarm)
}

/// The address to listen on with its port settled. libp2p lets several sockets share a port, so whether it is free is
/// found out beforehand; and it names the ports of unspecified addresses only once interfaces are up.
fn settle(address: SocketAddr) -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind(address)?.local_addr()
}

/// Makes the swarm and has it listen.
pub(crate) async fn listen(keypair: &Keypair, address: SocketAddr) -> Result<(Control, ControlNetwork), NetStartError> {
    let failed = |reason: String| NetStartError::Listen { what: "control network", address, reason };
    let settled = settle(address).map_err(|error| failed(error.to_string()))?;
    let mut swarm = build_swarm(keypair).map_err(&failed)?;
    let mut streams = swarm.behaviour().streams.new_control();
    let incoming = streams.accept(PROTOCOL).map_err(|error| failed(error.to_string()))?;
    let backs = streams.accept(back::ASK_PROTOCOL).map_err(|error| failed(error.to_string()))?;
    let wanted = if address.ip().is_unspecified() { settled } else { address };
    let listener = swarm.listen_on(multiaddr(wanted)).map_err(|error| failed(error.to_string()))?;
    let bound = if wanted.port() != 0 {
        wanted
    } else {
        let listening = async {
            loop {
                if let SwarmEvent::NewListenAddr { listener_id, address } = swarm.select_next_some().await
                    && listener_id == listener
                    && let Some(port) = port_of(&address)
                {
                    return SocketAddr::new(wanted.ip(), port);
                }
            }
        };
        timeout(LISTEN_TIMEOUT, listening).await.map_err(|_| failed("it does not come up".to_owned()))?
    };
    let (sender, commands) = mpsc::channel(SWARM_COMMANDS);
    let control = Control { commands: sender, streams, members_changed: tokio::sync::Notify::new() };
    Ok((control, ControlNetwork { swarm, incoming, backs, commands, bound }))
}

impl Control {
    /// The list of members changed: the swarm shall take it over.
    pub(crate) fn members_changed(&self) {
        self.members_changed.notify_one();
    }

    async fn dial(&self, peer: PeerId, address: SocketAddr) -> Result<(), String> {
        let (done, dialled) = oneshot::channel();
        let gone = "the control network was shut down";
        self.commands
            .send(Command::Dial { peer, address: multiaddr(address), done })
            .await
            .map_err(|_| gone.to_owned())?;
        dialled.await.map_err(|_| gone.to_owned())?
    }

    /// What opens streams to peers that connections stand to.
    pub(crate) fn streams(&self) -> libp2p_stream::Control {
        self.streams.clone()
    }

    async fn disconnect(&self, peer: PeerId) {
        // Without a swarm there is nothing to disconnect.
        let _ = self.commands.send(Command::Disconnect(peer)).await;
    }
}

/// Makes a stream to a peer, without others in between, ready to be asked on.
pub(crate) async fn connect(core: &Arc<Core>, peer: &PeerState) -> Connected {
    let id = peer_id(peer.agent).ok_or("its id is no key")?;
    match timeout(CONNECT_TIMEOUT, open(core, peer, id)).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(reason)) => Err(reason),
        Err(_) => {
            // What stands there is of no use; the next attempt shall start from the socket.
            core.control.disconnect(id).await;
            Err(format!("no connection within {} ms", CONNECT_TIMEOUT.as_millis()))
        }
    }
}

async fn open(core: &Arc<Core>, peer: &PeerState, id: PeerId) -> Connected {
    if !peer.has_control_connection() {
        first_of(peer.addresses(Port::Control), |address| core.control.dial(id, address)).await?;
    }
    let mut streams = core.control.streams();
    let stream = streams.open_stream(id, PROTOCOL).await.map_err(|error| error.to_string())?;
    let closing = peer.struck_off.child_token();
    let connection = Connection::start(Lane::Control, None, buffered(stream), closing, &core.tasks);
    // A peer that does not take us lets the connection come up and then closes it; and it may drop a stream when many
    // come at once. Only an answer shows that this one serves.
    if connection.is_alive(CONNECT_TIMEOUT).await {
        peer.retry_now();
        return Ok(connection);
    }
    connection.close("it did not take us as a member");
    Err("it did not take us as a member".to_owned())
}

fn buffered(stream: Stream) -> BufReader<tokio_util::compat::Compat<Stream>> {
    BufReader::with_capacity(STREAM_READ_BYTES, stream.compat())
}

/// Closes the connections of a peer whose stream went silent: they are as dead as it is.
pub(crate) fn drop_connection(core: &Arc<Core>, agent: AgentId) {
    let core = core.clone();
    core.tasks.clone().spawn(async move {
        if let Some(id) = peer_id(agent) {
            core.control.disconnect(id).await;
        }
    });
}

/// What the swarm's task keeps.
struct Running {
    core: Arc<Core>,
    swarm: Swarm<Behaviour>,
    dials: HashMap<ConnectionId, oneshot::Sender<Result<(), String>>>,
}

/// Runs the swarm until the network is shut down.
pub(crate) async fn run(core: Arc<Core>, network: ControlNetwork) {
    let ControlNetwork { swarm, mut incoming, mut backs, mut commands, .. } = network;
    let mut running = Running { core: core.clone(), swarm, dials: HashMap::new() };
    loop {
        tokio::select! {
            () = core.closing.cancelled() => return,
            () = core.control.members_changed.notified() => running.take_over_members(),
            Some(command) = commands.recv() => running.obey(command),
            Some((peer, stream)) = incoming.next() => running.serve(peer, stream),
            Some((peer, stream)) = backs.next() => running.bring(peer, stream),
            event = running.swarm.select_next_some() => running.note(event),
        }
    }
}

impl Running {
    fn take_over_members(&mut self) {
        let members: HashSet<PeerId> = self.core.peers.agents().into_iter().filter_map(peer_id).collect();
        let list = &mut self.swarm.behaviour_mut().members;
        let struck_off: Vec<PeerId> = list.allowed_peers().difference(&members).copied().collect();
        for peer in struck_off {
            list.disallow_peer(peer);
        }
        for peer in members {
            list.allow_peer(peer);
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Dial { peer, address, done } => {
                // The list may have changed a moment ago, and the word of it not have come yet.
                self.take_over_members();
                let options = DialOpts::peer_id(peer)
                    .condition(PeerCondition::Always)
                    .addresses(vec![address])
                    .allocate_new_port()
                    .build();
                let connection = options.connection_id();
                match self.swarm.dial(options) {
                    Ok(()) => drop(self.dials.insert(connection, done)),
                    Err(error) => drop(done.send(Err(error.to_string()))),
                }
            }
            Command::Disconnect(peer) => drop(self.swarm.disconnect_peer_id(peer)),
        }
    }

    fn note(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, num_established, .. } => {
                self.connections(&peer_id, num_established.get());
                if let Some(done) = self.dials.remove(&connection_id) {
                    let _ = done.send(Ok(()));
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, num_established, .. } => {
                self.connections(&peer_id, num_established);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                if let Some(done) = self.dials.remove(&connection_id) {
                    let _ = done.send(Err(error.to_string()));
                }
            }
            SwarmEvent::IncomingConnectionError { send_back_addr, error, .. } => {
                tracing::debug!(remote = %send_back_addr, %error, "refused a control connection");
            }
            SwarmEvent::Behaviour(BehaviourEvent::Ping(ping::Event { connection, result: Err(error), .. })) => {
                tracing::debug!(%error, "closing a control connection that went silent");
                self.swarm.close_connection(connection);
            }
            SwarmEvent::ListenerClosed { reason: Err(error), .. } | SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "the control network's listener");
            }
            _ => {}
        }
    }

    fn connections(&self, peer: &PeerId, count: u32) {
        if let Some(state) = agent_of_peer(peer).and_then(|agent| self.core.peers.get(agent))
            && state.set_control_connections(count)
        {
            self.core.peers.forgive_ways();
        }
    }

    fn bring(&self, peer: PeerId, asked: Stream) {
        if let Some(state) = agent_of_peer(&peer).and_then(|agent| self.core.peers.get(agent)) {
            self.core.tasks.spawn(back::bring(self.core.clone(), state, asked));
        }
    }

    fn serve(&self, peer: PeerId, stream: Stream) {
        let Some(state) = agent_of_peer(&peer).and_then(|agent| self.core.peers.get(agent)) else { return };
        state.retry_now();
        let closing = state.accept(true);
        let ended = closing.clone().drop_guard();
        let answering = Answering {
            from: state.agent,
            channel: Channel::Control,
            handler: self.core.handler.clone(),
            shares: self.core.shares.clone(),
            closing,
            tasks: self.core.tasks.clone(),
        };
        self.core.tasks.spawn(async move {
            answering.serve(buffered(stream)).await;
            drop(ended);
        });
    }
}
