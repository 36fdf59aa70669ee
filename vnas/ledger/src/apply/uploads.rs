//! Uploads: chunk lists that grow before a file has them, so that a large file needs no large command.

use dci_proto::{AgentId, InodeId};

use super::content::{self, inconsistent};
use super::state::State;
use super::{Step, members};
use crate::tables::{self, UploadRow};
use crate::{CHUNK_BYTES, ChunkRef, KvError, Outcome, Rejection};

/// Uploads under way in a pool, at most.
pub const UPLOADS_LIMIT: u64 = 10_000;

pub(super) fn begin(state: &mut State, agent: AgentId, run: u64) -> Step<Outcome> {
    members::check_member(state, agent)?;
    if state.meta.uploads >= UPLOADS_LIMIT {
        return Err(Rejection::TooMany("uploads at once".to_owned()).into());
    }
    let upload = state.new_inode();
    put(state, upload, &UploadRow { agent, run, next_index: 0, bytes: 0, ended: false })?;
    state.meta.uploads += 1;
    Ok(Outcome::Upload(upload))
}

pub(super) fn stage(state: &mut State, upload: InodeId, first_index: u32, chunks: &[ChunkRef]) -> Step<Outcome> {
    let mut row = find(state, upload)?;
    if row.next_index != first_index {
        return Err(inconsistent(format!("upload {upload} goes on at chunk {}, not {first_index}", row.next_index)));
    }
    if row.ended && !chunks.is_empty() {
        return Err(inconsistent(format!("upload {upload} goes on after its last chunk")));
    }
    let next_index = index_after(&row, chunks.len())?;
    let bytes = content::check(state, chunks)?;
    content::link(state, upload, first_index, chunks)?;
    row.next_index = next_index;
    row.bytes = row.bytes.saturating_add(bytes);
    row.ended |= chunks.last().is_some_and(|chunk| chunk.plain_bytes < CHUNK_BYTES);
    put(state, upload, &row)?;
    Ok(Outcome::Done)
}

/// Gives an upload up; one that is not there (any more) is no error.
pub(super) fn abort(state: &mut State, upload: InodeId) -> Step<Outcome> {
    if state.read::<UploadRow>(tables::UPLOADS, &key(upload))?.is_some() {
        content::unlink(state, upload)?;
        forget(state, upload)?;
    }
    Ok(Outcome::Done)
}

pub(super) fn abort_old(state: &mut State, agent: AgentId, run: u64) -> Step<Outcome> {
    abort_all(state, agent, Some(run))?;
    Ok(Outcome::Done)
}

/// Gives up an agent's uploads, those of one run excepted.
pub(super) fn abort_all(state: &mut State, agent: AgentId, but: Option<u64>) -> Step<()> {
    let mut old = Vec::new();
    let prefix = tables::UPLOADS.key(&[]);
    tables::visit(&*state.kv, tables::UPLOADS, &prefix, &prefix, &mut |key, row: UploadRow| {
        if row.agent == agent && Some(row.run) != but {
            let inode = key.get(1..).and_then(|inode| inode.try_into().ok()).map(u64::from_be_bytes);
            old.extend(inode.map(InodeId));
        }
        Ok(true)
    })?;
    for upload in old {
        abort(state, upload)?;
    }
    Ok(())
}

pub(super) fn find(state: &State, upload: InodeId) -> Step<UploadRow> {
    let row = state.read(tables::UPLOADS, &key(upload))?;
    row.ok_or_else(|| inconsistent(format!("there is no upload {upload}")))
}

/// The index that follows this many further chunks.
pub(super) fn index_after(row: &UploadRow, chunks: usize) -> Step<u32> {
    let after = u32::try_from(chunks).ok().and_then(|chunks| row.next_index.checked_add(chunks));
    Ok(after.ok_or_else(|| Rejection::TooMany("chunks in one file".to_owned()))?)
}

/// Forgets that a chunk list is an upload; its chunks stay.
pub(super) fn forget(state: &mut State, upload: InodeId) -> Result<(), KvError> {
    state.meta.uploads = state.meta.uploads.saturating_sub(1);
    state.delete(&key(upload))
}

fn put(state: &mut State, upload: InodeId, row: &UploadRow) -> Result<(), KvError> {
    state.put(tables::UPLOADS, &key(upload), row)
}

fn key(upload: InodeId) -> Vec<u8> {
    tables::inode_key(tables::UPLOADS, upload)
}
