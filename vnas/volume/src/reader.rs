//! A version of a file, open for reading.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt};
use shoal_ledger::{CHUNK_BYTES, Node, NodeContent, NodeKind, Rejection};
use tokio::sync::OwnedSemaphorePermit;
use tokio_util::task::AbortOnDropHandle;

use crate::chunks::{Chunk, ChunkTable};
use crate::read_chunk::{STEP_BYTES, read_chunk};
use crate::shared::{Shared, split_front};
use crate::stats::add;
use crate::{ByteStream, DriveError};

/// Bytes of one item of a stream, at most.
const ITEM_BYTES: usize = 1024 * 1024;
/// Chunks read ahead of the one that is being handed out.
const AHEAD_CHUNKS: usize = 3;
/// Bytes of a full chunk.
const CHUNK: u64 = CHUNK_BYTES as u64;

/// A version of a file, open for reading.
#[derive(Clone)]
pub struct FileReader {
    shared: Arc<Shared>,
    node: Arc<Node>,
    content: Content,
}

/// Where the bytes are.
#[derive(Clone)]
enum Content {
    Inline(Bytes),
    Chunks(ChunkTable),
}

impl FileReader {
    pub(crate) fn open(shared: &Arc<Shared>, node: &Node) -> Result<Self, DriveError> {
        if node.kind == NodeKind::Folder {
            return Err(Rejection::IsAFolder(node.name.clone()).into());
        }
        let content = match &node.content {
            None => Content::Inline(Bytes::new()),
            Some(NodeContent::Inline(bytes)) => Content::Inline(bytes.clone()),
            Some(NodeContent::Chunks(file)) => Content::Chunks(ChunkTable::open(shared, *file, node.size_bytes)?),
        };
        Ok(Self { shared: Arc::clone(shared), node: Arc::new(node.clone()), content })
    }

    /// The file it reads.
    #[must_use]
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// A range of its bytes, in order, read ahead in parallel. The first item comes when the first bytes are there;
    /// an error ends the stream. What lies beyond the end of the file is left out.
    pub fn read(&self, range: Range<u64>) -> ByteStream {
        let end = range.end.min(self.node.size_bytes);
        let start = range.start.min(end);
        match &self.content {
            Content::Inline(bytes) => {
                let whole = bytes.len() as u64;
                let part = bytes.slice(start.min(whole) as usize..end.min(whole) as usize);
                add(&self.shared.counters.read_bytes, part.len() as u64);
                Box::pin(stream::iter((!part.is_empty()).then_some(Ok(part))))
            }
            Content::Chunks(table) => {
                let reading = Reading {
                    shared: Arc::clone(&self.shared),
                    table: table.clone(),
                    position: start,
                    end,
                    current: Bytes::new(),
                    handing: None,
                    ahead: VecDeque::new(),
                };
                Box::pin(
                    stream::unfold(
                        reading,
                        |mut reading| async move { reading.next().await.map(|item| (item, reading)) },
                    )
                    .fuse(),
                )
            }
        }
    }
}

/// A chunk that is being read ahead.
struct Ahead {
    index: u32,
    task: AbortOnDropHandle<Result<Bytes, DriveError>>,
    _permit: OwnedSemaphorePermit,
}

/// A stream of a range of a file.
struct Reading {
    shared: Arc<Shared>,
    table: ChunkTable,
    /// What comes after `current`.
    position: u64,
    end: u64,
    /// Fetched and not handed out yet.
    current: Bytes,
    /// The share of memory of `current`, where it is more than a step.
    handing: Option<OwnedSemaphorePermit>,
    ahead: VecDeque<Ahead>,
}

impl Reading {
    async fn next(&mut self) -> Option<Result<Bytes, DriveError>> {
        if self.current.is_empty() {
            self.handing = None;
            if self.position >= self.end {
                return None;
            }
            match self.load().await {
                Ok(bytes) if !bytes.is_empty() => {
                    self.position += bytes.len() as u64;
                    self.current = bytes;
                }
                result => {
                    self.end = self.position;
                    let error = result.err();
                    return Some(Err(
                        error.unwrap_or_else(|| DriveError::Damaged("a chunk of it is too short".to_owned()))
                    ));
                }
            }
        } else {
            // The reader has come back for more of its first chunk: it means to go on.
            self.read_ahead();
        }
        let item = split_front(&mut self.current, ITEM_BYTES);
        add(&self.shared.counters.read_bytes, item.len() as u64);
        Some(Ok(item))
    }

    /// The next bytes: the rest of the chunk at `position`, or a step of it while memory is short.
    async fn load(&mut self) -> Result<Bytes, DriveError> {
        let (index, within) = locate(self.position)?;
        let until = locate(self.end.saturating_sub(1))?.0.saturating_add(1);
        let chunk = self.table.chunk(&self.shared, index, until).await?;
        let rest = (self.end - self.position).min(u64::from(chunk.plain_bytes).saturating_sub(u64::from(within)));
        let mut part = within..within + u32::try_from(rest).unwrap_or(CHUNK_BYTES);
        if let Some(ahead) = self.take_ahead(index) {
            self.handing = Arc::clone(&self.shared.handing).try_acquire_owned().ok();
            let bytes = ahead.task.await.map_err(|_| DriveError::Interrupted("a read"))??;
            return Ok(bytes.slice((part.start as usize).min(bytes.len())..));
        }
        if part.len() > STEP_BYTES {
            self.handing = Arc::clone(&self.shared.handing).try_acquire_owned().ok();
            if self.handing.is_none() {
                part.end = part.start + STEP_BYTES as u32;
                return Ok(Bytes::copy_from_slice(&read_chunk(&self.shared, &chunk, part).await?));
            }
        }
        read_chunk(&self.shared, &chunk, part).await
    }

    fn take_ahead(&mut self, index: u32) -> Option<Ahead> {
        while self.ahead.front().is_some_and(|ahead| ahead.index < index) {
            self.ahead.pop_front();
        }
        let here = self.ahead.front().is_some_and(|ahead| ahead.index == index);
        if here { self.ahead.pop_front() } else { None }
    }

    /// Begins to read the next chunks, as far as memory allows.
    fn read_ahead(&mut self) {
        let Ok((position_chunk, within)) = locate(self.position) else { return };
        let mut next = match self.ahead.back() {
            Some(ahead) => ahead.index + 1,
            None => position_chunk + u32::from(within > 0),
        };
        while self.ahead.len() < AHEAD_CHUNKS && u64::from(next) * CHUNK < self.end {
            let Some(chunk) = self.table.known(next).cloned() else { return };
            let Ok(permit) = Arc::clone(&self.shared.ahead).try_acquire_owned() else { return };
            self.ahead.push_back(self.begin(next, chunk, permit));
            next += 1;
        }
    }

    fn begin(&self, index: u32, chunk: Chunk, permit: OwnedSemaphorePermit) -> Ahead {
        let wanted = (self.end - u64::from(index) * CHUNK).min(u64::from(chunk.plain_bytes));
        let part = 0..u32::try_from(wanted).unwrap_or(chunk.plain_bytes);
        let shared = Arc::clone(&self.shared);
        let task = tokio::spawn(async move { read_chunk(&shared, &chunk, part).await });
        Ahead { index, task: AbortOnDropHandle::new(task), _permit: permit }
    }
}

/// The chunk a position is in, and where in it.
fn locate(position: u64) -> Result<(u32, u32), DriveError> {
    let index = u32::try_from(position / CHUNK)
        .map_err(|_| DriveError::Damaged("its size is beyond what a file can have".to_owned()))?;
    Ok((index, (position % CHUNK) as u32))
}
