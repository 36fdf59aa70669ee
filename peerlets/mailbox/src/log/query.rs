//! Asking the log, a page at a time.

use dci_proto::message::{MessageType, Recipient};
use dci_proto::{AgentId, SessionId};

use super::{LogEntry, Reader};
use crate::core::Direction;
use crate::disk::Disk;
use crate::disk::encoding::{StoredHead, StoredMessage, decode_record};
use crate::error::DiskError;
use crate::{MailboxError, Place};

/// Entries of a page, at most.
const PAGE_LIMIT: usize = 1_000;
/// Bytes of a page's messages, about: the page ends with the entry that reaches it.
const PAGE_LIMIT_BYTES: usize = 8 * 1024 * 1024;
/// Entries looked at for one page, at most; so a page may be short, or empty, and the next one go on.
const SCAN_LIMIT: usize = 20_000;
/// Bytes looked at for one page, about.
const SCAN_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// Which entries come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The last ones that were written.
    #[default]
    NewestFirst,
    /// The first ones that were written.
    OldestFirst,
}

/// Which entries are wanted; what is not said does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    /// Only messages of this type.
    pub kind: Option<MessageType>,
    /// Only messages of this agent.
    pub sender: Option<AgentId>,
    /// Only messages to this agent, also as one of many.
    pub receiver: Option<AgentId>,
    /// Only messages to or from this session.
    pub session: Option<SessionId>,
    /// Only entries from this time on, in ms since 1970.
    pub from_ms: Option<u64>,
    /// Only entries before this time, in ms since 1970.
    pub before_ms: Option<u64>,
    /// Only messages whose body has this text, as it is read or as it stands in the XML; upper and lower case are alike.
    pub text: Option<String>,
    /// Only messages that went this way.
    pub direction: Option<Direction>,
    /// Which entries come first.
    pub order: Order,
    /// Only entries that come, in this order, after this one: [`Page::next`] of the page before.
    pub after: Option<Place>,
    /// Entries of the page, at most; 0: as many as a page may have.
    pub limit: usize,
}

/// A part of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// The entries, in the order asked for. There may be none though the next page has some.
    pub entries: Vec<LogEntry>,
    /// Where the next page goes on; `None`: this is the last.
    pub next: Option<Place>,
    /// Entries left out because they are damaged.
    pub damaged: usize,
}

/// A query with its text made ready.
struct Filter<'a> {
    query: &'a Query,
    /// In lower case: as it is, and as it is written in XML.
    texts: Vec<String>,
}

/// Answers a query. Blocking.
pub(crate) fn query(disk: &Disk, agent: AgentId, query: &Query) -> Result<Page, MailboxError> {
    disk.read(|transaction| scan(&Reader::new(transaction, agent)?, query))
}

fn scan(reader: &Reader, query: &Query) -> Result<Page, DiskError> {
    let filter = Filter::new(query);
    let limit = if query.limit == 0 { PAGE_LIMIT } else { query.limit.min(PAGE_LIMIT) };
    let (mut page, mut scanned, mut scanned_bytes, mut page_bytes) = (Page::default(), 0, 0, 0);
    let mut rows = match (query.order, query.after) {
        (_, None) => reader.log.range(0..)?,
        (Order::NewestFirst, Some(after)) => reader.log.range(..after.0)?,
        (Order::OldestFirst, Some(after)) => reader.log.range(after.0.saturating_add(1)..)?,
    };
    while let Some(row) = if query.order == Order::NewestFirst { rows.next_back() } else { rows.next() } {
        let (place, bytes) = row?;
        let place = Place(place.value());
        match filter
            .matches(reader, place, bytes.value())
            .and_then(|fits| if fits { reader.entry(place) } else { Ok(None) })
        {
            Ok(Some(entry)) => {
                page_bytes += crate::envelopes::size_bytes(&entry.envelope) + entry.states.len() * size_of_val(&entry);
                page.entries.push(entry);
            }
            Ok(None) => {}
            Err(DiskError::Row { .. }) => page.damaged += 1,
            Err(error) => return Err(error),
        }
        scanned += 1;
        scanned_bytes += bytes.value().len();
        let full = page.entries.len() >= limit || page_bytes >= PAGE_LIMIT_BYTES;
        if full || scanned >= SCAN_LIMIT || scanned_bytes >= SCAN_LIMIT_BYTES {
            page.next = Some(place);
            break;
        }
    }
    Ok(page)
}

impl<'a> Filter<'a> {
    fn new(query: &'a Query) -> Self {
        let mut texts = Vec::new();
        if let Some(text) = &query.text {
            texts.push(text.to_lowercase());
            let mut escaped = String::new();
            dci_proto::xml::escape(&mut escaped, text);
            texts.push(escaped.to_lowercase());
        }
        Self { query, texts }
    }

    fn matches(&self, reader: &Reader, place: Place, bytes: &[u8]) -> Result<bool, DiskError> {
        let (head, body) = decode_record(bytes)?;
        let (at_ms, query) = (head.at_ms(), self.query);
        if query.from_ms.is_some_and(|from_ms| at_ms < from_ms) || query.before_ms.is_some_and(|before| at_ms >= before)
        {
            return Ok(false);
        }
        match head {
            StoredHead::Message(message) => self.takes(reader, place, message.direction, (&message, body)),
            StoredHead::Relayed { of, .. } => {
                let Some(row) = reader.log.get(of.0)? else { return Ok(false) };
                match decode_record(row.value())? {
                    (StoredHead::Message(message), body) => {
                        self.takes(reader, of, Direction::Relayed, (&message, body))
                    }
                    (StoredHead::Relayed { .. }, _) => Ok(false),
                }
            }
        }
    }

    fn takes(
        &self,
        reader: &Reader,
        place: Place,
        direction: Direction,
        (message, body): (&StoredMessage, &str),
    ) -> Result<bool, DiskError> {
        let query = self.query;
        let fits = query.direction.is_none_or(|wanted| wanted == direction)
            && query.kind.as_ref().is_none_or(|wanted| *wanted == message.kind)
            && query.sender.is_none_or(|wanted| wanted == message.from.agent)
            && query.session.is_none_or(|wanted| [message.session, message.from.session].contains(&Some(wanted)));
        if !fits {
            return Ok(false);
        }
        if let Some(receiver) = query.receiver {
            let named =
                message.to == Recipient::Agent(receiver) || (direction != Direction::Sent && receiver == reader.agent);
            if !named && !reader.has_recipient(place, receiver)? {
                return Ok(false);
            }
        }
        if self.texts.is_empty() {
            return Ok(true);
        }
        let body = body.to_lowercase();
        Ok(self.texts.iter().any(|text| body.contains(text.as_str())))
    }
}
