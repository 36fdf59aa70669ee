//! The ledger replicated by Raft (openraft): the log in an append-only file, the state in redb, many commands to an
//! entry, linearizable reads anywhere, voters changed one at a time.
//!
//! It reaches other agents only through [`ConsensusTransport`].

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;

/// How messages of consensus travel; what they mean is this crate's own matter.
#[async_trait]
pub trait ConsensusTransport: Send + Sync {
    /// Sends a message to another member's [`Consensus::handle`] and returns its answer. Errors are text for the log;
    /// all of them are "unreachable" to Raft.
    async fn call(&self, to: AgentId, message: Bytes, timeout: Duration) -> Result<Bytes, String>;
}

/// How consensus behaves.
#[derive(Debug, Clone)]
pub struct ConsensusConfig {
    /// This agent.
    pub agent: AgentId,
    /// Where log and state lie (`DATA/ledger`).
    pub directory: PathBuf,
    /// Bytes of memory redb may use as cache.
    pub cache_bytes: usize,
    /// Time between heartbeats of the leader.
    pub heartbeat: Duration,
    /// An election is called after a silence between these two.
    pub election_timeout: (Duration, Duration),
}
