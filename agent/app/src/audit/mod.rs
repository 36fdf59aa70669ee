//! The audit log: what this agent was told to do that needs a right of its own (commands, installs, rights given and taken back),
//! who told it, and what came of it.
//!
//! ```text
//! begin ── on disk, synced ──► the act ──► end ── on disk, synced
//!   └ the agent ends meanwhile: the next start says of the act that nobody knows how it ended
//! refuse ── on disk, synced; floods are counted instead
//! ```
//!
//! Lines of JSON in `DATA/audit/`, one file after the other, the oldest dropped when there are too many (`journal`). Nothing in them
//! is ever changed. An act that cannot be noted must not happen: whoever gets an error from [`AuditLog::begin`] does nothing.
//! What a command reads from its standard input is not in it, nor are bodies of messages. Each agent has its own; `everywhere` asks all of
//! them and puts together what they say.

mod entry;
mod everywhere;
mod flood;
mod journal;
mod reading;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dci_proto::{AgentId, MessageId};
use tokio::sync::Semaphore;

pub(crate) use entry::ENTRY_VERSION;
pub use entry::{Act, AuditEntry, Decision, Ending, what_is_asked};
pub(crate) use everywhere::{AuditAsk, everywhere};
pub use everywhere::{AuditEverywhere, AuditedAgent, SilentAgent};
pub use reading::{AuditPage, AuditQuery};

use flood::Refusals;
use journal::Journal;

/// The folder of the log in the data directory.
pub const AUDIT_FOLDER: &str = "audit";

/// Pages that are read at once; others wait. Whoever asks for what is rare has all of the log read.
const READ_AT_ONCE: usize = 2;

/// Why something cannot be noted or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The disk.
    #[error("the audit log {path} cannot be used, and nothing is done that is not in it: {error}")]
    Disk {
        /// Which file or folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// Over `journal::OPEN_LIMIT`.
    #[error("{0} acts that are audited are under way, which is as many as may be at once")]
    TooMany(usize),
    /// A newer version wrote it.
    #[error("the audit log {path} was written by a newer version of Shoal (format {found}); install that version")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// An entry cannot be written as JSON.
    #[error("an entry of the audit log cannot be written: {0}")]
    Entry(String),
    /// The agent ends.
    #[error("the agent ends")]
    Ended,
}

/// An act that has begun, and is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "what came of an act is to be noted as well"]
pub struct Begun(u64);

/// The audit log of an agent. Clones are the same log.
#[derive(Clone)]
pub struct AuditLog {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    journal: Mutex<Journal>,
    refusals: Mutex<Refusals>,
    reading: Semaphore,
    since: Instant,
}

impl AuditLog {
    /// The log of a data directory. Acts that had begun and of which nothing more is known are noted as such. Waits for the disk.
    ///
    /// # Errors
    /// If it cannot be read or written, or a newer version wrote it.
    pub fn open(data: &Path, agent: AgentId) -> Result<Self, AuditError> {
        let folder = data.join(AUDIT_FOLDER);
        let journal = Mutex::new(Journal::open(&folder, agent)?);
        let (refusals, reading) = (Mutex::default(), Semaphore::new(READ_AT_ONCE));
        let shared = Shared { folder, journal, refusals, reading, since: Instant::now() };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Notes that an act begins. It is on disk when this returns.
    ///
    /// # Errors
    /// If it cannot be noted; then the act must not happen.
    pub async fn begin(&self, act: Act) -> Result<Begun, AuditError> {
        self.write(move |journal| journal.begin(act)).await.map(Begun)
    }

    /// Notes what came of an act.
    ///
    /// # Errors
    /// If it cannot be noted; the next start then says that nobody knows.
    pub async fn end(&self, begun: Begun, ending: Ending) -> Result<(), AuditError> {
        self.write(move |journal| journal.end(begun.0, ending)).await
    }

    /// Notes what came of an act that a message told to do. Answers whether one was under way.
    ///
    /// # Errors
    /// If it cannot be noted; the next start then says that nobody knows.
    pub async fn end_message(&self, from: AgentId, message: MessageId, ending: Ending) -> Result<bool, AuditError> {
        self.write(move |journal| match journal.under_way(from, message) {
            Some(place) => journal.end(place, ending).map(|()| true),
            None => Ok(false),
        })
        .await
    }

    /// Notes that somebody was refused something. Of an agent that is refused all the time only some are noted, and how many more
    /// there were: nobody shall be able to fill the log with those.
    ///
    /// # Errors
    /// If it cannot be noted.
    pub async fn refuse(&self, act: Act, why: String) -> Result<(), AuditError> {
        let now = self.shared.since.elapsed();
        let admitted = self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).admit(act.from, now);
        let Some(silent) = admitted else { return Ok(()) };
        let why =
            if silent == 0 { why } else { format!("{why} (and {silent} more refusals before, not noted one by one)") };
        self.write(move |journal| journal.refuse(act, why)).await
    }

    /// Entries, newest first.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn page(&self, query: AuditQuery) -> Result<AuditPage, AuditError> {
        let _turn = self.shared.reading.acquire().await.map_err(|_| AuditError::Ended)?;
        let shared = self.shared.clone();
        blocking(move || reading::page(&shared.folder, &query)).await
    }

    async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Journal) -> Result<T, AuditError> + Send + 'static,
    ) -> Result<T, AuditError> {
        let shared = self.shared.clone();
        // A journal is sound between two changes, whatever happened in one.
        blocking(move || change(&mut shared.journal.lock().unwrap_or_else(PoisonError::into_inner))).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AuditError> + Send + 'static,
) -> Result<T, AuditError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(AuditError::Ended))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(from: u8, number: u8) -> Act {
        let kind = "run".parse().expect("a type");
        let message = Some(MessageId([number; 16]));
        Act { user: Some("ana".into()), from: AgentId([from; 32]), kind, message, what: format!("act {number}") }
    }

    async fn told(log: &AuditLog) -> Vec<(String, Decision)> {
        let page = log.page(AuditQuery::default()).await.expect("reads");
        page.entries.into_iter().rev().map(|entry| (entry.what, entry.decision)).collect()
    }

    #[tokio::test]
    async fn an_act_is_ended_by_its_message_of_its_sender_once() {
        let folder = tempfile::tempdir().expect("folder");
        let log = AuditLog::open(folder.path(), AgentId([9; 32])).expect("opens");
        let _begun = log.begin(act(1, 5)).await.expect("noted");
        let end = async |from: u8, number: u8| {
            let (from, message) = (AgentId([from; 32]), MessageId([number; 16]));
            log.end_message(from, message, Ending::Handled { status: 4 }).await.expect("noted")
        };
        assert!(!end(2, 5).await && !end(1, 6).await, "another agent's message, and another one");
        assert!(end(1, 5).await);
        assert!(!end(1, 5).await, "it has ended");
        let expected = [("act 5".to_owned(), Decision::Begun), ("act 5".to_owned(), Decision::Handled { status: 4 })];
        assert_eq!(told(&log).await, expected);
    }

    #[tokio::test]
    async fn a_flood_of_refusals_leaves_room_for_others() {
        let folder = tempfile::tempdir().expect("folder");
        let log = AuditLog::open(folder.path(), AgentId([9; 32])).expect("opens");
        for _ in 0..150 {
            log.refuse(act(1, 1), "no right".into()).await.expect("noted");
        }
        log.refuse(act(2, 2), "no right".into()).await.expect("noted");
        let told = log.page(AuditQuery { limit: Some(1_000), ..AuditQuery::default() }).await.expect("reads");
        assert_eq!(told.entries.len(), 101);
        assert_eq!(told.entries[0].from, AgentId([2; 32]));
    }
}
