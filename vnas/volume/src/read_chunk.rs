//! A chunk's bytes from wherever they are had best: memory, or the agents.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dci_proto::ContentId;

use crate::DriveError;
use crate::chunks::Chunk;
use crate::fetch::{Stripe, fetch};
use crate::shared::Shared;
use crate::stats::add;
use crate::upload::COPIES_LIMIT_BYTES;

/// Reads of at most so many bytes do not count as chunks in the works.
pub(crate) const STEP_BYTES: usize = 256 * 1024;

/// Reads of parts of a chunk remembered, to notice who reads a chunk from front to back in small pieces.
const PARTS_REMEMBERED: usize = 64;

/// Where the last reads of parts of chunks ended.
#[derive(Default)]
pub(crate) struct PartReads(Mutex<VecDeque<(ContentId, u32)>>);

impl PartReads {
    /// Notes a read of a part; true if it goes on where another one ended.
    fn goes_on(&self, content: ContentId, part: &Range<u32>) -> bool {
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = ends.iter().position(|(of, end)| *of == content && *end == part.start);
        if let Some(before) = before {
            ends.remove(before);
        } else if ends.len() >= PARTS_REMEMBERED {
            ends.pop_front();
        }
        ends.push_back((content, part.end));
        before.is_some()
    }
}

/// Bytes of a chunk. Most of a chunk wanted: all of it is fetched, for whoever comes next; so it is when small reads
/// follow each other. Else just the frames that hold the part.
pub(crate) async fn read_chunk(shared: &Arc<Shared>, chunk: &Chunk, part: Range<u32>) -> Result<Bytes, DriveError> {
    let slice = |whole: Bytes| {
        let end = (part.end as usize).min(whole.len());
        whole.slice((part.start as usize).min(end)..end)
    };
    if let Some(whole) = shared.cache.get(chunk.content).await {
        add(&shared.counters.cache_hits, 1);
        return Ok(slice(whole));
    }
    add(&shared.counters.cache_misses, 1);
    let most = part.len() * 4 >= chunk.plain_bytes as usize * 3;
    let goes_on = || shared.part_reads.goes_on(chunk.content, &part) && shared.cache.may_keep(chunk.plain_bytes);
    if most || chunk.plain_bytes as usize <= COPIES_LIMIT_BYTES || goes_on() {
        let whole = fetch_bounded(shared, chunk, 0..chunk.plain_bytes);
        return shared.cache.get_or_fetch(chunk.content, whole).await.map(slice);
    }
    fetch_bounded(shared, chunk, part).await
}

async fn fetch_bounded(shared: &Arc<Shared>, chunk: &Chunk, part: Range<u32>) -> Result<Bytes, DriveError> {
    let _permit = if part.len() > STEP_BYTES {
        Some(shared.work.acquire().await.map_err(|_| DriveError::Interrupted("the drive"))?)
    } else {
        None
    };
    match fetch(shared, &chunk.stripe, part.clone()).await {
        Err(error @ (DriveError::Unavailable(_) | DriveError::Damaged(_))) => {
            // Repair may have moved shards since the file was opened.
            match shared.stripe_of(chunk.content)? {
                Some((id, record)) if id != chunk.stripe.id || record != *chunk.stripe.record => {
                    fetch(shared, &Stripe { id, record: Arc::new(record) }, part).await
                }
                _ => Err(error),
            }
        }
        result => result,
    }
}
