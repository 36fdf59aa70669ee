//! The other agents and the machine, as backup sees them. The agent implements this; tests do too, with faults.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup::plan::Conditions;
use shoal_backup::{Now, Zone};

use crate::call::{Answer, Ask, CallError, Reply};

/// A member of the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub agent: AgentId,
    /// Its nickname.
    pub name: String,
    /// Where it is, if somebody said.
    pub site: Option<String>,
    /// For how long it has not answered, ms; `None`: it does.
    pub away_ms: Option<u64>,
    /// How long a small call takes, ms; of one that is away, what it last was.
    pub distance_ms: u64,
    /// Where its data channel listens, as text; for the recovery kit.
    pub addresses: Vec<String>,
}

/// The pool.
#[async_trait]
pub trait Network: Send + Sync {
    /// This agent.
    fn own(&self) -> AgentId;

    /// All members but this one.
    fn members(&self) -> Vec<Member>;

    /// Asks another agent. To be correct, an implementation must end within `patience`, with
    /// [`CallError::Unreachable`] if nothing came.
    ///
    /// # Errors
    /// No answer, or a no.
    async fn call(&self, to: AgentId, ask: Ask, body: Bytes, patience: Duration) -> Result<(Answer, Bytes), CallError>;
}

/// The machine.
pub trait Machine: Send + Sync {
    /// Its clocks.
    fn now(&self) -> Now;

    /// Its time zone.
    fn zone(&self) -> Zone;

    /// Battery, link and what else a run may wait for.
    fn conditions(&self) -> Conditions;

    /// Bytes that are free for this program on the disk of a folder, if that can be found out.
    fn free_bytes(&self, folder: &Path) -> Option<u64> {
        let disk = rustix::fs::statvfs(folder).ok()?;
        Some(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

/// Who answers what others ask.
#[async_trait]
pub trait Answers: Send + Sync {
    /// Answers a member, whom the network has proven.
    async fn answer(&self, from: AgentId, ask: Ask, body: Bytes) -> Reply;
}
