//! An agent's store as the agent lets it be used: shut for new shards while the disk under the ledger is full, and with one
//! change of a shard at a time, so that no shard is dropped on a proof that was true before it came.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{ShardHash, ShardKey};
use shoal_consensus::Headroom;
use shoal_store::{ShardInfo, ShardStore, StoreError, StoreSpace};
use tokio::sync::OwnedMutexGuard;

use crate::proof::KeepReason;

/// Locks kept though nobody holds them, at most.
const IDLE_LOCKS_LIMIT: usize = 1_024;

type Lock = tokio::sync::Mutex<()>;

/// A store and what guards it.
pub(crate) struct GuardedStore {
    inner: Arc<dyn ShardStore>,
    headroom: Arc<Headroom>,
    locks: Mutex<HashMap<ShardKey, Weak<Lock>>>,
}

/// Why a shard was not dropped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DropError {
    /// It may be needed.
    #[error(transparent)]
    Kept(#[from] KeepReason),
    /// The disk failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl GuardedStore {
    pub(crate) fn new(inner: Arc<dyn ShardStore>, headroom: Arc<Headroom>) -> Self {
        Self { inner, headroom, locks: Mutex::default() }
    }

    /// Drops a shard if the proof holds. Nothing comes under its key while the proof is asked for.
    pub(crate) async fn delete_proved(
        &self,
        key: ShardKey,
        proof: impl Future<Output = Result<(), KeepReason>>,
    ) -> Result<(), DropError> {
        let _alone = self.alone(key).await;
        proof.await?;
        Ok(self.inner.delete(key).await?)
    }

    /// Waits until nobody else changes the shard.
    async fn alone(&self, key: ShardKey) -> OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.locks.lock().unwrap_or_else(PoisonError::into_inner);
            if locks.len() >= IDLE_LOCKS_LIMIT {
                locks.retain(|_, lock| lock.strong_count() > 0);
            }
            match locks.get(&key).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::<Lock>::default();
                    locks.insert(key, Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}

#[async_trait]
impl ShardStore for GuardedStore {
    async fn put(&self, key: ShardKey, data: Bytes, expected: Option<ShardHash>) -> Result<ShardHash, StoreError> {
        if self.headroom.is_low() {
            return Err(StoreError::Full("the disk under this agent's ledger is full".to_owned()));
        }
        let _alone = self.alone(key).await;
        self.inner.put(key, data, expected).await
    }

    async fn get(&self, key: ShardKey, range: Option<Range<u32>>) -> Result<Bytes, StoreError> {
        self.inner.get(key, range).await
    }

    async fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        self.inner.info(key).await
    }

    async fn verify(&self, key: ShardKey) -> Result<ShardInfo, StoreError> {
        self.inner.verify(key).await
    }

    async fn delete(&self, key: ShardKey) -> Result<(), StoreError> {
        let _alone = self.alone(key).await;
        self.inner.delete(key).await
    }

    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardInfo>, StoreError> {
        self.inner.list(after, limit).await
    }

    fn space(&self) -> StoreSpace {
        let space = self.inner.space();
        if self.headroom.is_low() { StoreSpace { free_bytes: 0, ..space } } else { space }
    }
}

#[cfg(test)]
mod tests {
    use dci_proto::StripeId;
    use shoal_store::MemoryStore;

    use super::*;

    fn guarded() -> (GuardedStore, tempfile::TempDir) {
        let folder = tempfile::tempdir().expect("folder");
        let headroom = Headroom::new(folder.path().to_owned(), 0);
        (GuardedStore::new(Arc::new(MemoryStore::new(1 << 20)), headroom), folder)
    }

    #[tokio::test]
    async fn nothing_comes_while_a_proof_is_asked_for() {
        let (store, _folder) = guarded();
        let (store, key) = (Arc::new(store), ShardKey { stripe: StripeId([1; 16]), index: 0 });
        let (asked, proof) = tokio::sync::oneshot::channel::<()>();
        let dropping = tokio::spawn({
            let store = store.clone();
            async move { store.delete_proved(key, async { proof.await.map_err(|_| KeepReason::Needed) }).await }
        });
        tokio::task::yield_now().await;
        let putting = tokio::spawn({
            let store = store.clone();
            async move { store.put(key, Bytes::from_static(b"bytes"), None).await }
        });
        tokio::task::yield_now().await;
        assert!(store.info(key).await.expect("read").is_none(), "it waits for the proof");
        asked.send(()).expect("awaited");
        dropping.await.expect("no panic").expect("proved");
        putting.await.expect("no panic").expect("kept");
        assert!(store.info(key).await.expect("read").is_some(), "what came after the proof stays");
    }

    #[tokio::test]
    async fn a_shard_whose_proof_fails_stays() {
        let (store, _folder) = guarded();
        let key = ShardKey { stripe: StripeId([1; 16]), index: 0 };
        store.put(key, Bytes::from_static(b"bytes"), None).await.expect("kept");
        let kept = store.delete_proved(key, async { Err(KeepReason::Needed) }).await;
        assert!(matches!(kept, Err(DropError::Kept(_))));
        assert!(store.info(key).await.expect("read").is_some());
    }
}
