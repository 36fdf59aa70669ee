//! The join protocol: one question, one answer, over TLS that proves both ends, on the data channel's port. It is all
//! that an agent that is no member can reach.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::Lane;
use crate::addresses::first_of;
use crate::data::{ServerStream, dial};
use crate::frame::{Header, Kind};
use crate::identity::keypair;
use crate::limits::JOIN_TIMEOUT;
use crate::net::Core;
use crate::tls::{TlsIdentity, agent_of_chain};
use crate::wire::{read_header, read_payload};

/// Bytes of a question or an answer of the join protocol, at most.
pub const JOIN_BODY_LIMIT_BYTES: usize = 64 * 1024;

/// What an agent answers those who want to join.
#[async_trait]
pub trait JoinHandler: Send + Sync {
    /// Answers an agent whose identity is proved and that may be anyone.
    async fn join(&self, from: AgentId, remote: IpAddr, body: Bytes) -> Bytes;
}

/// Answers nobody anything.
#[derive(Debug, Clone, Copy, Default)]
pub struct RefuseJoins;

#[async_trait]
impl JoinHandler for RefuseJoins {
    async fn join(&self, _from: AgentId, _remote: IpAddr, _body: Bytes) -> Bytes {
        Bytes::new()
    }
}

/// Why a join call brought no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum JoinError {
    /// The agent's own key or certificate is not usable.
    #[error("{0}")]
    Identity(String),
    /// No address answered, or what answered was not the agent expected.
    #[error("nobody to join can be reached: {0}")]
    Unreachable(String),
    /// There was a connection but no answer.
    #[error("{agent} gave no answer: {reason}")]
    NoAnswer {
        /// Who.
        agent: AgentId,
        /// Why.
        reason: String,
    },
    /// No answer in time.
    #[error("no answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The question is longer than [`JOIN_BODY_LIMIT_BYTES`].
    #[error("a question of {0} bytes, the limit is {JOIN_BODY_LIMIT_BYTES}")]
    TooLarge(usize),
}

/// Asks an agent to be let in: dials its data port, proves who we are, makes sure who it is, when that is known.
/// Returns who answered and what.
pub async fn join_call(
    key_seed: &[u8; 32],
    addresses: &[SocketAddr],
    expected: Option<AgentId>,
    body: Bytes,
    limit: Duration,
) -> Result<(AgentId, Bytes), JoinError> {
    if body.len() > JOIN_BODY_LIMIT_BYTES {
        return Err(JoinError::TooLarge(body.len()));
    }
    let identity = |error: &dyn std::fmt::Display| JoinError::Identity(error.to_string());
    let keypair = keypair(key_seed).map_err(|error| identity(&error))?;
    let tls = TlsIdentity::new(&keypair).map_err(|error| identity(&error))?;
    let config = tls.join_client(expected).map_err(|error| identity(&error))?;
    let asked = async {
        let dialled = first_of(addresses.to_vec(), |address| dial(address, config.clone()));
        let stream = dialled.await.map_err(JoinError::Unreachable)?;
        let Some(agent) = agent_of_chain(stream.get_ref().1.peer_certificates()) else {
            return Err(JoinError::Unreachable("it proved no identity".to_owned()));
        };
        let answer = ask(stream, body).await;
        answer.map(|answer| (agent, answer)).map_err(|error| JoinError::NoAnswer { agent, reason: error.to_string() })
    };
    timeout(limit, asked).await.map_err(|_| JoinError::Timeout(limit))?
}

async fn ask<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, body: Bytes) -> std::io::Result<Bytes> {
    send(&mut stream, Kind::Request, body).await?;
    let answer = receive(&mut stream, Kind::Response).await?;
    // Says goodbye; the answer is here already, whatever comes of it.
    let _ = stream.shutdown().await;
    Ok(answer)
}

async fn send<S: AsyncWrite + Unpin>(stream: &mut S, kind: Kind, body: Bytes) -> std::io::Result<()> {
    let lane = Lane::Control;
    let header = Header { kind, lane, code: 0, id: 0, head_bytes: 0, body_bytes: body.len() };
    stream.write_all(&header.encode()).await?;
    stream.write_all(&body).await?;
    stream.flush().await
}

async fn receive<S: AsyncRead + Unpin>(stream: &mut S, kind: Kind) -> std::io::Result<Bytes> {
    let header = read_header(stream).await?;
    if header.kind != kind || header.head_bytes > 0 || header.body_bytes > JOIN_BODY_LIMIT_BYTES {
        return Err(std::io::Error::other("it does not speak the join protocol"));
    }
    Ok(read_payload(stream, &header).await?.body)
}

/// Answers one question of one agent that may be anyone.
pub(crate) async fn serve_join(core: &Core, from: AgentId, remote: IpAddr, mut stream: ServerStream) {
    let Ok(_place) = core.joins.try_acquire() else { return };
    let served = async {
        let body = receive(&mut stream, Kind::Request).await?;
        let answer = core.join.join(from, remote, body).await;
        if answer.len() > JOIN_BODY_LIMIT_BYTES {
            return Err(std::io::Error::other("the answer is over the limit"));
        }
        send(&mut stream, Kind::Response, answer).await?;
        stream.shutdown().await
    };
    let served = tokio::select! {
        () = core.closing.cancelled() => return,
        served = timeout(JOIN_TIMEOUT, served) => served,
    };
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%from, %remote, %error, "a join conversation broke"),
        Err(_) => tracing::debug!(%from, %remote, "a join conversation took too long"),
    }
}
