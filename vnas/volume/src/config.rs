//! How a drive behaves, and how much memory that takes.

use std::sync::Arc;

use dci_proto::AgentId;

/// Bytes of memory for what was read lately, unless configured otherwise.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Chunks of one upload in the works at a time, unless configured otherwise: enough to overlap sealing with sending.
const CHUNKS_IN_FLIGHT: usize = 4;
/// Chunks in the works of all transfers, unless configured otherwise: two uploads at full speed.
const CHUNKS_IN_FLIGHT_TOTAL: usize = 8;
/// Chunks of an upload committed by one command; longer ones are staged in the ledger. 64 chunk references are some
/// 30 KB, a modest log entry.
const STAGE_AFTER_CHUNKS: usize = 64;

/// Why nothing new is taken now, in a sentence; `None` while it is.
pub type Admission = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// How a drive behaves.
///
/// Its memory is bounded. With `F` = [`chunks_in_flight_total`](Self::chunks_in_flight_total) and stripes of `k + m`
/// shards, in chunks of 4 MiB, at most:
///
/// ```text
/// cache_bytes                       what was read lately
/// + F × (2 + (k + m) / k)           chunks being sealed, sent, fetched or opened (the plain chunk, its sealed form, shards)
/// + F                               chunks that uploads are gathering from their clients
/// + F / 2                           chunks read ahead
/// + F                               chunks that downloads are handing to their clients
/// + 256 KiB × open transfers        small files, and downloads beyond the F above, which go in small steps
/// ```
///
/// The number of open transfers is bounded by whoever accepts connections.
#[derive(Clone)]
pub struct DriveConfig {
    /// This agent.
    pub agent: AgentId,
    /// A number that differs at every start of the agent; marks its uploads.
    pub run: u64,
    /// The pool's data key, epoch 1. Never logged.
    pub pool_key: [u8; 32],
    /// Bytes of memory for what was read lately, at most.
    pub cache_bytes: u64,
    /// Chunks of one upload in the works at a time.
    pub chunks_in_flight: usize,
    /// Chunks in the works of all uploads and downloads together: bounds memory.
    pub chunks_in_flight_total: usize,
    /// Uploads of more chunks than this are staged in the ledger, this many at a time, instead of committed by one
    /// command.
    pub stage_after_chunks: usize,
    /// Asked before anything new is taken; what frees space is always let through.
    pub admission: Admission,
}

impl DriveConfig {
    /// The usual bounds.
    #[must_use]
    pub fn new(agent: AgentId, run: u64, pool_key: [u8; 32]) -> Self {
        Self {
            agent,
            run,
            pool_key,
            cache_bytes: CACHE_BYTES,
            chunks_in_flight: CHUNKS_IN_FLIGHT,
            chunks_in_flight_total: CHUNKS_IN_FLIGHT_TOTAL,
            stage_after_chunks: STAGE_AFTER_CHUNKS,
            admission: Arc::new(|| None),
        }
    }
}
