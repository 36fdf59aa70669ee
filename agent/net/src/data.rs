//! The data channel: TLS connections on a port of its own, dialled by whoever asks.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::server::Acceptor;
use rustls::{ClientConfig, ServerConfig};
use tokio::io::BufReader;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, client, server};

use crate::Lane;
use crate::addresses::first_of;
use crate::answering::{Answering, Channel};
use crate::asking::Connection;
use crate::join::serve_join;
use crate::limits::{
    CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, KEEPALIVE_AFTER, PENDING_HANDSHAKES, PENDING_HANDSHAKES_PER_ADDRESS,
    SOCKET_READ_BYTES, TLS_WRITE_BYTES,
};
use crate::net::Core;
use crate::peers::PeerState;
use crate::pool::Connected;
use crate::tls::{JOIN_PROTOCOL, agent_of_chain, server_name};

/// A data socket: rustls reads 4 KiB at a time, so it reads from a buffer.
type Socket = BufReader<TcpStream>;
pub(crate) type ClientStream = client::TlsStream<Socket>;
pub(crate) type ServerStream = server::TlsStream<Socket>;

fn prepared(stream: TcpStream) -> io::Result<Socket> {
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(Duration::from_secs(5));
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(BufReader::with_capacity(SOCKET_READ_BYTES, stream))
}

/// Connects to one address and proves both ends.
pub(crate) async fn dial(address: SocketAddr, config: Arc<ClientConfig>) -> Result<ClientStream, String> {
    let connected = async {
        let socket = prepared(TcpStream::connect(address).await?)?;
        let limit = |connection: &mut rustls::ClientConnection| connection.set_buffer_limit(Some(TLS_WRITE_BYTES));
        TlsConnector::from(config).connect_with(server_name(), socket, limit).await
    };
    let late = |_| format!("no connection within {} ms", CONNECT_TIMEOUT.as_millis());
    timeout(CONNECT_TIMEOUT, connected).await.map_err(late)?.map_err(|error| error.to_string())
}

/// Makes a data connection to a peer, ready to be asked on.
pub(crate) async fn connect(core: Arc<Core>, peer: Arc<PeerState>, lane: Lane) -> Connected {
    let config = core.tls.data_client(peer.agent).map_err(|error| error.to_string())?;
    let dialled = first_of(peer.addresses(lane), |address| dial(address, config.clone()));
    let late = |_| format!("no connection within {} ms", CONNECT_TIMEOUT.as_millis());
    let stream = timeout(CONNECT_TIMEOUT, dialled).await.map_err(late)??;
    let connection = Connection::start(lane, stream, peer.struck_off.child_token(), &core.tasks);
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
#[derive(Clone)]
pub(crate) struct ServerConfigs {
    pub(crate) data: Arc<ServerConfig>,
    pub(crate) join: Arc<ServerConfig>,
}

/// Accepts connections until the network is shut down.
pub(crate) async fn accept_connections(core: Arc<Core>, listener: TcpListener, configs: ServerConfigs) {
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
                    core.tasks.spawn(serve(core.clone(), stream, remote.ip(), configs.clone(), handshake));
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
enum Protocol {
    Data,
    Join,
}

async fn serve(core: Arc<Core>, stream: TcpStream, remote: IpAddr, configs: ServerConfigs, handshake: Handshake) {
    let shaken = tokio::select! {
        () = core.closing.cancelled() => return,
        shaken = timeout(HANDSHAKE_TIMEOUT, shake(stream, configs)) => shaken,
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
        Protocol::Data => serve_member(&core, agent, stream).await,
    }
}

async fn shake(stream: TcpStream, configs: ServerConfigs) -> io::Result<(Protocol, ServerStream)> {
    let start = LazyConfigAcceptor::new(Acceptor::default(), prepared(stream)?).await?;
    let joins = start.client_hello().alpn().is_some_and(|mut names| names.any(|name| name == JOIN_PROTOCOL));
    let (protocol, config) = if joins { (Protocol::Join, configs.join) } else { (Protocol::Data, configs.data) };
    let limit = |connection: &mut rustls::ServerConnection| connection.set_buffer_limit(Some(TLS_WRITE_BYTES));
    let stream = start.into_stream_with(config, limit).await?;
    // A client that names no protocol at all passes a handshake with ALPN; here it does not.
    if stream.get_ref().1.alpn_protocol().is_none() {
        return Err(io::Error::other("the client names no protocol"));
    }
    Ok((protocol, stream))
}

async fn serve_member(core: &Core, agent: dci_proto::AgentId, stream: ServerStream) {
    // Asked once more: it may have been struck off during the handshake.
    let Some(peer) = core.peers.get(agent) else { return };
    peer.retry_now();
    let closing = peer.accept();
    let _ended = closing.clone().drop_guard();
    let answering = Answering {
        from: agent,
        channel: Channel::Data,
        handler: core.handler.clone(),
        shares: core.shares.clone(),
        closing,
        tasks: core.tasks.clone(),
    };
    answering.serve(stream).await;
}
