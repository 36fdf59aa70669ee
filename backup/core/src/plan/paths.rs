//! Paths as bytes, and which of them a plan keeps.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{PATH_LIMIT_BYTES, Plan};

/// Whether a character is shown as it is and moves or hides no other: no control character, none that turns the direction of
/// text (`Bidi_Control` of Unicode), none that is not seen. Two that join letters in names of people are.
#[must_use]
pub fn is_plain(character: char) -> bool {
    let is_hidden = matches!(
        character,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{200e}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !character.is_control() && !is_hidden
}

/// A path: bytes, separated by `/`, in no particular encoding. As text, what is not UTF-8 or not [`is_plain`] stands as `%` and
/// two hexadecimal digits for each byte, and so does `%` itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PathBytes(Box<[u8]>);

impl PathBytes {
    /// These bytes.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it is `folder` or lies in it.
    #[must_use]
    pub fn is_within(&self, folder: &Self) -> bool {
        is_within(&self.0, &folder.0)
    }

    pub(super) fn validate_absolute(&self) -> Result<(), &'static str> {
        let Some(rest) = self.0.strip_prefix(b"/") else {
            return Err("is not absolute: write the whole path, from `/` on");
        };
        if self.0.len() > PATH_LIMIT_BYTES {
            return Err("is longer than a path can be");
        }
        if self.0.contains(&0) {
            return Err("has a zero byte in it, which no path can have");
        }
        if rest.is_empty() {
            return Ok(());
        }
        match rest.split(|byte| *byte == b'/').find(|part| matches!(*part, b"" | b"." | b"..")) {
            Some(_) => Err("has an empty part, `.` or `..` in it: write the path as it is without them"),
            None => Ok(()),
        }
    }
}

/// Whether `path` is `folder` or lies in it.
pub(crate) fn is_within(path: &[u8], folder: &[u8]) -> bool {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
}

impl From<&str> for PathBytes {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes())
    }
}

impl fmt::Display for PathBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for character in chunk.valid().chars() {
                if character == '%' || !is_plain(character) {
                    let mut bytes = [0; 4];
                    character.encode_utf8(&mut bytes).bytes().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
                } else {
                    write!(f, "{character}")?;
                }
            }
            chunk.invalid().iter().try_for_each(|byte| write!(f, "%{byte:02X}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for PathBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn read(text: &str) -> Option<PathBytes> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let digit = |at: usize| rest.get(at).and_then(|digit| char::from(*digit).to_digit(16));
        bytes.push(u8::try_from(digit(0)? << 4 | digit(1)?).ok()?);
        rest = &rest[2..];
    }
    Some(PathBytes(bytes.into()))
}

impl Serialize for PathBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for PathBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            let wrong = || serde::de::Error::custom(format!("{text:?}: `%` must stand before two hexadecimal digits"));
            return read(&text).ok_or_else(wrong);
        }
        Vec::<u8>::deserialize(deserializer).map(|bytes| Self(bytes.into()))
    }
}

/// Which paths a plan keeps, for a walker that asks of each entry of the folders it walks.
#[derive(Debug)]
pub struct Selection<'a> {
    plan: &'a Plan,
}

impl<'a> Selection<'a> {
    /// What this plan keeps.
    #[must_use]
    pub fn of(plan: &'a Plan) -> Self {
        Self { plan }
    }

    /// The roots, without those that lie in others.
    #[must_use]
    pub fn roots(&self) -> Vec<&'a PathBytes> {
        let roots = &self.plan.roots;
        let mut outer: Vec<_> =
            roots.iter().filter(|root| !roots.iter().any(|o| o != *root && root.is_within(o))).collect();
        outer.sort();
        outer.dedup();
        outer
    }

    /// Whether an entry of a folder that is kept is kept too. What is in a folder that is not is not asked of.
    #[must_use]
    pub fn keeps(&self, path: &PathBytes, is_folder: bool) -> bool {
        let excluded = &self.plan.excluded;
        if excluded.directories.iter().any(|folder| path.is_within(folder)) {
            return false;
        }
        if !is_folder && extension(path.as_bytes()).is_some_and(|ending| has(&excluded.extensions, ending)) {
            return false;
        }
        !excluded.patterns.iter().any(|pattern| pattern.matches(path.as_bytes()))
    }
}

/// What stands behind the last dot of the name, if a name stands before it.
fn extension(path: &[u8]) -> Option<&[u8]> {
    let name = path.rsplit(|byte| *byte == b'/').next()?;
    let dot = name.iter().rposition(|byte| *byte == b'.')?;
    (dot > 0).then(|| &name[dot + 1..])
}

fn has(extensions: &[String], ending: &[u8]) -> bool {
    extensions.iter().any(|extension| extension.as_bytes().eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::plan::Pattern;

    proptest! {
        #[test]
        fn every_path_comes_back_from_its_text(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let path = PathBytes::new(&bytes);
            prop_assert_eq!(read(&path.to_string()), Some(path.clone()));
            let stored = postcard::to_allocvec(&path).unwrap();
            prop_assert_eq!(postcard::from_bytes::<PathBytes>(&stored).unwrap(), path);
        }
    }

    #[test]
    fn what_turns_text_round_or_is_not_seen_stands_as_bytes() {
        let shown = |text: &str| PathBytes::from(text).to_string();
        assert_eq!(shown("/a/\u{202e}gpj.exe"), "/a/%E2%80%AEgpj.exe");
        assert_eq!(shown("/a\n\u{1b}[2J\u{9b}\u{200b}"), "/a%0A%1B[2J%C2%9B%E2%80%8B");
        assert_eq!(shown("/тест/نامه\u{200c}ها 😀 é"), "/тест/نامه\u{200c}ها 😀 é");
    }

    #[test]
    fn a_folder_is_no_prefix_of_letters() {
        let check = |path: &str, folder: &str| PathBytes::from(path).is_within(&folder.into());
        assert!(check("/a/b", "/a") && check("/a", "/a") && check("/a", "/") && check("/a/b", "/a/"));
        assert!(!check("/ab", "/a") && !check("/", "/a"));
    }

    #[test]
    fn what_is_kept() {
        let mut plan = Plan { roots: vec!["/home".into(), "/home/ana".into(), "/data".into()], ..Plan::default() };
        plan.excluded.directories = vec!["/home/ana/big".into()];
        plan.excluded.extensions = vec!["iso".into()];
        plan.excluded.patterns = vec![Pattern::new(b"**/target").unwrap(), Pattern::new(b"*.o").unwrap()];
        let selection = Selection::of(&plan);
        assert_eq!(selection.roots(), [&"/data".into(), &PathBytes::from("/home")]);
        for (path, is_folder, kept) in [
            ("/home/ana/letter.txt", false, true),
            ("/home/ana/big", true, false),
            ("/home/ana/big/x", false, false),
            ("/home/ana/bigger", true, true),
            ("/home/ana/d.ISO", false, false),
            ("/home/ana/d.iso", true, true),
            ("/home/ana/.iso", false, true),
            ("/home/ana/target", true, false),
            ("/home/ana/x.o", false, false),
        ] {
            assert_eq!(selection.keeps(&path.into(), is_folder), kept, "{path}");
        }
    }
}
