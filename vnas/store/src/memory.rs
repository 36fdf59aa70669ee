//! A store in memory, for tests and simulations: keeps the same promises, and forgets all when dropped.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{ShardHash, ShardKey, shard_hash};

use crate::range::{checked_hash, checked_length, checked_range};
use crate::{ShardInfo, ShardStore, StoreError, StoreSpace};

/// A store in memory.
#[derive(Debug)]
pub struct MemoryStore {
    capacity_bytes: u64,
    shards: Mutex<BTreeMap<ShardKey, (ShardHash, Bytes)>>,
}

impl MemoryStore {
    /// A store that accepts so many bytes.
    #[must_use]
    pub fn new(capacity_bytes: u64) -> Self {
        Self { capacity_bytes, shards: Mutex::default() }
    }

    fn shards(&self) -> MutexGuard<'_, BTreeMap<ShardKey, (ShardHash, Bytes)>> {
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        const DEFAULT_CAPACITY_BYTES: u64 = 1 << 30;
        Self::new(DEFAULT_CAPACITY_BYTES)
    }
}

fn used_bytes(shards: &BTreeMap<ShardKey, (ShardHash, Bytes)>) -> u64 {
    shards.values().map(|(_, data)| data.len() as u64).sum()
}

fn info_of(key: ShardKey, (hash, data): &(ShardHash, Bytes)) -> ShardInfo {
    ShardInfo { key, bytes: u32::try_from(data.len()).unwrap_or(u32::MAX), hash: *hash }
}

#[async_trait]
impl ShardStore for MemoryStore {
    async fn put(&self, key: ShardKey, data: Bytes, expected: Option<ShardHash>) -> Result<ShardHash, StoreError> {
        checked_length(key, &data)?;
        let hash = shard_hash(&data);
        checked_hash(key, hash, expected)?;
        let mut shards = self.shards();
        match shards.get(&key) {
            Some((found, _)) if *found == hash => return Ok(hash),
            Some(_) => return Err(StoreError::Conflict(key)),
            None => {}
        }
        if used_bytes(&shards) + data.len() as u64 > self.capacity_bytes {
            return Err(StoreError::Full(format!("memory for {} bytes is used up", self.capacity_bytes)));
        }
        shards.insert(key, (hash, data));
        Ok(hash)
    }

    async fn get(&self, key: ShardKey, range: Option<Range<u32>>) -> Result<Bytes, StoreError> {
        let shards = self.shards();
        let shard = shards.get(&key).ok_or(StoreError::NotFound(key))?;
        let range = checked_range(key, info_of(key, shard).bytes, range.as_ref())?;
        Ok(shard.1.slice(range.start as usize..range.end as usize))
    }

    async fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        Ok(self.shards().get(&key).map(|shard| info_of(key, shard)))
    }

    async fn verify(&self, key: ShardKey) -> Result<ShardInfo, StoreError> {
        self.shards().get(&key).map(|shard| info_of(key, shard)).ok_or(StoreError::NotFound(key))
    }

    async fn delete(&self, key: ShardKey) -> Result<(), StoreError> {
        self.shards().remove(&key);
        Ok(())
    }

    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardInfo>, StoreError> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let shards = self.shards();
        let listed = shards.range((start, Bound::Unbounded)).take(limit);
        Ok(listed.map(|(key, shard)| info_of(*key, shard)).collect())
    }

    fn space(&self) -> StoreSpace {
        let shards = self.shards();
        let used_bytes = used_bytes(&shards);
        StoreSpace {
            unplugged: false,
            capacity_bytes: self.capacity_bytes,
            used_bytes,
            free_bytes: self.capacity_bytes.saturating_sub(used_bytes),
            shards: shards.len() as u64,
        }
    }
}
