//! The names in an envelope: short, printable, and safe in a file name, a log line and a shell.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Bytes of the name of a type or group, at most.
pub const NAME_LIMIT_BYTES: usize = 64;
/// Bytes of the name of a user, at most: as the ledger has it.
pub const USER_LIMIT_BYTES: usize = 128;

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {rule}")]
pub struct NameError {
    /// The offending text, cut to 80 characters.
    pub text: String,
    /// What was expected, such as "message type".
    pub what: &'static str,
    /// What it must be.
    pub rule: &'static str,
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if $check(text) {
                    return Ok(Self(text.to_owned()));
                }
                Err(NameError { text: text.chars().take(80).collect(), what: $what, rule: $rule })
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;

            fn try_from(text: String) -> Result<Self, NameError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}

name!(
    /// Which peerlet a message is for, such as `chat` or `org.example.count`. Types that begin with `shoal.` are the agents' own.
    MessageType, "message type", is_token,
    "1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
);
name!(
    /// A group of agents, named by an admin.
    GroupName, "group", is_token, "1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit"
);
name!(
    /// A user of the pool.
    UserName, "user", is_user, "1 to 128 bytes without white space at its ends and without control characters"
);

impl MessageType {
    /// Whether it is one of the agents' own, which no peerlet may take or send.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        self.0.starts_with("shoal.")
    }
}

fn is_token(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= NAME_LIMIT_BYTES
        && bytes.first().copied().is_some_and(plain)
        && bytes.iter().all(|byte| plain(*byte) || b"._-".contains(byte))
}

fn is_user(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= USER_LIMIT_BYTES
        && text.trim() == text
        && !text.chars().any(|character| character.is_control() || is_invisible(character))
}

/// Characters that make a name look like another one: marks of direction and of no width, and what XML cannot hold.
pub(crate) fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for good in ["chat", "org.example.word-count_2", "0", &"a".repeat(64)] {
            assert!(good.parse::<MessageType>().is_ok() && good.parse::<GroupName>().is_ok(), "{good}");
        }
        for bad in ["", "Chat", ".chat", "-x", "a b", "a/b", "..", "é", "a\n", &"a".repeat(65)] {
            assert!(bad.parse::<MessageType>().is_err() && bad.parse::<GroupName>().is_err(), "{bad}");
        }
        for good in ["ana", "Ana María", "a@b.example", "李"] {
            assert!(good.parse::<UserName>().is_ok(), "{good}");
        }
        for bad in ["", " ana", "ana ", "a\nb", "a\u{202e}b", &"é".repeat(65)] {
            assert!(bad.parse::<UserName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_agents_own_types_are_told_apart() {
        let is_reserved = |text: &str| text.parse::<MessageType>().is_ok_and(|kind| kind.is_reserved());
        assert!(is_reserved("shoal.receipt"));
        assert!(!is_reserved("shoals.receipt"));
    }
}
