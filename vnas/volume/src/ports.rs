//! What a volume needs of the agent around it.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{AgentId, ShardHash, ShardKey};
use shoal_placement::Candidate;

/// Why an agent did not take or give a shard.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PeerError {
    /// It cannot be reached, hung up, or did not answer in time.
    #[error("an agent cannot be reached: {reason}")]
    Unreachable {
        /// Which agent.
        agent: AgentId,
        /// What the network said.
        reason: String,
    },
    /// It has no room.
    #[error("agent {0} is full")]
    Full(AgentId),
    /// It does not have the shard.
    #[error("agent {0} does not have the shard")]
    NotFound(AgentId),
    /// It has the shard, damaged.
    #[error("agent {agent} has the shard damaged: {reason}")]
    Damaged {
        /// Which agent.
        agent: AgentId,
        /// What does not match.
        reason: String,
    },
    /// It refused or failed for another reason.
    #[error("agent {agent}: {reason}")]
    Failed {
        /// Which agent.
        agent: AgentId,
        /// What it said.
        reason: String,
    },
}

/// Whether a person waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urgency {
    /// A person waits.
    Foreground,
    /// Nobody waits; yields to all that is urgent.
    Background,
}

/// The agents of the pool as takers and givers of shards, this one included.
///
/// To be correct, an implementation must answer `put` with success only when the shard is durable there, give up by
/// itself on an agent that does not answer, and keep [`candidates`](Self::candidates) cheap: it is asked for every
/// chunk.
#[async_trait]
pub trait ShardPeers: Send + Sync {
    /// Has an agent keep a shard whose bytes have this hash.
    async fn put(
        &self,
        agent: AgentId,
        key: ShardKey,
        hash: ShardHash,
        data: Bytes,
        urgency: Urgency,
    ) -> Result<(), PeerError>;

    /// Has an agent give a shard, or a range of it. The giver has checked its own checksums.
    async fn get(
        &self,
        agent: AgentId,
        key: ShardKey,
        range: Option<Range<u32>>,
        urgency: Urgency,
    ) -> Result<Bytes, PeerError>;

    /// Has an agent drop a shard that the ledger wants gone; the agent asks it for itself.
    async fn delete(&self, agent: AgentId, key: ShardKey) -> Result<(), PeerError>;

    /// Members that hold shards, with what is known of each now. Suspects included and marked. One that is to be given
    /// nothing new (paused, draining) gives 0 as its capacity: it is read from, and does not count among those that
    /// writing should go to. One that is merely full has a capacity, and 0 bytes free.
    fn candidates(&self) -> Vec<Candidate>;

    /// Tells that an agent let someone wait or failed, so that it is avoided for a while.
    fn suspect(&self, agent: AgentId, reason: &str);
}
