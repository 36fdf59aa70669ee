//! An agent's store, shut for new shards while the disk under the ledger is full: what goes elsewhere shall go elsewhere.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{ShardHash, ShardKey};
use shoal_consensus::Headroom;
use shoal_store::{ShardInfo, ShardStore, StoreError, StoreSpace};

/// A store and what shuts it.
pub(crate) struct GatedStore {
    pub(crate) inner: Arc<dyn ShardStore>,
    pub(crate) headroom: Arc<Headroom>,
}

#[async_trait]
impl ShardStore for GatedStore {
    async fn put(&self, key: ShardKey, data: Bytes, expected: Option<ShardHash>) -> Result<ShardHash, StoreError> {
        if self.headroom.is_low() {
            return Err(StoreError::Full("the disk under this agent's ledger is full".to_owned()));
        }
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
