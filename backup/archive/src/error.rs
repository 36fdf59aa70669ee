//! What can go wrong with archives, in sentences that say what was tried and on what.

use std::io;
use std::path::{Path, PathBuf};

use shoal_backup::ObjectName;
use shoal_backup::plan::PathBytes;

/// Something did not work.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The disk or the system refused.
    #[error("could not {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// There is no repository.
    #[error("there is no repository in {}", .0.display())]
    NoRepository(PathBuf),
    /// There is one already.
    #[error("there is a repository in {} already: open it, or choose another folder", .0.display())]
    AlreadyThere(PathBuf),
    /// The key does not fit.
    #[error("this passphrase does not open the repository in {}", .0.display())]
    WrongKey(PathBuf),
    /// Somebody else works on it.
    #[error("the repository in {} is in use: another backup or restore is running; try again when it has ended", .0.display())]
    Busy(PathBuf),
    /// The disk is full.
    #[error("the disk has no room for the repository in {}", .0.display())]
    Full(PathBuf),
    /// It was opened to be read.
    #[error("the repository in {} was opened for restoring: nothing is backed up into it and nothing forgotten", .0.display())]
    OnlyRead(PathBuf),
    /// There is no such archive.
    #[error("there is no archive {0} in the repository")]
    NoArchive(ObjectName),
    /// There is no such folder.
    #[error("there is no folder {0} in the archive")]
    NoFolder(PathBytes),
    /// An object is not there or is not what its name says.
    #[error("{what} cannot be read: {why}")]
    Damaged {
        /// What needs it.
        what: String,
        /// The pack that it is in, if the index knows.
        pack: Option<ObjectName>,
        /// What is wrong.
        why: String,
    },
    /// What stands in an archive cannot be meant.
    #[error("the archive has an entry that cannot be meant: {0}")]
    BadEntry(String),
    /// The engine gave up.
    #[error("could not {what}: {why}")]
    Engine {
        /// What was tried.
        what: &'static str,
        /// What the engine said.
        why: String,
    },
    /// The engine panicked; nothing but this call is lost.
    #[error("could not {what}: the engine failed inside ({why}); please report this")]
    Panicked {
        /// What was tried.
        what: &'static str,
        /// What the panic said.
        why: String,
    },
    /// The caller wanted it to end.
    #[error("it was cancelled")]
    Cancelled,
    /// No root could be read at all.
    #[error("nothing could be backed up: {0}")]
    NothingRead(String),
}

impl ArchiveError {
    pub(crate) fn io(what: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { what, path: path.to_owned(), source: source.into() }
    }

    /// For errors of the engine, with what was tried.
    pub(crate) fn engine(what: &'static str) -> impl Fn(Box<rustic_core::RusticError>) -> Self {
        move |error| Self::Engine { what, why: in_one_line(&error.display_log()) }
    }

    /// The pack that is to blame.
    #[must_use]
    pub fn pack(&self) -> Option<ObjectName> {
        match self {
            Self::Damaged { pack, .. } => *pack,
            _ => None,
        }
    }
}

/// What the engine says in a paragraph.
pub(crate) fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
