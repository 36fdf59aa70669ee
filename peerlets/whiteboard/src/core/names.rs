//! Boards, and the sessions of their messages.

use std::fmt;
use std::str::FromStr;

use dci_proto::SessionId;
use dci_proto::message::GroupName;
use uuid::Uuid;

/// The board one comes to first.
pub const BOARD_USUAL: &str = "main";
/// The namespace of the sessions: the UUID of version 5 of `urn:shoal:whiteboard:1` in the namespace of URLs.
const SESSIONS: Uuid = Uuid::from_u128(0x3316_af3f_e789_54b4_b25b_3e7e_c094_bbbf);

/// Why a text is no board's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no board's name: 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit")]
pub struct NameError(pub String);

/// The name of a board: short, and safe in a URL, a file name and a shell.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BoardName(String);

impl BoardName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The session of its messages, the same wherever it is asked for.
    #[must_use]
    pub fn session(&self) -> SessionId {
        SessionId(*Uuid::new_v5(&SESSIONS, format!("board:{}", self.0).as_bytes()).as_bytes())
    }
}

impl fmt::Display for BoardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for BoardName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        // Groups have the same rule.
        let is_name = text.parse::<GroupName>().is_ok();
        if is_name { Ok(Self(text.to_owned())) } else { Err(NameError(text.chars().take(80).collect())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boards_have_plain_names_and_a_session_each() {
        // What other programs reckon with: `uuid.uuid5(NAMESPACE, "board:main")` in Python.
        let main: BoardName = BOARD_USUAL.parse().expect("a name");
        assert_eq!(main.session().to_string(), "a755cafe-8930-5a9c-911c-53f0e53c6074");
        assert_ne!(main.session(), "plan".parse::<BoardName>().expect("a name").session());
        assert!(["", "Plan", "a b", "../x"].iter().all(|bad| bad.parse::<BoardName>().is_err()));
    }
}
