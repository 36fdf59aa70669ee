//! Why a holder does not do what it is asked.

use crate::call::{CallError, No};
use crate::files::FilesError;

/// Why not.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    /// No copy of this owner is here.
    #[error("no copy of that owner's backup is held here")]
    NotHeld,
    /// The disk, or what was to be written to it.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// Share or reserve.
    #[error("no room is left for others' backups here")]
    Full,
    /// Too much at once.
    #[error("too much is under way here")]
    Busy,
    /// Not like that.
    #[error("{0}")]
    Refused(&'static str),
}

impl From<HolderError> for CallError {
    fn from(error: HolderError) -> Self {
        let no = match &error {
            HolderError::NotHeld => No::NotFound,
            HolderError::Full => No::Full,
            HolderError::Busy => No::Busy,
            HolderError::Refused(_) => No::Refused,
            HolderError::Files(files) => match files {
                FilesError::Full { .. } => No::Full,
                FilesError::WrongHash(_) => No::Damaged,
                FilesError::Catalogue(_) | FilesError::OutOfOrder { .. } => No::Refused,
                error if error.is_not_found() => No::NotFound,
                _ => No::Failed,
            },
        };
        // Paths and what the system says are for the log here, not for others.
        match error {
            HolderError::Files(FilesError::Io { .. } | FilesError::Unsure { .. }) => {
                tracing::warn!(%error, "a call for a backup failed");
                Self::no(no, "the disk there gave an error")
            }
            HolderError::Files(FilesError::Full { .. }) => Self::no(no, "the disk there is full"),
            error => Self::no(no, error.to_string()),
        }
    }
}
