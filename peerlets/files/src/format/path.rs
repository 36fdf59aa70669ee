//! Names of files that others send: strict, so that on no system one leads out of its folder, takes another's place, means
//! a device, or looks like something else.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization as _;

use super::FormatError;

/// Bytes of a path, at most.
const PATH_LIMIT_BYTES: usize = 1_024;
/// Bytes of a name in it, at most: what file systems have.
const NAME_LIMIT_BYTES: usize = 255;
/// Names in a path, at most.
const DEPTH_LIMIT: usize = 64;
/// Characters of a path that are shown in an error.
const SHOWN_CHARS: usize = 120;
/// Names that are devices on some system, whatever comes after a dot.
const DEVICES: [&str; 6] = ["con", "prn", "aux", "nul", "conin$", "conout$"];

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// No name, or an empty one in it: `/a`, `a//b`, `a/`.
    #[error("is no path of names with single slashes between")]
    Empty,
    /// `.` or `..`.
    #[error("has . or .. in it")]
    Dots,
    /// Control characters, or such as turn the direction of writing.
    #[error("has characters that are not shown as they are")]
    Hidden,
    /// A backslash, or a colon as a drive has it.
    #[error("would lead elsewhere on other systems")]
    Foreign,
    /// A device on some system.
    #[error("is the name of a device")]
    Device,
    /// Ends with a dot or a space, which some systems drop.
    #[error("has a name that ends with a dot or a space")]
    Tail,
    /// Too long or too deep.
    #[error("is too long")]
    Long,
    /// There is another one that some systems take for the same.
    #[error("is there twice, upper and lower case being alike")]
    Twice,
    /// A file and a folder have the same name.
    #[error("is a file and a folder")]
    Both,
}

/// A path within what is sent: names with slashes between.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelativePath(String);

impl RelativePath {
    /// As it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The names in it, outermost first.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    /// The last name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or(&self.0)
    }

    pub(super) fn refused(&self, fault: PathFault) -> FormatError {
        refused(&self.0, fault)
    }
}

fn refused(path: &str, fault: PathFault) -> FormatError {
    FormatError::Path { path: path.chars().take(SHOWN_CHARS).collect(), fault }
}

impl FromStr for RelativePath {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let fault = |fault| Err(refused(text, fault));
        if text.len() > PATH_LIMIT_BYTES || text.split('/').count() > DEPTH_LIMIT {
            return fault(PathFault::Long);
        }
        if text.chars().any(is_hidden) {
            return fault(PathFault::Hidden);
        }
        if text.contains('\\') || text.as_bytes().get(1) == Some(&b':') {
            return fault(PathFault::Foreign);
        }
        match text.split('/').find_map(fault_of_name) {
            Some(found) => fault(found),
            None => Ok(Self(text.to_owned())),
        }
    }
}

impl TryFrom<String> for RelativePath {
    type Error = FormatError;

    fn try_from(text: String) -> Result<Self, FormatError> {
        text.parse()
    }
}

impl From<RelativePath> for String {
    fn from(path: RelativePath) -> Self {
        path.0
    }
}

impl fmt::Display for RelativePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn fault_of_name(name: &str) -> Option<PathFault> {
    match name {
        "" => Some(PathFault::Empty),
        "." | ".." => Some(PathFault::Dots),
        _ if name.len() > NAME_LIMIT_BYTES => Some(PathFault::Long),
        _ if name.ends_with(['.', ' ']) => Some(PathFault::Tail),
        _ if is_device(name) => Some(PathFault::Device),
        _ => None,
    }
}

fn is_device(name: &str) -> bool {
    let stem = name.split(['.', ':']).next().unwrap_or(name).trim_end().to_lowercase();
    let numbered = ["com", "lpt"].iter().filter_map(|port| stem.strip_prefix(port)).any(|rest| {
        let mut rest = rest.chars();
        let numbers = |found: char| found.is_ascii_digit() || ['¹', '²', '³'].contains(&found);
        rest.next().is_some_and(numbers) && rest.next().is_none()
    });
    numbered || DEVICES.contains(&stem.as_str())
}

/// Control characters, and those that change what stands beside them: U+202A to U+202E and U+2066 to U+2069 turn the
/// direction of writing, so that `exe.txt` reads `txt.exe`; U+FFFE and U+FFFF are none and cannot be in XML.
fn is_hidden(found: char) -> bool {
    found.is_control()
        || matches!(found, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// All paths of a transfer: each once, on every system.
#[derive(Debug, Default)]
pub(super) struct PathSet {
    /// By what systems that know no case take for the same.
    taken: BTreeMap<String, Taken>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Taken {
    File,
    /// As it is written: `A/x` and `a/y` would be one folder.
    Folder {
        written: String,
        /// Named by an entry of its own.
        named: bool,
    },
}

impl PathSet {
    /// Adds one; the folders it lies in are added with it.
    pub(super) fn add(&mut self, path: &RelativePath, is_folder: bool) -> Result<(), FormatError> {
        let ends = path.as_str().match_indices('/').map(|(index, _)| index);
        for folder in ends.filter_map(|end| path.as_str().get(..end)) {
            self.folder(folder, false).map_err(|fault| path.refused(fault))?;
        }
        if is_folder {
            return self.folder(path.as_str(), true).map_err(|fault| path.refused(fault));
        }
        match self.taken.insert(folded(path.as_str()), Taken::File) {
            None => Ok(()),
            Some(Taken::File) => Err(path.refused(PathFault::Twice)),
            Some(Taken::Folder { .. }) => Err(path.refused(PathFault::Both)),
        }
    }

    fn folder(&mut self, path: &str, named: bool) -> Result<(), PathFault> {
        match self.taken.get_mut(&folded(path)) {
            Some(Taken::File) => Err(PathFault::Both),
            Some(Taken::Folder { written, .. }) if written != path => Err(PathFault::Twice),
            Some(Taken::Folder { named: before, .. }) => {
                let twice = *before && named;
                *before |= named;
                if twice { Err(PathFault::Twice) } else { Ok(()) }
            }
            None => {
                self.taken.insert(folded(path), Taken::Folder { written: path.to_owned(), named });
                Ok(())
            }
        }
    }
}

/// What systems without case, or with another form of letters, take for the same.
fn folded(path: &str) -> String {
    let one = |found: char| {
        let mut upper = found.to_uppercase();
        let upper = match (upper.next(), upper.next()) {
            (Some(one), None) => one,
            _ => found,
        };
        upper.to_lowercase()
    };
    path.nfc().flat_map(one).nfc().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fault(text: &str) -> Option<PathFault> {
        match text.parse::<RelativePath>() {
            Err(FormatError::Path { fault, .. }) => Some(fault),
            _ => None,
        }
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        let long = "a/".repeat(64) + "b";
        let cases = [
            ("", PathFault::Empty),
            ("/etc/passwd", PathFault::Empty),
            ("a//b", PathFault::Empty),
            ("a/", PathFault::Empty),
            ("..", PathFault::Dots),
            ("a/../../b", PathFault::Dots),
            ("./a", PathFault::Dots),
            ("a\0b", PathFault::Hidden),
            ("a\nb", PathFault::Hidden),
            ("\u{7f}", PathFault::Hidden),
            ("in\u{202e}txt.exe", PathFault::Hidden),
            ("..\\..\\a", PathFault::Foreign),
            ("C:/a", PathFault::Foreign),
            ("c:a", PathFault::Foreign),
            ("CON", PathFault::Device),
            ("a/nul.txt", PathFault::Device),
            ("Com1", PathFault::Device),
            ("lpt¹.log", PathFault::Device),
            ("aux .c", PathFault::Device),
            ("a.", PathFault::Tail),
            ("a /b", PathFault::Tail),
            (&long, PathFault::Long),
        ];
        for (text, expected) in cases {
            assert_eq!(fault(text), Some(expected), "{text:?}");
        }
        assert_eq!(fault(&"é".repeat(128)), Some(PathFault::Long));
    }

    #[test]
    fn usual_names_are_taken() {
        for text in
            ["a", ".hidden", "photos/2026 summer/Ünï.jpg", "12:30 notes", "console", "com", "com10", "a..b", "nulls/x"]
        {
            assert_eq!(text.parse::<RelativePath>().map(String::from), Ok(text.to_owned()));
        }
    }

    #[test]
    fn what_some_system_takes_for_the_same_is_refused() {
        let add = |paths: &[(&str, bool)]| {
            let mut set = PathSet::default();
            paths.iter().try_for_each(|(path, folder)| set.add(&path.parse()?, *folder)).err().map(
                |error| match error {
                    FormatError::Path { fault, .. } => fault,
                    other => panic!("{other}"),
                },
            )
        };
        type Paths<'a> = &'a [(&'a str, bool)];
        let cases: [(Paths<'_>, Option<PathFault>); 11] = [
            (&[("a", false), ("b", false), ("c/a", false), ("c/b", false)], None),
            (&[("a/b", false), ("a", true)], None),
            (&[("a", true), ("a/b", false)], None),
            (&[("a", false), ("A", false)], Some(PathFault::Twice)),
            (&[("é", false), ("e\u{301}", false)], Some(PathFault::Twice)),
            (&[("ſ", false), ("s", false)], Some(PathFault::Twice)),
            (&[("a/x", false), ("A/y", false)], Some(PathFault::Twice)),
            (&[("a", true), ("a", true)], Some(PathFault::Twice)),
            (&[("a", false), ("a/b", false)], Some(PathFault::Both)),
            (&[("a/b", false), ("a", false)], Some(PathFault::Both)),
            (&[("A", true), ("a", false)], Some(PathFault::Both)),
        ];
        for (paths, expected) in cases {
            assert_eq!(add(paths), expected, "{paths:?}");
        }
    }

    proptest! {
        /// Whatever is taken stays below the folder it is put in, as the system itself reads it.
        #[test]
        fn what_is_taken_stays_below_its_folder(text in "[a-zA-Z./\\\\: \u{0}-\u{20}é]{0,24}") {
            if let Ok(path) = text.parse::<RelativePath>() {
                let mut depth = 0;
                for part in std::path::Path::new(path.as_str()).components() {
                    prop_assert!(matches!(part, std::path::Component::Normal(_)));
                    depth += 1;
                }
                prop_assert_eq!(depth, path.names().count());
                prop_assert_eq!(path.as_str(), text);
            }
        }

        /// The order in which paths come does not matter.
        #[test]
        fn the_order_of_paths_does_not_matter(paths in proptest::collection::vec(("[aAb](/[aAb]){0,2}", any::<bool>()), 0..6)) {
            let taken = |paths: Vec<&(String, bool)>| {
                let mut set = PathSet::default();
                paths.iter().all(|(path, folder)| set.add(&path.parse().expect("a path"), *folder).is_ok())
            };
            prop_assert_eq!(taken(paths.iter().collect()), taken(paths.iter().rev().collect()));
        }
    }
}
