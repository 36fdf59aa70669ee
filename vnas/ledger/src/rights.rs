//! Who may send what to whom: groups of agents, what a type of message needs, and rights given to users.

use dci_proto::AgentId;
use dci_proto::message::{GroupName, MessageType};
use serde::{Deserialize, Serialize};

use crate::UserRole;

/// Agents that are addressed by one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupRecord {
    /// Its name.
    pub name: GroupName,
    /// Its agents, in order, all of them members.
    pub agents: Vec<AgentId>,
}

/// What it takes to send messages of a type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypePolicy {
    /// The least role.
    pub role: UserRole,
    /// Whether a [`RightRecord`] is needed besides, whatever the role.
    pub right: bool,
}

impl Default for TypePolicy {
    fn default() -> Self {
        Self { role: UserRole::User, right: false }
    }
}

/// A user's right to send messages of a type that needs one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightRecord {
    /// Who has it.
    pub user: String,
    /// What for.
    pub kind: MessageType,
    /// When it ends by the ledger's time, in ms since 1970 UTC; `None`: when it is taken back.
    pub expires_ms: Option<u64>,
    /// Who gave it.
    pub granted_by: String,
    /// When, by the ledger's time, in ms since 1970 UTC.
    pub granted_ms: u64,
}

/// Whether a user may send a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendRefusal {
    /// No such user.
    #[error("there is no user {0}")]
    UnknownUser(String),
    /// The role is too low.
    #[error("messages of type {kind} need the role {} or a higher one; {user} is {}", .needed.as_str(), .has.as_str())]
    Role {
        /// Who.
        user: String,
        /// What.
        kind: MessageType,
        /// The least role.
        needed: UserRole,
        /// The role.
        has: UserRole,
    },
    /// A right is needed and not there.
    #[error(
        "{user} has no right to send messages of type {kind}; an admin gives it with `shoal right grant {user} {kind}`"
    )]
    NoRight {
        /// Who.
        user: String,
        /// What.
        kind: MessageType,
    },
    /// The right has ended.
    #[error(
        "the right of {user} to send messages of type {kind} has ended; an admin gives it anew with `shoal right grant {user} {kind}`"
    )]
    Ended {
        /// Who.
        user: String,
        /// What.
        kind: MessageType,
    },
}
