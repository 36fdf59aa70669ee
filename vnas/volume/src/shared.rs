//! What all transfers of one drive share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use dci_proto::{AgentId, ContentId, StripeId};
use shoal_ledger::{KvRead, LedgerClient, StripeRecord, VolumePolicy, query};
use shoal_placement::Candidate;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::cache::ChunkCache;
use crate::config::Admission;
use crate::latency::Latencies;
use crate::read_chunk::PartReads;
use crate::space::WantedRoom;
use crate::stats::Counters;
use crate::stripe::PoolKeys;
use crate::{DriveConfig, DriveError, ShardPeers};

/// An agent that said it was full is not asked again for this long, whatever its last report of free space.
const FULL_FOR: Duration = Duration::from_secs(5);

/// Work on at most so many bytes is done at once; more goes to a thread where it holds nobody up. Handing work over
/// costs about what sealing this much does.
pub(crate) const INLINE_WORK_BYTES: usize = 32 * 1024;

/// What all transfers of one drive share.
pub(crate) struct Shared {
    pub(crate) ledger: Arc<dyn LedgerClient>,
    pub(crate) peers: Arc<dyn ShardPeers>,
    pub(crate) keys: Arc<PoolKeys>,
    pub(crate) agent: AgentId,
    pub(crate) run: u64,
    pub(crate) chunks_in_flight: usize,
    pub(crate) stage_after_chunks: usize,
    /// A permit for each chunk that is sealed, sent, fetched or opened.
    pub(crate) work: Arc<Semaphore>,
    /// A permit for each chunk an upload gathers from its client.
    pub(crate) gathering: Arc<Semaphore>,
    /// A permit for each chunk read ahead.
    pub(crate) ahead: Arc<Semaphore>,
    /// A permit for each chunk a download hands to its client.
    pub(crate) handing: Arc<Semaphore>,
    pub(crate) cache: ChunkCache,
    pub(crate) latencies: Latencies,
    pub(crate) counters: Counters,
    pub(crate) part_reads: PartReads,
    admission: Admission,
    /// Room a write was refused for want of.
    pub(crate) wanted: Mutex<Option<WantedRoom>>,
    full: Mutex<HashMap<AgentId, Instant>>,
}

/// How the chunks of a volume are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepPolicy {
    /// How many agents may be lost without losing data.
    pub(crate) survive: u8,
    /// Whether to compress.
    pub(crate) compress: bool,
}

impl Shared {
    pub(crate) fn new(ledger: Arc<dyn LedgerClient>, peers: Arc<dyn ShardPeers>, config: &DriveConfig) -> Self {
        let total = config.chunks_in_flight_total.max(1);
        Self {
            ledger,
            peers,
            keys: Arc::new(PoolKeys::new(config.pool_key)),
            agent: config.agent,
            run: config.run,
            chunks_in_flight: config.chunks_in_flight.max(1),
            stage_after_chunks: config.stage_after_chunks.max(1),
            work: Arc::new(Semaphore::new(total)),
            gathering: Arc::new(Semaphore::new(total)),
            ahead: Arc::new(Semaphore::new(total / 2)),
            handing: Arc::new(Semaphore::new(total)),
            cache: ChunkCache::new(config.cache_bytes),
            latencies: Latencies::default(),
            counters: Counters::default(),
            part_reads: PartReads::default(),
            admission: config.admission.clone(),
            wanted: Mutex::default(),
            full: Mutex::default(),
        }
    }

    /// Whether anything new is taken now.
    pub(crate) fn admit(&self) -> Result<(), DriveError> {
        (self.admission)().map_or(Ok(()), |reason| Err(DriveError::NoRoomHere(reason)))
    }

    /// The local copy of the ledger as it is now.
    pub(crate) fn view(&self) -> Result<Arc<dyn KvRead + Send + Sync>, DriveError> {
        Ok(self.ledger.view()?)
    }

    /// The stripe that holds a content now.
    pub(crate) fn stripe_of(&self, content: ContentId) -> Result<Option<(StripeId, StripeRecord)>, DriveError> {
        Ok(query::content(&*self.ledger.view()?, content)?)
    }

    /// Remembers that an agent is full, whatever its last report said.
    pub(crate) fn note_full(&self, agent: AgentId) {
        let now = Instant::now();
        let mut full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        full.retain(|_, since| now.duration_since(*since) < FULL_FOR);
        full.insert(agent, now);
    }

    /// The agents that could take a shard, as they are known now; those that lately said they were full without room.
    /// One that gives no space to the pool, or none now, takes no part.
    pub(crate) fn takers(&self) -> Vec<Candidate> {
        let mut candidates = self.peers.candidates();
        candidates.retain(|candidate| candidate.capacity_bytes > 0);
        let full = self.full.lock().unwrap_or_else(PoisonError::into_inner);
        if !full.is_empty() {
            let now = Instant::now();
            for candidate in &mut candidates {
                if full.get(&candidate.agent).is_some_and(|since| now.duration_since(*since) < FULL_FOR) {
                    candidate.free_bytes = 0;
                }
            }
        }
        candidates
    }
}

/// How a volume keeps its chunks, by its own policy or the pool's.
pub(crate) fn keep_policy(view: &dyn KvRead, policy: VolumePolicy) -> Result<KeepPolicy, DriveError> {
    let survive = match policy.survive {
        Some(survive) => survive,
        None => query::pool(view)?.map_or(0, |pool| pool.survive),
    };
    Ok(KeepPolicy { survive, compress: policy.compress })
}

/// Does work on so many bytes where it holds nobody up.
pub(crate) async fn work_on<T: Send + 'static>(
    bytes: usize,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, DriveError> {
    if bytes <= INLINE_WORK_BYTES {
        return Ok(job());
    }
    tokio::task::spawn_blocking(job).await.map_err(|_| DriveError::Interrupted("a worker"))
}

/// A new stripe id, never used before.
pub(crate) fn new_stripe_id() -> StripeId {
    StripeId(rand::random())
}

/// Bytes as slices of at most `limit` bytes, without copying.
pub(crate) fn split_front(bytes: &mut Bytes, limit: usize) -> Bytes {
    let front = bytes.len().min(limit);
    bytes.split_to(front)
}
