//! What the sender of a message signs. Not its XML: that may be written in many ways.
//!
//! Every field that is there gives one line, in the order below: `NAME:LENGTH:VALUE` and a line feed, where LENGTH is the number
//! of bytes of VALUE in UTF-8, in decimal. Nothing can be moved from one field to the next that way. `docs/messages.md` has
//! an example with its bytes.

use super::{MESSAGE_LIMIT_BYTES, Message, Recipient, format_time};

/// The first line: what is signed, and the version.
const HEADER: &str = "shoal-message:1\n";

/// The bytes a sender signs with its agent's ed25519 key: everything but the TTL.
#[must_use]
pub fn signed_bytes(message: &Message) -> Vec<u8> {
    let mut out = String::with_capacity(message.body.as_xml().len().min(MESSAGE_LIMIT_BYTES) + 512);
    out.push_str(HEADER);
    let mut field = |name: &str, value: &str| {
        out.push_str(name);
        out.push(':');
        out.push_str(&value.len().to_string());
        out.push(':');
        out.push_str(value);
        out.push('\n');
    };
    field("id", &message.id.to_string());
    field("type", message.kind.as_str());
    if let Some(session) = message.session {
        field("session", &session.to_string());
    }
    field("sent", &format_time(message.sent_ms));
    field("expires", &format_time(message.expires_ms));
    field("from-agent", &message.from.agent.to_string());
    if let Some(user) = &message.from.user {
        field("from-user", user.as_str());
    }
    if let Some(session) = message.from.session {
        field("from-session", &session.to_string());
    }
    match &message.to {
        Recipient::Agent(agent) => field("to-agent", &agent.to_string()),
        Recipient::Group(group) => field("to-group", group.as_str()),
        Recipient::All => field("to-all", "true"),
    }
    if let Some(id) = message.in_reply_to {
        field("in-reply-to", &id.to_string());
    }
    if let Some(id) = message.replay_of {
        field("replay-of", &id.to_string());
    }
    field("body", message.body.as_xml());
    out.into_bytes()
}

/// Serde has arrays of up to 32 items only.
pub(super) mod as_bytes {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    use super::super::SIGNATURE_BYTES;

    pub(in super::super) fn serialize<S: Serializer>(
        bytes: &[u8; SIGNATURE_BYTES],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        bytes.as_slice().serialize(serializer)
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; SIGNATURE_BYTES], D::Error> {
        let bytes = Vec::<u8>::deserialize(deserializer)?;
        bytes.try_into().map_err(|_| D::Error::custom("a signature has 64 bytes"))
    }
}
