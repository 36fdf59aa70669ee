//! What a mailbox knows, in rows.

use dci_proto::message::{Envelope, ReceiptState, Recipient};
use dci_proto::{AgentId, MessageId, SessionId};
use serde::{Deserialize, Serialize};

use super::{Place, Status};

/// Which way a message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Direction {
    /// This agent sent it.
    Sent,
    /// It came to this agent.
    Received,
    /// It was handed to a peerlet here, or to another application.
    Relayed,
}

/// What is written into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    /// A message this agent sent or received.
    Message { direction: Direction, at_ms: u64, envelope: &'a Envelope },
    /// A received message was handed out, for the n-th time.
    Relayed { at_ms: u64, of: Place, attempt: u32 },
}

/// What retention must know of an entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) place: Place,
    pub(crate) at_ms: u64,
    /// Of a sent message: which.
    pub(crate) sent: Option<MessageId>,
}

/// Where a sent message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SentRow {
    pub(crate) place: Place,
    /// It is to a group or all.
    pub(crate) many: bool,
}

/// A recipient that a message waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitingRow {
    pub(crate) id: MessageId,
    pub(crate) session: Option<SessionId>,
    pub(crate) expires_ms: u64,
    pub(crate) since_ms: u64,
    pub(crate) attempts: u32,
    /// A copy was dropped on the way: by whom, when, why.
    pub(crate) dropped: Option<(AgentId, u64, String)>,
}

/// A message to a group or all: who joins before it expires gets it too.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MulticastRow {
    pub(crate) id: MessageId,
    pub(crate) to: Recipient,
    pub(crate) session: Option<SessionId>,
    pub(crate) expires_ms: u64,
    pub(crate) attempts: u32,
}

/// A message that came, remembered until it can come no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReceivedRow {
    pub(crate) place: Place,
    pub(crate) expires_ms: u64,
    pub(crate) state: ReceiptState,
}

/// A message that came and is not dealt with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PendingRow {
    pub(crate) id: MessageId,
    pub(crate) sender: AgentId,
    /// It is to a group or all.
    pub(crate) many: bool,
    pub(crate) attempts: u32,
}

/// The rows of one mailbox, as one transaction sees them.
///
/// To be correct, an implementation must show in each reading what was written before in the same transaction, list in
/// the order of places (then of agents), and make all that was written durable at once or not at all.
pub(crate) trait Rows {
    /// What may go wrong.
    type Error;

    /// Writes an entry of the log.
    fn append(&mut self, place: Place, record: Record<'_>) -> Result<(), Self::Error>;
    /// The last place that was written.
    fn last_place(&self) -> Result<Option<Place>, Self::Error>;
    /// Entries from a place on.
    fn heads(&self, from: Place, limit: usize) -> Result<Vec<Head>, Self::Error>;
    /// Removes an entry with all that is said of it, except that its id has come ([`Rows::received`]).
    fn remove(&mut self, head: &Head) -> Result<(), Self::Error>;
    /// Bytes of all entries.
    fn log_bytes(&self) -> u64;

    /// A sent message.
    fn sent(&self, id: MessageId) -> Result<Option<SentRow>, Self::Error>;
    /// Writes it.
    fn put_sent(&mut self, id: MessageId, row: SentRow) -> Result<(), Self::Error>;

    /// A recipient that waits.
    fn waiting(&self, place: Place, agent: AgentId) -> Result<Option<WaitingRow>, Self::Error>;
    /// All that wait for one message.
    fn waiting_of(&self, place: Place) -> Result<Vec<(AgentId, WaitingRow)>, Self::Error>;
    /// All that wait.
    fn all_waiting(&self) -> Result<Vec<(Place, AgentId, WaitingRow)>, Self::Error>;
    /// Writes it.
    fn put_waiting(&mut self, place: Place, agent: AgentId, row: &WaitingRow) -> Result<(), Self::Error>;
    /// Removes it.
    fn remove_waiting(&mut self, place: Place, agent: AgentId) -> Result<(), Self::Error>;

    /// What became of a message that waits no more.
    fn ended(&self, place: Place, agent: AgentId) -> Result<Option<Status>, Self::Error>;
    /// Writes it.
    fn put_ended(&mut self, place: Place, agent: AgentId, status: &Status) -> Result<(), Self::Error>;

    /// One message to many.
    fn multicast(&self, place: Place) -> Result<Option<MulticastRow>, Self::Error>;
    /// Those from a place on, oldest first.
    fn multicasts(&self, from: Place, limit: usize) -> Result<Vec<(Place, MulticastRow)>, Self::Error>;
    /// Writes it.
    fn put_multicast(&mut self, place: Place, row: &MulticastRow) -> Result<(), Self::Error>;
    /// Removes it.
    fn remove_multicast(&mut self, place: Place) -> Result<(), Self::Error>;

    /// A message that came. Ids are the sender's: another's message with the same id is another message.
    fn received(&self, sender: AgentId, id: MessageId) -> Result<Option<ReceivedRow>, Self::Error>;
    /// Writes it.
    fn put_received(&mut self, sender: AgentId, id: MessageId, row: &ReceivedRow) -> Result<(), Self::Error>;
    /// Forgets messages that expired before, at most so many; answers how many.
    fn forget_received(&mut self, expired_before_ms: u64, limit: usize) -> Result<usize, Self::Error>;

    /// A message that is not dealt with.
    fn pending(&self, place: Place) -> Result<Option<PendingRow>, Self::Error>;
    /// All of them.
    fn all_pending(&self) -> Result<Vec<(Place, PendingRow)>, Self::Error>;
    /// Writes it.
    fn put_pending(&mut self, place: Place, row: &PendingRow) -> Result<(), Self::Error>;
    /// Removes it.
    fn remove_pending(&mut self, place: Place) -> Result<(), Self::Error>;
}
