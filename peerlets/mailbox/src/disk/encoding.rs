//! Rows as bytes.
//!
//! An entry of the log is its head in postcard, then the body as it is: filters look at heads, and bodies need not be
//! read as XML to be searched. All other rows are postcard. What does not decode is damage, told as such.

use dci_proto::message::{Body, Envelope, Message, MessageType, Recipient, Sender};
use dci_proto::{MessageId, SessionId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Place;
use crate::core::{Direction, Record};
use crate::error::DiskError;

/// The head of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum StoredHead {
    Message(Box<StoredMessage>),
    Relayed { at_ms: u64, of: Place, attempt: u32 },
}

/// All of a message but its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredMessage {
    pub(crate) direction: Direction,
    pub(crate) at_ms: u64,
    pub(crate) id: MessageId,
    pub(crate) kind: MessageType,
    pub(crate) session: Option<SessionId>,
    pub(crate) sent_ms: u64,
    pub(crate) expires_ms: u64,
    pub(crate) from: Sender,
    pub(crate) to: Recipient,
    pub(crate) in_reply_to: Option<MessageId>,
    pub(crate) replay_of: Option<MessageId>,
    pub(crate) ttl: u8,
    /// In halves: serde has no arrays of 64.
    signature: ([u8; 32], [u8; 32]),
}

impl StoredHead {
    /// When it was written, in ms since 1970.
    pub(crate) fn at_ms(&self) -> u64 {
        match self {
            Self::Message(message) => message.at_ms,
            Self::Relayed { at_ms, .. } => *at_ms,
        }
    }
}

impl StoredMessage {
    fn new(direction: Direction, at_ms: u64, envelope: &Envelope) -> Self {
        let message = &envelope.message;
        let mut signature = ([0; 32], [0; 32]);
        signature.0.copy_from_slice(&envelope.signature[..32]);
        signature.1.copy_from_slice(&envelope.signature[32..]);
        Self {
            direction,
            at_ms,
            id: message.id,
            kind: message.kind.clone(),
            session: message.session,
            sent_ms: message.sent_ms,
            expires_ms: message.expires_ms,
            from: message.from.clone(),
            to: message.to.clone(),
            in_reply_to: message.in_reply_to,
            replay_of: message.replay_of,
            ttl: envelope.ttl,
            signature,
        }
    }

    /// The whole message.
    pub(crate) fn into_envelope(self, body: &str) -> Result<Envelope, DiskError> {
        let damaged = |reason: String| DiskError::Row { table: "log", reason };
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&self.signature.0);
        signature[32..].copy_from_slice(&self.signature.1);
        let message = Message {
            id: self.id,
            kind: self.kind,
            session: self.session,
            sent_ms: self.sent_ms,
            expires_ms: self.expires_ms,
            from: self.from,
            to: self.to,
            in_reply_to: self.in_reply_to,
            replay_of: self.replay_of,
            body: Body::of_xml(body.to_owned()).map_err(|error| damaged(error.to_string()))?,
        };
        message.check().map_err(|error| damaged(error.to_string()))?;
        Ok(Envelope { message, ttl: self.ttl, signature })
    }
}

/// An entry of the log.
pub(crate) fn encode_record(record: Record<'_>) -> Result<Vec<u8>, DiskError> {
    match record {
        Record::Message { direction, at_ms, envelope } => {
            let head = StoredHead::Message(Box::new(StoredMessage::new(direction, at_ms, envelope)));
            let mut bytes = encode("log", &head)?;
            bytes.extend_from_slice(envelope.message.body.as_xml().as_bytes());
            Ok(bytes)
        }
        Record::Relayed { at_ms, of, attempt } => encode("log", &StoredHead::Relayed { at_ms, of, attempt }),
    }
}

/// The head of an entry, and its body.
pub(crate) fn decode_record(bytes: &[u8]) -> Result<(StoredHead, &str), DiskError> {
    let (head, body) = decode_head(bytes)?;
    Ok((head, body_text(body)?))
}

/// The head of an entry; its body is not looked at.
pub(crate) fn decode_head(bytes: &[u8]) -> Result<(StoredHead, &[u8]), DiskError> {
    postcard::take_from_bytes(bytes).map_err(|error| DiskError::Row { table: "log", reason: error.to_string() })
}

/// The body of an entry.
pub(crate) fn body_text(body: &[u8]) -> Result<&str, DiskError> {
    std::str::from_utf8(body).map_err(|error| DiskError::Row { table: "log", reason: error.to_string() })
}

/// A row of another table.
pub(crate) fn encode<T: Serialize>(table: &'static str, row: &T) -> Result<Vec<u8>, DiskError> {
    postcard::to_stdvec(row).map_err(|error| DiskError::Row { table, reason: error.to_string() })
}

/// Reads a row of another table.
pub(crate) fn decode<T: DeserializeOwned>(table: &'static str, bytes: &[u8]) -> Result<T, DiskError> {
    let (row, rest) =
        postcard::take_from_bytes(bytes).map_err(|error| DiskError::Row { table, reason: error.to_string() })?;
    if rest.is_empty() { Ok(row) } else { Err(DiskError::Row { table, reason: "it is too long".into() }) }
}
