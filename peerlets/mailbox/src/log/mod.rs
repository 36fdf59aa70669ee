//! The log: what was sent, received and handed to peerlets, with what became of it.

mod follow;
mod of_message;
mod query;

use std::sync::Arc;

use dci_proto::message::Envelope;
use dci_proto::{AgentId, MessageId};
use redb::{ReadOnlyTable, ReadTransaction};

use crate::core::{Direction, PendingRow, SentRow, State, Status, WaitingRow};
use crate::disk::encoding::{StoredHead, decode, decode_record};
use crate::disk::{Disk, ENDED, LOG, PENDING, RECEIVED, SENT, WAITING};
use crate::error::DiskError;
use crate::mailbox::RecipientStatus;
use crate::{MailboxError, Place};

pub use follow::{Follower, Happening, Observer};
pub(crate) use query::query;
pub use query::{Order, Page, Query};

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it stands.
    pub place: Place,
    /// When it was written, in ms since 1970.
    pub at_ms: u64,
    /// Which way the message went.
    pub direction: Direction,
    /// Of a message handed to its peerlet: where it stands as received, and for the how-manieth time it was handed out.
    pub relay: Option<(Place, u32)>,
    /// The message.
    pub envelope: Arc<Envelope>,
    /// What became of it: of a sent one at each recipient, of a received one at this agent.
    pub states: Vec<RecipientStatus>,
}

/// The tables an entry is put together from.
struct Reader {
    agent: AgentId,
    log: ReadOnlyTable<u64, &'static [u8]>,
    waiting: ReadOnlyTable<(u64, &'static [u8; 32]), &'static [u8]>,
    ended: ReadOnlyTable<(u64, &'static [u8; 32]), &'static [u8]>,
    pending: ReadOnlyTable<u64, &'static [u8]>,
    sent: ReadOnlyTable<&'static [u8; 16], &'static [u8]>,
    received: ReadOnlyTable<&'static [u8; 48], &'static [u8]>,
}

impl Reader {
    fn new(transaction: &ReadTransaction, agent: AgentId) -> Result<Self, DiskError> {
        Ok(Self {
            agent,
            log: transaction.open_table(LOG)?,
            waiting: transaction.open_table(WAITING)?,
            ended: transaction.open_table(ENDED)?,
            pending: transaction.open_table(PENDING)?,
            sent: transaction.open_table(SENT)?,
            received: transaction.open_table(RECEIVED)?,
        })
    }

    /// The entry at a place. One that was handed out and is not in the log any more is none.
    fn entry(&self, place: Place) -> Result<Option<LogEntry>, DiskError> {
        let Some(row) = self.log.get(place.0)? else { return Ok(None) };
        let (head, body) = decode_record(row.value())?;
        let at_ms = head.at_ms();
        match head {
            StoredHead::Message(message) => {
                let direction = message.direction;
                let envelope = Arc::new(message.into_envelope(body)?);
                let states =
                    if direction == Direction::Sent { self.states(place)? } else { self.own_state(place, at_ms)? };
                Ok(Some(LogEntry { place, at_ms, direction, relay: None, envelope, states }))
            }
            StoredHead::Relayed { of, attempt, .. } => {
                let Some(envelope) = self.envelope(of)? else { return Ok(None) };
                let (direction, relay) = (Direction::Relayed, Some((of, attempt)));
                Ok(Some(LogEntry { place, at_ms, direction, relay, envelope: Arc::new(envelope), states: Vec::new() }))
            }
        }
    }

    fn envelope(&self, place: Place) -> Result<Option<Envelope>, DiskError> {
        let Some(row) = self.log.get(place.0)? else { return Ok(None) };
        match decode_record(row.value())? {
            (StoredHead::Message(message), body) => message.into_envelope(body).map(Some),
            (StoredHead::Relayed { .. }, _) => Ok(None),
        }
    }

    /// What became of a sent message, by recipient.
    fn states(&self, place: Place) -> Result<Vec<RecipientStatus>, DiskError> {
        let all = || (place.0, &[0; 32])..=(place.0, &[0xff; 32]);
        let mut states = Vec::new();
        for row in self.waiting.range(all())? {
            let (key, bytes) = row?;
            let row: WaitingRow = decode("waiting", bytes.value())?;
            states.push(RecipientStatus { agent: AgentId(*key.value().1), status: row.status() });
        }
        for row in self.ended.range(all())? {
            let (key, bytes) = row?;
            let status = decode("ended", bytes.value())?;
            states.push(RecipientStatus { agent: AgentId(*key.value().1), status });
        }
        states.sort_by_key(|state| state.agent);
        Ok(states)
    }

    /// What became of a received message.
    fn own_state(&self, place: Place, at_ms: u64) -> Result<Vec<RecipientStatus>, DiskError> {
        let ended = self.states(place)?;
        if !ended.is_empty() {
            return Ok(ended);
        }
        let Some(row) = self.pending.get(place.0)? else { return Ok(Vec::new()) };
        let row: PendingRow = decode("pending", row.value())?;
        let status = Status { state: State::Delivered, since_ms: at_ms, attempts: row.attempts };
        Ok(vec![RecipientStatus { agent: self.agent, status }])
    }

    /// Where a sent message stands.
    fn sent_at(&self, id: MessageId) -> Result<Option<Place>, DiskError> {
        let Some(row) = self.sent.get(&id.0)? else { return Ok(None) };
        let row: SentRow = decode("sent", row.value())?;
        Ok(Some(row.place))
    }

    /// Whether an agent is, or was, a recipient of a sent message.
    fn has_recipient(&self, place: Place, agent: AgentId) -> Result<bool, DiskError> {
        let key = (place.0, &agent.0);
        Ok(self.waiting.get(key)?.is_some() || self.ended.get(key)?.is_some())
    }
}

/// The message at a place.
pub(crate) fn envelope(disk: &Disk, place: Place) -> Result<Option<Envelope>, MailboxError> {
    disk.read(|transaction| Reader::new(transaction, AgentId([0; 32]))?.envelope(place))
}

/// The entry at a place.
pub(crate) fn entry(disk: &Disk, agent: AgentId, place: Place) -> Result<Option<LogEntry>, MailboxError> {
    disk.read(|transaction| Reader::new(transaction, agent)?.entry(place))
}

/// What became of a sent message.
pub(crate) fn states_of(disk: &Disk, id: MessageId) -> Result<Option<Vec<RecipientStatus>>, MailboxError> {
    disk.read(|transaction| {
        let reader = Reader::new(transaction, AgentId([0; 32]))?;
        let place = reader.sent_at(id)?;
        place.map(|place| reader.states(place)).transpose()
    })
}
