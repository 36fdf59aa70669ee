//! What of a copy is kept over restarts beside catalogue and objects: the file `state`.
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `SBH1`: a Shoal backup holder's state, version 1 |
//! | 4..36 | SHA-256 of what follows |
//! | 36.. | [`Stored`], postcard |

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use shoal_backup::peersync::CopyState;
use shoal_backup::sha256;

use crate::files::{FilesError, replace};

const MAGIC: [u8; 4] = *b"SBH1";
const HEAD_BYTES: usize = 36;

/// What is kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) struct Stored {
    /// The core's.
    pub(super) copy: CopyState,
    /// A sequence that the catalogue had reached when this was written, or was about to reach.
    pub(super) sequence: u64,
    /// When the owner said that it needs the copy no more, by the copy's own clock.
    pub(super) released_ms: Option<u64>,
}

impl Stored {
    /// Reads it; `None` if there is none, or it is damaged: what it would have said is worked out anew then.
    pub(super) fn read(path: &Path) -> io::Result<Option<Self>> {
        let bytes = match std::fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let stored = Self::from_bytes(&bytes);
        if stored.is_none() {
            tracing::error!(path = %path.display(), "the state of a copy is damaged; its grace times begin anew");
        }
        Ok(stored)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let is_whole = head[..4] == MAGIC && head[4..] == sha256(&[rest]);
        is_whole.then(|| postcard::from_bytes(rest).ok()).flatten()
    }

    fn to_bytes(&self) -> Result<Vec<u8>, io::Error> {
        let rest = postcard::to_allocvec(self).map_err(io::Error::other)?;
        Ok([&MAGIC[..], &sha256(&[&rest]), &rest].concat())
    }

    /// Writes it, durably.
    pub(super) fn write(&self, path: &Path) -> Result<(), FilesError> {
        let bytes = self.to_bytes();
        replace(path, &bytes.map_err(|error| FilesError::Io { what: "write", path: path.to_owned(), error })?)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        assert_eq!(Stored::read(&path).unwrap(), None);
        let stored = Stored { sequence: 7, released_ms: Some(9), ..Stored::default() };
        stored.write(&path).unwrap();
        assert_eq!(Stored::read(&path).unwrap(), Some(stored));
        let mut bytes = std::fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(Stored::read(&path).unwrap(), None);
    }

    #[test]
    fn what_the_first_version_wrote_is_read() {
        let sample = b"\0\0\0\0\0\0\0\x05\x00";
        let bytes = [&MAGIC[..], &sha256(&[sample]), sample].concat();
        assert_eq!(Stored::from_bytes(&bytes), Some(Stored { sequence: 5, ..Stored::default() }));
    }
}
