//! Rows in memory. Stricter than a disk: what breaks the contract of a reader or writer here panics.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use dci_proto::message::Envelope;
use dci_proto::{AgentId, MessageId};

use super::rows::{Direction, Head, MulticastRow, PendingRow, ReceivedRow, Record, Rows, SentRow, WaitingRow};
use super::{Place, Status};

/// An entry of the log.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    Message { direction: Direction, at_ms: u64, envelope: Arc<Envelope> },
    Relayed { at_ms: u64 },
}

/// Rows in memory; a transaction works on a copy.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryRows {
    pub(crate) log: BTreeMap<Place, Kept>,
    pub(crate) sent: BTreeMap<MessageId, SentRow>,
    pub(crate) waiting: BTreeMap<(Place, AgentId), WaitingRow>,
    pub(crate) ended: BTreeMap<(Place, AgentId), Status>,
    pub(crate) multicasts: BTreeMap<Place, MulticastRow>,
    pub(crate) received: BTreeMap<(AgentId, MessageId), ReceivedRow>,
    pub(crate) pending: BTreeMap<Place, PendingRow>,
}

impl MemoryRows {
    /// A message in the log.
    pub(crate) fn envelope(&self, place: Place) -> Arc<Envelope> {
        match self.log.get(&place) {
            Some(Kept::Message { envelope, .. }) => Arc::clone(envelope),
            other => panic!("no message at {place:?} but {other:?}"),
        }
    }

    /// What became of a sent message at a recipient.
    pub(crate) fn status(&self, place: Place, agent: AgentId) -> Option<Status> {
        let waiting = self.waiting.get(&(place, agent)).map(WaitingRow::status);
        let ended = self.ended.get(&(place, agent)).cloned();
        assert!(waiting.is_none() || ended.is_none(), "both waiting and ended: {place:?}");
        waiting.or(ended)
    }
}

fn size_bytes(kept: &Kept) -> u64 {
    match kept {
        Kept::Message { envelope, .. } => 100 + envelope.message.body.as_xml().len() as u64,
        Kept::Relayed { .. } => 10,
    }
}

impl Rows for MemoryRows {
    type Error = Infallible;

    fn append(&mut self, place: Place, record: Record<'_>) -> Result<(), Infallible> {
        assert!(self.log.last_key_value().is_none_or(|(last, _)| *last < place), "places only grow");
        let kept = match record {
            Record::Message { direction, at_ms, envelope } => {
                Kept::Message { direction, at_ms, envelope: Arc::new(envelope.clone()) }
            }
            Record::Relayed { at_ms, of, .. } => {
                assert!(self.log.contains_key(&of), "what is handed out is in the log");
                Kept::Relayed { at_ms }
            }
        };
        self.log.insert(place, kept);
        Ok(())
    }

    fn last_place(&self) -> Result<Option<Place>, Infallible> {
        Ok(self.log.last_key_value().map(|(place, _)| *place))
    }

    fn heads(&self, from: Place, limit: usize) -> Result<Vec<Head>, Infallible> {
        let head = |(place, kept): (&Place, &Kept)| {
            let (at_ms, sent) = match kept {
                Kept::Message { direction, at_ms, envelope } => {
                    (*at_ms, (*direction == Direction::Sent).then_some(envelope.message.id))
                }
                Kept::Relayed { at_ms } => (*at_ms, None),
            };
            Head { place: *place, at_ms, sent }
        };
        Ok(self.log.range(from..).take(limit).map(head).collect())
    }

    fn remove(&mut self, head: &Head) -> Result<(), Infallible> {
        assert!(self.log.remove(&head.place).is_some(), "what is dropped was there");
        assert!(!self.waiting.keys().any(|(place, _)| *place == head.place), "what waits is not dropped");
        assert!(!self.pending.contains_key(&head.place), "what is not dealt with is not dropped");
        if let Some(id) = head.sent {
            self.sent.remove(&id);
            self.multicasts.remove(&head.place);
        }
        self.ended.retain(|(place, _), _| *place != head.place);
        Ok(())
    }

    fn log_bytes(&self) -> u64 {
        self.log.values().map(size_bytes).sum()
    }

    fn sent(&self, id: MessageId) -> Result<Option<SentRow>, Infallible> {
        Ok(self.sent.get(&id).copied())
    }

    fn put_sent(&mut self, id: MessageId, row: SentRow) -> Result<(), Infallible> {
        assert_eq!(self.sent.insert(id, row), None);
        Ok(())
    }

    fn waiting(&self, place: Place, agent: AgentId) -> Result<Option<WaitingRow>, Infallible> {
        Ok(self.waiting.get(&(place, agent)).cloned())
    }

    fn waiting_of(&self, place: Place) -> Result<Vec<(AgentId, WaitingRow)>, Infallible> {
        let of = self.waiting.iter().filter(|((at, _), _)| *at == place);
        Ok(of.map(|((_, agent), row)| (*agent, row.clone())).collect())
    }

    fn all_waiting(&self) -> Result<Vec<(Place, AgentId, WaitingRow)>, Infallible> {
        Ok(self.waiting.iter().map(|((place, agent), row)| (*place, *agent, row.clone())).collect())
    }

    fn put_waiting(&mut self, place: Place, agent: AgentId, row: &WaitingRow) -> Result<(), Infallible> {
        assert!(!self.ended.contains_key(&(place, agent)), "what has ended does not wait again");
        self.waiting.insert((place, agent), row.clone());
        Ok(())
    }

    fn remove_waiting(&mut self, place: Place, agent: AgentId) -> Result<(), Infallible> {
        assert!(self.waiting.remove(&(place, agent)).is_some());
        Ok(())
    }

    fn ended(&self, place: Place, agent: AgentId) -> Result<Option<Status>, Infallible> {
        Ok(self.ended.get(&(place, agent)).cloned())
    }

    fn put_ended(&mut self, place: Place, agent: AgentId, status: &Status) -> Result<(), Infallible> {
        assert!(!self.waiting.contains_key(&(place, agent)), "what waits has not ended");
        self.ended.insert((place, agent), status.clone());
        Ok(())
    }

    fn multicast(&self, place: Place) -> Result<Option<MulticastRow>, Infallible> {
        Ok(self.multicasts.get(&place).cloned())
    }

    fn multicasts(&self, from: Place, limit: usize) -> Result<Vec<(Place, MulticastRow)>, Infallible> {
        Ok(self.multicasts.range(from..).take(limit).map(|(place, row)| (*place, row.clone())).collect())
    }

    fn put_multicast(&mut self, place: Place, row: &MulticastRow) -> Result<(), Infallible> {
        self.multicasts.insert(place, row.clone());
        Ok(())
    }

    fn remove_multicast(&mut self, place: Place) -> Result<(), Infallible> {
        self.multicasts.remove(&place);
        Ok(())
    }

    fn received(&self, sender: AgentId, id: MessageId) -> Result<Option<ReceivedRow>, Infallible> {
        Ok(self.received.get(&(sender, id)).cloned())
    }

    fn put_received(&mut self, sender: AgentId, id: MessageId, row: &ReceivedRow) -> Result<(), Infallible> {
        self.received.insert((sender, id), row.clone());
        Ok(())
    }

    fn forget_received(&mut self, expired_before_ms: u64, limit: usize) -> Result<usize, Infallible> {
        let expired = self.received.iter().filter(|(_, row)| row.expires_ms < expired_before_ms);
        let expired: Vec<_> = expired.map(|(key, _)| *key).take(limit).collect();
        expired.iter().for_each(|key| drop(self.received.remove(key)));
        Ok(expired.len())
    }

    fn pending(&self, place: Place) -> Result<Option<PendingRow>, Infallible> {
        Ok(self.pending.get(&place).copied())
    }

    fn all_pending(&self) -> Result<Vec<(Place, PendingRow)>, Infallible> {
        Ok(self.pending.iter().map(|(place, row)| (*place, *row)).collect())
    }

    fn put_pending(&mut self, place: Place, row: &PendingRow) -> Result<(), Infallible> {
        self.pending.insert(place, *row);
        Ok(())
    }

    fn remove_pending(&mut self, place: Place) -> Result<(), Infallible> {
        assert!(self.pending.remove(&place).is_some());
        Ok(())
    }
}
