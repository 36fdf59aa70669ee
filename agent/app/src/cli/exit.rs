//! What went wrong, for a person and for a script.

use crate::api::types::ApiError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Something local failed.
    #[error("{0}")]
    Failed(String),
    /// What was typed makes no sense.
    #[error("{0}")]
    Usage(String),
    /// It was not done, for a good reason.
    #[error("{0}")]
    Refused(String),
    /// An agent cannot be switched off now; what would be has been told.
    #[error("{0} is not safe to switch off now")]
    NotSafe(String),
    /// Something of the volume lacks shards or is lost; what has been told.
    #[error("the volume is not whole: {0}")]
    NotWhole(String),
    /// Not every agent did what it was told; what each did has been told.
    #[error("{0}")]
    NotAllDone(String),
    /// An archive was made that lacks files; which has been told.
    #[error("{0}")]
    Incomplete(String),
    /// A person stopped it with Ctrl-C; what was done has been told.
    #[error("{0}")]
    Interrupted(String),
    /// No agent answers.
    #[error("no agent answers at {address}: {reason}")]
    NoAgent {
        /// Where it was looked for.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// No agent was ever started on this machine.
    #[error("no agent has run with the data directory {0}")]
    NoCredentials(String),
    /// The API refused or failed.
    #[error("{}", .error.error)]
    Api {
        /// HTTP status.
        status: u16,
        /// What it said.
        error: ApiError,
    },
    /// An agent started by this command ended; its code is passed on.
    #[error("{reason}")]
    AgentEnded {
        /// What it said.
        reason: String,
        /// Its exit code.
        code: u8,
    },
    /// The agent could not start or go on.
    #[error(transparent)]
    Agent(#[from] crate::AgentError),
}

impl CliError {
    /// The exit code; see `shoal --help`.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Usage(_) => 2,
            Self::Refused(_) => 5,
            Self::NotSafe(_) => 12,
            Self::NotWhole(_) => 13,
            Self::NotAllDone(_) => 14,
            Self::Incomplete(_) => 15,
            Self::Interrupted(_) => 130,
            Self::NoAgent { .. } | Self::NoCredentials(_) => 3,
            Self::Api { status, .. } => match status {
                401 | 403 => 4,
                404 | 405 | 409 | 412 | 422 => 5,
                503 => 10,
                400 => 2,
                _ => 1,
            },
            Self::AgentEnded { code, .. } => *code,
            Self::Agent(error) => error.exit_code(),
        }
    }

    /// What to do next, where there is something.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoAgent { .. } => Some("Start one with `shoal up`, or name another with --api or --data.".into()),
            Self::NoCredentials(_) => {
                Some("Start an agent with `shoal up`, name its directory with --data, or use --api and --user.".into())
            }
            Self::Api { error, .. } => error.hint.clone(),
            _ => None,
        }
    }
}
