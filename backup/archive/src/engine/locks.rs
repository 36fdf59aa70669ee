//! Who may work on a repository at the same time: one writer beside readers, or one that drops packs alone.
//!
//! Locks of the system on the repository's folders: they end with the process, whatever ends it.

use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::error::ArchiveError;

/// What is held until this is dropped.
#[derive(Debug)]
pub(super) struct Lock {
    _files: Vec<File>,
}

fn take(folder: &Path, within: &str, how: FlockOperation) -> Result<File, ArchiveError> {
    let path = folder.join(within);
    let file = File::open(&path).map_err(|error| ArchiveError::io("open", &path, error))?;
    match flock(&file, how) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ArchiveError::Busy(folder.to_owned())),
        Err(error) => Err(ArchiveError::io("lock", &path, error)),
    }
}

impl Lock {
    /// Nothing that is there goes while this is held.
    pub(super) fn to_read(folder: &Path) -> Result<Self, ArchiveError> {
        Ok(Self { _files: vec![take(folder, "data", FlockOperation::NonBlockingLockShared)?] })
    }

    /// Nobody else writes.
    pub(super) fn to_write(folder: &Path) -> Result<Self, ArchiveError> {
        let writer = take(folder, "snapshots", FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { _files: vec![writer, take(folder, "data", FlockOperation::NonBlockingLockShared)?] })
    }

    /// Nobody else reads or writes.
    pub(super) fn to_drop(folder: &Path) -> Result<Self, ArchiveError> {
        let writer = take(folder, "snapshots", FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { _files: vec![writer, take(folder, "data", FlockOperation::NonBlockingLockExclusive)?] })
    }
}
