//! How agents reach each other: [`Network`], its libp2p-and-TLS implementation, an in-memory one for tests, and
//! discovery.
//!
//! Control requests (small, many, ordered by importance) ride on libp2p; shard bytes ride on a data channel of plain
//! TLS connections that proves the same identities. Whoever is no member gets nothing past the handshake on either,
//! the join protocol aside. Agents that cannot dial each other are connected over others, in tunnels (`tunnel`).

mod addresses;
mod answering;
mod asking;
mod back;
mod control;
mod data;
mod discovery;
mod frame;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod identity;
mod join;
mod limits;
mod memory;
mod net;
mod peer;
mod peers;
mod pool;
mod quota;
mod reach;
mod tls;
mod tunnel;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;

pub use discovery::{Announcement, Announcer, DiscoveryError, Found, browse, name_shown};
pub use identity::{IdentityError, Signer, agent_id_of_seed, is_signed_by, sign};
pub use join::{JOIN_BODY_LIMIT_BYTES, JoinCaller, JoinError, JoinHandler, RefuseJoins, join_call};
pub use limits::{IN_FLIGHT_BACKGROUND, IN_FLIGHT_CONTROL, IN_FLIGHT_FOREGROUND, WAITING_REQUESTS};
pub use memory::{Faults, MemoryHub, MemoryNetwork};
pub use net::{Net, NetConfig, NetStartError};

/// Which way a request goes and what goes before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lane {
    /// The control network: consensus, health, membership. Never waits behind bytes.
    Control,
    /// The data channel, a person waits.
    Foreground,
    /// The data channel, nobody waits.
    Background,
}

/// What one agent asks of another. `head` is small and decoded; `body` is bulk and passed along uncopied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// What is asked; numbered by the agent, opaque here.
    pub method: u16,
    /// Parameters.
    pub head: Bytes,
    /// Bulk bytes.
    pub body: Bytes,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Response {
    /// 0: done; other numbers by agreement between the two ends.
    pub status: u16,
    /// Results.
    pub head: Bytes,
    /// Bulk bytes.
    pub body: Bytes,
}

/// Bytes of a head, at most.
pub const HEAD_LIMIT_BYTES: usize = 64 * 1024;
/// Bytes of a body on the data channel, at most: a whole shard with headroom.
pub const BODY_LIMIT_BYTES: usize = 6 * 1024 * 1024;
/// Bytes of a body on the control network, at most: a batch of ledger entries, a piece of a snapshot.
pub const CONTROL_BODY_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// Why there is no response.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NetworkError {
    /// Not in the list of peers.
    #[error("{0} is not a member of this pool")]
    UnknownPeer(AgentId),
    /// No connection could be made or it broke.
    #[error("{agent} cannot be reached: {reason}")]
    Unreachable {
        /// Who.
        agent: AgentId,
        /// Why.
        reason: String,
    },
    /// No response in time.
    #[error("{agent} did not answer within {} ms", .after.as_millis())]
    Timeout {
        /// Who.
        agent: AgentId,
        /// How long was waited.
        after: Duration,
    },
    /// Too many requests to that peer wait already.
    #[error("too many requests to {0} are under way")]
    Busy(AgentId),
    /// A message over the limit, ours or theirs.
    #[error("{0}")]
    TooLarge(String),
}

/// A member and where it can be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Who.
    pub agent: AgentId,
    /// Where its control network listens.
    pub control_addresses: Vec<SocketAddr>,
    /// Where its data channel listens.
    pub data_addresses: Vec<SocketAddr>,
}

/// What is known of the way to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PeerStatus {
    /// A control connection stands, if only over others.
    pub connected: bool,
    /// The agents are neighbours: a connection that goes over no other agent stands, whichever end made it and on
    /// whatever lane. So it is true soon after two that can reach each other have talked, and false while all that they
    /// say goes over others.
    pub direct: bool,
    /// Smoothed round trip of control requests, in µs; 0 when unknown.
    pub round_trip_us: u32,
    /// Requests under way to it on the data channel.
    pub in_flight: u32,
}

/// Requests and responses between members.
///
/// To be correct, an implementation must prove the peer's identity before it sends or hands over anything, bound its
/// queues (answering [`NetworkError::Busy`]), keep `Control` from waiting behind the data lanes and `Foreground` from
/// waiting behind `Background`, return within `timeout`, reconnect by itself on the next call, and say in
/// [`PeerStatus::direct`] who is a neighbour. Whether a request goes over others, the two ends do not notice otherwise.
#[async_trait]
pub trait Network: Send + Sync {
    /// This agent.
    fn local(&self) -> AgentId;

    /// Asks a peer.
    async fn call(
        &self,
        to: AgentId,
        lane: Lane,
        request: Request,
        timeout: Duration,
    ) -> Result<Response, NetworkError>;

    /// Replaces the list of members; connections of whoever is not in it are closed.
    fn set_peers(&self, peers: Vec<Peer>);

    /// What is known of the way to a peer.
    fn status(&self, agent: AgentId) -> PeerStatus;
}

/// What an agent does with the requests of others.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Answers a request of a member whose identity is proved.
    async fn handle(&self, from: AgentId, lane: Lane, request: Request) -> Response;
}
