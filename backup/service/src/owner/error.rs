//! What can go wrong on the owner's side.

use std::io;
use std::path::{Path, PathBuf};

use shoal_archive::ArchiveError;
use shoal_backup::catalogue::CatalogueError;
use shoal_backup::plan::PlanError;
use shoal_backup::replication::ReplicationError;

use crate::files::FilesError;

/// Something did not work.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// There is no backup on this PC yet.
    #[error("this PC has no backup yet: set it up with `shoal backup init`")]
    NotSetUp,
    /// There is one.
    #[error("this PC has a backup already: change it with `shoal backup set`")]
    AlreadySetUp,
    /// Other PCs have copies of an earlier backup of this PC.
    #[error(
        "{} still hold copies of an earlier backup of this PC: take it up again with its recovery kit \
         (`shoal backup init --take-up`), a second one beside it cannot be made", .0.join(", ")
    )]
    CopiesExist(Vec<String>),
    /// There is nothing to take up.
    #[error("no PC that answers holds a copy of a backup of this PC: switch one on that does, and try again")]
    NoCopies,
    /// The plan cannot be meant.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The repository.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The catalogue.
    #[error("the catalogue of this PC's backup: {0}")]
    Catalogue(#[from] CatalogueError),
    /// Files of the repository or the catalogue.
    #[error(transparent)]
    Files(#[from] FilesError),
    /// What is known of copies.
    #[error(transparent)]
    Replication(#[from] ReplicationError),
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
    /// A newer program wrote it.
    #[error("{} has version {found}, this program reads versions up to {known}: update Shoal on this PC", path.display())]
    NewerVersion {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u64,
        /// The newest one that is understood.
        known: u64,
    },
    /// It is not what it should be.
    #[error("{} cannot be read: {why}", path.display())]
    Malformed {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Nothing is running.
    #[error("no backup is running")]
    NotRunning,
    /// A drill could not be tried.
    #[error("no restore was tried: {0}")]
    NobodyDrills(String),
    /// It ends.
    #[error("the agent is ending")]
    Ending,
    /// What is on the disk of this PC must not be used before another PC was asked.
    #[error("waits for a PC that holds a copy: whether this PC was set back to an older state is not known yet")]
    NotCleared,
}

impl OwnerError {
    /// Whether the disk is full.
    pub(super) fn is_full(&self) -> bool {
        let is_full =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        match self {
            Self::Archive(ArchiveError::Full(_)) => true,
            Self::Archive(ArchiveError::Io { source, .. }) | Self::Io { source, .. } => is_full(source),
            Self::Files(error) => error.is_full(),
            _ => false,
        }
    }

    pub(super) fn io(what: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Self::Io { what, path: path.to_owned(), source: source.into() }
    }
}
