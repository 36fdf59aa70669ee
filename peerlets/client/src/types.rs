//! What is sent and told. Fields that a newer agent tells besides are passed over.

use serde::ser::SerializeMap as _;
use serde::{Deserialize, Serialize, Serializer};

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// Agents by name, id or fingerprint; each gets a message of its own.
    Agents(Vec<String>),
    /// All agents of a group.
    Group(String),
    /// All agents of the pool, the sender's too.
    All,
}

impl To {
    /// One agent.
    #[must_use]
    pub fn agent(name: impl Into<String>) -> Self {
        Self::Agents(vec![name.into()])
    }
}

impl Serialize for To {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Agents(names) => map.serialize_entry("agents", names)?,
            Self::Group(name) => map.serialize_entry("group", name)?,
            Self::All => map.serialize_entry("all", &true)?,
        }
        map.end()
    }
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Which peerlet it is for.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whom it is for.
    pub to: To,
    /// What it says, as plain text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it says, as XML; instead of `text`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub xml: Option<String>,
    /// Which instance of the peerlet: a UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The instance that sends it: a UUID.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_session: Option<String>,
    /// Hops it may go, 0 to 9.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Seconds it is valid; a day unless said otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
    /// The message it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<String>,
    /// The user of the pool on whose behalf it is sent; the admin unless said otherwise.
    #[serde(rename = "as", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl Message {
    /// Of plain text.
    #[must_use]
    pub fn text(kind: impl Into<String>, to: To, text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), ..Self::empty(kind.into(), to) }
    }

    /// Of XML: elements and text that are well-formed together.
    #[must_use]
    pub fn xml(kind: impl Into<String>, to: To, xml: impl Into<String>) -> Self {
        Self { xml: Some(xml.into()), ..Self::empty(kind.into(), to) }
    }

    fn empty(kind: String, to: To) -> Self {
        Self {
            kind,
            to,
            text: None,
            xml: None,
            session: None,
            from_session: None,
            ttl: None,
            expires_s: None,
            in_reply_to: None,
            user: None,
        }
    }
}

#[derive(Serialize)]
pub(crate) struct RequestBody<'a> {
    #[serde(flatten)]
    pub(crate) message: &'a Message,
    pub(crate) timeout_s: u64,
}

#[derive(Serialize)]
pub(crate) struct Which<'a> {
    pub(crate) id: &'a str,
}

/// A recipient.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Recipient {
    /// Its id.
    pub agent: String,
    /// Its name.
    pub name: String,
}

/// A message that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Sent {
    /// Its id.
    pub id: String,
    /// Who is to get it.
    pub recipients: Vec<Recipient>,
}

#[derive(Deserialize)]
pub(crate) struct SentAnswer {
    pub(crate) messages: Vec<Sent>,
}

/// What became of a message at one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct State {
    /// Which message, where that is not known anyway.
    #[serde(default)]
    pub message: Option<String>,
    /// The recipient.
    pub agent: String,
    /// Its name.
    pub name: String,
    /// `waiting`, `expired-on-the-way`, `delivered`, `handled`, `refused` or `expired`.
    pub state: String,
    /// Since when, in ms since 1970.
    pub since_ms: u64,
    /// Of one that was handled: 0 for success.
    #[serde(default)]
    pub exit_status: Option<i32>,
    /// Why, for people.
    #[serde(default)]
    pub why: Option<String>,
}

impl State {
    /// Whether the peerlet has dealt with it and is content.
    #[must_use]
    pub fn is_success(&self) -> bool {
        self.exit_status == Some(0)
    }
}

#[derive(Deserialize)]
pub(crate) struct StatesAnswer {
    pub(crate) recipients: Vec<State>,
}

/// What a recipient answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Reply {
    /// The message that is answered.
    pub message: String,
    /// Who answers.
    pub agent: String,
    /// Its name.
    pub name: String,
    /// The id of the answer.
    pub id: String,
    /// What it says, where it is plain text.
    #[serde(default)]
    pub text: Option<String>,
    /// What it says, as XML.
    pub xml: String,
    /// When it was sent, in ms since 1970.
    pub sent_ms: u64,
}

impl Reply {
    /// The text, or where it is more than that, the XML.
    #[must_use]
    pub fn says(&self) -> &str {
        self.text.as_deref().unwrap_or(&self.xml)
    }
}

/// Something that happens to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Its messages are on the agent's disk.
    Sent(Vec<Sent>),
    /// A message has another state at a recipient.
    State(State),
    /// A recipient answers.
    Reply(Reply),
    /// Nothing more comes.
    Done {
        /// Whether every recipient has dealt with it; otherwise the time was over.
        finished: bool,
    },
}

/// An event as it is told.
#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum EventLine {
    Sent {
        messages: Vec<Sent>,
    },
    State(State),
    Reply(Reply),
    Done {
        finished: bool,
    },
    /// What a newer agent tells besides.
    #[serde(other)]
    Other,
}

impl EventLine {
    pub(crate) fn event(self) -> Option<Event> {
        Some(match self {
            Self::Sent { messages } => Event::Sent(messages),
            Self::State(state) => Event::State(state),
            Self::Reply(reply) => Event::Reply(reply),
            Self::Done { finished } => Event::Done { finished },
            Self::Other => return None,
        })
    }
}

/// Which entries of the log are wanted; what is left out does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Filter {
    /// Only the message with this id, as it was sent, came and was handed to its peerlet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Only messages of this type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only messages of this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Only messages to this agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// Only messages to or from this session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// Only messages that have this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `sent`, `received` or `relayed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// Entries of a page, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only entries that come after this one in the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Who sent a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct From {
    /// The agent.
    pub agent: String,
    /// Its name.
    pub name: String,
    /// On behalf of whom.
    #[serde(default)]
    pub user: Option<String>,
    /// The instance that sent it.
    #[serde(default)]
    pub session: Option<String>,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// Where it stands.
    pub place: u64,
    /// `sent`, `received` or `relayed` (handed to its peerlet).
    pub direction: String,
    /// The message's id.
    pub id: String,
    /// Which peerlet it is for.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which instance.
    #[serde(default)]
    pub session: Option<String>,
    /// Who sent it.
    pub from: From,
    /// The message it answers.
    #[serde(default)]
    pub in_reply_to: Option<String>,
    /// When it was sent, in ms since 1970.
    pub sent_ms: u64,
    /// What it says, where it is plain text.
    #[serde(default)]
    pub text: Option<String>,
    /// What it says, as XML.
    pub xml: String,
    /// What became of it.
    pub states: Vec<State>,
}

/// A part of the log, the newest entry first.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct Page {
    /// The entries.
    pub entries: Vec<Entry>,
    /// Where the next page goes on (`after` of its filter); none: this is the last.
    pub next: Option<u64>,
}

/// Something that happens to the log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Happening {
    /// A new entry.
    Entry(Box<Entry>),
    /// What became of the message of an entry at a recipient.
    State {
        /// Where the entry stands.
        place: u64,
        /// What became of it.
        state: State,
    },
    /// So many happenings were too many at once and are not told; they are in the log.
    Missed(u64),
}

#[derive(Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub(crate) enum FollowLine {
    Entry(Box<Entry>),
    State {
        place: u64,
        #[serde(flatten)]
        state: State,
    },
    Missed {
        count: u64,
    },
    #[serde(other)]
    Other,
}

impl FollowLine {
    pub(crate) fn happening(self) -> Option<Happening> {
        Some(match self {
            Self::Entry(entry) => Happening::Entry(entry),
            Self::State { place, state } => Happening::State { place, state },
            Self::Missed { count } => Happening::Missed(count),
            Self::Other => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_written_as_agents_take_them() {
        let mut message = Message::text("chat", To::agent("lab-1"), "hi");
        assert_eq!(
            serde_json::to_string(&message).expect("JSON"),
            r#"{"type":"chat","to":{"agents":["lab-1"]},"text":"hi"}"#
        );
        (message.to, message.user, message.ttl) = (To::All, Some("ana".into()), Some(3));
        let body = RequestBody { message: &message, timeout_s: 5 };
        assert_eq!(
            serde_json::to_string(&body).expect("JSON"),
            r#"{"type":"chat","to":{"all":true},"text":"hi","ttl":3,"as":"ana","timeout_s":5}"#
        );
    }

    #[test]
    fn what_a_newer_agent_tells_besides_is_passed_over() {
        let event = |text| serde_json::from_str::<EventLine>(text).expect("an event").event();
        assert_eq!(event(r#"{"event":"done","finished":true,"new":1}"#), Some(Event::Done { finished: true }));
        assert_eq!(event(r#"{"event":"news","x":[1]}"#), None);
        let state = r#"{"event":"state","message":"m","agent":"a","name":"n","state":"handled","since_ms":1,"attempts":1,"exit_status":0}"#;
        assert!(matches!(event(state), Some(Event::State(state)) if state.is_success()));
    }
}
