//! Where a store keeps copies of the ledger it cannot read: `DATA/ledger-copies/`, the newest two.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use super::CopyPiece;
use crate::AgentError;
use crate::config::free_bytes;
use crate::secret_file::sync_folder;

/// Copies kept.
const KEPT: usize = 2;
/// Bytes of the disk's free space that copies never touch.
const RESERVE_BYTES: u64 = 256 * 1024 * 1024;
const INCOMING: &str = "incoming";
const EXTENSION: &str = "copy";

/// Keeps copies.
pub(crate) struct CopyShelf {
    directory: PathBuf,
    incoming: Arc<Mutex<Option<Incoming>>>,
}

struct Incoming {
    copy: u64,
    written_bytes: u64,
    file: File,
    hasher: blake3::Hasher,
}

impl CopyShelf {
    /// In a data directory. Nothing is made before the first copy comes.
    pub(crate) fn new(data: &Path) -> Self {
        Self { directory: data.join("ledger-copies"), incoming: Arc::default() }
    }

    /// Keeps a piece. One that begins a copy gives up an unfinished one; one out of order is refused.
    pub(crate) async fn take(&self, piece: CopyPiece, bytes: Bytes) -> Result<(), AgentError> {
        let (directory, incoming) = (self.directory.clone(), self.incoming.clone());
        let work = move || {
            let mut incoming = incoming.lock().unwrap_or_else(PoisonError::into_inner);
            let taken = take(&directory, &mut incoming, &piece, &bytes);
            if taken.is_err() {
                *incoming = None;
            }
            taken
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| AgentError::Internal(error.to_string()))?
    }

    /// The copies kept, newest first.
    #[cfg(test)]
    pub(crate) fn copies(&self) -> Vec<PathBuf> {
        kept(&self.directory).unwrap_or_default()
    }
}

fn take(directory: &Path, incoming: &mut Option<Incoming>, piece: &CopyPiece, bytes: &Bytes) -> Result<(), AgentError> {
    let path = directory.join(INCOMING);
    let failed = |error: std::io::Error| AgentError::directory("write", &path, &error);
    if piece.offset == 0 {
        fs::create_dir_all(directory).map_err(|error| AgentError::directory("make", directory, &error))?;
        let file = File::create(&path).map_err(failed)?;
        *incoming = Some(Incoming { copy: piece.copy, written_bytes: 0, file, hasher: blake3::Hasher::new() });
    }
    let out_of_order = || AgentError::Internal("a piece of a ledger copy came out of order".into());
    let current = incoming.as_mut().ok_or_else(out_of_order)?;
    if current.copy != piece.copy || current.written_bytes != piece.offset {
        return Err(out_of_order());
    }
    if free_bytes(directory)? < RESERVE_BYTES.saturating_add(bytes.len() as u64) {
        return Err(AgentError::Internal("no room for a copy of the ledger".into()));
    }
    current.file.write_all(bytes).map_err(failed)?;
    current.hasher.update(bytes);
    current.written_bytes += bytes.len() as u64;
    let Some(hash) = piece.complete else { return Ok(()) };
    if current.hasher.finalize() != blake3::Hash::from_bytes(hash) {
        return Err(AgentError::Internal("a copy of the ledger arrived damaged".into()));
    }
    current.file.sync_all().map_err(failed)?;
    let name = directory.join(format!("{:020}.{EXTENSION}", current.copy));
    fs::rename(&path, &name).and_then(|()| sync_folder(&name)).map_err(failed)?;
    *incoming = None;
    drop_old(directory)
}

/// Drops all but the newest, only after the newest is safe.
fn drop_old(directory: &Path) -> Result<(), AgentError> {
    for old in kept(directory)?.into_iter().skip(KEPT) {
        fs::remove_file(&old).map_err(|error| AgentError::directory("remove", &old, &error))?;
    }
    Ok(())
}

fn kept(directory: &Path) -> Result<Vec<PathBuf>, AgentError> {
    let entries = fs::read_dir(directory).map_err(|error| AgentError::directory("read", directory, &error))?;
    let mut copies: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
        .collect();
    copies.sort_unstable();
    copies.reverse();
    Ok(copies)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn send(shelf: &CopyShelf, copy: u64, bytes: &'static [u8]) -> Result<(), AgentError> {
        let (first, second) = bytes.split_at(bytes.len() / 2);
        shelf.take(CopyPiece { copy, offset: 0, complete: None }, Bytes::from_static(first)).await?;
        let complete = Some(*blake3::hash(bytes).as_bytes());
        let offset = first.len() as u64;
        shelf.take(CopyPiece { copy, offset, complete }, Bytes::from_static(second)).await
    }

    #[tokio::test]
    async fn the_newest_two_copies_are_kept_whole() {
        let folder = tempfile::tempdir().expect("folder");
        let shelf = CopyShelf::new(folder.path());
        for (copy, bytes) in [(1, &b"the first"[..]), (2, b"the second"), (30, b"the third")] {
            send(&shelf, copy, bytes).await.expect("kept");
        }
        let copies = shelf.copies();
        let read: Vec<Vec<u8>> = copies.iter().map(|path| fs::read(path).expect("reads")).collect();
        assert_eq!(read, [b"the third".to_vec(), b"the second".to_vec()]);
    }

    #[tokio::test]
    async fn pieces_out_of_order_and_damaged_copies_leave_the_old_ones() {
        let folder = tempfile::tempdir().expect("folder");
        let shelf = CopyShelf::new(folder.path());
        send(&shelf, 1, b"the first").await.expect("kept");
        let late = CopyPiece { copy: 2, offset: 5, complete: None };
        assert!(shelf.take(late, Bytes::from_static(b"late")).await.is_err());
        let wrong = CopyPiece { copy: 3, offset: 0, complete: Some([0; 32]) };
        assert!(shelf.take(wrong, Bytes::from_static(b"bytes")).await.is_err());
        assert_eq!(shelf.copies().len(), 1);
    }
}
