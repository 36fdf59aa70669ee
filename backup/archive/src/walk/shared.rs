//! What the walker and its readers, on several threads, tell whoever started them.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::problems::{ProblemKind, Problems};
use crate::watch::Watch;

/// Shared by the walker and its readers.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) watch: Arc<Watch>,
    problems: Mutex<Problems>,
    /// Entries other than folders that were handed to the engine.
    given: AtomicU64,
    /// Of these, those that could not be read after all.
    lost: AtomicU64,
}

impl Shared {
    pub(super) fn new(watch: Arc<Watch>) -> Self {
        Self { watch, problems: Mutex::default(), given: AtomicU64::new(0), lost: AtomicU64::new(0) }
    }

    pub(super) fn problem(&self, path: &[u8], kind: ProblemKind) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).add(path, kind);
    }

    /// Something could not be looked at.
    pub(super) fn unreadable(&self, path: &[u8], error: &io::Error) {
        let kind = if error.kind() == io::ErrorKind::NotFound {
            ProblemKind::Vanished
        } else {
            ProblemKind::Unreadable(error.to_string())
        };
        self.problem(path, kind);
    }

    /// A file that was handed to the engine could not be read; the engine leaves it out.
    pub(super) fn lost(&self, path: &[u8], error: io::Error) {
        self.lost.fetch_add(1, Ordering::Relaxed);
        self.unreadable(path, &error);
    }

    pub(super) fn give(&self) {
        self.given.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn nothing_read(&self) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).nothing_read = true;
    }

    /// All problems, given how many entries the engine says are in the archive: what it left out of its own accord counts.
    pub(super) fn into_problems(self: &Arc<Self>, archived: u64) -> Problems {
        let expected = self.given.load(Ordering::Relaxed).saturating_sub(self.lost.load(Ordering::Relaxed));
        for _ in archived..expected {
            self.problem(b"?", ProblemKind::Lost);
        }
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
