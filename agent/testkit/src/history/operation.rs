//! One operation of one client: what it asked for, when, and what it was told.

use std::fmt;

/// Paths of a group, at most: a group's states multiply with its paths.
pub const PATHS_LIMIT: usize = 4;

/// A path of a group, by its number below [`PATHS_LIMIT`].
pub type Path = u8;

/// What a file holds: a number no other write of the group has, and neither 0 nor `u64::MAX`.
pub type Value = u64;

/// On what a write depends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Condition {
    /// On nothing.
    None,
    /// Nothing may be there (`If-None-Match: *`).
    Absent,
    /// This value must be there (`If-Match` with its tag).
    Is(Value),
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// The content of a path, or only whether it is there.
    Read {
        /// Which.
        path: Path,
    },
    /// New content for a path.
    Write {
        /// Which.
        path: Path,
        /// The content.
        value: Value,
        /// On what it depends.
        condition: Condition,
    },
    /// A path's end.
    Delete {
        /// Which.
        path: Path,
    },
    /// What is at one path shall be at another instead.
    Move {
        /// From where.
        from: Path,
        /// To where; never the same.
        to: Path,
        /// Whether something there may be replaced.
        overwrite: bool,
    },
    /// Which paths of the group exist.
    List,
}

/// What the client was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing that can be relied on: it may have happened, may yet happen, or never.
    Unknown,
    /// It was refused in a way that says nothing about the paths; it had no effect.
    NoEffect,
    /// A change was made.
    Done,
    /// A read found this, or found nothing.
    Found(Option<Value>),
    /// A read found something, without learning what.
    Exists,
    /// What was to be deleted or moved was not there.
    Missing,
    /// The write's condition did not hold, or the target of a move that must not overwrite was there.
    Refused,
    /// A listing found these paths: bit `n` stands for path `n`.
    Listed(u8),
}

/// One operation of one client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Who asked.
    pub client: u32,
    /// At which mount point.
    pub door: u32,
    /// When it was asked, in microseconds since the recording began.
    pub invoked_us: u64,
    /// When the answer was there, or the client gave up.
    pub finished_us: u64,
    /// What was asked.
    pub action: Action,
    /// What was answered.
    pub outcome: Outcome,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:>12.3} ms – {:>12.3} ms  client {:>2} at agent {}: {:?} → {:?}",
            self.invoked_us as f64 / 1000.0,
            self.finished_us as f64 / 1000.0,
            self.client,
            self.door,
            self.action,
            self.outcome
        )
    }
}
