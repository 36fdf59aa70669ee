//! Why an agent could not start, go on, or do what was asked; with the exit code of each.
//!
//! | code | means |
//! |---|---|
//! | 0 | done |
//! | 1 | failed for a reason of its own, told in the message |
//! | 2 | wrong usage |
//! | 3 | no agent answers |
//! | 4 | not signed in, or not allowed |
//! | 5 | refused: not there, there already, in use |
//! | 6 | the data directory cannot be used: unreadable, damaged, foreign, in use by another agent |
//! | 7 | an address cannot be listened on |
//! | 8 | written by a newer version of Shoal |
//! | 9 | the ticket is not valid |
//! | 10 | the pool cannot agree on changes now |
//! | 11 | this computer's clock is years off |
//! | 12 | `shoal node safe`: not safe to switch off now |
//! | 13 | `shoal pool check`: stripes lack shards or are lost |
//! | 14 | `shoal run`, `shoal request`: not every agent did it and ended with status 0; `shoal flow run`: a step is not done |

use std::path::PathBuf;

use shoal_consensus::Group;
use shoal_ledger::{KvError, Rejection, SubmitError};

use crate::audit::AuditError;

/// Why an agent could not start, go on, or do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The data directory or a file in it cannot be read or written.
    #[error("cannot {action} {}: {reason}", .path.display())]
    Directory {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The directory belongs to something else.
    #[error("{} has other things in it; give Shoal a directory of its own with --data", .0.display())]
    ForeignDirectory(PathBuf),
    /// Another agent uses the directory.
    #[error("another agent is running on {}", .0.display())]
    DirectoryInUse(PathBuf),
    /// A file there is not what it should be.
    #[error("{} is damaged: {reason}", .path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A newer version of Shoal wrote it.
    #[error(
        "{what} was written by a newer version of Shoal (format {found}, this one knows {known}); install that version"
    )]
    NewerVersion {
        /// What.
        what: String,
        /// The format it has.
        found: u32,
        /// The newest format known here.
        known: u32,
    },
    /// The mailbox cannot be used.
    #[error("messages: {0}")]
    Messages(String),
    /// The configuration makes no sense.
    #[error("{}: {reason}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {address} for {purpose}: {reason}")]
    Listen {
        /// Which.
        address: String,
        /// What for.
        purpose: &'static str,
        /// What the system said.
        reason: String,
    },
    /// Certificate or key for TLS cannot be used.
    #[error("TLS: {0}")]
    Tls(String),
    /// The clock is years off.
    #[error("this computer's clock says {now}, {reason}; set it right (`timedatectl set-ntp true`) and start again")]
    Clock {
        /// What it says.
        now: String,
        /// Why that cannot be.
        reason: String,
    },
    /// The text is no ticket.
    #[error("this is not a ticket: {0}")]
    NotATicket(String),
    /// The pool did not take the ticket. Which of unknown, used and expired it is is not told.
    #[error("the pool did not let this agent in: {0}")]
    JoinRefused(String),
    /// No agent of the pool could be reached to join.
    #[error("no agent of the pool could be reached to join: {0}")]
    JoinUnreachable(String),
    /// The agent is a member of another pool.
    #[error(
        "{} belongs to the pool {here} already, the ticket is for the pool {ticket}; use another --data directory",
        .path.display()
    )]
    OtherPool {
        /// The data directory.
        path: PathBuf,
        /// Its pool.
        here: String,
        /// The ticket's pool.
        ticket: String,
    },
    /// The local copy of the ledger has no pool in it yet.
    #[error("this agent has not heard from its pool yet")]
    NoPoolYet,
    /// No member of that name.
    #[error("there is no agent {0:?} in this pool")]
    UnknownAgent(String),
    /// Nobody of that name asked to join.
    #[error("no agent {0:?} has asked to join")]
    NobodyAsked(String),
    /// Several go by that name.
    #[error("several agents go by {0:?}; name one by its id")]
    AmbiguousName(String),
    /// A password that will not do.
    #[error("{0}")]
    Password(String),
    /// The ledger refused.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Too few agents are up.
    #[error("changes are not possible now: {0}")]
    NoQuorum(String),
    /// The local copy of the ledger failed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A store directory cannot be used.
    #[error("the store {}: {reason}", .path.display())]
    Store {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The ledger's replication could not start or go on.
    #[error("the ledger: {0}")]
    Consensus(String),
    /// The ledger could not be written or read any more, most likely for want of room.
    #[error("{} cannot be used any more: {reason}; see to the disk (is it full?) and start again, nothing acknowledged is lost", .path.display())]
    LedgerFailed {
        /// Where it lies.
        path: PathBuf,
        /// What failed.
        reason: String,
    },
    /// The pool was recovered without this agent, which has to join it anew.
    #[error("the pool was recovered without this agent (generation {}); it joins anew", .group.generation)]
    Overtaken {
        /// The group that carries the pool on.
        group: Group,
        /// How far this agent's ledger had got.
        last: u64,
    },
    /// The agent is no member any more.
    #[error("this agent was removed from its pool")]
    StruckOff,
    /// Nothing a pool could be recovered from was found.
    #[error("nothing to recover a pool from in {}: {}", .path.display(), if .problems.is_empty() { "no ledger and no copy of one" } else { .problems })]
    NothingToRecoverFrom {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong with what was found.
        problems: String,
    },
    /// Something inside failed.
    #[error("{0}")]
    Internal(String),
}

impl AgentError {
    /// The exit code of a command that ends with it; see the table above.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NothingToRecoverFrom { .. }
            | Self::Rejected(_)
            | Self::UnknownAgent(_)
            | Self::NobodyAsked(_)
            | Self::AmbiguousName(_) => 5,
            Self::Directory { .. }
            | Self::ForeignDirectory(_)
            | Self::DirectoryInUse(_)
            | Self::Damaged { .. }
            | Self::LedgerFailed { .. }
            | Self::Store { .. }
            | Self::Messages(_)
            | Self::OtherPool { .. } => 6,
            Self::Listen { .. } => 7,
            Self::NewerVersion { .. } => 8,
            Self::NotATicket(_) | Self::JoinRefused(_) => 9,
            Self::NoQuorum(_) | Self::NoPoolYet => 10,
            Self::Config { .. } | Self::Password(_) => 2,
            Self::JoinUnreachable(_) => 3,
            Self::Clock { .. } => 11,
            Self::Overtaken { .. }
            | Self::StruckOff
            | Self::Tls(_)
            | Self::Kv(_)
            | Self::Consensus(_)
            | Self::Internal(_) => 1,
        }
    }

    /// A directory or file that could not be used.
    pub(crate) fn directory(action: &'static str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::Directory { action, path: path.to_owned(), reason: error.to_string() }
    }
}

impl From<SubmitError> for AgentError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejection) => Self::Rejected(rejection),
            SubmitError::NoQuorum(reason) => Self::NoQuorum(reason),
            SubmitError::Kv(error) => Self::Kv(error),
        }
    }
}

impl From<AuditError> for AgentError {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Disk { path, error } => Self::directory("keep the audit log in", &path, &error),
            AuditError::Newer { path, found } => {
                Self::NewerVersion { what: path.display().to_string(), found, known: crate::audit::ENTRY_VERSION }
            }
            error => Self::Internal(error.to_string()),
        }
    }
}
