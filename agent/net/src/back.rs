//! Connections that the other end is asked to bring: to an agent that dials us and that we cannot dial, behind a router
//! for instance.
//!
//! ```text
//!   B ── over N's own control connection: a token ──► N
//!   B ◄── TLS, shoal-back/1: the same token ── N, which then serves what comes as if it had accepted it
//! ```
//!
//! Within, both ends prove themselves once more as on any data connection, for B may do this for another member whose
//! tunnel ends at N.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use libp2p::{Stream, StreamProtocol};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::compat::FuturesAsyncReadCompatExt;

use crate::Lane;
use crate::data::{self, ServerStream, dial_peer, shake_as_client};
use crate::identity::peer_id;
use crate::limits::{
    BACKS, BACKS_PER_ASKER, CONNECT_TIMEOUT, HANDSHAKE_TIMEOUT, SOCKET_READ_BYTES, TUNNEL_ASK_TIMEOUT,
};
use crate::net::Core;
use crate::peer::PeerState;
use crate::pool::Connected;
use crate::quota::Quota;
use crate::tls::{BACK_PROTOCOL, DATA_PROTOCOL};

/// What is asked on the control network.
pub(crate) const ASK_PROTOCOL: StreamProtocol = StreamProtocol::new("/shoal/back/1");
const TOKEN_BYTES: usize = 16;

/// Which of the connections asked for one is. No secret: both ends are proved anyway.
type Token = [u8; TOKEN_BYTES];
type Waiting = HashMap<(AgentId, Token), oneshot::Sender<ServerStream>>;

/// What is being brought.
pub(crate) struct Backs {
    /// To us: who waits for it. As many as connections are being made, which is bounded where they are.
    waiting: Mutex<Waiting>,
    /// By us.
    bringing: Quota,
}

impl Default for Backs {
    fn default() -> Self {
        Self { waiting: Mutex::default(), bringing: Quota::new(BACKS, BACKS_PER_ASKER) }
    }
}

impl Backs {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits no more when dropped.
struct Forget<'a> {
    backs: &'a Backs,
    key: (AgentId, Token),
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.backs.waiting().remove(&self.key);
    }
}

/// Has a peer, to which a control connection stands, bring a connection on which nothing was said yet.
pub(crate) async fn fetch(core: &Core, peer: &PeerState, limit: Duration) -> Result<ServerStream, String> {
    let id = peer_id(peer.agent).ok_or("its id is no key")?;
    let token: Token = rand::random();
    let (sender, brought) = oneshot::channel();
    let key = (peer.agent, token);
    core.backs.waiting().insert(key, sender);
    let _forget = Forget { backs: &core.backs, key };
    let fetched = async {
        let mut streams = core.control.streams();
        let mut stream = streams.open_stream(id, ASK_PROTOCOL).await.map_err(|error| error.to_string())?.compat();
        stream.write_all(&token).await.map_err(|error| error.to_string())?;
        stream.flush().await.map_err(|error| error.to_string())?;
        brought.await.map_err(|_| "it was given up".to_owned())
    };
    let late = |_| format!("it brought no connection within {} ms", limit.as_millis());
    timeout(limit, fetched).await.map_err(late)?
}

/// Makes a data connection that the peer brings, ready to be asked on.
pub(crate) async fn connect(core: &Core, peer: &PeerState, lane: Lane) -> Connected {
    let config = core.tls.member_client(peer.agent, DATA_PROTOCOL).map_err(|error| error.to_string())?;
    let late = |_| format!("no connection within {} ms", CONNECT_TIMEOUT.as_millis());
    let made = timeout(CONNECT_TIMEOUT, async {
        let stream = BufReader::with_capacity(SOCKET_READ_BYTES, fetch(core, peer, CONNECT_TIMEOUT).await?);
        shake_as_client(stream, config).await.map_err(|error| error.to_string())
    });
    data::start(core, peer, lane, None, made.await.map_err(late)??).await
}

/// Takes a connection that a member brings, and gives it to whoever waits for it.
pub(crate) async fn take(core: &Core, from: AgentId, mut stream: ServerStream) {
    let mut token: Token = [0; TOKEN_BYTES];
    let read = timeout(TUNNEL_ASK_TIMEOUT, stream.read_exact(&mut token)).await;
    if !matches!(read, Ok(Ok(_))) {
        return;
    }
    let waiting = core.backs.waiting().remove(&(from, token));
    if let Some(waiting) = waiting {
        // Whoever waited may have given up this moment.
        let _ = waiting.send(stream);
    }
}

/// Brings a connection that a peer asks for.
pub(crate) async fn bring(core: Arc<Core>, peer: Arc<PeerState>, asked: Stream) {
    let Some(place) = core.backs.bringing.take(peer.agent) else { return };
    let brought = async {
        let mut token: Token = [0; TOKEN_BYTES];
        timeout(TUNNEL_ASK_TIMEOUT, asked.compat().read_exact(&mut token)).await??;
        let config = core.tls.member_client(peer.agent, BACK_PROTOCOL).map_err(io::Error::other)?;
        let mut stream = dial_peer(&peer, config, CONNECT_TIMEOUT).await.map_err(io::Error::other)?;
        stream.write_all(&token).await?;
        stream.flush().await?;
        let stream = BufReader::with_capacity(SOCKET_READ_BYTES, stream);
        timeout(HANDSHAKE_TIMEOUT, data::shake(&core, stream)).await?
    };
    let shaken = match peer.struck_off.run_until_cancelled(brought).await {
        Some(Ok(shaken)) => shaken,
        Some(Err(error)) => return tracing::debug!(agent = %peer.agent, %error, "brought no connection"),
        None => return,
    };
    drop(place);
    data::serve_brought(&core, &peer, shaken).await;
}
