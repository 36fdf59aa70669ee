//! The passphrase of a repository: made by us, so strong that holders who try for centuries get nowhere, and written so that
//! a person can copy it from paper.

use std::fmt;
use std::path::Path;

use rand::TryRngCore as _;
use serde::{Serialize, Serializer};
use zeroize::{Zeroize, Zeroizing};

use super::error::OwnerError;
use super::stored;

/// Digits and letters that nobody takes for one another: no i, l, o, u. 32 of them: 5 bits each.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const GROUPS: usize = 6;
const GROUP_CHARACTERS: usize = 5;

/// Opens a repository. Never shown but in the recovery kit.
#[derive(Clone, PartialEq, Eq)]
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// A new one of 150 bits, in six groups of five.
    pub(super) fn generate() -> Result<Self, OwnerError> {
        let mut bytes = [0; GROUPS * GROUP_CHARACTERS];
        rand::rngs::OsRng.try_fill_bytes(&mut bytes).map_err(|error| {
            OwnerError::io("read", Path::new("the system's randomness"), std::io::Error::other(error.to_string()))
        })?;
        let mut text = Zeroizing::new(String::with_capacity(GROUPS * (GROUP_CHARACTERS + 1)));
        for (at, byte) in bytes.iter().enumerate() {
            if at > 0 && at % GROUP_CHARACTERS == 0 {
                text.push('-');
            }
            text.push(char::from(ALPHABET[usize::from(byte % 32)]));
        }
        bytes.zeroize();
        Ok(Self(text))
    }

    /// As a person types it: capitals, spaces and letters that look alike are put right. What is none of ours stays as it is:
    /// a repository may have been made with another one.
    #[must_use]
    pub fn typed(text: &str) -> Self {
        let text = text.trim();
        let plain: Zeroizing<String> = Zeroizing::new(
            text.chars()
                .filter(|character| !matches!(character, ' ' | '-'))
                .map(|character| match character.to_ascii_lowercase() {
                    'o' => '0',
                    'i' | 'l' => '1',
                    other => other,
                })
                .collect(),
        );
        let is_ours = plain.len() == GROUPS * GROUP_CHARACTERS && plain.bytes().all(|byte| ALPHABET.contains(&byte));
        if !is_ours {
            return Self(Zeroizing::new(text.to_owned()));
        }
        let mut grouped = Zeroizing::new(String::with_capacity(GROUPS * (GROUP_CHARACTERS + 1)));
        for (at, character) in plain.chars().enumerate() {
            if at > 0 && at % GROUP_CHARACTERS == 0 {
                grouped.push('-');
            }
            grouped.push(character);
        }
        Self(grouped)
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn read(path: &Path) -> Result<Option<Self>, OwnerError> {
        let Some(bytes) = stored::read(path)? else { return Ok(None) };
        let bytes = Zeroizing::new(bytes);
        match std::str::from_utf8(&bytes) {
            Ok(text) if !text.trim().is_empty() => Ok(Some(Self(Zeroizing::new(text.trim_end().to_owned())))),
            _ => Err(OwnerError::Malformed { path: path.to_owned(), why: "it holds no passphrase".to_owned() }),
        }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), OwnerError> {
        stored::write(path, self.0.as_bytes())
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(…)")
    }
}

impl Serialize for Passphrase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use super::*;

    #[test]
    fn it_is_strong_readable_and_found_again_however_it_is_typed() {
        let passphrase = Passphrase::generate().unwrap();
        assert_ne!(passphrase, Passphrase::generate().unwrap());
        let groups: Vec<&str> = passphrase.as_str().split('-').collect();
        assert!(groups.len() == GROUPS && groups.iter().all(|group| group.len() == GROUP_CHARACTERS));
        let typed = passphrase.as_str().to_uppercase().replace('-', " ").replace('0', "O").replace('1', "l");
        assert_eq!(Passphrase::typed(&format!(" {typed}\n")), passphrase);
        assert_eq!(Passphrase::typed("my Own one\n").as_str(), "my Own one");
        assert_eq!(format!("{passphrase:?}"), "Passphrase(…)");
        let folder = tempfile::tempdir().unwrap();
        passphrase.write(&folder.path().join("passphrase")).unwrap();
        assert_eq!(Passphrase::read(&folder.path().join("passphrase")).unwrap(), Some(passphrase));
    }
}
