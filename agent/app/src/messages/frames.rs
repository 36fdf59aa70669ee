//! What one hop carries: copies of messages and raises, many in one request, so that a busy link pays for one round trip
//! and not for each.
//!
//! The body of [`crate::wire::Method::Messages`]: the length of the heads (4 bytes, little-endian), the heads ([`Heads`],
//! postcard), then the XML of each copy one after the other.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dci_proto::message::MESSAGE_LIMIT_BYTES;
use dci_proto::router::{Passing, Spread};
use dci_proto::{AgentId, MessageId};
use serde::{Deserialize, Serialize};

/// Copies and raises of one request, at most.
pub(super) const FRAME_LIMIT: usize = 256;
/// Bytes of one request, about: the copy that reaches it is the last.
pub(super) const FRAME_LIMIT_BYTES: usize = 2 * 1024 * 1024;
/// Agents that must not take a copy yet, at most: as many as a message may have recipients.
const NOT_YET_LIMIT: usize = 10_000;

/// A copy of a message for a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Copy {
    pub(super) ttl: u8,
    pub(super) attempt: u8,
    pub(super) spread: Spread,
    /// Recipients that must only pass it on, because an earlier message of its session has not reached them.
    pub(super) not_yet: Arc<[AgentId]>,
    pub(super) xml: Bytes,
}

/// What goes to a neighbour.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Item {
    Copy(Copy),
    /// A copy it has may go further.
    Raise {
        passing: Passing,
        ttl: u8,
    },
}

impl Item {
    pub(super) fn size_bytes(&self) -> usize {
        let fixed = size_of::<Self>();
        match self {
            Self::Copy(copy) => fixed + copy.xml.len() + size_of_val(&*copy.not_yet),
            Self::Raise { .. } => fixed,
        }
    }
}

#[derive(Serialize, Deserialize)]
struct CopyHead {
    ttl: u8,
    attempt: u8,
    flooded: bool,
    not_yet: Vec<AgentId>,
    bytes: u32,
}

#[derive(Serialize, Deserialize)]
struct RaiseHead {
    origin: AgentId,
    id: [u8; 16],
    attempt: u8,
    ttl: u8,
}

#[derive(Serialize, Deserialize)]
enum Head {
    Copy(CopyHead),
    Raise(RaiseHead),
}

#[derive(Serialize, Deserialize)]
struct Heads {
    items: Vec<Head>,
}

/// Why bytes are no frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("a frame of messages does not decode: {0}")]
    Malformed(&'static str),
    #[error("a frame has at most {FRAME_LIMIT} messages")]
    TooMany,
}

/// Puts items into one body.
pub(super) fn encode(items: &[Item]) -> Result<Bytes, FrameError> {
    let head = |item: &Item| match item {
        Item::Copy(copy) => Head::Copy(CopyHead {
            ttl: copy.ttl,
            attempt: copy.attempt,
            flooded: copy.spread == Spread::Flood,
            not_yet: copy.not_yet.to_vec(),
            bytes: u32::try_from(copy.xml.len()).unwrap_or(u32::MAX),
        }),
        Item::Raise { passing, ttl } => {
            Head::Raise(RaiseHead { origin: passing.origin, id: passing.id.0, attempt: passing.attempt, ttl: *ttl })
        }
    };
    let heads = Heads { items: items.iter().map(head).collect() };
    let heads = postcard::to_stdvec(&heads).map_err(|_| FrameError::Malformed("its heads cannot be written"))?;
    let length = u32::try_from(heads.len()).map_err(|_| FrameError::TooMany)?;
    let bytes: usize = items.iter().map(Item::size_bytes).sum();
    let mut body = BytesMut::with_capacity(4 + heads.len() + bytes);
    body.extend_from_slice(&length.to_le_bytes());
    body.extend_from_slice(&heads);
    for item in items {
        if let Item::Copy(copy) = item {
            body.extend_from_slice(&copy.xml);
        }
    }
    Ok(body.freeze())
}

/// Takes a body apart. What is in the XML is not looked at.
pub(super) fn decode(body: &Bytes) -> Result<Vec<Item>, FrameError> {
    let short = || FrameError::Malformed("it is cut short");
    let (length, rest) = body.split_first_chunk::<4>().ok_or_else(short)?;
    let length = u32::from_le_bytes(*length) as usize;
    let heads = rest.get(..length).ok_or_else(short)?;
    let heads: Heads = postcard::from_bytes(heads).map_err(|_| FrameError::Malformed("its heads are garbled"))?;
    if heads.items.len() > FRAME_LIMIT {
        return Err(FrameError::TooMany);
    }
    let mut at = 4 + length;
    let mut items = Vec::with_capacity(heads.items.len());
    for head in heads.items {
        items.push(match head {
            Head::Copy(head) => {
                let end = at.checked_add(head.bytes as usize).filter(|end| *end <= body.len()).ok_or_else(short)?;
                if head.bytes as usize > MESSAGE_LIMIT_BYTES || head.not_yet.len() > NOT_YET_LIMIT {
                    return Err(FrameError::Malformed("a message of it is over the limit"));
                }
                let xml = body.slice(at..end);
                at = end;
                let spread = if head.flooded { Spread::Flood } else { Spread::Directed };
                Item::Copy(Copy { ttl: head.ttl, attempt: head.attempt, spread, not_yet: head.not_yet.into(), xml })
            }
            Head::Raise(head) => {
                let (origin, id) = (head.origin, MessageId(head.id));
                Item::Raise { passing: Passing { origin, id, attempt: head.attempt }, ttl: head.ttl }
            }
        });
    }
    if at == body.len() { Ok(items) } else { Err(FrameError::Malformed("it is too long")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn items() -> Vec<Item> {
        let copy = |xml: &'static str, not_yet: Vec<AgentId>| {
            let (not_yet, xml) = (not_yet.into(), Bytes::from_static(xml.as_bytes()));
            Item::Copy(Copy { ttl: 9, attempt: 1, spread: Spread::Flood, not_yet, xml })
        };
        let passing = Passing { origin: AgentId([1; 32]), id: MessageId([2; 16]), attempt: 3 };
        vec![copy("<a/>", vec![]), Item::Raise { passing, ttl: 4 }, copy("<bc/>", vec![AgentId([7; 32])])]
    }

    #[test]
    fn a_frame_is_read_as_it_was_written() {
        let body = encode(&items()).expect("encodes");
        assert_eq!(decode(&body).expect("decodes"), items());
    }

    #[test]
    fn a_frame_that_is_cut_or_longer_than_it_says_is_refused() {
        let body = encode(&items()).expect("encodes");
        for length in 0..body.len() {
            assert!(decode(&body.slice(..length)).is_err(), "cut to {length}");
        }
        let longer: Vec<u8> = body.iter().copied().chain([0]).collect();
        assert!(decode(&Bytes::from(longer)).is_err());
        let many = vec![items().remove(1); FRAME_LIMIT + 1];
        assert_eq!(decode(&encode(&many).expect("encodes")), Err(FrameError::TooMany));
    }

    proptest! {
        #[test]
        fn bytes_of_strangers_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&Bytes::from(bytes));
        }
    }
}
