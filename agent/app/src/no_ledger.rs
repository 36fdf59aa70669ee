//! The ledger as seen from an agent that holds none: it only stores shards, and says so.

use std::future::pending;
use std::sync::Arc;

use async_trait::async_trait;
use shoal_ledger::{Command, KvError, KvRead, LedgerClient, Outcome, SubmitError};

const SAYING: &str = "this agent only stores shards and holds no ledger; ask one that serves the drive";

/// Answers everything with a sentence that says why not.
pub(crate) struct NoLedger;

#[async_trait]
impl LedgerClient for NoLedger {
    async fn submit(&self, _command: Command) -> Result<Outcome, SubmitError> {
        Err(SubmitError::Kv(KvError::Absent(SAYING.into())))
    }

    async fn barrier(&self) -> Result<(), SubmitError> {
        Err(SubmitError::Kv(KvError::Absent(SAYING.into())))
    }

    fn view(&self) -> Result<Arc<dyn KvRead + Send + Sync>, KvError> {
        Err(KvError::Absent(SAYING.into()))
    }

    async fn changed(&self, _after: u64) -> u64 {
        pending().await
    }
}
