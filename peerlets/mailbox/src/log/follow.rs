//! Following what happens.

use std::sync::Arc;

use dci_proto::MessageId;
use tokio::sync::broadcast;

use super::LogEntry;
use crate::Place;
use crate::mailbox::RecipientStatus;

/// Something that happened and is durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happening {
    /// There is a new entry in the log.
    Logged(Box<LogEntry>),
    /// A message has another state at a recipient; of a received message: here.
    Changed {
        /// Where the message stands in the log.
        place: Place,
        /// Which it is.
        id: MessageId,
        /// Its state.
        recipient: RecipientStatus,
    },
    /// The follower was too slow and has missed some; what is in the log can be asked for there.
    Missed(u64),
}

/// Who hears of what happens. A slow one holds up nobody.
pub struct Follower(broadcast::Receiver<Arc<Happening>>);

impl Follower {
    pub(crate) fn new(receiver: broadcast::Receiver<Arc<Happening>>) -> Self {
        Self(receiver)
    }

    /// Waits for the next; `None` when the mailbox is closed. May be dropped half-way.
    pub async fn next(&mut self) -> Option<Arc<Happening>> {
        match self.0.recv().await {
            Ok(happening) => Some(happening),
            Err(broadcast::error::RecvError::Lagged(missed)) => Some(Arc::new(Happening::Missed(missed))),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}
