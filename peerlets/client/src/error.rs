//! Why a call failed.

use std::io;
use std::path::PathBuf;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No agent runs there, or its socket is another user's.
    #[error("no agent answers at {}: {source}", .path.display())]
    NoAgent {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The agent does not do it.
    #[error("{error}")]
    Refused {
        /// Why, as HTTP has it: 400 for what makes no sense, 403 for what is not permitted, and so on.
        status: u16,
        /// In a sentence.
        error: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// The agent was gone, or said nothing, before all was told.
    #[error("the agent was lost: {0}")]
    Lost(#[from] io::Error),
    /// The agent says what cannot be understood.
    #[error("the agent's answer: {0}")]
    Garbled(String),
}
