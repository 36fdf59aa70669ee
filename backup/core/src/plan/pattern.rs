//! Patterns for paths, over bytes.
//!
//! | in a pattern | stands for |
//! |---|---|
//! | `?` | one byte, not `/` |
//! | `*` | any bytes, not `/` |
//! | `**` as a whole part | any parts, none too |
//! | `[abc]`, `[a-z]`, `[!abc]` | one byte of these, or none of these; never `/` |
//! | `\x` | `x` itself |
//!
//! A pattern that begins with `/` is meant for the whole path; one that does not may begin at any part of it: `*.o` and
//! `**/*.o` are the same. A pattern that matches a folder leaves out all that is in it, because nobody walks into it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{PATH_LIMIT_BYTES, PathBytes};

/// Parts of a pattern, at most.
const PARTS_LIMIT: usize = 64;

/// A pattern for paths.
#[derive(Clone, PartialEq, Eq)]
pub struct Pattern {
    text: PathBytes,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `**`
    Any,
    /// One name.
    Name(Vec<Token>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Byte(u8),
    One,
    Many,
    /// Ranges, both ends in them; whether all others are meant.
    Set(Vec<(u8, u8)>, bool),
}

/// Why a text is no pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the pattern {pattern} cannot be used: {why}")]
pub struct PatternError {
    pattern: PathBytes,
    why: &'static str,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// If it is empty, too long, or not well formed.
    pub fn new(text: &[u8]) -> Result<Self, PatternError> {
        let error = |why| PatternError { pattern: PathBytes::new(&text[..text.len().min(80)]), why };
        if text.is_empty() || text == b"/" {
            return Err(error("it is empty"));
        }
        if text.len() > PATH_LIMIT_BYTES {
            return Err(error("it is longer than a path can be"));
        }
        let body = text.strip_prefix(b"/");
        let mut parts = if body.is_some() { Vec::new() } else { vec![Part::Any] };
        let body = body.unwrap_or(text);
        for part in body.strip_suffix(b"/").unwrap_or(body).split(|byte| *byte == b'/') {
            match part {
                b"" | b"." | b".." => return Err(error("it has an empty part, `.` or `..` in it")),
                b"**" if parts.last() == Some(&Part::Any) => {}
                b"**" => parts.push(Part::Any),
                name => parts.push(Part::Name(tokens(name).map_err(error)?)),
            }
        }
        if !parts.iter().any(|part| matches!(part, Part::Name(_))) {
            return Err(error("it stands for everything: name what is meant"));
        }
        if parts.len() > PARTS_LIMIT {
            return Err(error("it has too many parts"));
        }
        Ok(Self { text: PathBytes::new(text), parts })
    }

    /// Whether it stands for this path.
    #[must_use]
    pub fn matches(&self, path: &[u8]) -> bool {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let is_any = |part: &Part| *part == Part::Any;
        let fits = |part: &Part, name: &&[u8]| matches!(part, Part::Name(tokens) if name_matches(tokens, name));
        wild(&self.parts, &names, is_any, fits)
    }
}

fn name_matches(tokens: &[Token], name: &[u8]) -> bool {
    let fits = |token: &Token, byte: &u8| match token {
        Token::Byte(wanted) => wanted == byte,
        Token::One => true,
        Token::Many => false,
        Token::Set(ranges, others) => ranges.iter().any(|(from, to)| (from..=to).contains(&byte)) != *others,
    };
    wild(tokens, name, |token| *token == Token::Many, fits)
}

/// Matches with wildcards that stand for any number of items. Only the last wildcard is ever tried again, so the time is
/// at most the product of both lengths, whatever the pattern.
fn wild<P, T>(pattern: &[P], items: &[T], is_wild: impl Fn(&P) -> bool, fits: impl Fn(&P, &T) -> bool) -> bool {
    let (mut at, mut item) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while item < items.len() {
        match pattern.get(at) {
            Some(part) if is_wild(part) => {
                last = Some((at, item));
                at += 1;
            }
            Some(part) if fits(part, &items[item]) => {
                at += 1;
                item += 1;
            }
            _ => {
                let Some((wild_at, taken)) = last else {
                    return false;
                };
                last = Some((wild_at, taken + 1));
                at = wild_at + 1;
                item = taken + 1;
            }
        }
    }
    pattern[at..].iter().all(is_wild)
}

fn tokens(name: &[u8]) -> Result<Vec<Token>, &'static str> {
    let mut tokens = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'?' => tokens.push(Token::One),
            b'*' if tokens.last() == Some(&Token::Many) => {}
            b'*' => tokens.push(Token::Many),
            b'\\' => {
                let (byte, after) = rest.split_first().ok_or("nothing stands behind its last `\\`")?;
                tokens.push(Token::Byte(*byte));
                rest = after;
            }
            b'[' => {
                let (set, after) = set(rest)?;
                tokens.push(set);
                rest = after;
            }
            byte => tokens.push(Token::Byte(*byte)),
        }
    }
    Ok(tokens)
}

/// What stands behind a `[`. A `]` as its first byte is meant itself.
fn set(text: &[u8]) -> Result<(Token, &[u8]), &'static str> {
    let others = matches!(text.first(), Some(b'!' | b'^'));
    let body = &text[usize::from(others)..];
    let end = body.iter().skip(1).position(|byte| *byte == b']').ok_or("a `[` has no `]`")? + 1;
    let (mut inside, after) = (&body[..end], &body[end + 1..]);
    let mut ranges = Vec::new();
    while let Some((from, more)) = inside.split_first() {
        (ranges, inside) = match more {
            [b'-', to, rest @ ..] if from <= to => ([ranges, vec![(*from, *to)]].concat(), rest),
            [b'-', _, ..] => return Err("a range in `[…]` ends before it begins"),
            rest => ([ranges, vec![(*from, *from)]].concat(), rest),
        };
    }
    Ok((Token::Set(ranges, others), after))
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({self})")
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.text.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(PathBytes::deserialize(deserializer)?.as_bytes()).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, path: &[u8]) -> bool {
        Pattern::new(pattern.as_bytes()).unwrap().matches(path)
    }

    #[test]
    fn what_patterns_stand_for() {
        for (pattern, path, expected) in [
            ("*.o", "/a/b.o", true),
            ("*.o", "/a.o/b", false),
            ("/a/*.o", "/a/b.o", true),
            ("/a/*.o", "/x/a/b.o", false),
            ("/a/**/c", "/a/c", true),
            ("/a/**/c", "/a/b/b/c", true),
            ("/a/**", "/a/b/c", true),
            ("b/c", "/a/b/c", true),
            ("b/c", "/a/b/d/c", false),
            ("?", "/a/bc", false),
            ("[a-c]x", "/cx", true),
            ("[!a-c]x", "/cx", false),
            ("[]]", "/]", true),
            ("\\*", "/*", true),
            ("\\*", "/a", false),
            ("a*b*c", "/aXbXbXc", true),
            ("a*b*c", "/aXbXb", false),
            ("cache/", "/x/cache", true),
        ] {
            assert_eq!(matches(pattern, path.as_bytes()), expected, "{pattern} {path}");
        }
        assert!(matches("a?c", b"/a\xffc"), "bytes, not characters");
    }

    #[test]
    fn what_is_no_pattern_says_why() {
        for (text, why) in [
            ("", "empty"),
            ("**", "everything"),
            ("a//b", "empty part"),
            ("[ab", "no `]`"),
            ("x\\", "nothing"),
            ("[z-a]", "range"),
        ] {
            let said = Pattern::new(text.as_bytes()).unwrap_err().to_string();
            assert!(said.contains(why), "{said}");
        }
        assert!(Pattern::new(&[b'a'; PATH_LIMIT_BYTES + 1]).is_err());
    }

    /// The plain, exponential way.
    fn naive(tokens: &[Token], name: &[u8]) -> bool {
        match (tokens.split_first(), name.split_first()) {
            (None, None) => true,
            (Some((Token::Many, rest)), _) => (0..=name.len()).any(|skipped| naive(rest, &name[skipped..])),
            (Some((Token::One, rest)), Some((_, after))) => naive(rest, after),
            (Some((Token::Byte(wanted), rest)), Some((byte, after))) => wanted == byte && naive(rest, after),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn names_match_as_the_naive_way_says(pattern in "[ab*?]{1,8}", name in "[ab]{0,8}") {
            let tokens = tokens(pattern.as_bytes()).unwrap();
            prop_assert_eq!(name_matches(&tokens, name.as_bytes()), naive(&tokens, name.as_bytes()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(text in proptest::collection::vec(any::<u8>(), 0..30), path in
            proptest::collection::vec(any::<u8>(), 0..30))
        {
            if let Ok(pattern) = Pattern::new(&text) {
                let _ = pattern.matches(&path);
            }
        }
    }

    #[test]
    fn a_pattern_made_to_be_slow_is_not() {
        assert!(!matches(&"a*".repeat(1000), &[b"/".as_slice(), &[b'a'; 900], b"b"].concat()));
    }
}
