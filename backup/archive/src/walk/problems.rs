//! What could not be read as it was: counted, and named as far as there is room.

use std::fmt;

use shoal_backup::plan::PathBytes;

/// Problems that are named; more are only counted.
pub const NAMED_LIMIT: usize = 10_000;
/// Problems that the description of an archive names.
const DESCRIBED_LIMIT: usize = 100;
/// Bytes of a description, about.
const DESCRIPTION_LIMIT_BYTES: usize = 16_384;

/// What was the matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProblemKind {
    /// It could not be read; what the system said.
    Unreadable(String),
    /// It was there and then was not.
    Vanished,
    /// It changed while it was read: its content may be of no single moment.
    Changed,
    /// The engine lost it; the log of the agent says more.
    Lost,
}

impl fmt::Display for ProblemKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(why) => write!(f, "could not be read: {why}"),
            Self::Vanished => f.write_str("vanished before it was read"),
            Self::Changed => f.write_str("changed while it was read"),
            Self::Lost => f.write_str("got lost"),
        }
    }
}

/// A file or folder that is missing in an archive or not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Which.
    pub path: PathBytes,
    /// What was the matter.
    pub kind: ProblemKind,
}

/// All problems of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problems {
    /// How many there were.
    pub count: u64,
    /// The first [`NAMED_LIMIT`] of them.
    pub named: Vec<Problem>,
    /// Whether no root could be read.
    pub nothing_read: bool,
}

impl Problems {
    pub(super) fn add(&mut self, path: &[u8], kind: ProblemKind) {
        self.count += 1;
        if self.named.len() < NAMED_LIMIT {
            self.named.push(Problem { path: PathBytes::new(path), kind });
        }
    }

    /// For the archive, so that whoever finds it without us knows what is missing.
    #[must_use]
    pub fn description(&self) -> String {
        let what = match self.count {
            1 => "1 file or folder could not be read as it was".to_owned(),
            count => format!("{count} files or folders could not be read as they were"),
        };
        let mut text = format!("Incomplete: {what}.");
        let mut described = 0;
        for problem in self.named.iter().take(DESCRIBED_LIMIT) {
            if text.len() > DESCRIPTION_LIMIT_BYTES {
                break;
            }
            text.push_str(&format!("\n{} {}", problem.path, problem.kind));
            described += 1;
        }
        if described < self.count {
            text.push_str(&format!("\nand {} more", self.count - described));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_problems_are_counted_and_the_first_are_named() {
        let mut problems = Problems::default();
        (0..=NAMED_LIMIT).for_each(|number| problems.add(format!("/x/{number}").as_bytes(), ProblemKind::Vanished));
        assert_eq!((problems.count, problems.named.len()), (NAMED_LIMIT as u64 + 1, NAMED_LIMIT));
        let text = problems.description();
        assert!(text.starts_with(
            "Incomplete: 10001 files or folders could not be read as they were.\n/x/0 vanished before it was read\n"
        ));
        assert!(text.ends_with("\nand 9901 more"), "{text}");
    }
}
