//! Shards made anew in this agent's own store, when another agent or a keeper of this one asks for it.
//!
//! Who asks is not taken at its word: the stripe must look like one, every byte that is read and the result must match
//! the hashes that were named, and an intact shard is replaced only if this agent's own ledger says that it is the
//! wrong one. Answered is when the shard is durable.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::{AgentId, ShardHash, ShardKey};
use shoal_care::pace::Class;
use shoal_ledger::{LedgerClient, query};
use shoal_store::{SHARD_LIMIT_BYTES, ShardStore, StoreError};
use shoal_volume::{LostShard, RebuildError, ShardPeers, Urgency, rebuild};
use tokio::sync::Semaphore;

use crate::machine::Background;
use crate::wire::{ShardRebuild, ShardRebuilt, Status};

/// Shards made anew at once; each takes the memory of a stripe.
const AT_ONCE: usize = 2;
/// Requests that wait for one of those places; one more is answered with "busy".
const WAITING: usize = 14;
/// How long a request waits for its place, at most.
const PLACE_WAIT: Duration = Duration::from_secs(60);
/// How long one rebuild may take, its turn among background work included.
const DEADLINE: Duration = Duration::from_secs(120);
/// How long whoever asks for a rebuild waits: longer than it may take, so that the answer tells what went wrong.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(200);

/// Why a shard was not made anew here.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RebuildRefusal {
    /// It keeps no shards.
    #[error("this agent holds no shards")]
    NoStore,
    /// Too many others are under way or wait.
    #[error("this agent makes other shards anew; ask again later")]
    Busy,
    /// It took too long.
    #[error("making the shard anew took longer than {} s", DEADLINE.as_secs())]
    TooLong,
    /// From the others it cannot be had.
    #[error(transparent)]
    Rebuild(#[from] RebuildError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RebuildRefusal {
    /// What an agent that asked is answered; what the store says has statuses of its own.
    pub(crate) fn status(&self) -> Status {
        match self {
            Self::Busy => Status::Busy,
            Self::NoStore | Self::Rebuild(RebuildError::Malformed(_)) => Status::Refused,
            Self::TooLong | Self::Rebuild(_) | Self::Store(_) => Status::Failed,
        }
    }
}

/// Makes shards anew in this agent's own store.
pub(crate) struct Rebuilder {
    agent: AgentId,
    store: Arc<dyn ShardStore>,
    /// On an agent that holds none, what says so.
    ledger: Arc<dyn LedgerClient>,
    background: Arc<Background>,
    places: Semaphore,
    waiting: Semaphore,
}

impl Rebuilder {
    pub(crate) fn new(
        agent: AgentId,
        store: Arc<dyn ShardStore>,
        ledger: Arc<dyn LedgerClient>,
        background: Arc<Background>,
    ) -> Self {
        let (places, waiting) = (Semaphore::new(AT_ONCE), Semaphore::new(AT_ONCE + WAITING));
        Self { agent, store, ledger, background, places, waiting }
    }

    /// Sees to it that the shard is here and whole.
    pub(crate) async fn run(
        &self,
        peers: &dyn ShardPeers,
        asked: &ShardRebuild,
    ) -> Result<ShardRebuilt, RebuildRefusal> {
        let lost = lost_shard(asked);
        lost.check(self.agent)?;
        if asked.shard_bytes > SHARD_LIMIT_BYTES {
            return Err(RebuildError::Malformed("its shards are over the limit".into()).into());
        }
        let _waiting = self.waiting.try_acquire().map_err(|_| RebuildRefusal::Busy)?;
        let place = tokio::time::timeout(PLACE_WAIT, self.places.acquire()).await;
        let _place = place.ok().and_then(Result::ok).ok_or(RebuildRefusal::Busy)?;
        let class = if asked.urgent { Class::Endangered } else { Class::Repair };
        let make = async {
            let _turn = self.background.turn(class).await;
            self.make(peers, &lost).await
        };
        let done = tokio::time::timeout(DEADLINE, make).await;
        done.map_err(|_| RebuildRefusal::TooLong)?
    }

    async fn make(&self, peers: &dyn ShardPeers, lost: &LostShard) -> Result<ShardRebuilt, RebuildRefusal> {
        let hash = lost.hash().unwrap_or_default();
        match self.store.verify(lost.key).await {
            Ok(info) if info.hash == hash => return Ok(ShardRebuilt::default()),
            Ok(_) | Err(StoreError::NotFound(_) | StoreError::Damaged { .. }) => {}
            // Unplugged or failing: what was read for it could not be kept.
            Err(error) => return Err(error.into()),
        }
        let rebuilt = rebuild(peers, self.agent, lost, Urgency::Background).await?;
        let (read_bytes, written_bytes) = (rebuilt.read_bytes, rebuilt.bytes.len() as u64);
        self.keep(lost.key, hash, rebuilt.bytes).await?;
        tracing::info!(key = %lost.key, read_bytes, bad = rebuilt.bad.len(), "made a shard anew");
        Ok(ShardRebuilt { read_bytes, written_bytes, bad: rebuilt.bad })
    }

    /// Puts it where a damaged one may be. What is in its way goes first where nothing is lost by that.
    async fn keep(&self, key: ShardKey, hash: ShardHash, bytes: Bytes) -> Result<(), StoreError> {
        let error = match self.store.put(key, bytes.clone(), Some(hash)).await {
            Ok(_) => return Ok(()),
            Err(error) => error,
        };
        let in_the_way = match &error {
            // At the cap there is no room for the new one beside the damaged one.
            StoreError::Full(_) => matches!(self.store.verify(key).await, Err(StoreError::Damaged { .. })),
            StoreError::Conflict(_) => self.ledger_has(key, hash),
            _ => false,
        };
        if !in_the_way {
            return Err(error);
        }
        self.store.delete(key).await?;
        self.store.put(key, bytes, Some(hash)).await.map(drop)
    }

    /// Whether this agent's own ledger knows the shard by that hash.
    fn ledger_has(&self, key: ShardKey, hash: ShardHash) -> bool {
        let record = self.ledger.view().and_then(|view| query::stripe(&*view, key.stripe));
        let place = record.ok().flatten().and_then(|record| record.shards.get(usize::from(key.index)).copied());
        place.is_some_and(|place| place.hash == hash)
    }
}

fn lost_shard(asked: &ShardRebuild) -> LostShard {
    LostShard {
        key: asked.key,
        codec: asked.codec,
        k: asked.k,
        m: asked.m,
        shard_bytes: asked.shard_bytes,
        places: asked.places.clone(),
        copy_from: asked.copy_from,
    }
}

#[cfg(test)]
mod tests;
