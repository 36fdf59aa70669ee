//! The agent in between: it is asked for a way, finds it or not, and copies bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use dci_proto::AgentId;
use futures::FutureExt;
use futures::future::select_ok;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use super::ask::{ASK_BYTES, Answer, Ask, Refusal};
use super::pipe::pipe;
use super::{Found, begin, next_way};
use crate::back;
use crate::data::{ServerStream, Socket, dial_peer, prepared};
use crate::limits::{
    ADDRESS_HEAD_START, TUNNEL_ASK_TIMEOUT, TUNNEL_DIAL_PAUSE, TUNNEL_DIAL_TIMEOUT, TUNNEL_IDLE, TUNNEL_PROVEN_AFTER,
    TUNNEL_SETUP_TIMEOUT,
};
use crate::net::Core;
use crate::peer::PeerState;
use crate::tls::DATA_PROTOCOL;

/// Serves a member that asks for a way to another.
pub(crate) async fn serve(core: &Arc<Core>, from: AgentId, stream: ServerStream) {
    // Asked once more: it may have been struck off during the handshake.
    let Some(asker) = core.peers.get(from) else { return };
    let served = asker.struck_off.run_until_cancelled(Box::pin(serve_asker(core, from, stream))).await;
    if let Some(Err(error)) = served {
        tracing::debug!(%from, %error, "closed a tunnel");
    }
}

async fn serve_asker(core: &Arc<Core>, from: AgentId, mut stream: ServerStream) -> io::Result<()> {
    let place = core.tunnels.standing.take(from);
    let ask = timeout(TUNNEL_ASK_TIMEOUT, read_ask(&mut stream)).await??;
    let tries = ask.tries;
    let refused = move |why| Answer::No { why, tries, more: false };
    let Some(_place) = place else { return refuse(stream, refused(Refusal::Busy)).await };
    let Some(target) = core.peers.get(ask.target) else {
        return refuse(stream, refused(Refusal::Unknown)).await;
    };
    if ask.target == from || ask.visited.contains(&core.local) {
        return refuse(stream, refused(Refusal::NoWay)).await;
    }
    match find(core, from, &target, ask).await {
        Ok(way) => Box::pin(carry(stream, way, &target)).await,
        Err(answer) => refuse(stream, answer).await,
    }
}

async fn read_ask(stream: &mut ServerStream) -> io::Result<Ask> {
    let mut bytes = [0; ASK_BYTES];
    stream.read_exact(&mut bytes).await?;
    let (ask, rest) = Ask::decode(&bytes).map_err(io::Error::other)?;
    let mut visited = vec![0; rest];
    stream.read_exact(&mut visited).await?;
    Ok(ask.with_visited(&visited))
}

async fn refuse(mut stream: ServerStream, answer: Answer) -> io::Result<()> {
    stream.write_all(&answer.encode()).await?;
    stream.shutdown().await
}

/// The next part of a way.
enum Way {
    /// The target's data port.
    Target(Socket),
    /// A connection that the target brought.
    Brought(Box<ServerStream>),
    /// A tunnel over another agent.
    Over(Box<Found>),
}

/// Reaches the target, or finds who does.
async fn find(core: &Arc<Core>, from: AgentId, target: &PeerState, mut ask: Ask) -> Result<Way, Answer> {
    let allowed = Duration::from_millis(ask.time_ms.into()).min(TUNNEL_SETUP_TIMEOUT);
    let deadline = Instant::now() + allowed;
    if let Some(way) = end(core, target, allowed.min(TUNNEL_DIAL_TIMEOUT)).await {
        return Ok(way);
    }
    ask.visited.extend([from, core.local]);
    let mut search = begin(core, target, &ask);
    if ask.hops == 1 {
        return Err(Answer::No { why: Refusal::NoWay, tries: ask.tries, more: search.knows_more() });
    }
    let Some(_place) = core.tunnels.searches.take(from) else {
        return Err(Answer::No { why: Refusal::Busy, tries: ask.tries, more: false });
    };
    let found = next_way(core, target, &mut search, deadline).await;
    if let Some(found) = found {
        target.ways().worked(found.hop.agent, Instant::now());
        return Ok(Way::Over(Box::new(found)));
    }
    Err(Answer::No { why: Refusal::NoWay, tries: search.tries(), more: false })
}

/// The end of a tunnel: the target's data port, or, where that does not answer soon, what the target brings.
async fn end(core: &Core, target: &PeerState, limit: Duration) -> Option<Way> {
    let dialled = async { reach(core, target, limit).await.map(Way::Target).ok_or(()) };
    let brought = async {
        if !target.has_control_connection() {
            return Err(());
        }
        sleep(ADDRESS_HEAD_START).await;
        let stream = back::fetch(core, target, limit.saturating_sub(ADDRESS_HEAD_START)).await;
        stream.map(|stream| Way::Brought(Box::new(stream))).map_err(|_| ())
    };
    select_ok([dialled.boxed(), brought.boxed()]).await.ok().map(|(way, _)| way)
}

/// Connects to the target's data port. What answers at its address may be another machine with the same address in this
/// agent's own network: so it is proved once who it is, before a tunnel ends there.
async fn reach(core: &Core, target: &PeerState, limit: Duration) -> Option<Socket> {
    if target.data_dial_failed_within(TUNNEL_DIAL_PAUSE) {
        return None;
    }
    let connect = |address| async move { TcpStream::connect(address).await.and_then(prepared).ok() };
    let reached = timeout(limit, async {
        if let Some(address) = target.data_proven()
            && let Some(socket) = connect(address).await
        {
            return Some(socket);
        }
        let config = core.tls.member_client(target.agent, DATA_PROTOCOL).ok()?;
        dial_peer(target, config, limit).await.ok()?;
        connect(target.data_proven()?).await
    });
    let reached = reached.await.ok().flatten();
    if reached.is_none() {
        target.note_data_dial(None);
    }
    reached
}

/// Says that the tunnel stands and copies, until either end is done or the target, or who is in between, is struck off.
async fn carry(mut stream: ServerStream, way: Way, target: &PeerState) -> io::Result<()> {
    stream.write_all(&Answer::Open.encode()).await?;
    stream.flush().await?;
    let carried = async {
        match way {
            Way::Target(socket) => pipe(stream, socket, TUNNEL_IDLE).await,
            Way::Brought(brought) => pipe(stream, *brought, TUNNEL_IDLE).await,
            Way::Over(found) => {
                let (Found { hop, stream: on }, begin) = (*found, Instant::now());
                let piped = hop.struck_off.run_until_cancelled(pipe(stream, on, TUNNEL_IDLE)).await;
                if begin.elapsed() < TUNNEL_PROVEN_AFTER {
                    // Most likely the ends could not prove themselves to each other: another way may be better.
                    target.ways().failed(hop.agent);
                }
                piped.unwrap_or(Ok(()))
            }
        }
    };
    target.struck_off.run_until_cancelled(carried).await.unwrap_or(Ok(()))
}
