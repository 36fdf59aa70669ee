//! Following what happens.

use std::sync::Arc;

use dci_proto::MessageId;
use dci_proto::message::Envelope;
use tokio::sync::broadcast;

use super::LogEntry;
use crate::mailbox::RecipientStatus;
use crate::{Direction, Place};

/// Hears of everything that happens once it is durable, in order, and misses nothing: it is called by the one thread that
/// writes. To be correct, an implementation must return at once and wait for nothing, least of all for the mailbox.
pub trait Observer: Send + Sync + 'static {
    /// A message was sent or received and stands in the log.
    fn logged(&self, place: Place, direction: Direction, envelope: &Envelope);

    /// A message has another state at a recipient; of a received message: here.
    /// `place`: where the message stands in the log.
    fn changed(&self, place: Place, id: MessageId, recipient: &RecipientStatus);
}

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
