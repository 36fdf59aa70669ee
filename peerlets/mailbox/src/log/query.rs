//! Asking the log, a page at a time. What a page costs is bounded, however much the log has and however little fits.
//!
//! The log lies in the order in which it was written, so what was written at other times is passed over in strides, and a message
//! whose id is known is begun with where it stands. All else is looked at entry by entry.

use dci_proto::message::{MessageType, Recipient};
use dci_proto::{AgentId, MessageId, SessionId};
use redb::Range;

use super::of_message::{Known, known};
use super::{LogEntry, Reader};
use crate::core::Direction;
use crate::disk::Disk;
use crate::disk::encoding::{StoredHead, StoredMessage, body_text, decode_head};
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
/// Places that are passed over at once where neither end of them is of the time that is asked for.
const STRIDE: u64 = 1_024;
/// How far from that time both ends are, at least, in ms: clocks are set, and what is written then stands out of order.
const CLOCK_STEP_MS: u64 = 60_000;

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
    /// Only the message with this id, and that it was handed out.
    pub id: Option<MessageId>,
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
    /// Entries that were looked at for it.
    pub looked_at: usize,
}

/// A query made ready.
struct Filter<'a> {
    query: &'a Query,
    /// What is known of the message that is asked for.
    known: Option<Known>,
    /// In lower case: as it is, and as it is written in XML.
    texts: Vec<String>,
}

/// What an entry is to a query.
enum Judgement {
    Fits,
    /// It was written at another time.
    OtherTime(Side),
    Other,
}

/// On which side of the time that is asked for something was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

/// Answers a query. Blocking.
pub(crate) fn query(disk: &Disk, agent: AgentId, query: &Query) -> Result<Page, MailboxError> {
    disk.read(|transaction| scan(&Reader::new(transaction, agent)?, query))
}

fn scan(reader: &Reader, query: &Query) -> Result<Page, DiskError> {
    let known = query.id.map(|id| known(reader, id)).transpose()?;
    let filter = Filter::new(query, known);
    let limit = if query.limit == 0 { PAGE_LIMIT } else { query.limit.min(PAGE_LIMIT) };
    let (mut page, mut scanned_bytes, mut page_bytes) = (Page::default(), 0, 0);
    let mut after = query.after;
    let mut rows = filter.rows(reader, after)?;
    while let Some(row) = if query.order == Order::NewestFirst { rows.next_back() } else { rows.next() } {
        let (place, bytes) = row?;
        let place = Place(place.value());
        page.looked_at += 1;
        scanned_bytes += bytes.value().len();
        match filter.judge(reader, place, bytes.value()) {
            Ok(Judgement::Fits) => match reader.entry(place) {
                Ok(Some(entry)) => {
                    page_bytes +=
                        crate::envelopes::size_bytes(&entry.envelope) + entry.states.len() * size_of_val(&entry);
                    page.entries.push(entry);
                }
                Ok(None) => {}
                Err(DiskError::Row { .. }) => page.damaged += 1,
                Err(error) => return Err(error),
            },
            Ok(Judgement::Other) => {}
            Ok(Judgement::OtherTime(side)) => {
                if let Some(over) = filter.stride(reader, place, side)? {
                    page.looked_at += 1;
                    after = Some(over);
                    rows = filter.rows(reader, after)?;
                    if page.looked_at < SCAN_LIMIT {
                        continue;
                    }
                    page.next = after;
                    break;
                }
            }
            Err(DiskError::Row { .. }) => page.damaged += 1,
            Err(error) => return Err(error),
        }
        let full = page.entries.len() >= limit || page_bytes >= PAGE_LIMIT_BYTES;
        if full || page.looked_at >= SCAN_LIMIT || scanned_bytes >= SCAN_LIMIT_BYTES {
            page.next = Some(place);
            break;
        }
    }
    Ok(page)
}

impl<'a> Filter<'a> {
    fn new(query: &'a Query, known: Option<Known>) -> Self {
        let mut texts = Vec::new();
        if let Some(text) = &query.text {
            texts.push(text.to_lowercase());
            let mut escaped = String::new();
            dci_proto::xml::escape(&mut escaped, text);
            texts.push(escaped.to_lowercase());
        }
        Self { query, known, texts }
    }

    /// What of the log is still to be looked at.
    fn rows(&self, reader: &Reader, after: Option<Place>) -> Result<Range<'static, u64, &'static [u8]>, DiskError> {
        let first = self.known.as_ref().and_then(Known::first).map_or(0, |place| place.0);
        Ok(match (self.query.order, after) {
            (_, None) => reader.log.range(first..)?,
            (Order::NewestFirst, Some(after)) => reader.log.range(first.min(after.0)..after.0)?,
            (Order::OldestFirst, Some(after)) => reader.log.range(after.0.saturating_add(1).max(first)..)?,
        })
    }

    /// From when on, and before when.
    fn times(&self) -> (u64, u64) {
        let last_ms = self.known.as_ref().and_then(Known::last_ms).map(|last_ms| last_ms.saturating_add(CLOCK_STEP_MS));
        let before_ms = self.query.before_ms.unwrap_or(u64::MAX);
        (self.query.from_ms.unwrap_or(0), before_ms.min(last_ms.unwrap_or(u64::MAX)))
    }

    /// On which side of the time asked for something is, and whether it is far from it.
    fn side(&self, at_ms: u64) -> Option<(Side, bool)> {
        let (from_ms, before_ms) = self.times();
        if at_ms < from_ms {
            return Some((Side::Before, from_ms - at_ms > CLOCK_STEP_MS));
        }
        (at_ms >= before_ms).then(|| (Side::After, at_ms - before_ms > CLOCK_STEP_MS))
    }

    /// The last place of a stride from here on that is wholly on that side; none where something of it may be asked for.
    fn stride(&self, reader: &Reader, place: Place, side: Side) -> Result<Option<Place>, DiskError> {
        let newest_first = self.query.order == Order::NewestFirst;
        let end = if newest_first {
            reader.log.range(..=place.0.saturating_sub(STRIDE))?.next_back()
        } else {
            reader.log.range(place.0.saturating_add(STRIDE)..)?.next()
        };
        let Some(row) = end else { return Ok(None) };
        let (end, bytes) = row?;
        let there = decode_head(bytes.value()).ok().and_then(|(head, _)| self.side(head.at_ms()));
        Ok((there == Some((side, true))).then(|| Place(end.value())))
    }

    fn judge(&self, reader: &Reader, place: Place, bytes: &[u8]) -> Result<Judgement, DiskError> {
        let (head, body) = decode_head(bytes)?;
        match self.side(head.at_ms()) {
            Some((side, true)) => return Ok(Judgement::OtherTime(side)),
            Some((_, false)) => return Ok(Judgement::Other),
            None => {}
        }
        let fits = match head {
            StoredHead::Message(message) => self.takes(reader, place, message.direction, (&message, body))?,
            StoredHead::Relayed { of, .. } => match reader.log.get(of.0)? {
                None => false,
                Some(row) => match decode_head(row.value())? {
                    (StoredHead::Message(message), body) => {
                        self.takes(reader, of, Direction::Relayed, (&message, body))?
                    }
                    (StoredHead::Relayed { .. }, _) => false,
                },
            },
        };
        Ok(if fits { Judgement::Fits } else { Judgement::Other })
    }

    fn takes(
        &self,
        reader: &Reader,
        place: Place,
        direction: Direction,
        (message, body): (&StoredMessage, &[u8]),
    ) -> Result<bool, DiskError> {
        let query = self.query;
        let fits = query.id.is_none_or(|wanted| wanted == message.id)
            && query.direction.is_none_or(|wanted| wanted == direction)
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
        let body = body_text(body)?.to_lowercase();
        Ok(self.texts.iter().any(|text| body.contains(text.as_str())))
    }
}
