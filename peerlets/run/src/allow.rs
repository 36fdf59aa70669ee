//! What the owner of a PC lets others run on it: nothing, some programs, or any.
//!
//! A program is meant by a name or an absolute path; both are the same where the name is found there. Its arguments are its own
//! business: who allows `find` allows `find -exec`.

use std::path::{Component, Path};

/// Programs in one list.
const LIST_LIMIT: usize = 256;
/// Bytes of one of them.
const WORD_LIMIT_BYTES: usize = 1_024;
/// Bytes of all of them together: what a manifest takes as the value of a variable.
const LIST_LIMIT_BYTES: usize = 15 * 1024;
/// What stands for any program.
const ANY: &str = "any";

/// What may be run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Whatever is asked for.
    Any,
    /// These programs; none of them: nothing.
    Only(Vec<String>),
}

impl Default for Allow {
    fn default() -> Self {
        Self::Only(Vec::new())
    }
}

/// Why a list is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllowError {
    /// A word that means no program.
    #[error("{0:?} is not taken: write a program's name, such as \"df\", or its absolute path")]
    Word(String),
    /// The word that would mean all of them.
    #[error("to allow any program write `any = true`")]
    Any,
    /// Too many.
    #[error("at most {LIST_LIMIT} programs of {LIST_LIMIT_BYTES} bytes together are taken")]
    TooMany,
}

impl Allow {
    /// These programs.
    ///
    /// # Errors
    /// If one of them is none, or they are too many.
    pub fn only(programs: Vec<String>) -> Result<Self, AllowError> {
        let bytes: usize = programs.iter().map(|program| program.len() + 1).sum();
        if programs.len() > LIST_LIMIT || bytes > LIST_LIMIT_BYTES {
            return Err(AllowError::TooMany);
        }
        if programs.iter().any(|program| program == ANY) {
            return Err(AllowError::Any);
        }
        match programs.iter().find(|program| !is_program_word(program)) {
            Some(bad) => Err(AllowError::Word(bad.chars().take(80).collect())),
            None => Ok(Self::Only(programs)),
        }
    }

    /// As it stands in the program's environment.
    #[must_use]
    pub fn to_variable(&self) -> String {
        match self {
            Self::Any => ANY.to_owned(),
            Self::Only(programs) => programs.join("\n"),
        }
    }

    /// Reads it there. What makes no sense allows nothing.
    #[must_use]
    pub fn of_variable(text: &str) -> Self {
        if text == ANY {
            return Self::Any;
        }
        let programs = text.split('\n').filter(|line| !line.is_empty()).map(str::to_owned).collect();
        Self::only(programs).unwrap_or_default()
    }

    /// Whether a program may be run that was asked for by this word. `find`: where a program of a word is, if there is one.
    pub(crate) fn permits<P: PartialEq>(&self, word: &str, find: impl Fn(&str) -> Option<P>) -> bool {
        let Self::Only(programs) = self else { return true };
        let meant = find(word);
        programs.iter().any(|program| program == word || (meant.is_some() && find(program) == meant))
    }
}

/// Whether a word can mean a program: a name without folders, or an absolute path that goes straight there.
pub(crate) fn is_program_word(word: &str) -> bool {
    let fits = !word.is_empty() && word.len() <= WORD_LIMIT_BYTES && !word.chars().any(char::is_control);
    let straight = !Path::new(word).components().any(|part| matches!(part, Component::ParentDir));
    fits && straight
        && !word.ends_with('/')
        && (word.starts_with('/') || !word.contains('/'))
        && word != "."
        && word != ".."
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(word: &str) -> Option<String> {
        match word {
            "df" | "/bin/df" | "/usr/bin/df" => Some("/usr/bin/df".into()),
            "sh" | "/bin/sh" => Some("/usr/bin/sh".into()),
            _ => None,
        }
    }

    #[test]
    fn a_name_and_the_path_it_is_found_at_are_the_same_program() {
        let allow =
            |programs: &[&str]| Allow::only(programs.iter().map(|p| (*p).to_owned()).collect()).expect("a list");
        for (programs, word, expected) in [
            (&["df"][..], "df", true),
            (&["df"], "/usr/bin/df", true),
            (&["/bin/df"], "df", true),
            (&["df"], "sh", false),
            (&["df"], "/home/ana/df", false),
            (&["df"], "dfx", false),
            (&["gone"], "missing", false),
            (&[], "df", false),
        ] {
            assert_eq!(allow(programs).permits(word, find), expected, "{programs:?} {word}");
        }
        assert!(Allow::Any.permits("sh", find));
        assert!(!Allow::default().permits("sh", find));
    }

    #[test]
    fn what_is_allowed_goes_through_the_environment_and_back() {
        for allow in [Allow::Any, Allow::default(), Allow::Only(vec!["df".into(), "/opt/x y".into()])] {
            assert_eq!(Allow::of_variable(&allow.to_variable()), allow);
        }
        assert_eq!(Allow::of_variable("any\ndf"), Allow::default(), "makes no sense and allows nothing");
    }

    #[test]
    fn what_means_no_program_is_not_taken() {
        for bad in ["", "a/b", "./a", "../a", "/a/../b", "/a/", "a\nb", ".", "..", &"a".repeat(1_025)] {
            assert!(matches!(Allow::only(vec![bad.to_owned()]), Err(AllowError::Word(_))), "{bad:?}");
        }
        assert_eq!(Allow::only(vec!["any".into()]), Err(AllowError::Any));
        assert_eq!(Allow::only(vec!["a".into(); 257]), Err(AllowError::TooMany));
    }
}
