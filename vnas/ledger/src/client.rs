//! How the rest of an agent reaches the ledger, whoever replicates it.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Command, KvError, KvRead, Outcome, Rejection};

/// Why a submission has no outcome, or a bad one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SubmitError {
    /// The ledger took the command up and refused it; the state did not change.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Too few voters can be reached to agree on anything. Nothing is known to have changed; the submission may still
    /// take effect later, but never twice.
    #[error("too few agents are up to agree on changes: {0}")]
    NoQuorum(String),
    /// The store of the local copy failed.
    #[error(transparent)]
    Kv(#[from] KvError),
}

/// The ledger as seen from one agent.
///
/// To be correct, an implementation must
/// - answer [`submit`](Self::submit) only when the command is durable on a quorum and applied at the leader;
/// - apply a command once, however often it retries underneath;
/// - after [`barrier`](Self::barrier), show in [`view`](Self::view) all that any agent was acknowledged before the
///   call began;
/// - bound its queues and answer `NoQuorum` within a few seconds of losing the quorum.
#[async_trait]
pub trait LedgerClient: Send + Sync {
    /// Has the command agreed on and applied, under a new id.
    async fn submit(&self, command: Command) -> Result<Outcome, SubmitError>;

    /// Waits until the local copy holds all that was acknowledged anywhere before this call.
    async fn barrier(&self) -> Result<(), SubmitError>;

    /// A consistent view of the local copy as it is now, perhaps behind the others.
    fn view(&self) -> Result<Arc<dyn KvRead + Send + Sync>, KvError>;

    /// What time it is for the ledger now, as far as this agent can tell, in ms since 1970 UTC: never less than what its last
    /// entry was stamped with. At the leader, what an entry would be stamped with now.
    fn time_ms(&self) -> Result<u64, KvError>;

    /// Waits until the local copy has applied a batch beyond position `after`, and returns its position then.
    async fn changed(&self, after: u64) -> u64;
}
