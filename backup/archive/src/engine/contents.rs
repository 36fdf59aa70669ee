//! Pieces of files, each compared with its name.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use rustic_core::BlobId;
use rustic_core::repofile::BlobType;

use super::files::Files;
use super::isolate::fenced;
use super::locks::Lock;
use super::{Engine, Indexed, id_of, isolated, object_name, sha256_of};
use crate::entry::ContentId;
use crate::error::{ArchiveError, in_one_line};
use crate::repository::ReadContents;

/// The repository with its index in memory.
pub(super) struct Contents {
    repository: Indexed,
    files: Arc<Files>,
    _lock: Lock,
}

impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn read_contents(&self) -> Result<Contents, ArchiveError> {
        let lock = Lock::to_read(&self.folder)?;
        let files = self.files();
        let repository = isolated("read the index", || self.indexed(&files))?;
        Ok(Contents { repository, files, _lock: lock })
    }
}

impl Contents {
    fn damaged(&self, id: &ContentId, why: String) -> ArchiveError {
        let pack = self.repository.get_index_entry(&id.0).ok().map(|entry| object_name(&entry.pack));
        ArchiveError::Damaged { what: format!("a piece of a file ({:.12})", id.to_string()), pack, why }
    }

    fn read_as_it_is(&self, id: &ContentId) -> Result<Bytes, ArchiveError> {
        let bytes = fenced("read a file", || {
            let read = self.repository.get_blob_cached(&BlobId::from(id.0), BlobType::Data);
            read.map_err(|error| self.damaged(id, in_one_line(&error.display_log())))
        })?;
        // Each piece is authenticated, but a pack in the place of another would be as well.
        if sha256_of(&bytes) != object_name(&id.0) {
            return Err(self.damaged(id, "it is not what its name says".to_owned()));
        }
        Ok(bytes)
    }
}

impl ReadContents for Contents {
    /// Not on a thread of its own: there are too many. Whoever restores is on one; a panic is caught here too.
    fn read(&self, id: &ContentId) -> Result<Bytes, ArchiveError> {
        let read = self.read_as_it_is(id);
        let Err(ArchiveError::Damaged { pack: Some(pack), .. }) = &read else { return read };
        match self.files.mend(&id_of(pack)) {
            Ok(true) => self.read_as_it_is(id),
            Ok(false) => read,
            Err(error) => Err(self.damaged(id, error.to_string())),
        }
    }
}
