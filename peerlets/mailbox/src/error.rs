//! What can go wrong with a mailbox.

use std::path::{Path, PathBuf};

use crate::{Place, PostRefused};

/// What can go wrong with a mailbox. One failed write may be that of many callers, so it can be told to each.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MailboxError {
    /// The message is not posted.
    #[error(transparent)]
    Post(#[from] PostRefused),
    /// There is no such message to be dealt with.
    #[error("message {} of the inbox is dealt with already, or never came", .0.0)]
    NotPending(Place),
    /// The disk is full.
    #[error("the disk is full, {path} cannot be written ({reason}); make room, it goes on by itself")]
    DiskFull {
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The disk failed.
    #[error("cannot {action} {path}: {reason}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not as it was written.
    #[error(
        "{path} is damaged ({reason}); stop the agent, restore the file or move it away and start again: without it, \
         messages that wait in it are not delivered, and some that came may be taken twice"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer version wrote the file.
    #[error("{path} was written by a newer version (format {found}, this one knows {known}); update this agent")]
    NewerVersion {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format this version knows.
        known: u64,
    },
    /// Another process has it open.
    #[error("{0} is in use by another process; is an agent running with the same data folder?")]
    InUse(PathBuf),
    /// The mailbox was closed, or its writer ended because of a fault in this program.
    #[error("the mailbox in {0} is closed")]
    Closed(PathBuf),
}

/// What can go wrong with its file, before it is known which that is.
#[derive(Debug)]
pub(crate) enum DiskError {
    Database(Box<redb::Error>),
    /// A row does not decode.
    Row {
        table: &'static str,
        reason: String,
    },
}

impl<E: Into<redb::Error>> From<E> for DiskError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

impl DiskError {
    /// For callers: what was tried, on which file.
    pub(crate) fn on(self, action: &'static str, path: &Path) -> MailboxError {
        use std::io::ErrorKind::{InvalidData, QuotaExceeded, StorageFull, UnexpectedEof};
        let path = path.to_owned();
        match self {
            Self::Row { table, reason } => {
                MailboxError::Damaged { path, reason: format!("a row of {table}: {reason}") }
            }
            Self::Database(error) => match *error {
                redb::Error::DatabaseAlreadyOpen => MailboxError::InUse(path),
                redb::Error::Io(io) if matches!(io.kind(), StorageFull | QuotaExceeded) => {
                    MailboxError::DiskFull { path, reason: io.to_string() }
                }
                redb::Error::Io(io) if matches!(io.kind(), InvalidData | UnexpectedEof) => {
                    MailboxError::Damaged { path, reason: io.to_string() }
                }
                redb::Error::Io(io) => MailboxError::Io { action, path, reason: io.to_string() },
                redb::Error::PreviousIo => {
                    MailboxError::Io { action, path, reason: "an earlier write to it failed".into() }
                }
                other => MailboxError::Damaged { path, reason: other.to_string() },
            },
        }
    }
}
