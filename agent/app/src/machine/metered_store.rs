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

/// Shards of a kind told apart, at most; more are too many anyway.
const TOLD_APART: usize = 4096;

/// What a store has met since the agent started.
#[derive(Debug, Default)]
pub(crate) struct StoreMeter(Mutex<Met>);

#[derive(Debug, Default)]
struct Met {
    /// Those of no shard, each time.
    failed_operations: u64,
    /// Shards that could not be read, written or dropped: a bad sector is one event, however often it is met.
    failing: BTreeSet<ShardKey>,
    damaged: BTreeSet<ShardKey>,
    /// Shards that could not be read, for whoever mends to take up.
    unreadable: BTreeSet<ShardKey>,
    reads: Trend,
}

/// The counts of a [`StoreMeter`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct StoreCounts {
    /// Shards that could not be read, written or dropped, each counted once, and what else failed.
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
            failed_operations: met.failed_operations + met.failing.len() as u64,
            damaged_shards: met.damaged.len() as u64,
            read_means_us: met.reads.means_us(),
        }
    }

    /// Shards that could not be read since this was asked last.
    pub(crate) fn take_unreadable(&self) -> BTreeSet<ShardKey> {
        std::mem::take(&mut self.met().unreadable)
    }

    /// Counts what came of reading a shard.
    fn note_read<T>(&self, key: ShardKey, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if matches!(result, Err(StoreError::Io { .. })) {
            tell_apart(&mut self.met().unreadable, key);
        }
        self.note(Some(key), result)
    }

    /// Counts what came of an operation, on this shard or on none.
    fn note<T>(&self, key: Option<ShardKey>, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match (&result, key) {
            (Err(StoreError::Io { .. }), None) => self.met().failed_operations += 1,
            (Err(StoreError::Io { .. }), Some(key)) => tell_apart(&mut self.met().failing, key),
            (Err(StoreError::Damaged { key, .. }), _) => tell_apart(&mut self.met().damaged, *key),
            _ => {}
        }
        result
    }

    fn met(&self) -> MutexGuard<'_, Met> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell_apart(met: &mut BTreeSet<ShardKey>, key: ShardKey) {
    if met.len() < TOLD_APART {
        met.insert(key);
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
        self.meter.note(Some(key), self.inner.put(key, data, expected).await)
    }

    async fn get(&self, key: ShardKey, range: Option<Range<u32>>) -> Result<Bytes, StoreError> {
        let begin = Instant::now();
        let result = self.inner.get(key, range).await;
        if result.is_ok() {
            self.meter.met().reads.take(u64::try_from(begin.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        self.meter.note_read(key, result)
    }

    async fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        self.meter.note_read(key, self.inner.info(key).await)
    }

    async fn verify(&self, key: ShardKey) -> Result<ShardInfo, StoreError> {
        self.meter.note_read(key, self.inner.verify(key).await)
    }

    async fn delete(&self, key: ShardKey) -> Result<(), StoreError> {
        self.meter.note(Some(key), self.inner.delete(key).await)
    }

    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardInfo>, StoreError> {
        self.meter.note(None, self.inner.list(after, limit).await)
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
        let unreadable = if rates.io_error > 0.0 { keys.to_vec() } else { Vec::new() };
        assert_eq!(meter.take_unreadable().into_iter().collect::<Vec<_>>(), unreadable);
        meter.counts()
    }

    #[tokio::test]
    async fn a_shard_that_is_damaged_or_cannot_be_read_counts_once_however_often_it_is_met() {
        let none = StoreCounts::default();
        assert_eq!(counts_after_three_reads_of_each_of_two(FaultRates::default()).await, none);
        let io_error = FaultRates { io_error: 1.0, ..FaultRates::default() };
        let expected = StoreCounts { failed_operations: 2, ..none };
        assert_eq!(counts_after_three_reads_of_each_of_two(io_error).await, expected);
        let bit_flip = FaultRates { bit_flip: 1.0, ..FaultRates::default() };
        let expected = StoreCounts { damaged_shards: 2, ..none };
        assert_eq!(counts_after_three_reads_of_each_of_two(bit_flip).await, expected);
    }

    #[tokio::test]
    async fn what_fails_without_being_of_one_shard_counts_each_time() {
        let meter = Arc::new(StoreMeter::default());
        let rates = FaultRates { io_error: 1.0, ..FaultRates::default() };
        let inner = Arc::new(FaultyStore::new(MemoryStore::new(1 << 20), 7, rates));
        let store = MeteredStore { inner, meter: meter.clone() };
        for _ in 0..3 {
            store.list(None, 10).await.expect_err("the disk fails");
        }
        assert_eq!(meter.counts().failed_operations, 3);
    }
}
