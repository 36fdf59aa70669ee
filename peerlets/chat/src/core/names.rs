//! Rooms, pairs of users, and the sessions of their messages.

use std::fmt;
use std::str::FromStr;

use dci_proto::SessionId;
use dci_proto::message::{GroupName, UserName};
use uuid::Uuid;

/// The room everybody is in.
pub const LOBBY: &str = "lobby";
/// Bytes of a user's name, at most: as messages have it.
pub const USER_LIMIT_BYTES: usize = dci_proto::message::USER_LIMIT_BYTES;
/// The namespace of the sessions: the UUID of version 5 of `urn:shoal:chat:1` in the namespace of URLs.
const SESSIONS: Uuid = Uuid::from_u128(0xc95b_f497_0125_5f93_bc3c_2a65_7fd7_19ec);

/// Why a text is no room's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no room's name: 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")]
pub struct NameError(pub String);

/// The name of a room: short, and safe in a URL, a file name and a shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoomName(String);

impl RoomName {
    /// The room everybody is in.
    #[must_use]
    pub fn lobby() -> Self {
        Self(LOBBY.to_owned())
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RoomName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for RoomName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // Groups have the same rule.
        let is_name = text.parse::<GroupName>().is_ok();
        if is_name { Ok(Self(text.to_owned())) } else { Err(NameError(text.chars().take(80).collect())) }
    }
}

/// Where something is said.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Conversation {
    /// In a room, before everybody.
    Room(RoomName),
    /// Between two users, whose names are in order; or one with themselves.
    Pair(UserName, UserName),
}

impl Conversation {
    /// Between two users, whoever says something to whom.
    #[must_use]
    pub fn between(one: UserName, other: UserName) -> Self {
        if one <= other { Self::Pair(one, other) } else { Self::Pair(other, one) }
    }

    /// Whether a user may read it.
    #[must_use]
    pub fn is_open_to(&self, user: &str) -> bool {
        match self {
            Self::Room(_) => true,
            Self::Pair(one, other) => one.as_str() == user || other.as_str() == user,
        }
    }

    /// Who the other one is, as a user of it sees it.
    #[must_use]
    pub fn other(&self, user: &str) -> Option<&UserName> {
        match self {
            Self::Room(_) => None,
            Self::Pair(one, other) if one.as_str() == user => Some(other),
            Self::Pair(one, _) => Some(one),
        }
    }

    /// The session of its messages, the same wherever it is asked for.
    #[must_use]
    pub fn session(&self) -> SessionId {
        match self {
            Self::Room(room) => session_of(&format!("room:{room}")),
            // No name has a line feed.
            Self::Pair(one, other) => session_of(&format!("pair:{one}\n{other}")),
        }
    }
}

/// The session of what agents say of who is there.
#[must_use]
pub fn presence_session() -> SessionId {
    session_of("presence")
}

fn session_of(name: &str) -> SessionId {
    SessionId(*Uuid::new_v5(&SESSIONS, name.as_bytes()).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserName {
        name.parse().expect("a user")
    }

    #[test]
    fn rooms_have_plain_names() {
        for good in ["lobby", "0", "lab-2.new_wing"] {
            assert_eq!(good.parse::<RoomName>().expect("a name").as_str(), good);
        }
        for bad in ["", "Lobby", "a b", "../x", "-x", "é", &"a".repeat(65)] {
            assert!(bad.parse::<RoomName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_namespace_and_the_sessions_are_those_the_readme_tells() {
        // What other programs reckon with: `uuid.uuid5(NAMESPACE, "room:lobby")` in Python.
        let session = Conversation::Room(RoomName::lobby()).session();
        assert_eq!(session.to_string(), LOBBY_SESSION);
        assert_eq!(SESSIONS.to_string(), "c95bf497-0125-5f93-bc3c-2a657fd719ec");
    }

    const LOBBY_SESSION: &str = "df42a544-499b-52b8-9aef-badb00dd04df";

    #[test]
    fn a_pair_is_the_same_from_both_ends_and_closed_to_others() {
        let pair = Conversation::between(user("bob"), user("ana"));
        assert_eq!(pair, Conversation::between(user("ana"), user("bob")));
        assert!(pair.is_open_to("ana") && pair.is_open_to("bob") && !pair.is_open_to("eve"));
        assert_eq!((pair.other("ana"), pair.other("bob")), (Some(&user("bob")), Some(&user("ana"))));
        let others = [
            Conversation::between(user("ana"), user("eve")),
            Conversation::between(user("ana"), user("ana")),
            Conversation::Room("ana".parse().expect("a name")),
        ];
        assert!(others.iter().all(|other| other.session() != pair.session()));
    }
}
