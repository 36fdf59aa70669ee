//! A message as a caller writes it in XML: without what its agent fills in (id, times, sender, signature).
//!
//! The schema is `docs/draft.xsd`. Unlike the envelope it may be written with any prefixes: it is read once and made anew. What
//! its body names from around it goes along with the body.

use std::str::FromStr;

use super::decode::{Attributes, Parts, empty, no_text, schema, text_of};
use super::{Body, ELEMENTS_LIMIT, GroupName, MESSAGE_LIMIT_BYTES, MessageError, MessageType, NAMESPACE, parse_time};
use crate::xml::{self, Element};
use crate::{MessageId, SessionId};

/// Whom a draft is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DraftRecipient {
    /// Agents as people name them; each is to get a message of its own. Never empty.
    Agents(Vec<String>),
    /// All agents of a group.
    Group(GroupName),
    /// All agents of the pool.
    All,
}

/// A message that is not one yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct XmlDraft {
    /// Which peerlet it is for.
    pub kind: MessageType,
    /// Which instance of that peerlet.
    pub session: Option<SessionId>,
    /// Hops it may go.
    pub ttl: Option<u64>,
    /// When it is void, in ms since 1970.
    pub expires_ms: Option<u64>,
    /// Whom it is for.
    pub to: DraftRecipient,
    /// The message it answers.
    pub in_reply_to: Option<MessageId>,
    /// What it says.
    pub body: Body,
}

/// Reads a draft.
///
/// # Errors
/// What is wrong with it, for its writer to mend.
pub fn decode_draft(document: &[u8]) -> Result<XmlDraft, MessageError> {
    if document.len() > MESSAGE_LIMIT_BYTES {
        return Err(MessageError::TooLarge(document.len()));
    }
    let document = xml::with_line_feeds(document);
    let root = xml::parse(&document, ELEMENTS_LIMIT)?;
    if root.namespace != NAMESPACE || root.name != "message" {
        return Err(schema(format!("the root element is not `message` of {NAMESPACE}")));
    }
    no_text(&root)?;
    let mut parts = Parts { parts: root.children.iter().peekable() };
    let to = recipient(&mut parts)?;
    let in_reply_to = parts.take_if("in-reply-to").map(id_text).transpose()?;
    let body = parts.take("body")?;
    parts.end()?;
    Attributes::with_any_prefixes(body).end()?;
    let inner = String::from_utf8(body.inner_for(&document, NAMESPACE)).map_err(schema)?;
    let mut head = Attributes::with_any_prefixes(&root);
    let draft = XmlDraft {
        kind: head.must("type")?,
        session: head.may("session")?,
        ttl: head.may("ttl")?,
        expires_ms: head.may::<String>("expires")?.map(|text| parse_time(&text).map_err(schema)).transpose()?,
        to,
        in_reply_to,
        body: Body::of_xml(inner)?,
    };
    head.end()?;
    Ok(draft)
}

/// One or more agents, or a group, or all.
fn recipient<'a>(parts: &mut Parts<'a, impl Iterator<Item = &'a Element>>) -> Result<DraftRecipient, MessageError> {
    let mut agents = Vec::new();
    let mut others = Vec::new();
    let mut next = Some(parts.take("to")?);
    while let Some(element) = next {
        empty(element)?;
        let mut attributes = Attributes::with_any_prefixes(element);
        let agent = attributes.may::<String>("agent")?;
        let group = attributes.may("group")?.map(DraftRecipient::Group);
        let all = match attributes.may::<String>("all")?.as_deref() {
            None => None,
            Some("true" | "1") => Some(DraftRecipient::All),
            Some(_) => return Err(schema("`all` is `true` or not there")),
        };
        attributes.end()?;
        if usize::from(agent.is_some()) + usize::from(group.is_some()) + usize::from(all.is_some()) != 1 {
            return Err(schema("`to` has one of `agent`, `group` and `all`"));
        }
        agents.extend(agent);
        others.extend(group.or(all));
        next = parts.take_if("to");
    }
    match (others.pop(), agents.is_empty() && others.is_empty()) {
        (None, _) => Ok(DraftRecipient::Agents(agents)),
        (Some(one), true) => Ok(one),
        (Some(_), false) => Err(schema("a message is for agents, or for one group, or for all")),
    }
}

fn id_text<T: FromStr>(element: &Element) -> Result<T, MessageError>
where
    T::Err: std::fmt::Display,
{
    Attributes::with_any_prefixes(element).end()?;
    text_of(element)?.parse().map_err(schema)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<XmlDraft, MessageError> {
        decode_draft(text.as_bytes())
    }

    #[test]
    fn a_draft_says_what_to_whom_and_how() {
        let draft = read(
            r#"<message xmlns="urn:shoal:dci:1" type="chat" session="22222222-2222-2222-2222-222222222222" ttl="12"
                 expires="2026-01-31T12:10:00Z"><to agent="lab-1"/><to agent="lab-2"/>
                 <in-reply-to>33333333-3333-3333-3333-333333333333</in-reply-to><body>a<b/>c</body></message>"#,
        )
        .expect("a draft");
        assert_eq!((draft.kind.as_str(), draft.session, draft.ttl), ("chat", Some(SessionId([0x22; 16])), Some(12)));
        assert_eq!(draft.to, DraftRecipient::Agents(vec!["lab-1".into(), "lab-2".into()]));
        assert_eq!((draft.expires_ms, draft.in_reply_to), (Some(1_769_861_400_000), Some(MessageId([0x33; 16]))));
        assert_eq!(draft.body.as_xml(), "a<b/>c");
    }

    #[test]
    fn it_may_be_written_with_any_prefixes_and_its_body_takes_along_what_it_names() {
        let draft = read(
            "<s:message xmlns:s='urn:shoal:dci:1' xmlns:u='urn:u' type='x'>\r\n<s:to group='lab'/><s:body><u:a>1\r\n</u:a></s:body></s:message>",
        )
        .expect("a draft");
        assert_eq!(draft.to, DraftRecipient::Group("lab".parse().expect("a name")));
        assert_eq!(draft.body.as_xml(), "<u:a xmlns:u=\"urn:u\">1\n</u:a>");
    }

    #[test]
    fn what_is_no_draft_is_refused() {
        let with = |attributes: &str, inner: &str| {
            read(&format!("<message xmlns='urn:shoal:dci:1' {attributes}>{inner}</message>"))
        };
        let (to, body) = ("<to all='true'/>", "<body/>");
        assert!(with("type='x'", &format!("{to}{body}")).is_ok());
        for (attributes, inner) in [
            ("", format!("{to}{body}")),
            ("type='X'", format!("{to}{body}")),
            ("type='x' id='11111111-1111-1111-1111-111111111111'", format!("{to}{body}")),
            ("type='x' ttl='many'", format!("{to}{body}")),
            ("type='x' expires='tomorrow'", format!("{to}{body}")),
            ("type='x'", body.to_owned()),
            ("type='x'", to.to_owned()),
            ("type='x'", format!("{body}{to}")),
            ("type='x'", format!("<from/>{to}{body}")),
            ("type='x'", format!("{to}{body}<signature/>")),
            ("type='x'", format!("<to/>{body}")),
            ("type='x'", format!("<to all='false'/>{body}")),
            ("type='x'", format!("<to all='true' group='lab'/>{body}")),
            ("type='x'", format!("<to agent='a'/><to group='lab'/>{body}")),
            ("type='x'", format!("<to group='lab'/><to group='lab'/>{body}")),
            ("type='x'", format!("<to all='true'>x</to>{body}")),
            ("type='x'", format!("{to}<body lang='de'/>")),
            ("type='x'", format!("{to}{body}text")),
        ] {
            assert!(with(attributes, &inner).is_err(), "{attributes} {inner}");
        }
        for bad in ["", "<message/>", "<!DOCTYPE message><message xmlns='urn:shoal:dci:1'/>", "{\"type\":\"x\"}"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        let large = format!("{to}<body>{}</body>", "x".repeat(MESSAGE_LIMIT_BYTES));
        assert!(matches!(with("type='x'", &large), Err(MessageError::TooLarge(_))));
    }
}
