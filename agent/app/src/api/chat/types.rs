//! What the calls about chat take and answer; shared with the CLI.

use dci_proto::MessageId;
use serde::{Deserialize, Serialize};

/// Where something is said, as one user sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Where {
    /// In a room.
    Room(String),
    /// Between this user and another.
    With(String),
}

/// On how many agents something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TickView {
    /// On so many.
    pub got: usize,
    /// Of those that are to get it.
    pub of: usize,
}

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaidView {
    /// Its message.
    pub id: MessageId,
    /// When, in ms since 1970.
    pub sent_ms: u64,
    /// Who said it.
    pub user: String,
    /// The name of the agent it was said at.
    pub agent: String,
    /// What.
    pub text: String,
    /// Who asks said it.
    pub own: bool,
    /// On how many agents it is; known where it was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tick: Option<TickView>,
}

/// A room, or a conversation with another user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationView {
    /// Which.
    #[serde(flatten)]
    pub place: Where,
    /// What others said there since who asks last looked; of what is not too long ago.
    pub unread: usize,
    /// What was said last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<SaidView>,
}

/// Somebody who is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonView {
    /// Who.
    pub user: String,
    /// `here` or `away`.
    pub state: String,
    /// The rooms before their eyes.
    pub rooms: Vec<String>,
}

/// All conversations of a user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConversationList {
    /// On whose behalf this was asked.
    pub user: String,
    /// Rooms by name, the lobby first; then users, the last heard of first.
    pub conversations: Vec<ConversationView>,
    /// Who is there.
    pub people: Vec<PersonView>,
    /// All users one can talk to.
    pub users: Vec<String>,
}

/// What was said in one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// Where.
    #[serde(flatten)]
    pub place: Where,
    /// On whose behalf this was asked.
    pub user: String,
    /// What was said, the oldest first.
    pub entries: Vec<SaidView>,
    /// There is more before the first; asked for with `before`, its id.
    pub more: bool,
    /// Up to when who asks has seen it, in ms since 1970.
    pub seen_ms: u64,
}

/// Something to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SayRequest {
    /// What.
    pub text: String,
    /// On whose behalf; only who signs in with the token of this computer may say.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// It is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SayAnswer {
    /// Its message.
    pub id: MessageId,
}

/// Up to when a conversation was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenRequest {
    /// In ms since 1970.
    pub until_ms: u64,
    /// Who; only who signs in with the token of this computer may say.
    #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A window is hidden, or is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwayRequest {
    /// The number its events began with.
    pub window: u64,
    /// Whether it is hidden.
    pub away: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum ChatEvent {
    /// The first: from now on nothing is missed.
    Ready {
        /// The number of this window.
        window: u64,
        /// Who is there.
        people: Vec<PersonView>,
    },
    /// Something was said.
    Said {
        /// Where.
        #[serde(flatten)]
        place: Where,
        /// What.
        entry: SaidView,
    },
    /// Something that was said here is on more agents.
    Tick {
        /// Where it was said.
        #[serde(flatten)]
        place: Where,
        /// Its message.
        id: MessageId,
        /// On how many.
        tick: TickView,
    },
    /// Others are there now.
    People {
        /// All who are.
        people: Vec<PersonView>,
    },
    /// This user has seen a conversation, perhaps in another window.
    Seen {
        /// Which.
        #[serde(flatten)]
        place: Where,
        /// Up to when, in ms since 1970.
        until_ms: u64,
    },
    /// Some was missed: what is wanted has to be asked for again.
    Anew,
}

impl ChatEvent {
    /// Its name in a stream of events.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ready { .. } => "ready",
            Self::Said { .. } => "said",
            Self::Tick { .. } => "tick",
            Self::People { .. } => "people",
            Self::Seen { .. } => "seen",
            Self::Anew => "anew",
        }
    }
}
