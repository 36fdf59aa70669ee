//! Why consensus could not do what it was asked.

use std::path::PathBuf;

use dci_proto::AgentId;
use shoal_ledger::KvError;

/// Why starting, stopping or changing consensus failed.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// Another process works in the directory.
    #[error("{} is in use by another process; stop the other agent first", .0.display())]
    InUse(PathBuf),
    /// The directory was made by another agent.
    #[error("{} belongs to agent {owner}, not to {agent}; use that agent's data directory only with its key", .directory.display())]
    OtherAgent {
        /// The directory.
        directory: PathBuf,
        /// Whose it is.
        owner: AgentId,
        /// Who asked.
        agent: AgentId,
    },
    /// The directory was written by a newer version.
    #[error("{} was written by a newer version of Shoal (format {found}, this version knows {known}); update this agent", .path.display())]
    NewerVersion {
        /// Where.
        path: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format this version knows.
        known: u32,
    },
    /// A file does not hold what was written to it.
    #[error("{} is damaged: {reason}; restore it, or strike this agent off the pool and join anew with an empty data directory", .path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The state's store failed.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// The state's format is not one this version can use, or the dump is not one.
    #[error("{0}")]
    Format(String),
    /// Only the leader changes the membership.
    #[error("{}", not_leader(.leader))]
    NotLeader {
        /// Who to ask, where known.
        leader: Option<AgentId>,
    },
    /// The ledger has been started before.
    #[error("this ledger is not empty; it can be initialised only once")]
    NotEmpty,
    /// Who is to vote must be a member first.
    #[error("{0} is not a member of the ledger's group; add it as a learner first")]
    NotAMember(AgentId),
    /// Another change of the membership is under way.
    #[error("another change of the ledger's voters is under way; try again when it is done")]
    ChangeUnderWay,
    /// A group without voters decides nothing.
    #[error("the ledger needs at least one voter")]
    NoVoters,
    /// The quorum did not agree in time.
    #[error("too few voters answered within {seconds} s to change the ledger's membership")]
    NoQuorum {
        /// How long was waited.
        seconds: u64,
    },
    /// Consensus has stopped, by request or because its disk failed.
    #[error("consensus has stopped: {0}")]
    Stopped(String),
    /// A setting makes no sense.
    #[error("the configuration of consensus is not usable: {0}")]
    Config(String),
}

fn not_leader(leader: &Option<AgentId>) -> String {
    match leader {
        Some(leader) => format!("this agent does not lead the ledger; {leader} does"),
        None => "this agent does not lead the ledger, and nobody does at the moment".to_owned(),
    }
}

impl ConsensusError {
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { action, path, source }
    }

    pub(crate) fn damaged(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.into(), reason: reason.into() }
    }
}
