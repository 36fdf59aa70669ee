//! A message from XML: strict, so that two readers never see two messages in the same bytes.
//!
//! Elements and attributes the schema does not name are refused everywhere but in the body. The envelope's namespace is
//! declared once, as the default one; the body declares what it uses itself, so that it can be taken out and put in elsewhere.

use std::fmt::Display;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::{
    Body, ELEMENTS_LIMIT, Envelope, MESSAGE_LIMIT_BYTES, Message, MessageError, NAMESPACE, Recipient, Sender,
    TTL_LIMIT, parse_time,
};
use crate::xml::{self, Element};

/// Reads a message. Its signature is not checked here: that takes what the agent knows.
///
/// # Errors
/// What is wrong with it, for its sender to mend.
pub fn decode(document: &[u8]) -> Result<Envelope, MessageError> {
    if document.len() > MESSAGE_LIMIT_BYTES {
        return Err(MessageError::TooLarge(document.len()));
    }
    let root = xml::parse(document, ELEMENTS_LIMIT)?;
    if root.namespace != NAMESPACE || root.name != "message" {
        return Err(schema(format!("the root element is not `message` of {NAMESPACE}")));
    }
    no_text(&root)?;
    let mut parts = Parts { parts: root.children.iter().peekable() };
    let (from, to) = (parts.take("from")?, parts.take("to")?);
    let (in_reply_to, replay_of) = (parts.take_if("in-reply-to"), parts.take_if("replay-of"));
    let (body, signature) = (parts.take("body")?, parts.take("signature")?);
    parts.end()?;
    let from = sender(from)?;
    let mut head = Attributes::of(&root)?;
    let message = Message {
        id: head.must("id")?,
        kind: head.must("type")?,
        session: head.may("session")?,
        sent_ms: parse_time(&head.text("sent")?).map_err(schema)?,
        expires_ms: parse_time(&head.text("expires")?).map_err(schema)?,
        to: recipient(to)?,
        in_reply_to: in_reply_to.map(id_text).transpose()?,
        replay_of: replay_of.map(id_text).transpose()?,
        body: body_of(body, document)?,
        from,
    };
    let ttl = head.must::<u64>("ttl")?.min(u64::from(TTL_LIMIT));
    head.end()?;
    message.check()?;
    let signature = signature_of(signature, &message)?;
    Ok(Envelope { ttl: u8::try_from(ttl).unwrap_or(TTL_LIMIT), message, signature })
}

pub(super) fn schema(reason: impl Display) -> MessageError {
    MessageError::Schema(reason.to_string())
}

pub(super) fn no_text(element: &Element) -> Result<(), MessageError> {
    if element.text.trim_matches([' ', '\t', '\r', '\n']).is_empty() {
        return Ok(());
    }
    Err(schema(format!("there is text in `{}`", element.name)))
}

pub(super) fn empty(element: &Element) -> Result<(), MessageError> {
    no_text(element)?;
    if element.children.is_empty() { Ok(()) } else { Err(schema(format!("`{}` has elements in it", element.name))) }
}

/// The text of an element that has nothing else.
pub(super) fn text_of(element: &Element) -> Result<&str, MessageError> {
    if element.children.is_empty() {
        return Ok(element.text.trim_matches([' ', '\t', '\r', '\n']));
    }
    Err(schema(format!("`{}` has elements in it", element.name)))
}

fn id_text<T: FromStr>(element: &Element) -> Result<T, MessageError>
where
    T::Err: Display,
{
    Attributes::of(element)?.end()?;
    text_of(element)?.parse().map_err(schema)
}

fn sender(element: &Element) -> Result<Sender, MessageError> {
    empty(element)?;
    let mut attributes = Attributes::of(element)?;
    let sender =
        Sender { agent: attributes.must("agent")?, user: attributes.may("user")?, session: attributes.may("session")? };
    attributes.end()?;
    Ok(sender)
}

fn recipient(element: &Element) -> Result<Recipient, MessageError> {
    empty(element)?;
    let mut attributes = Attributes::of(element)?;
    let agent = attributes.may("agent")?.map(Recipient::Agent);
    let group = attributes.may("group")?.map(Recipient::Group);
    let all = match attributes.may::<String>("all")?.as_deref() {
        None => None,
        Some("true" | "1") => Some(Recipient::All),
        Some(_) => return Err(schema("`all` is `true` or not there")),
    };
    attributes.end()?;
    let mut named = [agent, group, all].into_iter().flatten();
    match (named.next(), named.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(schema("`to` has one of `agent`, `group` and `all`")),
    }
}

fn body_of(element: &Element, document: &[u8]) -> Result<Body, MessageError> {
    Attributes::of(element)?.end()?;
    let inner = document.get(element.inner.clone()).and_then(|bytes| std::str::from_utf8(bytes).ok());
    Body::of_checked(inner.ok_or_else(|| schema("the body cannot be found"))?)
}

fn signature_of(element: &Element, message: &Message) -> Result<[u8; super::SIGNATURE_BYTES], MessageError> {
    let mut attributes = Attributes::of(element)?;
    if attributes.must::<crate::AgentId>("key")? != message.from.agent {
        return Err(schema("the key of the signature is not that of the agent it is from"));
    }
    attributes.end()?;
    let bytes = STANDARD.decode(text_of(element)?).ok();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or_else(|| schema("the signature is not 64 bytes in base64"))
}

/// The children of the envelope, in the order the schema has them.
pub(super) struct Parts<'a, I: Iterator<Item = &'a Element>> {
    pub(super) parts: std::iter::Peekable<I>,
}

impl<'a, I: Iterator<Item = &'a Element>> Parts<'a, I> {
    pub(super) fn take(&mut self, name: &str) -> Result<&'a Element, MessageError> {
        self.take_if(name).ok_or_else(|| {
            let found = self.parts.peek().map_or("the end".into(), |part| format!("`{}`", part.name));
            schema(format!("`{name}` is expected where {found} is"))
        })
    }

    pub(super) fn take_if(&mut self, name: &str) -> Option<&'a Element> {
        self.parts.next_if(|part| part.namespace == NAMESPACE && part.name == name)
    }

    pub(super) fn end(&mut self) -> Result<(), MessageError> {
        match self.parts.next() {
            None => Ok(()),
            Some(part) => Err(schema(format!("`{}` is not expected", part.name))),
        }
    }
}

/// The attributes of an element of the envelope, each taken once.
pub(super) struct Attributes<'a> {
    element: &'a str,
    left: Vec<(&'a str, &'a str)>,
}

impl<'a> Attributes<'a> {
    fn of(element: &'a Element) -> Result<Self, MessageError> {
        // What is declared on the envelope would be missing where the body is put elsewhere.
        let declared = |(name, value): &(String, String)| name != "xmlns" || value != NAMESPACE;
        if let Some((name, _)) = element.declared.iter().find(|one| declared(one)) {
            let reason =
                "the envelope declares its own namespace, as the default one; the body declares what it uses itself";
            return Err(schema(format!("`{name}` in `{}`: {reason}", element.name)));
        }
        Ok(Self::with_any_prefixes(element))
    }

    /// The same of a document that may declare what it likes where it likes.
    pub(super) fn with_any_prefixes(element: &'a Element) -> Self {
        let left = element.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        Self { element: &element.name, left }
    }

    fn take(&mut self, name: &str) -> Option<&'a str> {
        let at = self.left.iter().position(|(other, _)| *other == name)?;
        Some(self.left.swap_remove(at).1)
    }

    fn text(&mut self, name: &str) -> Result<String, MessageError> {
        let missing = || schema(format!("`{}` has no `{name}`", self.element));
        self.left.iter().any(|(other, _)| *other == name).then_some(()).ok_or_else(missing)?;
        Ok(self.take(name).unwrap_or_default().to_owned())
    }

    pub(super) fn must<T: FromStr>(&mut self, name: &str) -> Result<T, MessageError>
    where
        T::Err: Display,
    {
        self.text(name)?.parse().map_err(|error| schema(format!("`{name}`: {error}")))
    }

    pub(super) fn may<T: FromStr>(&mut self, name: &str) -> Result<Option<T>, MessageError>
    where
        T::Err: Display,
    {
        self.take(name).map(|text| text.parse().map_err(|error| schema(format!("`{name}`: {error}")))).transpose()
    }

    pub(super) fn end(&self) -> Result<(), MessageError> {
        match self.left.first() {
            None => Ok(()),
            Some((name, _)) => Err(schema(format!("`{}` has an attribute `{name}`", self.element))),
        }
    }
}
