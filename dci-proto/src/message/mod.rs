//! The messages peerlets send each other: what is in one ([`Message`]), its XML ([`encode`], [`decode`]), and what its
//! sender signs ([`signed_bytes`]).
//!
//! The schema is `docs/message.xsd`, the whole protocol for other implementations is `docs/messages.md`. Everything that
//! comes from outside is checked here once; a [`Message`] that exists is within all limits.

mod body;
mod decode;
mod draft;
mod encode;
mod names;
mod receipt;
mod signing;
mod times;

use serde::{Deserialize, Serialize};

use crate::{AgentId, MessageId, SessionId};

pub use body::Body;
pub use decode::decode;
pub use draft::{DraftRecipient, XmlDraft, decode_draft};
pub use encode::encode;
pub(crate) use names::is_invisible;
pub use names::{GroupName, MessageType, NAME_LIMIT_BYTES, NameError, USER_LIMIT_BYTES, UserName};
pub use receipt::{RECEIPT_NAMESPACE, RECEIPT_TYPE, RECEIPTS_LIMIT, Receipt, ReceiptState};
pub use signing::signed_bytes;
pub use times::{TimeError, format_time, parse_time};

/// The XML namespace of the envelope, which is also its version.
pub const NAMESPACE: &str = "urn:shoal:dci:1";
/// Bytes of a whole message, at most. Larger things travel as files, named in the message.
pub const MESSAGE_LIMIT_BYTES: usize = 1024 * 1024;
/// Elements of a whole message, at most.
pub const ELEMENTS_LIMIT: usize = 65_536;
/// Hops a message goes, at most: a larger number counts as this one.
pub const TTL_LIMIT: u8 = 9;
/// How long a message may be valid, in ms: 30 days.
pub const LIFE_LIMIT_MS: u64 = 30 * 24 * 60 * 60 * 1_000;
/// Bytes of an ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Why a message is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Over [`MESSAGE_LIMIT_BYTES`].
    #[error("a message has at most {MESSAGE_LIMIT_BYTES} bytes, this one has {0}; larger things travel as files")]
    TooLarge(usize),
    /// No XML, or not XML as it is taken.
    #[error("the message is not XML that is taken: {0}")]
    Xml(#[from] crate::xml::BadXml),
    /// The envelope is not as the schema says.
    #[error("the message is not as its schema says: {0}")]
    Schema(String),
    /// It would be valid for too long, or ends before it begins.
    #[error("a message expires after it was sent and within 30 days of that")]
    Life,
}

/// Who sent a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The agent, whose key signs it.
    pub agent: AgentId,
    /// On behalf of whom; `None`: the agent itself.
    pub user: Option<UserName>,
    /// The instance that sent it, which answers reach.
    pub session: Option<SessionId>,
}

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Recipient {
    /// One agent.
    Agent(AgentId),
    /// All agents of a group.
    Group(GroupName),
    /// All agents of the pool.
    All,
}

/// A message, within all limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Which one.
    pub id: MessageId,
    /// Which peerlet it is for.
    pub kind: MessageType,
    /// Which instance of that peerlet; `None`: any.
    pub session: Option<SessionId>,
    /// When it was sent, in ms since 1970 by the sender's clock.
    pub sent_ms: u64,
    /// When it is void, in ms since 1970.
    pub expires_ms: u64,
    /// Who sent it.
    pub from: Sender,
    /// Whom it is for.
    pub to: Recipient,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
    /// The message it says again.
    pub replay_of: Option<MessageId>,
    /// What it says.
    pub body: Body,
}

impl Message {
    /// Checks what the types of its parts do not.
    ///
    /// # Errors
    /// If it ends before it begins or lasts too long.
    pub fn check(&self) -> Result<(), MessageError> {
        let life_ms = self.expires_ms.checked_sub(self.sent_ms).ok_or(MessageError::Life)?;
        let fits = life_ms > 0 && life_ms <= LIFE_LIMIT_MS && self.expires_ms <= times::LATEST_MS;
        if fits { Ok(()) } else { Err(MessageError::Life) }
    }
}

/// A message on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What its sender signed.
    pub message: Message,
    /// Hops it may still go, 0 to [`TTL_LIMIT`]. Every hop lowers it, so it is not signed.
    pub ttl: u8,
    /// The sender's signature over [`signed_bytes`]; whether it is right is for the caller to check.
    #[serde(with = "signing::as_bytes")]
    pub signature: [u8; SIGNATURE_BYTES],
}
