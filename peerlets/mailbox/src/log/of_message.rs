//! Where a message of a known id stands, without looking through the log.

use dci_proto::MessageId;

use super::Reader;
use crate::Place;
use crate::core::{ReceivedRow, Status};
use crate::disk::encoding::{decode, decode_head};
use crate::error::DiskError;

/// Senders that are looked through, at most: more than a pool has members. Of more, the log itself is.
const SENDERS_LIMIT: usize = 8_192;

/// What the tables beside the log know of an id. Ids are the senders', so it may be of several messages.
pub(super) struct Known {
    /// Where they stand, sent or received.
    places: Vec<Place>,
    /// Others may stand in the log that the tables know nothing of any more.
    others: bool,
    /// Until when something was written of them, in ms since 1970, where all of them are dealt with.
    last_ms: Option<u64>,
}

impl Known {
    /// Where the first of them stands; `None`: anywhere.
    pub(super) fn first(&self) -> Option<Place> {
        self.places.iter().min().copied().filter(|_| !self.others)
    }

    /// When the last was written that can be of them; `None`: at any time.
    pub(super) fn last_ms(&self) -> Option<u64> {
        self.last_ms.filter(|_| !self.others)
    }
}

/// Looks an id up.
pub(super) fn known(reader: &Reader, id: MessageId) -> Result<Known, DiskError> {
    let sent = reader.sent_at(id)?;
    let received = received_at(reader, id)?;
    // What came is forgotten some time after it expired, and stays in the log for longer.
    let others = received.as_ref().is_none_or(|received| sent.is_none() && received.is_empty());
    let received = received.unwrap_or_default();
    let mut last_ms = Some(0);
    for (place, is_sent) in sent.iter().map(|place| (*place, true)).chain(received.iter().map(|place| (*place, false)))
    {
        let dealt_with_ms = reader.dealt_with_ms(place, is_sent)?;
        last_ms = last_ms.zip(dealt_with_ms).map(|(one, other)| one.max(other));
    }
    Ok(Known { places: sent.into_iter().chain(received).collect(), others, last_ms })
}

impl Reader {
    /// Since when nothing more is written here of a message, in ms since 1970: it is dealt with, or for others only.
    fn dealt_with_ms(&self, place: Place, is_sent: bool) -> Result<Option<u64>, DiskError> {
        let here = (place.0, &self.agent.0);
        if let Some(row) = self.ended.get(here)? {
            let status: Status = decode("ended", row.value())?;
            return Ok(status.state.is_final().then_some(status.since_ms));
        }
        if !is_sent || self.waiting.get(here)?.is_some() {
            return Ok(None);
        }
        let Some(row) = self.log.get(place.0)? else { return Ok(None) };
        Ok(Some(decode_head(row.value())?.0.at_ms()))
    }
}

/// Where messages of an id stand that came, one sender after the other; `None`: there are too many senders.
fn received_at(reader: &Reader, id: MessageId) -> Result<Option<Vec<Place>>, DiskError> {
    let (mut places, mut from) = (Vec::new(), [0; 48]);
    for _ in 0..SENDERS_LIMIT {
        let Some(row) = reader.received.range::<&[u8; 48]>(&from..)?.next() else { return Ok(Some(places)) };
        let mut key = *row?.0.value();
        key[32..].copy_from_slice(&id.0);
        if let Some(row) = reader.received.get(&key)? {
            let row: ReceivedRow = decode("received", row.value())?;
            places.push(row.place);
        }
        let Some(next) = next_sender(key) else { return Ok(Some(places)) };
        from = next;
    }
    Ok(None)
}

/// Before all keys of the sender after this one.
fn next_sender(mut key: [u8; 48]) -> Option<[u8; 48]> {
    key[32..].fill(0);
    for byte in key[..32].iter_mut().rev() {
        let carried;
        (*byte, carried) = byte.overflowing_add(1);
        if !carried {
            return Some(key);
        }
    }
    None
}
