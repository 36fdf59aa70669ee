//! What is asked for: whose archives, which of them, what of it, and where to.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use dci_proto::AgentId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shoal_archive::Archive;
use shoal_backup::plan::PathBytes;
use shoal_backup::recovery::Existing;
use shoal_backup::{ArchiveId, ObjectName};
use zeroize::Zeroizing;

use super::RecoveryError;

/// Paths that are ticked, at most.
pub const TICKED_LIMIT: usize = 1_024;

/// Whose archives.
#[derive(Clone)]
pub enum Which {
    /// This PC's own backup.
    Own,
    /// Anybody's, with the recovery kit.
    Kit {
        /// Whose.
        owner: AgentId,
        /// Opens it.
        passphrase: Zeroizing<String>,
    },
}

impl Which {
    /// Of this owner, with the passphrase of the kit.
    #[must_use]
    pub fn kit(owner: AgentId, passphrase: impl Into<String>) -> Self {
        Self::Kit { owner, passphrase: Zeroizing::new(passphrase.into()) }
    }
}

impl fmt::Debug for Which {
    /// Without the passphrase.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Own => f.write_str("Own"),
            Self::Kit { owner, .. } => f.debug_struct("Kit").field("owner", owner).finish_non_exhaustive(),
        }
    }
}

/// Which archive. As text `latest`, a number, or the name of the snapshot (its first eight digits at least).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ArchiveRef {
    /// The newest.
    #[default]
    Latest,
    /// By its number.
    Number(ArchiveId),
    /// By what the name of its snapshot begins with.
    Name(String),
}

/// A name is told from a number by its length.
const NAME_LEAST_DIGITS: usize = 8;

impl ArchiveRef {
    /// The one that is meant; `archives` with the oldest first.
    pub(crate) fn find<'a>(&self, archives: &'a [Archive]) -> Result<&'a Archive, RecoveryError> {
        let found = match self {
            Self::Latest => archives.last(),
            Self::Number(number) => archives.iter().find(|archive| archive.number == Some(*number)),
            Self::Name(text) => archives.iter().find(|archive| archive.name.to_string().starts_with(text)),
        };
        match (found, archives.is_empty()) {
            (Some(found), _) => Ok(found),
            (None, true) => Err(RecoveryError::NoArchives),
            (None, false) => Err(RecoveryError::NoArchive(self.clone())),
        }
    }
}

impl From<u64> for ArchiveRef {
    fn from(number: u64) -> Self {
        Self::Number(ArchiveId(number))
    }
}

impl From<ObjectName> for ArchiveRef {
    fn from(name: ObjectName) -> Self {
        Self::Name(name.to_string())
    }
}

impl fmt::Display for ArchiveRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Number(number) => write!(f, "{}", number.0),
            Self::Name(text) => f.write_str(text),
        }
    }
}

impl FromStr for ArchiveRef {
    type Err = RecoveryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "latest" {
            return Ok(Self::Latest);
        }
        if let Some(number) = text.parse().ok().filter(|_| text.len() < 20) {
            return Ok(Self::Number(ArchiveId(number)));
        }
        let is_name = (NAME_LEAST_DIGITS..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        if is_name {
            return Ok(Self::Name(text.to_owned()));
        }
        let text: String = text.chars().take(80).collect();
        Err(RecoveryError::BadRequest(format!(
            "{text:?} is no archive: write its number, `latest`, or eight digits of its name"
        )))
    }
}

impl Serialize for ArchiveRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ArchiveRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What is restored, and where to.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// Whose archives.
    pub which: Which,
    /// Which.
    pub archive: ArchiveRef,
    /// All archives up to it, a later one over an earlier one; else it alone.
    pub up_to: bool,
    /// Only these paths and what is in them; none: everything.
    pub paths: Vec<PathBytes>,
    /// The folder under which paths are made; `None`: everything goes where it was.
    pub target: Option<PathBuf>,
    /// What happens to files that are there and differ.
    pub existing: Existing,
}

impl RestoreRequest {
    /// Everything of an archive, into this folder.
    #[must_use]
    pub fn all(which: Which, archive: ArchiveRef, target: PathBuf) -> Self {
        Self { which, archive, up_to: false, paths: Vec::new(), target: Some(target), existing: Existing::default() }
    }

    pub(crate) fn validate(&self) -> Result<(), RecoveryError> {
        let bad = |why: String| Err(RecoveryError::BadRequest(why));
        if self.paths.len() > TICKED_LIMIT {
            return bad(format!("{} paths are too many, at most {TICKED_LIMIT}: name a folder", self.paths.len()));
        }
        for path in &self.paths {
            let bytes = path.as_bytes();
            let mut parts = bytes.split(|byte| *byte == b'/');
            if !bytes.starts_with(b"/") || bytes.contains(&0) || parts.any(|part| matches!(part, b"." | b"..")) {
                return bad(format!("{path}: write the whole path as the archive has it, from `/` on"));
            }
        }
        match &self.target {
            Some(target) if !target.is_absolute() => {
                bad(format!("{}: write the whole path of the folder to restore to, from `/` on", target.display()))
            }
            _ => Ok(()),
        }
    }

    /// Without `/` at the end, which tells nothing.
    pub(crate) fn ticked(&self) -> Vec<PathBytes> {
        let trim = |path: &PathBytes| {
            let mut bytes = path.as_bytes();
            while bytes.len() > 1 && bytes.ends_with(b"/") {
                bytes = &bytes[..bytes.len() - 1];
            }
            PathBytes::new(bytes)
        };
        self.paths.iter().map(trim).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use super::*;

    #[test]
    fn archives_are_named_by_number_name_or_as_the_latest() {
        for text in ["latest", "12", "0123abcd", &"ab".repeat(32)] {
            assert_eq!(text.parse::<ArchiveRef>().unwrap().to_string(), text.trim_start_matches("none"));
        }
        assert_eq!("12".parse::<ArchiveRef>().unwrap(), 12.into());
        for bad in ["", "-1", "abc", "ABCDEF01", &"a".repeat(65), "../../../x"] {
            assert!(bad.parse::<ArchiveRef>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused_and_a_passphrase_is_not_shown() {
        let which = Which::kit(AgentId([1; 32]), "never-to-be-seen");
        let request = RestoreRequest::all(which, ArchiveRef::Latest, "/out".into());
        assert!(!format!("{request:?}").contains("never") && request.validate().is_ok());
        for path in ["", "a", "/a/../b", "/./a", "/a\0b"] {
            let paths = vec![PathBytes::from(path)];
            assert!(RestoreRequest { paths, ..request.clone() }.validate().is_err(), "{path:?}");
        }
        assert!(RestoreRequest { target: Some("out".into()), ..request.clone() }.validate().is_err());
        let paths = vec!["/a//".into(), "/".into()];
        assert_eq!(RestoreRequest { paths, ..request }.ticked(), ["/a".into(), PathBytes::from("/")]);
    }
}
