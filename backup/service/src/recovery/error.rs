//! What can go wrong with looking at archives and restoring them, in sentences that say what to do.

use std::path::PathBuf;

use dci_proto::AgentId;
use shoal_archive::ArchiveError;
use shoal_backup::plan::PathBytes;

use super::request::ArchiveRef;
use crate::files::FilesError;

/// Something did not work.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// There is no backup of this PC.
    #[error("this PC has no backup yet: set it up with `shoal backup init`, or name another owner and its passphrase")]
    NoOwnBackup,
    /// Nobody has a copy.
    #[error(
        "no member of the pool that answers now holds a copy of the backup of {owner}; {asked} were asked. Check the \
         owner's id in the recovery kit, and switch on a PC that the kit names"
    )]
    NoSource {
        /// Whose.
        owner: AgentId,
        /// How many were asked.
        asked: usize,
    },
    /// The passphrase is wrong.
    #[error(
        "this passphrase does not open the backup of {0}: type it exactly as it stands in the recovery kit, with the dashes"
    )]
    WrongPassphrase(AgentId),
    /// Holders are there, and what they have cannot be used.
    #[error("the copies of the backup of {owner} cannot be used: {why}")]
    NoUsableCopy {
        /// Whose.
        owner: AgentId,
        /// What each said.
        why: String,
    },
    /// What is fetched finds no room.
    #[error(
        "the disk of {} has no room for what has to be fetched from the copies: {} MiB are needed at least, {} MiB are free. \
         Make room there, or restore on another PC",
        folder.display(), needed_bytes.div_ceil(1 << 20), free_bytes >> 20
    )]
    NoRoom {
        /// Where.
        folder: PathBuf,
        /// So much would be needed for the next object.
        needed_bytes: u64,
        /// So much is free.
        free_bytes: u64,
    },
    /// There is no such archive.
    #[error("there is no archive {0}: `shoal archives` lists those there are")]
    NoArchive(ArchiveRef),
    /// There are none at all.
    #[error("there are no archives yet")]
    NoArchives,
    /// There is nothing under this path.
    #[error("there is no {0} in the archive: `shoal archives find` says in which archives a name is")]
    NotInArchive(PathBytes),
    /// Too many at once.
    #[error(
        "archives {0} and before are too many to restore one over the other: begin with a later one, or tick paths"
    )]
    TooManyArchives(u64),
    /// Too much is under way.
    #[error("too much is under way: wait until a restore has ended, or cancel one")]
    Busy,
    /// There is no such restore.
    #[error("there is no restore {0}")]
    NoRestore(u64),
    /// A request cannot be meant.
    #[error("{0}")]
    BadRequest(String),
    /// A path is not part of what is restored.
    #[error("{0} is not part of this restore: begin another one for it")]
    NotTicked(PathBytes),
    /// The disk or the system refused.
    #[error("could not {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// What is fetched could not be kept.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// What the archive said.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// It took too long.
    #[error("it took longer than {0} minutes and was ended")]
    TookTooLong(u64),
    /// A thread ended before it was done.
    #[error("it failed inside: {0}; please report this")]
    Inside(String),
}

impl RecoveryError {
    pub(crate) fn io(what: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}
