//! What was said before: messages of a type that this agent has taken, from its log. For pictures of it, and for peerlets whose
//! programs want to know when they are started.

use std::fmt;
use std::sync::{Arc, Weak};

use dci_proto::message::{Envelope, LIFE_LIMIT_MS, MessageType};
use shoal_mailbox::{Direction, LogEntry, Mailbox, MailboxError, Query, State};
use shoal_peerlets::Past;
use tokio::sync::mpsc;

use super::clock::PoolClock;

/// Pages of the log that are read, at most: each looks at 20,000 entries.
const PAGES_LIMIT: usize = 100;
/// Messages that wait for a program, at most; then the log is read no further.
const TOLD_WAITING: usize = 64;

/// Whether an entry is a message of its sender that this agent has taken, once: not what answers one, not what its user may not
/// send. One that only the peerlet's program could not take, because it has too much to do or does not run here, counts.
pub(crate) fn is_taken(entry: &LogEntry) -> bool {
    let message = &entry.envelope.message;
    let refused = || {
        let never_taken = |state: &State, attempts| matches!(state, State::Refused { .. }) && attempts == 0;
        entry.states.iter().any(|one| never_taken(&one.status.state, one.status.attempts))
    };
    message.in_reply_to.is_none()
        && match entry.direction {
            Direction::Sent => true,
            Direction::Received => !refused(),
            Direction::Relayed => false,
        }
}

/// Reads such entries, those that are valid no more left out, a page at a time.
pub(crate) struct TakenBefore {
    query: Query,
    pages: usize,
}

impl TakenBefore {
    pub(crate) fn new(kind: &MessageType, now_ms: u64) -> Self {
        let from_ms = Some(now_ms.saturating_sub(LIFE_LIMIT_MS));
        let query = Query { kind: Some(kind.clone()), from_ms, ..Query::default() };
        Self { query, pages: PAGES_LIMIT }
    }

    /// The next page, in which there may be none; `None`: that was all.
    pub(crate) async fn next(&mut self, mailbox: &Mailbox) -> Result<Option<Vec<LogEntry>>, MailboxError> {
        if self.pages == 0 {
            return Ok(None);
        }
        let mut page = mailbox.query(self.query.clone()).await?;
        self.pages = if page.next.is_none() { 0 } else { self.pages - 1 };
        self.query.after = page.next;
        page.entries.retain(is_taken);
        Ok(Some(page.entries))
    }
}

/// Tells programs. It does not keep the mailbox open.
pub(super) struct PastOfLog {
    pub(super) mailbox: Weak<Mailbox>,
    pub(super) clock: Arc<PoolClock>,
}

impl fmt::Debug for PastOfLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PastOfLog")
    }
}

impl Past for PastOfLog {
    fn tell(&self, kind: &MessageType) -> mpsc::Receiver<Arc<Envelope>> {
        let mut before = TakenBefore::new(kind, self.clock.wall_ms());
        let (told, hears) = mpsc::channel(TOLD_WAITING);
        let (kind, mailbox) = (kind.clone(), self.mailbox.clone());
        tokio::spawn(async move {
            while let Some(mailbox) = mailbox.upgrade() {
                let page = before.next(&mailbox).await;
                drop(mailbox);
                match page {
                    Ok(Some(entries)) => {
                        for entry in entries {
                            // A program that has ended hears no more.
                            if told.send(entry.envelope).await.is_err() {
                                return;
                            }
                        }
                    }
                    Ok(None) => return,
                    Err(error) => return tracing::warn!(%error, %kind, "a peerlet does not learn what was sent before"),
                }
            }
        });
        hears
    }
}
