//! Why the drive did not do what was asked.

use shoal_ledger::{KvError, Rejection, SubmitError};

use crate::PeerError;

/// Why the drive did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum DriveError {
    /// The ledger refused it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Too few agents are up to agree on changes; reading goes on.
    #[error("changes are not possible now: {0}")]
    NoQuorum(String),
    /// The bytes cannot be had from the agents that are up, or too few agents are up to keep them.
    #[error("the bytes cannot be reached now: {0}")]
    Unavailable(String),
    /// The bytes are lost or damaged beyond what parity can mend.
    #[error("the file is damaged: {0}")]
    Damaged(String),
    /// No room in the pool.
    #[error("the pool is full")]
    Full,
    /// This agent takes nothing new now, though the pool may; a sentence that says why.
    #[error("{0}")]
    NoRoomHere(String),
    /// The writer gave fewer or more bytes than announced.
    #[error("{received_bytes} bytes arrived instead of {announced_bytes}")]
    Incomplete {
        /// Announced.
        announced_bytes: u64,
        /// Arrived.
        received_bytes: u64,
    },
    /// The bytes that arrived do not have the SHA-1 the client announced.
    #[error("the bytes that arrived do not match the checksum announced")]
    ChecksumMismatch {
        /// Announced.
        announced: [u8; 20],
        /// Of the bytes that arrived.
        received: [u8; 20],
    },
    /// The local copy of the ledger failed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// An agent failed in a way that no other could make up for.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// A worker of this process ended without an answer: it was shut down or has a bug.
    #[error("{0} ended without an answer")]
    Interrupted(&'static str),
}

impl From<SubmitError> for DriveError {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejection) => Self::Rejected(rejection),
            SubmitError::NoQuorum(reason) => Self::NoQuorum(reason),
            SubmitError::Kv(error) => Self::Kv(error),
        }
    }
}
