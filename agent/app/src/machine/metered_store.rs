//! A store that counts what it meets: failed reads and writes, damaged shards, how long reads take.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{ShardHash, ShardKey};
use shoal_care::standing::Trend;
use shoal_store::{ShardInfo, ShardStore, StoreError, StoreSpace};
use tokio::time::Instant;

/// Damaged shards told apart, at most; more are too many anyway.
const DAMAGED_LIMIT: usize = 4096;

/// What a store has met since the agent started.
#[derive(Debug, Default)]
pub(crate) struct StoreMeter(Mutex<Met>);

#[derive(Debug, Default)]
struct Met {
    failed_operations: u64,
    damaged: BTreeSet<ShardKey>,
    reads: Trend,
}

/// The counts of a [`StoreMeter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StoreCounts {
    /// Reads and writes that failed.
    pub(crate) failed_operations: u64,
    /// Shards found damaged, each counted once.
    pub(crate) damaged_shards: u64,
    /// Mean time of a read of late and over the long run, in µs; zeros while unknown.
    pub(crate) read_means_us: (u64, u64),
}

impl StoreMeter {
    /// So far.
    pub(crate) fn counts(&self) -> StoreCounts {
        let met = self.met();
        StoreCounts {
            failed_operations: met.failed_operations,
            damaged_shards: met.damaged.len() as u64,
            read_means_us: met.reads.means_us(),
        }
    }

    fn note<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match &result {
            Err(StoreError::Io { .. }) => self.met().failed_operations += 1,
            Err(StoreError::Damaged { key, .. }) => {
                let mut met = self.met();
                if met.damaged.len() < DAMAGED_LIMIT {
                    met.damaged.insert(*key);
                }
            }
            _ => {}
        }
        result
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The store inside, counted.
pub(crate) struct MeteredStore {
    pub(crate) inner: Arc<dyn ShardStore>,
    pub(crate) meter: Arc<StoreMeter>,
}

#[async_trait]
impl ShardStore for MeteredStore {
    async fn put(&self, key: ShardKey, data: Bytes, expected: Option<ShardHash>) -> Result<ShardHash, StoreError> {
        self.meter.note(self.inner.put(key, data, expected).await)
    }

    async fn get(&self, key: ShardKey, range: Option<Range<u32>>) -> Result<Bytes, StoreError> {
        let begin = Instant::now();
        let result = self.inner.get(key, range).await;
        if result.is_ok() {
            self.meter.met().reads.take(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        self.meter.note(result)
    }

    async fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        self.meter.note(self.inner.info(key).await)
    }

    async fn verify(&self, key: ShardKey) -> Result<ShardInfo, StoreError> {
        self.meter.note(self.inner.verify(key).await)
    }

    async fn delete(&self, key: ShardKey) -> Result<(), StoreError> {
        self.meter.note(self.inner.delete(key).await)
    }

    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardInfo>, StoreError> {
        self.meter.note(self.inner.list(after, limit).await)
    }

    fn space(&self) -> StoreSpace {
        self.inner.space()
    }
}

#[cfg(test)]
mod tests {
    use dci_proto::StripeId;
    use shoal_store::{FaultRates, FaultyStore, MemoryStore};

    use super::*;

    async fn counts_after_three_reads_of_each_of_two(rates: FaultRates) -> StoreCounts {
        let memory = MemoryStore::new(1 << 20);
        let keys = [1, 2].map(|number| ShardKey { stripe: StripeId([number; 16]), index: 0 });
        for key in keys {
            memory.put(key, Bytes::from_static(b"bytes"), None).await.expect("kept");
        }
        let meter = Arc::new(StoreMeter::default());
        let store = MeteredStore { inner: Arc::new(FaultyStore::new(memory, 7, rates)), meter: meter.clone() };
        for key in [keys, keys, keys].as_flattened() {
            let _ = store.get(*key, None).await;
        }
        meter.counts()
    }

    #[tokio::test]
    async fn damage_counts_once_a_shard_and_what_fails_counts_each_time() {
        let none = StoreCounts::default();
        assert_eq!(counts_after_three_reads_of_each_of_two(FaultRates::default()).await, none);
        let io_error = FaultRates { io_error: 1.0, ..FaultRates::default() };
        let expected = StoreCounts { failed_operations: 6, ..none };
        assert_eq!(counts_after_three_reads_of_each_of_two(io_error).await, expected);
        let bit_flip = FaultRates { bit_flip: 1.0, ..FaultRates::default() };
        let expected = StoreCounts { damaged_shards: 2, ..none };
        assert_eq!(counts_after_three_reads_of_each_of_two(bit_flip).await, expected);
    }
}
