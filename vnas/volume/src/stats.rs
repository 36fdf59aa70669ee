//! What a drive has done since it started, counted for metrics and for repair.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use dci_proto::{AgentId, ShardKey};

/// Bad shards remembered until somebody asks for them; later ones are only counted. A scrub finds them again.
const BAD_SHARDS_LIMIT: usize = 1024;

/// What a drive has done since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DriveStats {
    /// Bytes of files handed to readers.
    pub read_bytes: u64,
    /// Bytes of files taken from writers.
    pub written_bytes: u64,
    /// Reads of a chunk that were served from memory.
    pub cache_hits: u64,
    /// Reads of a chunk that were not.
    pub cache_misses: u64,
    /// Chunks the pool had already, so that nothing was sent.
    pub known_chunks: u64,
    /// Requests for a shard made because another one was slow.
    pub hedges: u64,
    /// Chunks that were put together with the help of parity.
    pub degraded_reads: u64,
    /// Chunks written anew because the stripe the pool had for them was unfit.
    pub replaced_stripes: u64,
    /// Stripes cut anew for the agents there are now.
    pub recut_stripes: u64,
    /// Shards that went to another agent than the one first chosen.
    pub replaced_shards: u64,
    /// Chunks sealed again with fewer data shards, because an agent dropped out meanwhile.
    pub resealed_chunks: u64,
    /// Chunks written with fewer shards than their geometry has.
    pub degraded_writes: u64,
    /// Shards found missing or damaged.
    pub bad_shards: u64,
}

/// A shard that is not where the ledger has it, or is damaged there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BadShard {
    /// Which.
    pub key: ShardKey,
    /// The agent that should have it.
    pub agent: AgentId,
}

/// The counters behind [`DriveStats`].
#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) read_bytes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
    pub(crate) cache_hits: AtomicU64,
    pub(crate) cache_misses: AtomicU64,
    pub(crate) known_chunks: AtomicU64,
    pub(crate) hedges: AtomicU64,
    pub(crate) degraded_reads: AtomicU64,
    pub(crate) replaced_stripes: AtomicU64,
    pub(crate) recut_stripes: AtomicU64,
    pub(crate) replaced_shards: AtomicU64,
    pub(crate) resealed_chunks: AtomicU64,
    pub(crate) degraded_writes: AtomicU64,
    pub(crate) bad_shards: AtomicU64,
    bad: Mutex<BTreeSet<BadShard>>,
}

/// Counts on.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.fetch_add(count, Ordering::Relaxed);
}

impl Counters {
    pub(crate) fn snapshot(&self) -> DriveStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        DriveStats {
            read_bytes: get(&self.read_bytes),
            written_bytes: get(&self.written_bytes),
            cache_hits: get(&self.cache_hits),
            cache_misses: get(&self.cache_misses),
            known_chunks: get(&self.known_chunks),
            hedges: get(&self.hedges),
            degraded_reads: get(&self.degraded_reads),
            replaced_stripes: get(&self.replaced_stripes),
            recut_stripes: get(&self.recut_stripes),
            replaced_shards: get(&self.replaced_shards),
            resealed_chunks: get(&self.resealed_chunks),
            degraded_writes: get(&self.degraded_writes),
            bad_shards: get(&self.bad_shards),
        }
    }

    /// Notes a bad shard for repair.
    pub(crate) fn note_bad(&self, shard: BadShard) {
        add(&self.bad_shards, 1);
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        if bad.len() < BAD_SHARDS_LIMIT {
            bad.insert(shard);
        }
    }

    /// How many bad shards are noted now.
    pub(crate) fn bad_count(&self) -> usize {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The bad shards noted since the last call.
    pub(crate) fn take_bad(&self) -> Vec<BadShard> {
        let mut bad = self.bad.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *bad).into_iter().collect()
    }
}
