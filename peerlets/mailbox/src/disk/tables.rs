//! The tables of a mailbox, as one transaction has them.
//!
//! | table | key | value |
//! |---|---|---|
//! | log | place | an entry: a message sent or received, or that one was handed out |
//! | sent | message id | its place, and whether it is to many |
//! | waiting | place, agent | a recipient that has not answered |
//! | ended | place, agent | what became of a message there; of a received one, here |
//! | multicasts | place | a message to many, until it expires |
//! | received | sender, message id | that it came, until some time after it expires |
//! | expiries | time, sender, message id | when that is |
//! | pending | place | a received message that is not dealt with |
//! | numbers | name | format version, bytes of the log, transactions |

use dci_proto::{AgentId, MessageId};
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::FORMAT_VERSION;
use super::encoding::{StoredHead, decode, decode_record, encode, encode_record};
use crate::core::{Direction, Head, MulticastRow, PendingRow, ReceivedRow, Record, Rows, SentRow, WaitingRow};
use crate::error::DiskError;
use crate::{Place, Status};

type AtAgent = (u64, &'static [u8; 32]);
type Received = &'static [u8; 48];

pub(crate) const LOG: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("log");
pub(crate) const SENT: TableDefinition<'static, &[u8; 16], &[u8]> = TableDefinition::new("sent");
pub(crate) const WAITING: TableDefinition<'static, AtAgent, &[u8]> = TableDefinition::new("waiting");
pub(crate) const ENDED: TableDefinition<'static, AtAgent, &[u8]> = TableDefinition::new("ended");
const MULTICASTS: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("multicasts");
pub(crate) const RECEIVED: TableDefinition<'static, Received, &[u8]> = TableDefinition::new("received");
const EXPIRIES: TableDefinition<'static, (u64, Received), ()> = TableDefinition::new("expiries");
pub(crate) const PENDING: TableDefinition<'static, u64, &[u8]> = TableDefinition::new("pending");
const NUMBERS: TableDefinition<'static, &str, u64> = TableDefinition::new("numbers");

const VERSION: &str = "version";
const LOG_BYTES: &str = "log-bytes";
const TRANSACTIONS: &str = "transactions";

/// The tables, opened to be changed.
pub(crate) struct Tables<'t> {
    log: Table<'t, u64, &'static [u8]>,
    sent: Table<'t, &'static [u8; 16], &'static [u8]>,
    waiting: Table<'t, AtAgent, &'static [u8]>,
    ended: Table<'t, AtAgent, &'static [u8]>,
    multicasts: Table<'t, u64, &'static [u8]>,
    received: Table<'t, Received, &'static [u8]>,
    expiries: Table<'t, (u64, Received), ()>,
    pending: Table<'t, u64, &'static [u8]>,
    numbers: Table<'t, &'static str, u64>,
    log_bytes: u64,
    changed: bool,
}

/// Makes the tables where there are none yet; answers the version of what is in them.
pub(super) fn prepare(database: &Database) -> Result<u64, DiskError> {
    let reading = database.begin_read()?;
    match reading.open_table(NUMBERS) {
        Ok(numbers) => {
            let version = numbers.get(VERSION)?.map(|version| version.value());
            return version.ok_or_else(|| DiskError::Row { table: "numbers", reason: "there is no version".into() });
        }
        Err(redb::TableError::TableDoesNotExist(_)) => {}
        Err(error) => return Err(error.into()),
    }
    let transaction = database.begin_write()?;
    let mut tables = Tables::open(&transaction)?;
    tables.numbers.insert(VERSION, FORMAT_VERSION)?;
    tables.changed = true;
    tables.finish()?;
    transaction.commit()?;
    Ok(FORMAT_VERSION)
}

/// The number of the last transaction.
pub(super) fn transactions(database: &Database) -> Result<u64, DiskError> {
    let numbers = database.begin_read()?.open_table(NUMBERS)?;
    Ok(numbers.get(TRANSACTIONS)?.map_or(0, |number| number.value()))
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, DiskError> {
        let numbers = transaction.open_table(NUMBERS)?;
        let log_bytes = numbers.get(LOG_BYTES)?.map_or(0, |bytes| bytes.value());
        Ok(Self {
            log: transaction.open_table(LOG)?,
            sent: transaction.open_table(SENT)?,
            waiting: transaction.open_table(WAITING)?,
            ended: transaction.open_table(ENDED)?,
            multicasts: transaction.open_table(MULTICASTS)?,
            received: transaction.open_table(RECEIVED)?,
            expiries: transaction.open_table(EXPIRIES)?,
            pending: transaction.open_table(PENDING)?,
            numbers,
            log_bytes,
            changed: false,
        })
    }

    /// Writes what goes with every transaction; answers its number, or `None` if nothing was changed.
    pub(super) fn finish(mut self) -> Result<Option<u64>, DiskError> {
        if !self.changed {
            return Ok(None);
        }
        self.numbers.insert(LOG_BYTES, self.log_bytes)?;
        let number = self.numbers.get(TRANSACTIONS)?.map_or(0, |number| number.value()) + 1;
        self.numbers.insert(TRANSACTIONS, number)?;
        Ok(Some(number))
    }

    fn forget(&mut self, key: (u64, [u8; 48])) -> Result<(), DiskError> {
        self.changed = true;
        self.expiries.remove((key.0, &key.1))?;
        self.received.remove(&key.1)?;
        Ok(())
    }
}

/// All rows of one place.
fn of_place(place: Place) -> std::ops::RangeInclusive<(u64, &'static [u8; 32])> {
    (place.0, &[0; 32])..=(place.0, &[0xff; 32])
}

fn received_key(sender: AgentId, id: MessageId) -> [u8; 48] {
    let mut key = [0; 48];
    key[..32].copy_from_slice(&sender.0);
    key[32..].copy_from_slice(&id.0);
    key
}

/// Rows of a table of places, from one on.
fn listed<T: DeserializeOwned>(
    table: &Table<'_, u64, &'static [u8]>,
    name: &'static str,
    from: Place,
    limit: usize,
) -> Result<Vec<(Place, T)>, DiskError> {
    let mut rows = Vec::new();
    for row in table.range(from.0..)?.take(limit) {
        let (place, bytes) = row?;
        rows.push((Place(place.value()), decode(name, bytes.value())?));
    }
    Ok(rows)
}

/// A row that may be there.
fn found<T: DeserializeOwned>(
    name: &'static str,
    row: Option<redb::AccessGuard<'_, &'static [u8]>>,
) -> Result<Option<T>, DiskError> {
    row.map(|bytes| decode(name, bytes.value())).transpose()
}

fn put<K: redb::Key + 'static, T: Serialize>(
    table: &mut Table<'_, K, &'static [u8]>,
    name: &'static str,
    key: K::SelfType<'_>,
    row: &T,
) -> Result<(), DiskError> {
    table.insert(key, encode(name, row)?.as_slice())?;
    Ok(())
}

impl Rows for Tables<'_> {
    type Error = DiskError;

    fn append(&mut self, place: Place, record: Record<'_>) -> Result<(), DiskError> {
        self.changed = true;
        let bytes = encode_record(record)?;
        self.log.insert(place.0, bytes.as_slice())?;
        self.log_bytes += bytes.len() as u64;
        Ok(())
    }

    fn last_place(&self) -> Result<Option<Place>, DiskError> {
        Ok(self.log.last()?.map(|(place, _)| Place(place.value())))
    }

    fn heads(&self, from: Place, limit: usize) -> Result<Vec<Head>, DiskError> {
        let mut heads = Vec::new();
        for row in self.log.range(from.0..)?.take(limit) {
            let (place, bytes) = row?;
            let (head, _) = decode_record(bytes.value())?;
            let sent = match &head {
                StoredHead::Message(message) if message.direction == Direction::Sent => Some(message.id),
                _ => None,
            };
            heads.push(Head { place: Place(place.value()), at_ms: head.at_ms(), sent });
        }
        Ok(heads)
    }

    fn remove(&mut self, head: &Head) -> Result<(), DiskError> {
        self.changed = true;
        let removed = self.log.remove(head.place.0)?.map_or(0, |bytes| bytes.value().len() as u64);
        self.log_bytes = self.log_bytes.saturating_sub(removed);
        if let Some(id) = head.sent {
            self.sent.remove(&id.0)?;
            self.multicasts.remove(head.place.0)?;
        }
        self.ended.retain_in(of_place(head.place), |_, _| false)?;
        Ok(())
    }

    fn log_bytes(&self) -> u64 {
        self.log_bytes
    }

    fn sent(&self, id: MessageId) -> Result<Option<SentRow>, DiskError> {
        found("sent", self.sent.get(&id.0)?)
    }

    fn put_sent(&mut self, id: MessageId, row: SentRow) -> Result<(), DiskError> {
        self.changed = true;
        put(&mut self.sent, "sent", &id.0, &row)
    }

    fn waiting(&self, place: Place, agent: AgentId) -> Result<Option<WaitingRow>, DiskError> {
        found("waiting", self.waiting.get((place.0, &agent.0))?)
    }

    fn waiting_of(&self, place: Place) -> Result<Vec<(AgentId, WaitingRow)>, DiskError> {
        let mut rows = Vec::new();
        for row in self.waiting.range(of_place(place))? {
            let (key, bytes) = row?;
            rows.push((AgentId(*key.value().1), decode("waiting", bytes.value())?));
        }
        Ok(rows)
    }

    fn all_waiting(&self) -> Result<Vec<(Place, AgentId, WaitingRow)>, DiskError> {
        let mut rows = Vec::new();
        for row in self.waiting.iter()? {
            let (key, bytes) = row?;
            let (place, agent) = key.value();
            rows.push((Place(place), AgentId(*agent), decode("waiting", bytes.value())?));
        }
        Ok(rows)
    }

    fn put_waiting(&mut self, place: Place, agent: AgentId, row: &WaitingRow) -> Result<(), DiskError> {
        self.changed = true;
        put(&mut self.waiting, "waiting", (place.0, &agent.0), row)
    }

    fn remove_waiting(&mut self, place: Place, agent: AgentId) -> Result<(), DiskError> {
        self.changed = true;
        self.waiting.remove((place.0, &agent.0))?;
        Ok(())
    }

    fn ended(&self, place: Place, agent: AgentId) -> Result<Option<Status>, DiskError> {
        found("ended", self.ended.get((place.0, &agent.0))?)
    }

    fn put_ended(&mut self, place: Place, agent: AgentId, status: &Status) -> Result<(), DiskError> {
        self.changed = true;
        put(&mut self.ended, "ended", (place.0, &agent.0), status)
    }

    fn multicast(&self, place: Place) -> Result<Option<MulticastRow>, DiskError> {
        found("multicasts", self.multicasts.get(place.0)?)
    }

    fn multicasts(&self, from: Place, limit: usize) -> Result<Vec<(Place, MulticastRow)>, DiskError> {
        listed(&self.multicasts, "multicasts", from, limit)
    }

    fn put_multicast(&mut self, place: Place, row: &MulticastRow) -> Result<(), DiskError> {
        self.changed = true;
        put(&mut self.multicasts, "multicasts", place.0, row)
    }

    fn remove_multicast(&mut self, place: Place) -> Result<(), DiskError> {
        self.changed = true;
        self.multicasts.remove(place.0)?;
        Ok(())
    }

    fn received(&self, sender: AgentId, id: MessageId) -> Result<Option<ReceivedRow>, DiskError> {
        found("received", self.received.get(&received_key(sender, id))?)
    }

    fn put_received(&mut self, sender: AgentId, id: MessageId, row: &ReceivedRow) -> Result<(), DiskError> {
        self.changed = true;
        let key = received_key(sender, id);
        let bytes = encode("received", row)?;
        if self.received.insert(&key, bytes.as_slice())?.is_none() {
            self.expiries.insert((row.expires_ms, &key), ())?;
        }
        Ok(())
    }

    fn forget_received(&mut self, expired_before_ms: u64, limit: usize) -> Result<usize, DiskError> {
        let mut expired = Vec::new();
        for row in self.expiries.range(..(expired_before_ms, &[0; 48]))?.take(limit) {
            let (key, _) = row?;
            let (expires_ms, received) = key.value();
            expired.push((expires_ms, *received));
        }
        let count = expired.len();
        expired.into_iter().try_for_each(|key| self.forget(key))?;
        Ok(count)
    }

    fn pending(&self, place: Place) -> Result<Option<PendingRow>, DiskError> {
        found("pending", self.pending.get(place.0)?)
    }

    fn all_pending(&self) -> Result<Vec<(Place, PendingRow)>, DiskError> {
        listed(&self.pending, "pending", Place::default(), usize::MAX)
    }

    fn put_pending(&mut self, place: Place, row: &PendingRow) -> Result<(), DiskError> {
        self.changed = true;
        put(&mut self.pending, "pending", place.0, row)
    }

    fn remove_pending(&mut self, place: Place) -> Result<(), DiskError> {
        self.changed = true;
        self.pending.remove(place.0)?;
        Ok(())
    }
}
