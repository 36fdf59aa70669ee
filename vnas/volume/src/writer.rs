//! A file on its way in.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use shoal_ledger::{CHUNK_BYTES, ChunkRef, Command, FileContent, Guard, INLINE_LIMIT_BYTES, Node, NodePath, Outcome};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::namespace::unexpected;
use crate::pipeline::{Finished, Pipeline};
use crate::sha1::Sha1;
use crate::shared::{KeepPolicy, Shared};
use crate::staging::submit_chunks;
use crate::stats::add;
use crate::upload::{COPIES_LIMIT_BYTES, store_chunk};
use crate::{DriveError, NewFile};

/// Bytes of a full chunk.
const CHUNK: usize = CHUNK_BYTES as usize;

/// A file on its way in. Dropped before [`commit`](Self::commit), nothing remains of it.
pub struct FileWriter {
    shared: Arc<Shared>,
    path: NodePath,
    guard: Guard,
    file: NewFile,
    policy: KeepPolicy,
    buffer: ChunkBuffer,
    written_bytes: u64,
    sha1: Option<Sha1>,
    pipeline: Option<Pipeline>,
    gathering: Option<OwnedSemaphorePermit>,
    /// Why bytes that were given are not all stored: nothing can be committed any more.
    failed: Option<DriveError>,
}

impl FileWriter {
    pub(crate) fn new(shared: &Arc<Shared>, path: &NodePath, file: NewFile, guard: Guard, policy: KeepPolicy) -> Self {
        let sha1 = (file.want_sha1 || file.expected_sha1.is_some()).then(Sha1::default);
        Self {
            shared: Arc::clone(shared),
            path: path.clone(),
            guard,
            file,
            policy,
            buffer: ChunkBuffer::default(),
            written_bytes: 0,
            sha1,
            pipeline: None,
            gathering: None,
            failed: None,
        }
    }

    /// Takes further bytes, any number; waits while too many chunks are in the works. After an error, or if it is not
    /// awaited to its end, the file cannot be committed.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), DriveError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.failed = Some(DriveError::Interrupted("a write"));
        let result = self.take(bytes).await;
        self.failed = result.clone().err();
        self.note_full(&result);
        result
    }

    async fn take(&mut self, mut bytes: Bytes) -> Result<(), DriveError> {
        self.written_bytes += bytes.len() as u64;
        add(&self.shared.counters.written_bytes, bytes.len() as u64);
        if let Some(announced_bytes) = self.file.size_bytes
            && self.written_bytes > announced_bytes
        {
            return Err(DriveError::Incomplete { announced_bytes, received_bytes: self.written_bytes });
        }
        while !bytes.is_empty() {
            if self.buffer.len() == CHUNK {
                self.pass_on().await?;
            }
            let piece = bytes.split_to(bytes.len().min(CHUNK - self.buffer.len()));
            if self.gathering.is_none() && self.buffer.len() + piece.len() > COPIES_LIMIT_BYTES {
                self.gathering = Some(permit(&self.shared.gathering).await?);
            }
            let coming_bytes =
                self.file.size_bytes.map(|size| size.saturating_sub(self.written_bytes) + bytes.len() as u64);
            self.buffer.push(piece, coming_bytes);
        }
        Ok(())
    }

    /// Bytes taken so far.
    #[must_use]
    pub fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Makes the file be there, durable, in one step; true if nothing was there before.
    pub async fn commit(mut self) -> Result<(Node, bool), DriveError> {
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        if let Some(announced_bytes) = self.file.size_bytes
            && announced_bytes != self.written_bytes
        {
            return Err(DriveError::Incomplete { announced_bytes, received_bytes: self.written_bytes });
        }
        let last = self.buffer.take();
        let sha1 = self.finish_sha1(&last).await?;
        if self.pipeline.is_none() && last.len() <= INLINE_LIMIT_BYTES {
            let content = FileContent::Inline(Bytes::copy_from_slice(&last));
            return node_of(self.shared.ledger.submit(self.command(content, sha1)).await?);
        }
        let finished = self.finish_chunks(last).await;
        self.note_full(&finished);
        let Finished { staged, rest } = finished?;
        let upload = staged.as_ref().map(|staged| staged.id());
        let command = |chunks: Vec<ChunkRef>| match upload {
            Some(upload) => self.command(FileContent::Staged(upload, chunks), sha1),
            None => self.command(FileContent::Chunks(chunks), sha1),
        };
        let outcome = submit_chunks(&self.shared, self.policy, rest, command).await?;
        if let Some(staged) = staged {
            staged.committed();
        }
        node_of(outcome)
    }

    /// Tells whoever can make room how much this file wanted.
    fn note_full<T>(&self, result: &Result<T, DriveError>) {
        if matches!(result, Err(DriveError::Full)) {
            self.shared.note_wanted(self.policy, self.file.size_bytes.unwrap_or(self.written_bytes));
        }
    }

    /// Stores the last chunk and waits for the others.
    async fn finish_chunks(&mut self, last: Bytes) -> Result<Finished, DriveError> {
        if let Some(mut pipeline) = self.pipeline.take() {
            pipeline.push(last).await?;
            self.gathering = None;
            return pipeline.finish().await;
        }
        let work = if last.len() > COPIES_LIMIT_BYTES { Some(permit(&self.shared.work).await?) } else { None };
        self.gathering = None;
        let stored = store_chunk(&self.shared, self.policy, last, false).await?;
        drop(work);
        Ok(Finished { staged: None, rest: vec![stored] })
    }

    /// Hands the full chunk to the pipeline.
    async fn pass_on(&mut self) -> Result<(), DriveError> {
        let chunk = self.buffer.take();
        if let Some(sha1) = &mut self.sha1 {
            sha1.update(chunk.clone()).await?;
        }
        let pipeline = self.pipeline.get_or_insert_with(|| Pipeline::start(&self.shared, self.policy));
        pipeline.push(chunk).await?;
        self.gathering = None;
        Ok(())
    }

    async fn finish_sha1(&mut self, last: &Bytes) -> Result<Option<[u8; 20]>, DriveError> {
        let Some(mut sha1) = self.sha1.take() else { return Ok(None) };
        sha1.update(last.clone()).await?;
        let received = sha1.finish().await?;
        match self.file.expected_sha1 {
            Some(announced) if announced != received => Err(DriveError::ChecksumMismatch { announced, received }),
            _ => Ok(Some(received)),
        }
    }

    fn command(&self, content: FileContent, sha1: Option<[u8; 20]>) -> Command {
        Command::CommitFile {
            path: self.path.clone(),
            guard: self.guard.clone(),
            content,
            size_bytes: self.written_bytes,
            modified_ms: self.file.modified_ms,
            sha1,
            media_type: self.file.media_type.clone(),
        }
    }
}

async fn permit(semaphore: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, DriveError> {
    Arc::clone(semaphore).acquire_owned().await.map_err(|_| DriveError::Interrupted("the drive"))
}

fn node_of(outcome: Outcome) -> Result<(Node, bool), DriveError> {
    match outcome {
        Outcome::Node { node, created } => Ok((node, created)),
        other => Err(unexpected(&other)),
    }
}

/// The bytes of a chunk as they come. One piece alone is kept as it is, several are copied together once.
#[derive(Default)]
struct ChunkBuffer {
    only: Bytes,
    gathered: BytesMut,
}

impl ChunkBuffer {
    fn len(&self) -> usize {
        self.only.len() + self.gathered.len()
    }

    /// Adds a piece. `coming_bytes`: what is still to come after it, where known.
    fn push(&mut self, piece: Bytes, coming_bytes: Option<u64>) {
        if self.len() == 0 {
            self.only = piece;
            return;
        }
        let together = self.len() + piece.len();
        if self.gathered.capacity() < together {
            let wanted = match coming_bytes {
                Some(coming) => together.saturating_add(usize::try_from(coming).unwrap_or(CHUNK)).min(CHUNK),
                None if together <= COPIES_LIMIT_BYTES => COPIES_LIMIT_BYTES,
                None => CHUNK,
            };
            self.gathered.reserve(wanted.max(together) - self.gathered.len());
        }
        self.gathered.extend_from_slice(&std::mem::take(&mut self.only));
        self.gathered.extend_from_slice(&piece);
    }

    fn take(&mut self) -> Bytes {
        let gathered = std::mem::take(&mut self.gathered);
        let only = std::mem::take(&mut self.only);
        if gathered.is_empty() { only } else { gathered.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chunk_in_one_piece_is_not_copied() {
        let piece = Bytes::from(vec![7; 1000]);
        let mut buffer = ChunkBuffer::default();
        buffer.push(piece.clone(), None);
        assert_eq!(buffer.take().as_ptr(), piece.as_ptr());
        assert_eq!(buffer.len(), 0);
    }

    #[test]
    fn pieces_come_together_in_order() {
        let mut buffer = ChunkBuffer::default();
        for number in 0..200u8 {
            buffer.push(Bytes::from(vec![number; 1000]), None);
        }
        let expected: Vec<u8> = (0..200u8).flat_map(|number| vec![number; 1000]).collect();
        assert_eq!(buffer.take(), expected);
    }
}
