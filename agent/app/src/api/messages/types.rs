//! What the calls about messages take and answer; shared with the CLI.

use dci_proto::{AgentId, MessageId, SessionId};
use serde::{Deserialize, Serialize};

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum To {
    /// Agents by name, id or fingerprint; each gets a message of its own.
    Agents(Vec<String>),
    /// All agents of a group.
    Group(String),
    /// All agents of the pool; the value is always true.
    All(bool),
}

/// A message to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendRequest {
    /// Which peerlet it is for.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whom it is for.
    pub to: To,
    /// What it says, as plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it says, as XML; instead of `text`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub xml: Option<String>,
    /// Which instance of the peerlet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// The instance that sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_session: Option<SessionId>,
    /// Hops it may go; more than 9 count as 9.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u8>,
    /// Seconds it is valid; a day unless said otherwise, 30 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<MessageId>,
    /// On whose behalf; only who signs in with the token of this computer may say.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A message to send, and for how long its answers are waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AskRequest {
    /// The message.
    #[serde(flatten)]
    pub message: SendRequest,
    /// Seconds; 60 unless said otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_s: Option<u64>,
}

/// An agent by id and name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentView {
    /// Its id.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
}

/// A message that is on its way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentView {
    /// Its id.
    pub id: MessageId,
    /// Whom it is for.
    pub to: To,
    /// Who is to get it.
    pub recipients: Vec<AgentView>,
}

/// Messages that are on their way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SentAnswer {
    /// The messages.
    pub messages: Vec<SentView>,
}

/// What became of a message at one recipient.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateView {
    /// The recipient.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// `waiting`, `expired-on-the-way`, `delivered`, `handled`, `refused` or `expired`.
    pub state: String,
    /// Since when, in ms since 1970.
    pub since_ms: u64,
    /// How often it was sent.
    pub attempts: u32,
    /// Of one that was handled: 0 for success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_status: Option<i32>,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// A message and what became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageStates {
    /// Its id.
    pub id: MessageId,
    /// At each recipient.
    pub recipients: Vec<StateView>,
}

/// What happens to a request, one at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum AskEvent {
    /// The messages are on this agent's disk.
    Sent {
        /// The messages.
        messages: Vec<SentView>,
    },
    /// A message has another state at a recipient.
    State {
        /// Which message.
        message: MessageId,
        /// What became of it.
        #[serde(flatten)]
        state: StateView,
    },
    /// A recipient answers.
    Reply {
        /// The message that is answered.
        message: MessageId,
        /// Who answers.
        #[serde(flatten)]
        from: AgentView,
        /// The id of the answer.
        id: MessageId,
        /// What it says, where it is plain text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        text: Option<String>,
        /// What it says, as XML.
        xml: String,
        /// When it was sent, in ms since 1970.
        sent_ms: u64,
    },
    /// Nothing more comes.
    Done {
        /// Whether every recipient has dealt with it; otherwise the time was over.
        finished: bool,
    },
}

/// Who sent a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FromView {
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// On behalf of whom.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The instance that sent it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryView {
    /// Where it stands.
    pub place: u64,
    /// When it was written, in ms since 1970.
    pub at_ms: u64,
    /// `sent`, `received` or `relayed` (handed to its peerlet).
    pub direction: String,
    /// The message's id.
    pub id: MessageId,
    /// Which peerlet it is for.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which instance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Who sent it.
    pub from: FromView,
    /// Whom it is for.
    pub to: To,
    /// The message it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<MessageId>,
    /// The message it says again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay_of: Option<MessageId>,
    /// When it was sent, in ms since 1970.
    pub sent_ms: u64,
    /// When it is void, in ms since 1970.
    pub expires_ms: u64,
    /// What it says, where it is plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// What it says, as XML.
    pub xml: String,
    /// What became of it: of a sent one at each recipient, of a received one here.
    pub states: Vec<StateView>,
}

/// A part of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPage {
    /// The entries.
    pub entries: Vec<EntryView>,
    /// Where the next page goes on; none: this is the last.
    pub next: Option<u64>,
    /// Entries left out because they are damaged.
    pub damaged: usize,
}

/// Which entries of the log are wanted; what is left out does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogFilter {
    /// Only the message with this id, as it was sent, came and was handed to its peerlet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// Only messages of this type.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Only messages of this agent: name, id or fingerprint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sender: Option<String>,
    /// Only messages to this agent, also as one of many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub receiver: Option<String>,
    /// Only messages to or from this session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
    /// Only entries from this time on, in ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_ms: Option<u64>,
    /// Only entries before this time, in ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_ms: Option<u64>,
    /// Only messages that have this text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// `sent`, `received` or `relayed`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<String>,
    /// `newest` (usual) or `oldest` first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Entries of a page, at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Only entries that come after this one, in this order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Messages of the log to say again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplayRequest {
    /// Which, by place.
    #[serde(default)]
    pub places: Vec<u64>,
    /// Or all that fit; at most as many as a page has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<LogFilter>,
    /// To whom; otherwise to whom they were for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<To>,
    /// On whose behalf; only who signs in with the token of this computer may say.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// What is told to who follows the log, besides entries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateChange {
    /// The message.
    pub id: MessageId,
    /// Where it stands in the log.
    pub place: u64,
    /// What became of it.
    #[serde(flatten)]
    pub state: StateView,
}

/// A peerlet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerletView {
    /// The messages it is for.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which version.
    pub version: String,
    /// `oneshot`, `session` or `service`.
    pub mode: String,
    /// What it does, in a line.
    pub description: String,
    /// Whether it runs what it is sent, so that nobody may send to it without a right.
    pub executes: bool,
}

/// The peerlets of an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerletsOfAgent {
    /// The agent.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// Whether it answers now.
    pub online: bool,
    /// Whether it is the one that was asked.
    pub own: bool,
    /// How busy its processors are, 0 to 1000; missing where it does not answer or does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_permille: Option<u16>,
    /// The version of Shoal it runs; missing where nothing was heard of it yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What it has.
    pub peerlets: Vec<PeerletView>,
    /// How many more it has than it tells others.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out: u32,
    /// What of its own cannot be used, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<String>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// What all agents of the pool have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerletDirectory {
    /// The agents, in order of their names.
    pub agents: Vec<PeerletsOfAgent>,
}

/// A peerlet to install.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddPeerlet {
    /// Its folder, by its whole path on the agent's computer.
    pub folder: String,
}

/// A peerlet that was installed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddedPeerlet {
    /// The messages it is for.
    #[serde(rename = "type")]
    pub kind: String,
    /// Which version.
    pub version: String,
    /// The version that was there before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<String>,
}
