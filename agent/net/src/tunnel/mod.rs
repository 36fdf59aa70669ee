//! Tunnels: connections to agents that cannot be dialled, over members that can.
//!
//! ```text
//!   A ── TLS, shoal-tunnel/1 ── B ── TLS, shoal-tunnel/1 ── C ── TCP ── D's data port
//!   A ══════════════ TLS, shoal-tunnelled/1, in what B and C copy ══════════════ D
//! ```
//!
//! A asks B for a way to D; B dials D itself or asks C in the same manner. From then on bytes are copied, and A and D
//! prove themselves to each other as on any data connection: nobody in between reads or changes anything. Such a
//! connection carries one lane, as all do; one for the control lane stands in for the control network.
//!
//! What is decided is pure: [`ask`] (what is said), [`search`] (who is asked), [`ways`] (what is remembered). An agent
//! opens tunnels for members only, and to members only, at addresses from its own list; how many, how long and how
//! much is bounded for all together and for each asker.

mod ask;
mod pipe;
mod search;
mod serve;
mod ways;

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::time::{Instant, timeout, timeout_at};

pub(crate) use serve::serve;
pub(crate) use ways::Ways;

use crate::Lane;
use crate::data::{self, ClientStream, dial_peer, shake_as_client};
use crate::limits::{
    CONNECT_TIMEOUT, HOP_PAUSE, SEARCHES, SEARCHES_PER_ASKER, SOCKET_READ_BYTES, TUNNEL_NEAR_TIMEOUT,
    TUNNEL_SETUP_TIMEOUT, TUNNELS, TUNNELS_PER_ASKER,
};
use crate::net::Core;
use crate::peer::PeerState;
use crate::pool::Connected;
use crate::quota::Quota;
use crate::tls::{TUNNEL_PROTOCOL, TUNNELLED_PROTOCOL};
use ask::{ANSWER_BYTES, Answer, Ask, HOPS_LIMIT, Refusal};
use search::{Search, Step, TRIES};

/// What this agent gives others for their tunnels.
pub(crate) struct Tunnels {
    /// Tunnels through it, those being made included.
    standing: Quota,
    /// Searches for others.
    searches: Quota,
}

impl Default for Tunnels {
    fn default() -> Self {
        Self { standing: Quota::new(TUNNELS, TUNNELS_PER_ASKER), searches: Quota::new(SEARCHES, SEARCHES_PER_ASKER) }
    }
}

/// A tunnel that stands, and the agent it begins at.
struct Found {
    hop: Arc<PeerState>,
    stream: ClientStream,
}

/// Makes a connection to a peer over others, ready to be asked on.
pub(crate) async fn connect(core: &Arc<Core>, peer: &PeerState, lane: Lane) -> Connected {
    let _alone = peer.searching.lock().await;
    if peer.ways().is_resting(Instant::now()) {
        return Err("no way was found a moment ago".to_owned());
    }
    let deadline = Instant::now() + TUNNEL_SETUP_TIMEOUT;
    let ask = Ask { target: peer.agent, hops: HOPS_LIMIT, tries: TRIES, time_ms: 0, visited: vec![core.local] };
    let mut search = begin(core, peer, &ask);
    let mut failed = "no way was found".to_owned();
    while let Some(found) = next_way(core, peer, &mut search, deadline).await {
        match timeout_at(deadline, prove(core, peer, lane, &found.hop, found.stream)).await {
            Ok(Ok(connection)) => {
                peer.ways().worked(found.hop.agent, Instant::now());
                return Ok(connection);
            }
            Ok(Err(reason)) => failed = reason,
            Err(_) => failed = "the tunnel brings nothing".to_owned(),
        }
        peer.ways().failed(found.hop.agent);
    }
    peer.ways().nothing_found(Instant::now());
    Err(failed)
}

/// Both ends prove themselves through the tunnel.
async fn prove(
    core: &Arc<Core>,
    peer: &PeerState,
    lane: Lane,
    hop: &Arc<PeerState>,
    stream: ClientStream,
) -> Connected {
    let config = core.tls.member_client(peer.agent, TUNNELLED_PROTOCOL).map_err(|error| error.to_string())?;
    let stream = BufReader::with_capacity(SOCKET_READ_BYTES, stream);
    let late = |_| format!("no connection within {} ms", CONNECT_TIMEOUT.as_millis());
    let shaken = timeout(CONNECT_TIMEOUT, shake_as_client(stream, config)).await.map_err(late)?;
    let stream = shaken.map_err(|error| error.to_string())?;
    let connection = data::start(core, peer, lane, Some(hop.agent), stream).await?;
    // Over whoever is struck off nothing goes any more.
    let (watched, hop) = (connection.clone(), hop.clone());
    core.tasks.spawn(async move {
        tokio::select! {
            () = hop.struck_off.cancelled() => watched.close("it went over an agent that was struck off"),
            () = watched.closed() => {}
        }
    });
    Ok(connection)
}

/// Begins a search for whoever asks.
fn begin(core: &Core, target: &PeerState, ask: &Ask) -> Search {
    let (mut neighbours, mut others) = (Vec::new(), Vec::new());
    for peer in core.peers.all() {
        let status = peer.status();
        let list = match (status.direct, peer.data_dial_failed_within(HOP_PAUSE)) {
            (true, _) => &mut neighbours,
            (false, false) => &mut others,
            (false, true) => continue,
        };
        list.push((status.round_trip_us, peer.agent));
    }
    let ways = target.ways();
    let ordered = |mut agents: Vec<(u32, dci_proto::AgentId)>| {
        agents.sort_by_key(|(round_trip_us, agent)| (ways.rank(*agent), *round_trip_us));
        agents.into_iter().map(|(_, agent)| agent).collect()
    };
    Search::new(ask, ways.remembered(Instant::now()), ordered(neighbours), ordered(others))
}

/// Goes on with a search until a tunnel stands; `None` when there is no way or no time.
async fn next_way(core: &Arc<Core>, target: &PeerState, search: &mut Search, deadline: Instant) -> Option<Found> {
    loop {
        let left = deadline.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        let step = search.next()?;
        let Some(hop) = core.peers.get(step.hop) else {
            search.failed(&step, None);
            continue;
        };
        let limit = if step.ask.hops == 1 { left.min(TUNNEL_NEAR_TIMEOUT) } else { left };
        let answer = match timeout(limit, knock(core, &hop, &step, limit)).await {
            Ok(Ok(stream)) => return Some(Found { hop, stream }),
            Ok(Err(NoTunnel::Refused { tries, more, .. })) => Some((tries, more)),
            Ok(Err(NoTunnel::Broken(_))) | Err(_) => None,
        };
        target.ways().failed(hop.agent);
        search.failed(&step, answer);
    }
}

/// Why an agent gave no tunnel.
#[derive(Debug, thiserror::Error)]
enum NoTunnel {
    #[error("{why}")]
    Refused { why: Refusal, tries: u8, more: bool },
    #[error("{0}")]
    Broken(String),
}

/// Asks an agent for a tunnel.
async fn knock(core: &Core, hop: &PeerState, step: &Step, limit: Duration) -> Result<ClientStream, NoTunnel> {
    let broken = |error: &dyn std::fmt::Display| NoTunnel::Broken(error.to_string());
    let config = core.tls.member_client(hop.agent, TUNNEL_PROTOCOL).map_err(|error| broken(&error))?;
    let begin = Instant::now();
    let mut stream = dial_peer(hop, config, limit.min(CONNECT_TIMEOUT)).await.map_err(NoTunnel::Broken)?;
    // Some of the time is for the answer's way back.
    let time_ms = (limit.saturating_sub(begin.elapsed()) * 7 / 8).as_millis().try_into().unwrap_or(u16::MAX);
    let ask = Ask { time_ms, ..step.ask.clone() };
    let mut answer = [0; ANSWER_BYTES];
    let asked = async {
        stream.write_all(&ask.encode()).await?;
        stream.flush().await?;
        stream.read_exact(&mut answer).await
    };
    asked.await.map_err(|error| broken(&error))?;
    match Answer::decode(answer).map_err(|error| broken(&error))? {
        Answer::Open => Ok(stream),
        Answer::No { why, tries, more } => {
            tracing::debug!(hop = %hop.agent, target = %ask.target, %why, "no tunnel");
            Err(NoTunnel::Refused { why, tries, more })
        }
    }
}
