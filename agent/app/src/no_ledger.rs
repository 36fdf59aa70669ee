//! The ledger as seen from an agent that holds none: it only stores shards, and says so.

use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use shoal_ledger::{Command, KvError, KvRead, LedgerClient, Outcome, SubmitError};

const SAYING: &str = "this agent only stores shards and holds no ledger; ask one that serves the drive";

/// Answers everything with a sentence that says why not.
pub(crate) struct NoLedger {
    saying: String,
}

impl NoLedger {
    /// Of an agent that only stores shards.
    pub(crate) fn store_only() -> Self {
        Self { saying: SAYING.to_owned() }
    }

    /// For another reason.
    pub(crate) fn because(saying: String) -> Self {
        Self { saying }
    }

    fn absent(&self) -> KvError {
        KvError::Absent(self.saying.clone())
    }
}

#[async_trait]
impl LedgerClient for NoLedger {
    async fn submit(&self, _command: Command) -> Result<Outcome, SubmitError> {
        Err(SubmitError::Kv(self.absent()))
    }

    async fn barrier(&self) -> Result<(), SubmitError> {
        Err(SubmitError::Kv(self.absent()))
    }

    fn view(&self) -> Result<Arc<dyn KvRead + Send + Sync>, KvError> {
        Err(self.absent())
    }

    fn time_ms(&self) -> Result<u64, KvError> {
        Err(self.absent())
    }

    async fn changed(&self, _after: u64) -> u64 {
        pending().await
    }
}
