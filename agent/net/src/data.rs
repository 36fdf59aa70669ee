//! The data channel: TLS connections on a port of its own, dialled by whoever asks.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use rustls::server::{Acceptor, ClientHello};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, client, server};

use crate::addresses::first_of;
use crate::answering::{Answering, Channel};
use crate::asking::Connection;
use crate::join::serve_join;
use crate::limits::{
    CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, KEEPALIVE_AFTER, PENDING_HANDSHAKES, PENDING_HANDSHAKES_PER_ADDRESS,
    SOCKET_READ_BYTES, TLS_WRITE_BYTES,
};
use crate::net::Core;
use crate::peer::{PeerState, Port};
use crate::peers::PeerTable;
use crate::pool::Connected;
use crate::tls::{
    BACK_PROTOCOL, DATA_PROTOCOL, JOIN_PROTOCOL, TUNNEL_PROTOCOL, TUNNELLED_PROTOCOL, TlsError, TlsIdentity,
    agent_of_chain, server_name,
};
use crate::{Lane, back, tunnel};

/// A data socket: rustls reads 4 KiB at a time, so it reads from a buffer.
pub(crate) type Socket = BufReader<TcpStream>;
pub(crate) type ClientStream = client::TlsStream<Socket>;
pub(crate) type ServerStream = server::TlsStream<Socket>;

pub(crate) fn prepared(stream: TcpStream) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(Duration::from_secs(5));
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(BufReader::with_capacity(SOCKET_READ_BYTES, stream))
}

/// Connects to one address and proves both ends.
pub(crate) async fn dial(address: SocketAddr, config: Arc<ClientConfig>) -> Result<ClientStream, String> {
    let connected = async {
        let socket = prepared(TcpStream::connect(address).await?)?;
        shake_as_client(socket, config).await
    };
    let late = |_| format!("no connection within {} ms", CONNECT_TIMEOUT.as_millis());
    timeout(CONNECT_TIMEOUT, connected).await.map_err(late)?.map_err(|error| error.to_string())
}

/// Proves both ends over a stream on which nothing was said yet.
pub(crate) async fn shake_as_client<S>(stream: S, config: Arc<ClientConfig>) -> io::Result<client::TlsStream<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let limit = |connection: &mut rustls::ClientConnection| connection.set_buffer_limit(Some(TLS_WRITE_BYTES));
    TlsConnector::from(config).connect_with(server_name(), stream, limit).await
}

/// Makes a data connection to a peer, without others in between, ready to be asked on.
pub(crate) async fn connect(core: &Arc<Core>, peer: &PeerState, lane: Lane) -> Connected {
    let config = core.tls.member_client(peer.agent, DATA_PROTOCOL).map_err(|error| error.to_string())?;
    let stream = dial_peer(peer, config, CONNECT_TIMEOUT).await?;
    start(core, peer, lane, None, stream).await
}

/// Dials a peer's data port at all its addresses, for any of the protocols there.
pub(crate) async fn dial_peer(
    peer: &PeerState,
    config: Arc<ClientConfig>,
    limit: Duration,
) -> Result<ClientStream, String> {
    let dialled = first_of(peer.addresses(Port::Data), |address| dial(address, config.clone()));
    let late = |_| format!("no connection within {} ms", limit.as_millis());
    let dialled = timeout(limit, dialled).await.map_err(late).flatten();
    let address = |stream: &ClientStream| stream.get_ref().0.get_ref().peer_addr().ok();
    peer.note_data_dial(dialled.as_ref().ok().and_then(address));
    dialled
}

/// Has a connection ready to be asked on, over a stream that is already authenticated. `via` is the first of the agents
/// it goes over.
pub(crate) async fn start<S>(core: &Core, peer: &PeerState, lane: Lane, via: Option<AgentId>, stream: S) -> Connected
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    let connection = Connection::start(lane, via, stream, peer.struck_off.child_token(), &core.tasks);
    // The other end checks us after we think the handshake is done; only an answer shows that it took us.
    if connection.is_alive(CONNECT_TIMEOUT).await {
        return Ok(connection);
    }
    connection.close("it did not take us as a member");
    Err("it did not take us as a member".to_owned())
}

/// Handshakes under way, in all and by address.
#[derive(Default)]
struct Handshakes(Mutex<HashMap<IpAddr, usize>>);

/// One of them, until dropped.
struct Handshake {
    counts: Arc<Handshakes>,
    address: IpAddr,
    _place: OwnedSemaphorePermit,
}

impl Handshakes {
    fn begin(self: &Arc<Self>, places: &Arc<Semaphore>, address: IpAddr) -> Option<Handshake> {
        let _place = places.clone().try_acquire_owned().ok()?;
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(address).or_insert(0);
        if *count >= PENDING_HANDSHAKES_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Handshake { counts: self.clone(), address, _place })
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

/// The configurations of the answering end.
pub(crate) struct ServerConfigs {
    data: Arc<ServerConfig>,
    tunnelled: Arc<ServerConfig>,
    tunnel: Arc<ServerConfig>,
    back: Arc<ServerConfig>,
    join: Arc<ServerConfig>,
}

impl ServerConfigs {
    pub(crate) fn new(tls: &TlsIdentity, members: &Arc<PeerTable>) -> Result<Self, TlsError> {
        let of_members = |protocol| tls.member_server(members.clone(), protocol);
        Ok(Self {
            data: of_members(DATA_PROTOCOL)?,
            tunnelled: of_members(TUNNELLED_PROTOCOL)?,
            tunnel: of_members(TUNNEL_PROTOCOL)?,
            back: of_members(BACK_PROTOCOL)?,
            join: tls.join_server()?,
        })
    }

    fn of(&self, protocol: Protocol) -> Arc<ServerConfig> {
        match protocol {
            Protocol::Data => &self.data,
            Protocol::Tunnelled => &self.tunnelled,
            Protocol::Tunnel => &self.tunnel,
            Protocol::Back => &self.back,
            Protocol::Join => &self.join,
        }
        .clone()
    }
}

/// Accepts connections until the network is shut down.
pub(crate) async fn accept_connections(core: Arc<Core>, listener: TcpListener) {
    let handshakes = Arc::new(Handshakes::default());
    let places = Arc::new(Semaphore::new(PENDING_HANDSHAKES));
    loop {
        let accepted = tokio::select! {
            () = core.closing.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            // Over the limit the socket is dropped without a word.
            Ok((stream, remote)) => {
                if let Some(handshake) = handshakes.begin(&places, remote.ip()) {
                    core.tasks.spawn(serve(core.clone(), stream, remote.ip(), handshake));
                }
            }
            Err(error) => {
                // Out of file handles, most likely: some will be closed.
                tracing::warn!(%error, "cannot accept a data connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Which protocol a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Data,
    Tunnelled,
    Tunnel,
    Back,
    Join,
}

impl Protocol {
    /// What a client offers; whoever offers nothing of ours is turned away by the configuration for data.
    fn offered(hello: &ClientHello<'_>) -> Self {
        let names: Vec<&[u8]> = hello.alpn().into_iter().flatten().collect();
        let known = [
            (JOIN_PROTOCOL, Self::Join),
            (TUNNEL_PROTOCOL, Self::Tunnel),
            (TUNNELLED_PROTOCOL, Self::Tunnelled),
            (BACK_PROTOCOL, Self::Back),
        ];
        let offered = known.into_iter().find(|(name, _)| names.contains(name));
        offered.map_or(Self::Data, |(_, protocol)| protocol)
    }
}

async fn serve(core: Arc<Core>, stream: TcpStream, remote: IpAddr, handshake: Handshake) {
    let shaking = async { shake(&core, prepared(stream)?).await };
    let shaken = tokio::select! {
        () = core.closing.cancelled() => return,
        shaken = timeout(HANDSHAKE_TIMEOUT, shaking) => shaken,
    };
    drop(handshake);
    let (protocol, stream) = match shaken {
        Ok(Ok(shaken)) => shaken,
        Ok(Err(error)) => return tracing::debug!(%remote, %error, "refused a data connection"),
        Err(_) => return tracing::debug!(%remote, "a data connection's handshake took too long"),
    };
    let Some(agent) = agent_of_chain(stream.get_ref().1.peer_certificates()) else {
        return;
    };
    match protocol {
        Protocol::Join => serve_join(&core, agent, remote, stream).await,
        Protocol::Tunnel => Box::pin(tunnel::serve(&core, agent, stream)).await,
        Protocol::Back => back::take(&core, agent, stream).await,
        Protocol::Data => serve_member(&core, agent, stream, Channel::Data).await,
        Protocol::Tunnelled => serve_member(&core, agent, stream, Channel::Tunnelled).await,
    }
}

/// Serves what comes over a connection that this agent brought to a peer: data, of the peer or of who has a tunnel over
/// it.
pub(crate) async fn serve_brought<S>(core: &Core, peer: &PeerState, shaken: Shaken<S>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (protocol, stream) = shaken;
    let Some(agent) = agent_of_chain(stream.get_ref().1.peer_certificates()) else {
        return;
    };
    match protocol {
        Protocol::Data if agent == peer.agent => serve_member(core, agent, stream, Channel::Data).await,
        Protocol::Tunnelled => serve_member(core, agent, stream, Channel::Tunnelled).await,
        _ => tracing::debug!(%agent, ?protocol, "closed a connection brought to another end"),
    }
}

/// What a client asked for, and the stream on which both ends are proved.
pub(crate) type Shaken<S> = (Protocol, server::TlsStream<S>);

/// The answering end of a handshake.
pub(crate) async fn shake<S>(core: &Core, stream: S) -> io::Result<Shaken<S>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
    let protocol = Protocol::offered(&start.client_hello());
    let limit = |connection: &mut rustls::ServerConnection| connection.set_buffer_limit(Some(TLS_WRITE_BYTES));
    let stream = start.into_stream_with(core.servers.of(protocol), limit).await?;
    // A client that names no protocol at all passes a handshake with ALPN; here it does not.
    if stream.get_ref().1.alpn_protocol().is_none() {
        return Err(io::Error::other("the client names no protocol"));
    }
    Ok((protocol, stream))
}

async fn serve_member<S>(core: &Core, agent: AgentId, stream: S, channel: Channel)
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    // Asked once more: it may have been struck off during the handshake.
    let Some(peer) = core.peers.get(agent) else { return };
    let direct = channel == Channel::Data;
    if direct {
        peer.retry_now();
    } else {
        peer.heard_from();
    }
    let closing = peer.accept(direct);
    let _ended = closing.clone().drop_guard();
    let answering = Answering {
        from: agent,
        channel,
        handler: core.handler.clone(),
        shares: core.shares.clone(),
        closing,
        tasks: core.tasks.clone(),
    };
    answering.serve(stream).await;
}
