//! What a repository is made of: objects that never change, named by their SHA-256 as in a restic repository.
//!
//! Whoever holds an object can check it without being able to read it. An archive is what one run of the owner's backup
//! made; it is there when its snapshot object is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The SHA-256 of some bytes.
#[must_use]
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// The name of an object: the SHA-256 of its bytes. Text form: 64 hexadecimal digits, as restic names its files.
///
/// restic calls the one configuration of a repository `config`, whatever its bytes; the catalogue names it as all others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectName(pub [u8; 32]);

impl ObjectName {
    /// The name of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha256(&[bytes]))
    }
}

/// A text is not the name of an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no name of an object: 64 hexadecimal digits are expected")]
pub struct NotAName(String);

impl FromStr for ObjectName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || NotAName(text.chars().take(80).collect());
        if text.len() != 64 {
            return Err(error());
        }
        let mut name = [0; 32];
        for (byte, digits) in name.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let digit = |at: usize| char::from(digits[at]).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = digit(0).ok_or_else(error)? << 4 | digit(1).ok_or_else(error)?;
        }
        Ok(Self(name))
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for ObjectName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
    }
}

impl<'de> Deserialize<'de> for ObjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
        } else {
            <[u8; 32]>::deserialize(deserializer).map(Self)
        }
    }
}

/// What an object is for. In the order in which a holder takes them: see [`crate::order`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectKind {
    /// The configuration of the repository.
    Config,
    /// The key of the repository, locked by the owner's passphrase.
    Key,
    /// Pieces of files and folders.
    Pack,
    /// Which piece lies in which pack.
    Index,
    /// An archive: its time and its root folder.
    Snapshot,
}

impl ObjectKind {
    /// All kinds, in order.
    pub const ALL: [Self; 5] = [Self::Config, Self::Key, Self::Pack, Self::Index, Self::Snapshot];

    /// The folder in which restic keeps objects of this kind; the configuration is one file of that name.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Config => "config",
            Self::Key => "keys",
            Self::Pack => "data",
            Self::Index => "index",
            Self::Snapshot => "snapshots",
        }
    }

    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Config => 1,
            Self::Key => 2,
            Self::Pack => 3,
            Self::Index => 4,
            Self::Snapshot => 5,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }
}

/// An archive of one owner: its runs are counted from 1. 0 stands for what belongs to all archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ArchiveId(pub u64);

/// What the catalogue says of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Object {
    /// The SHA-256 of its bytes.
    pub name: ObjectName,
    /// What it is for.
    pub kind: ObjectKind,
    /// Its length.
    pub size_bytes: u64,
    /// The archive whose making added it; later ones may need it too. 0 for the configuration, keys, and indexes that take
    /// the place of older ones ([`crate::order`]).
    pub archive: ArchiveId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_as_restic_writes_it_and_back() {
        let name = ObjectName::of(b"");
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!((name.to_string().as_str(), text.parse()), (text, Ok(name)));
        assert_eq!(serde_json::to_string(&name).unwrap(), format!("\"{text}\""));
        assert_eq!(postcard::from_bytes::<ObjectName>(&postcard::to_allocvec(&name).unwrap()), Ok(name));
        for bad in ["", "e3", &text[1..], &text.replace('e', "g"), &"é".repeat(32)] {
            assert!(bad.parse::<ObjectName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn kinds_have_a_code_each_and_stand_in_the_order_in_which_they_are_taken() {
        assert!(ObjectKind::ALL.is_sorted());
        for kind in ObjectKind::ALL {
            assert_eq!(ObjectKind::from_code(kind.code()), Some(kind));
        }
        assert_eq!((ObjectKind::from_code(0), ObjectKind::from_code(6)), (None, None));
    }
}
