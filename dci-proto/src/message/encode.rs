//! A message as XML. What [`super::decode`] reads of it is the same message.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{Envelope, MESSAGE_LIMIT_BYTES, MessageError, NAMESPACE, Recipient, TTL_LIMIT, format_time};
use crate::xml::escape;

/// Writes a message.
///
/// # Errors
/// If it is too large, or valid for longer than it may be.
pub fn encode(envelope: &Envelope) -> Result<String, MessageError> {
    let message = &envelope.message;
    message.check()?;
    let mut xml = String::with_capacity(message.body.as_xml().len() + 1024);
    xml.push_str("<message xmlns=\"");
    xml.push_str(NAMESPACE);
    xml.push('"');
    attribute(&mut xml, "id", &message.id.to_string());
    attribute(&mut xml, "type", message.kind.as_str());
    if let Some(session) = message.session {
        attribute(&mut xml, "session", &session.to_string());
    }
    attribute(&mut xml, "ttl", &envelope.ttl.min(TTL_LIMIT).to_string());
    attribute(&mut xml, "sent", &format_time(message.sent_ms));
    attribute(&mut xml, "expires", &format_time(message.expires_ms));
    xml.push_str("><from");
    attribute(&mut xml, "agent", &message.from.agent.to_string());
    if let Some(user) = &message.from.user {
        attribute(&mut xml, "user", user.as_str());
    }
    if let Some(session) = message.from.session {
        attribute(&mut xml, "session", &session.to_string());
    }
    xml.push_str("/><to");
    match &message.to {
        Recipient::Agent(agent) => attribute(&mut xml, "agent", &agent.to_string()),
        Recipient::Group(group) => attribute(&mut xml, "group", group.as_str()),
        Recipient::All => attribute(&mut xml, "all", "true"),
    }
    xml.push_str("/>");
    for (name, id) in [("in-reply-to", message.in_reply_to), ("replay-of", message.replay_of)] {
        if let Some(id) = id {
            xml.push_str(&format!("<{name}>{id}</{name}>"));
        }
    }
    xml.push_str("<body>");
    xml.push_str(message.body.as_xml());
    xml.push_str("</body><signature");
    attribute(&mut xml, "key", &message.from.agent.to_string());
    xml.push('>');
    STANDARD.encode_string(envelope.signature, &mut xml);
    xml.push_str("</signature></message>");
    if xml.len() > MESSAGE_LIMIT_BYTES {
        return Err(MessageError::TooLarge(xml.len()));
    }
    Ok(xml)
}

fn attribute(xml: &mut String, name: &str, value: &str) {
    xml.push(' ');
    xml.push_str(name);
    xml.push_str("=\"");
    escape(xml, value);
    xml.push('"');
}
