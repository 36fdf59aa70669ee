//! Telling the ledger of the chunks of a large file bit by bit, under an upload that nobody sees until it is
//! committed.

use std::sync::Arc;

use dci_proto::{ContentId, InodeId};
use shoal_ledger::{ChunkRef, Command, Outcome, Rejection, SubmitError};

use crate::DriveError;
use crate::litter::fresh;
use crate::namespace::unexpected;
use crate::shared::{KeepPolicy, Shared};
use crate::upload::{StoredChunk, store_chunk};

/// How often contents that vanished from the pool between finding them and telling the ledger are written anew.
const VANISHED_LIMIT: usize = 3;

/// An upload the ledger knows of. Dropped before it is committed, it is given up.
pub(crate) struct StagedUpload {
    shared: Arc<Shared>,
    upload: InodeId,
    staged_chunks: u32,
    committed: bool,
}

impl StagedUpload {
    pub(crate) async fn begin(shared: &Arc<Shared>) -> Result<Self, DriveError> {
        match shared.ledger.submit(Command::BeginUpload { agent: shared.agent, run: shared.run }).await? {
            Outcome::Upload(upload) => {
                Ok(Self { shared: Arc::clone(shared), upload, staged_chunks: 0, committed: false })
            }
            other => Err(unexpected(&other)),
        }
    }

    pub(crate) fn id(&self) -> InodeId {
        self.upload
    }

    /// Has the ledger take the next chunks up; they hold references from then on.
    pub(crate) async fn stage(&mut self, policy: KeepPolicy, chunks: Vec<StoredChunk>) -> Result<(), DriveError> {
        let (upload, first_index) = (self.upload, self.staged_chunks);
        let count = u32::try_from(chunks.len()).unwrap_or(u32::MAX);
        let shared = Arc::clone(&self.shared);
        submit_chunks(&shared, policy, chunks, |chunks| Command::StageChunks { upload, first_index, chunks }).await?;
        self.staged_chunks = first_index.saturating_add(count);
        Ok(())
    }

    /// It is part of a file now.
    pub(crate) fn committed(mut self) {
        self.committed = true;
    }
}

impl Drop for StagedUpload {
    fn drop(&mut self) {
        if self.committed {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, upload) = (Arc::clone(&self.shared), self.upload);
        runtime.spawn(async move {
            if let Err(error) = shared.ledger.submit(Command::AbortUpload { upload }).await {
                tracing::debug!(%error, %upload, "an upload that was given up is forgotten at the next start");
            }
        });
    }
}

/// Submits a command that names chunks. Contents the pool no longer has are written anew and the command is
/// submitted again; if it is refused for good the new shards are dropped.
pub(crate) async fn submit_chunks(
    shared: &Arc<Shared>,
    policy: KeepPolicy,
    mut chunks: Vec<StoredChunk>,
    command: impl Fn(Vec<ChunkRef>) -> Command,
) -> Result<Outcome, DriveError> {
    for _ in 0..VANISHED_LIMIT {
        chunks.iter_mut().for_each(|chunk| chunk.litter.set_submitted(true));
        let refs = chunks.iter().map(|chunk| chunk.chunk.clone()).collect();
        let begun_ms = chunks.iter().filter_map(|chunk| chunk.litter.begun_ms()).min();
        let rejection = match shared.ledger.submit(fresh(begun_ms, command(refs))).await {
            Ok(outcome) => return Ok(outcome),
            Err(SubmitError::Rejected(rejection)) => rejection,
            Err(error) => return Err(error.into()),
        };
        chunks.iter_mut().for_each(|chunk| chunk.litter.set_submitted(false));
        match &rejection {
            Rejection::MissingContent(missing) => write_anew(shared, policy, &mut chunks, missing).await?,
            Rejection::HoldersGone(gone) if has_bytes(&chunks, gone) => {
                write_anew(shared, policy, &mut chunks, gone).await?;
            }
            _ => return Err(rejection.into()),
        }
    }
    Err(DriveError::Unavailable("contents vanish from the pool as fast as they are written".to_owned()))
}

/// Whether the bytes of all these contents are at hand.
fn has_bytes(chunks: &[StoredChunk], contents: &[ContentId]) -> bool {
    let mut named = chunks.iter().filter(|chunk| contents.contains(&chunk.chunk.content));
    named.all(|chunk| chunk.known.is_some() || chunk.small.is_some())
}

async fn write_anew(
    shared: &Arc<Shared>,
    policy: KeepPolicy,
    chunks: &mut [StoredChunk],
    missing: &[ContentId],
) -> Result<(), DriveError> {
    for chunk in chunks {
        if !missing.contains(&chunk.chunk.content) {
            continue;
        }
        if let Some(plain) = chunk.known.take().or_else(|| chunk.small.take()) {
            *chunk = store_chunk(shared, policy, plain, true).await?;
        }
    }
    Ok(())
}
