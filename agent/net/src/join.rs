//! The join protocol: one question, one answer, over TLS that proves both ends, on the data channel's port. It is all
//! that an agent that is no member can reach.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use rustls::ClientConfig;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use crate::Lane;
use crate::addresses::first_of;
use crate::data::{ClientStream, ServerStream, dial};
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
    let config = client(key_seed, expected)?;
    let asked = async {
        let dialled = first_of(addresses.to_vec(), |address| dial(address, config.clone()));
        converse(dialled.await.map_err(JoinError::Unreachable)?, body).await
    };
    timeout(limit, asked).await.map_err(|_| JoinError::Timeout(limit))?
}

/// Asks many agents, each by one address, with one identity: a certificate is made once, not for every question.
#[derive(Debug, Clone)]
pub struct JoinCaller {
    config: Arc<ClientConfig>,
}

impl JoinCaller {
    /// Asks as the agent with this key.
    pub fn new(key_seed: &[u8; 32]) -> Result<Self, JoinError> {
        client(key_seed, None).map(|config| Self { config })
    }

    /// Asks whoever listens at an address. Returns who answered, which is proved, and what.
    pub async fn ask(&self, address: SocketAddr, body: Bytes, limit: Duration) -> Result<(AgentId, Bytes), JoinError> {
        if body.len() > JOIN_BODY_LIMIT_BYTES {
            return Err(JoinError::TooLarge(body.len()));
        }
        let asked =
            async { converse(dial(address, self.config.clone()).await.map_err(JoinError::Unreachable)?, body).await };
        timeout(limit, asked).await.map_err(|_| JoinError::Timeout(limit))?
    }
}

fn client(key_seed: &[u8; 32], expected: Option<AgentId>) -> Result<Arc<ClientConfig>, JoinError> {
    let identity = |error: &dyn std::fmt::Display| JoinError::Identity(error.to_string());
    let keypair = keypair(key_seed).map_err(|error| identity(&error))?;
    let tls = TlsIdentity::new(&keypair).map_err(|error| identity(&error))?;
    tls.join_client(expected).map_err(|error| identity(&error))
}

async fn converse(stream: ClientStream, body: Bytes) -> Result<(AgentId, Bytes), JoinError> {
    let Some(agent) = agent_of_chain(stream.get_ref().1.peer_certificates()) else {
        return Err(JoinError::Unreachable("it proved no identity".to_owned()));
    };
    let answer = ask(stream, body).await;
    answer.map(|answer| (agent, answer)).map_err(|error| JoinError::NoAnswer { agent, reason: error.to_string() })
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

#[cfg(test)]
mod tests {
    use tokio::net::{TcpListener, TcpStream};
    use tokio_rustls::{TlsAcceptor, server::TlsStream};

    use super::*;
    use crate::frame::HEADER_BYTES;

    /// How long a question may take here; a test that waits longer for its end has found a hole.
    const LIMIT: Duration = Duration::from_millis(700);
    const END_DEADLINE: Duration = Duration::from_secs(20);

    /// Asks somebody who does with the connection as `answers` says.
    async fn asked_of<F>(answers: impl FnOnce(TlsStream<TcpStream>) -> F + Send + 'static) -> Result<Bytes, JoinError>
    where
        F: Future<Output = std::io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let answering = tokio::spawn(async move {
            let tls = TlsIdentity::new(&keypair(&[2; 32]).expect("a key")).expect("an identity");
            let (stream, _) = listener.accept().await?;
            let stream = TlsAcceptor::from(tls.join_server().expect("a configuration")).accept(stream).await?;
            answers(stream).await
        });
        let caller = JoinCaller::new(&[1; 32]).expect("a caller");
        let asked = timeout(END_DEADLINE, caller.ask(address, Bytes::from_static(b"?"), LIMIT)).await;
        answering.abort();
        asked.expect("a question ends").map(|(_, answer)| answer)
    }

    fn header(body_bytes: usize) -> [u8; HEADER_BYTES] {
        let (kind, lane) = (Kind::Response, Lane::Control);
        Header { kind, lane, code: 0, id: 0, head_bytes: 0, body_bytes }.encode()
    }

    #[tokio::test]
    async fn an_answer_comes_from_whoever_proves_an_identity() {
        let answer = asked_of(|mut stream| async move {
            receive(&mut stream, Kind::Request).await?;
            send(&mut stream, Kind::Response, Bytes::from_static(b"!")).await?;
            stream.shutdown().await
        });
        assert_eq!(answer.await.expect("an answer"), Bytes::from_static(b"!"));
    }

    #[tokio::test]
    async fn who_takes_the_connection_and_says_nothing_is_given_up() {
        let asked = asked_of(|stream| async move {
            let _held = stream;
            std::future::pending().await
        });
        assert!(matches!(asked.await, Err(JoinError::Timeout(_))));
    }

    #[tokio::test]
    async fn an_answer_over_the_limit_is_not_read() {
        let asked = asked_of(|mut stream| async move {
            stream.write_all(&header(JOIN_BODY_LIMIT_BYTES + 1)).await?;
            loop {
                stream.write_all(&[0; 4096]).await?;
            }
        });
        assert!(matches!(asked.await, Err(JoinError::NoAnswer { .. })));
    }

    #[tokio::test]
    async fn an_answer_that_only_trickles_is_given_up() {
        let asked = asked_of(|mut stream| async move {
            stream.write_all(&header(JOIN_BODY_LIMIT_BYTES)).await?;
            let mut trickle = tokio::time::interval(Duration::from_millis(20));
            loop {
                trickle.tick().await;
                stream.write_all(&[0]).await?;
                stream.flush().await?;
            }
        });
        assert!(matches!(asked.await, Err(JoinError::Timeout(_))));
    }
}
