//! A store in a directory of one disk.
//!
//! ```text
//! DIR/store.json                    id and format version: without it the disk is unplugged, not empty
//! DIR/lock                          held while an agent has it open
//! DIR/shards/ab/STRIPE.INDEX        large shards, a file each
//! DIR/segments/00000001.seg, …      small shards, one after the other; index.redb finds them
//! ```
//!
//! Every shard carries a header with a hash per block ([`record`]), so a scrub needs nothing else. Async calls hand
//! the work to bounded blocking jobs (files, reads) or to the one segment writer (small puts and deletes); a call
//! that is dropped half-way still ends in a shard wholly there or wholly not.

mod buffers;
mod direct;
mod directory_sync;
mod existing;
mod files;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod identity;
mod read;
mod recent;
mod record;
mod segments;
mod shared;
mod space;
mod system;

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{ShardHash, ShardKey, block_hashes};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::key_locks::KeyLocks;
use crate::range::checked_length;
use crate::{ShardInfo, ShardStore, StoreError, StoreSpace};
use existing::Existing;
use files::ShardFiles;
use identity::Identity;
use record::{Header, Kind};
use segments::{Command, Segments, Writer, WriterConfig};
use shared::Shared;
use space::{Space, SpaceLimits};

/// Shards of this many bytes and more are files of their own; smaller ones share segments.
pub const FILE_FROM_BYTES: u32 = 256 * 1024;

/// Bytes of a segment after which the next is begun.
const SEGMENT_BYTES: u32 = 64 * 1024 * 1024;
/// Bytes of a segment, at least, however small the cap.
const SEGMENT_LEAST_BYTES: u32 = 1024 * 1024;
/// A capped store has at least so many segments, so that compaction needs little room.
const SEGMENTS_LEAST: u64 = 64;
/// Small puts and deletes that wait for the writer; more wait for a place in the queue.
const WRITER_QUEUE: usize = 1024;
/// Files written at once: enough to fill a disk's queue.
const FILE_WRITES_LIMIT: usize = 16;
/// Reads and look-ups at once.
const READS_LIMIT: usize = 32;

/// Where a store is and what it may use.
#[derive(Debug, Clone)]
pub struct DiskStoreConfig {
    /// The directory.
    pub directory: PathBuf,
    /// Bytes it may use in all; 0: no cap.
    pub cap_bytes: u64,
    /// Bytes of its file system always left to the owner of the machine.
    pub reserve_bytes: u64,
    /// Make a new store if there is none. Only for the very first start: later, a missing store is an unplugged disk.
    pub create_if_new: bool,
    /// Bytes of a segment; 0: what fits the cap.
    pub segment_bytes: u32,
}

impl DiskStoreConfig {
    /// No cap, no reserve, nothing created.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), cap_bytes: 0, reserve_bytes: 0, create_if_new: false, segment_bytes: 0 }
    }

    fn effective_segment_bytes(&self) -> u32 {
        if self.segment_bytes > 0 {
            return self.segment_bytes.min(SEGMENT_BYTES);
        }
        if self.cap_bytes == 0 {
            return SEGMENT_BYTES;
        }
        u32::try_from(self.cap_bytes / SEGMENTS_LEAST).unwrap_or(u32::MAX).clamp(SEGMENT_LEAST_BYTES, SEGMENT_BYTES)
    }
}

/// A store in a directory of one disk.
pub struct DiskStore {
    shared: Arc<Shared>,
    locks: Arc<KeyLocks>,
    reads: Arc<Semaphore>,
    writes: Arc<Semaphore>,
    writer: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
}

impl DiskStore {
    /// Opens a store, finishing what a crash left undone. Blocks; call it where that is allowed.
    ///
    /// # Errors
    /// [`StoreError::Unplugged`] if the directory has no id file and none is to be made, [`StoreError::Invalid`] if
    /// it is in use by another process or was written by a newer version, else what the disk said.
    pub fn open(config: DiskStoreConfig) -> Result<Self, StoreError> {
        let (shared, writer) = open_parts(&config)?;
        let (sender, receiver) = mpsc::channel(WRITER_QUEUE);
        let thread = std::thread::Builder::new()
            .name("shoal-segments".into())
            .spawn(move || writer.run(receiver))
            .map_err(|error| StoreError::Io { action: "start the segment writer".into(), reason: error.to_string() })?;
        Ok(Self {
            shared,
            locks: Arc::default(),
            reads: Arc::new(Semaphore::new(READS_LIMIT)),
            writes: Arc::new(Semaphore::new(FILE_WRITES_LIMIT)),
            writer: Some(sender),
            thread: Some(thread),
        })
    }

    /// The directory it is in.
    #[must_use]
    pub fn directory(&self) -> &std::path::Path {
        &self.shared.identity.directory
    }

    /// The id of the store, the same wherever its disk is plugged in.
    #[must_use]
    pub fn id(&self) -> uuid::Uuid {
        self.shared.identity.id
    }

    /// Runs a job that blocks, when `gate` has a place for it. The job goes on if the caller does not.
    async fn blocking<T: Send + 'static>(
        &self,
        gate: &Arc<Semaphore>,
        job: impl FnOnce(&Shared) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let stopped = |reason: String| StoreError::Io { action: "run a job of the store".into(), reason };
        let permit = Arc::clone(gate).acquire_owned().await.map_err(|error| stopped(error.to_string()))?;
        let shared = Arc::clone(&self.shared);
        let joined = tokio::task::spawn_blocking(move || {
            let result = job(&shared);
            drop(permit);
            result
        });
        joined.await.map_err(|error| stopped(error.to_string()))?
    }

    async fn send(&self, command: impl FnOnce(segments::Reply) -> Command) -> Result<(), StoreError> {
        let stopped = || StoreError::Io {
            action: format!("write to the segments of {}", self.directory().display()),
            reason: "the writer has stopped".into(),
        };
        let (reply, answer) = oneshot::channel();
        let writer = self.writer.as_ref().ok_or_else(stopped)?;
        writer.send(command(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    async fn put_large(
        &self,
        key: ShardKey,
        bytes: u32,
        data: Bytes,
        expected: Option<ShardHash>,
    ) -> Result<ShardHash, StoreError> {
        let guard = self.locks.lock(key).await;
        self.blocking(&self.writes, move |shared| {
            let header = checked_header(key, bytes, &data, expected)?;
            let reservation = shared.space.reserve(files::allocated_bytes(bytes));
            let result = shared.put_file(&header, &data, reservation);
            drop(guard);
            result.map(|()| header.hash())
        })
        .await
    }

    async fn put_small(
        &self,
        key: ShardKey,
        bytes: u32,
        data: Bytes,
        expected: Option<ShardHash>,
    ) -> Result<ShardHash, StoreError> {
        let header = checked_header(key, bytes, &data, expected)?;
        let hash = header.hash();
        let guard = self.locks.lock(key).await;
        match self.shared.space.reserve(header.record_bytes()) {
            Ok(reservation) => {
                self.send(|reply| Command::Put { header, data, reservation, guard, reply }).await?;
            }
            Err(full) => {
                let existing = self.blocking(&self.reads, move |shared| shared.existing(key, hash)).await?;
                match existing {
                    Existing::Same => {}
                    Existing::Other => return Err(StoreError::Conflict(key)),
                    Existing::None | Existing::DamagedFile | Existing::DamagedRecord => return Err(full),
                }
            }
        }
        Ok(hash)
    }
}

/// Opens all but the thread: finishes what a crash left undone and takes stock.
fn open_parts(config: &DiskStoreConfig) -> Result<(Arc<Shared>, Writer), StoreError> {
    let directory = config.directory.clone();
    let identity = match Identity::open(&directory) {
        Err(StoreError::Unplugged(_)) if config.create_if_new => Identity::create(&directory, |store| {
            files::prepare(store)?;
            segments::prepare(store)
        }),
        opened => opened,
    }?;
    let segment_bytes = config.effective_segment_bytes();
    let limits = SpaceLimits {
        name: directory.display().to_string(),
        cap_bytes: (config.cap_bytes > 0).then_some(config.cap_bytes),
        reserve_bytes: config.reserve_bytes,
        headroom_bytes: u64::from(segment_bytes / 2),
    };
    let measured = directory.clone();
    let space = Arc::new(Space::new(limits, Box::new(move || system::free_bytes(&measured).ok())));
    let files = ShardFiles::open(&directory, Arc::clone(&space))?;
    let segments = Segments::open(&directory, *identity.id.as_bytes())?;
    let end = segments::recover(&segments)?;
    let shared = Arc::new(Shared { identity, space, files, segments });
    let writer = Writer::new(Arc::clone(&shared), WriterConfig { segment_bytes }, end)?;
    Ok((shared, writer))
}

/// The header of a shard to be kept, if its bytes are those that were meant. One pass over the bytes.
fn checked_header(key: ShardKey, bytes: u32, data: &[u8], expected: Option<ShardHash>) -> Result<Header, StoreError> {
    let header = Header { kind: Kind::Shard, key, bytes, durable_below: 0, blocks: block_hashes(data) };
    crate::range::checked_hash(key, header.hash(), expected)?;
    Ok(header)
}

impl Drop for DiskStore {
    /// Waits for the writer, so that the directory is free when this returns.
    fn drop(&mut self) {
        self.writer = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(directory = %self.directory().display(), "the segment writer panicked");
        }
    }
}

#[async_trait]
impl ShardStore for DiskStore {
    async fn put(&self, key: ShardKey, data: Bytes, expected: Option<ShardHash>) -> Result<ShardHash, StoreError> {
        let bytes = checked_length(key, &data)?;
        if bytes < FILE_FROM_BYTES {
            self.put_small(key, bytes, data, expected).await
        } else {
            self.put_large(key, bytes, data, expected).await
        }
    }

    async fn get(&self, key: ShardKey, range: Option<Range<u32>>) -> Result<Bytes, StoreError> {
        self.blocking(&self.reads, move |shared| shared.get(key, range.as_ref())).await
    }

    async fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        self.blocking(&self.reads, move |shared| shared.info(key)).await
    }

    async fn verify(&self, key: ShardKey) -> Result<ShardInfo, StoreError> {
        self.blocking(&self.reads, move |shared| shared.verify(key)).await
    }

    async fn delete(&self, key: ShardKey) -> Result<(), StoreError> {
        let guard = self.locks.lock(key).await;
        let (guard, in_segment) = self
            .blocking(&self.writes, move |shared| shared.delete_file(key).map(|in_segment| (guard, in_segment)))
            .await?;
        if in_segment {
            self.send(|reply| Command::Delete { key, guard, reply }).await?;
        }
        Ok(())
    }

    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardInfo>, StoreError> {
        self.blocking(&self.reads, move |shared| shared.list(after, limit)).await
    }

    fn space(&self) -> StoreSpace {
        StoreSpace { unplugged: !self.shared.identity.is_plugged(), ..self.shared.space.snapshot() }
    }
}
