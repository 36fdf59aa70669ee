//! What was read lately, in memory: whole chunks and small files by their content.
//!
//! The cache prefers what is asked for again (TinyLFU), so one long sequential read does not push out what many
//! readers share. Readers who want the same chunk at the same time share one fetch.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use dci_proto::ContentId;
use moka::future::Cache;

use crate::DriveError;

/// Bytes put in before the cache is made to evict: it settles by itself only every 64 entries, which may be chunks.
const SETTLE_AFTER_BYTES: u64 = 4 * 1024 * 1024;

/// A cache that holds fewer contents of a size than this will have dropped one before it is asked for again.
const CONTENTS_TO_PAY: u64 = 4;

/// Bytes of memory an entry takes beside its content: key, bookkeeping, allocation.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// Plain contents, bounded in bytes.
pub(crate) struct ChunkCache {
    contents: Cache<ContentId, Bytes>,
    limit_bytes: u64,
    unsettled_bytes: AtomicU64,
}

impl ChunkCache {
    pub(crate) fn new(limit_bytes: u64) -> Self {
        let contents = Cache::builder()
            .max_capacity(limit_bytes)
            .weigher(|_, content: &Bytes| u32::try_from(content.len() + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX))
            .build();
        Self { contents, limit_bytes, unsettled_bytes: AtomicU64::new(0) }
    }

    /// Whether it has room for contents of this size, so that fetching more than is needed now may pay.
    pub(crate) fn may_keep(&self, content_bytes: u32) -> bool {
        u64::from(content_bytes) * CONTENTS_TO_PAY <= self.limit_bytes
    }

    /// A content, if it is here.
    pub(crate) async fn get(&self, content: ContentId) -> Option<Bytes> {
        self.contents.get(&content).await
    }

    /// A content, fetched by one of those who ask for it now if it is not here.
    pub(crate) async fn get_or_fetch(
        &self,
        content: ContentId,
        fetch: impl Future<Output = Result<Bytes, DriveError>>,
    ) -> Result<Bytes, DriveError> {
        let mut fetched_bytes = 0;
        let fetch = async {
            let bytes = fetch.await?;
            fetched_bytes = bytes.len() as u64;
            Ok(bytes)
        };
        let bytes =
            self.contents.try_get_with(content, fetch).await.map_err(|error: Arc<DriveError>| (*error).clone())?;
        self.settle(fetched_bytes).await;
        Ok(bytes)
    }

    /// Bytes held now.
    #[cfg(test)]
    pub(crate) fn held_bytes(&self) -> u64 {
        self.contents.iter().map(|(_, content)| content.len() as u64).sum()
    }

    async fn settle(&self, added_bytes: u64) {
        if added_bytes == 0 {
            return;
        }
        let unsettled_bytes = self.unsettled_bytes.fetch_add(added_bytes, Ordering::Relaxed) + added_bytes;
        if unsettled_bytes >= SETTLE_AFTER_BYTES {
            self.unsettled_bytes.store(0, Ordering::Relaxed);
            self.contents.run_pending_tasks().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 1024 * 1024;
    const LIMIT_BYTES: u64 = 8 * 1024 * 1024;

    fn id(number: u32) -> ContentId {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        ContentId(bytes)
    }

    async fn read(cache: &ChunkCache, number: u32) -> bool {
        let mut fetched = false;
        let fetch = async {
            fetched = true;
            Ok(Bytes::from(vec![0; CHUNK]))
        };
        cache.get_or_fetch(id(number), fetch).await.expect("cannot fail");
        !fetched
    }

    #[tokio::test]
    async fn holds_no_more_than_its_bound_however_much_is_read() {
        let cache = ChunkCache::new(LIMIT_BYTES);
        for number in 0..100 {
            read(&cache, number).await;
            assert!(cache.held_bytes() <= LIMIT_BYTES + SETTLE_AFTER_BYTES, "after {number}: {}", cache.held_bytes());
        }
    }

    #[tokio::test]
    async fn a_long_sequential_read_leaves_the_hot_set() {
        let cache = ChunkCache::new(LIMIT_BYTES);
        for _ in 0..3 {
            for number in 0..4 {
                read(&cache, number).await;
            }
        }
        for number in 1000..1200 {
            read(&cache, number).await;
        }
        let mut hits = 0;
        for number in 0..4 {
            hits += u32::from(cache.get(id(number)).await.is_some());
        }
        assert_eq!(hits, 4);
    }

    #[tokio::test]
    async fn a_failed_fetch_is_told_and_not_kept() {
        let cache = ChunkCache::new(LIMIT_BYTES);
        let failed = cache.get_or_fetch(id(1), async { Err(DriveError::Full) }).await;
        assert!(matches!(failed, Err(DriveError::Full)));
        assert!(!read(&cache, 1).await, "the second reader fetches anew");
        assert!(read(&cache, 1).await);
    }

    #[tokio::test]
    async fn readers_of_one_chunk_share_one_fetch() {
        let cache = ChunkCache::new(LIMIT_BYTES);
        let (answer, wait) = tokio::sync::oneshot::channel::<()>();
        let first = cache.get_or_fetch(id(1), async {
            wait.await.expect("answered");
            Ok(Bytes::from_static(b"once"))
        });
        let second = cache.get_or_fetch(id(1), async { Ok(Bytes::from_static(b"twice")) });
        let answer = async { answer.send(()).expect("somebody waits") };
        let (first, second, ()) = tokio::join!(first, second, answer);
        assert_eq!(first.expect("fetched"), Bytes::from_static(b"once"));
        assert_eq!(second.expect("shared"), Bytes::from_static(b"once"));
    }
}
