//! Up to when each user has seen each conversation at this agent: what is unread. In a file, so that a restart does not bring
//! everything back; losing the last few seconds of it does no harm.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dci_proto::SessionId;
use serde::{Deserialize, Serialize};

use crate::secret_file;

/// The file in a data directory.
const FILE: &str = "messages/chat-seen.json";
/// The version of its layout.
const VERSION: u32 = 1;
/// Marks, at most; the oldest goes.
const MARKS_LIMIT: usize = 3_000;

/// The file's content.
#[derive(Serialize, Deserialize)]
struct Stored {
    version: u32,
    marks: Vec<Mark>,
}

#[derive(Serialize, Deserialize)]
struct Mark {
    user: String,
    session: SessionId,
    seen_ms: u64,
}

/// The marks.
pub(super) struct Seen {
    path: PathBuf,
    marks: BTreeMap<(String, SessionId), u64>,
    dirty: bool,
}

impl Seen {
    /// Reads them; what cannot be read counts as none.
    pub(super) fn open(data: &Path) -> Self {
        let path = data.join(FILE);
        let bytes = secret_file::read(&path).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was seen of the chat is not known; all of it counts as new");
            None
        });
        let stored = bytes.and_then(|bytes| serde_json::from_slice::<Stored>(&bytes).ok());
        let marks = stored.filter(|stored| stored.version == VERSION).map(|stored| stored.marks).unwrap_or_default();
        let marks = marks.into_iter().take(MARKS_LIMIT).map(|mark| ((mark.user, mark.session), mark.seen_ms));
        Self { path, marks: marks.collect(), dirty: false }
    }

    /// Up to when; 0: nothing of it.
    pub(super) fn until_ms(&self, user: &str, session: SessionId) -> u64 {
        self.marks.get(&(user.to_owned(), session)).copied().unwrap_or(0)
    }

    /// Answers whether that is news.
    pub(super) fn set(&mut self, user: &str, session: SessionId, until_ms: u64) -> bool {
        if self.until_ms(user, session) >= until_ms {
            return false;
        }
        self.marks.insert((user.to_owned(), session), until_ms);
        if self.marks.len() > MARKS_LIMIT {
            let oldest = self.marks.iter().min_by_key(|(_, until_ms)| **until_ms).map(|(key, _)| key.clone());
            oldest.map(|key| self.marks.remove(&key));
        }
        self.dirty = true;
        true
    }

    /// What is to be written, and where; it counts as written.
    pub(super) fn take_changes(&mut self) -> Option<(PathBuf, Vec<u8>)> {
        if !std::mem::take(&mut self.dirty) {
            return None;
        }
        let mark = |((user, session), seen_ms): (&(String, SessionId), &u64)| Mark {
            user: user.clone(),
            session: *session,
            seen_ms: *seen_ms,
        };
        let stored = Stored { version: VERSION, marks: self.marks.iter().map(mark).collect() };
        serde_json::to_vec(&stored).ok().map(|bytes| (self.path.clone(), bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_only_go_forward_and_outlive_a_restart() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("messages")).expect("a folder");
        let (one, other) = (SessionId([1; 16]), SessionId([2; 16]));
        let mut seen = Seen::open(folder.path());
        assert!(seen.set("ana", one, 10) && !seen.set("ana", one, 10) && !seen.set("ana", one, 9));
        let (path, bytes) = seen.take_changes().expect("changes");
        assert!(seen.take_changes().is_none());
        secret_file::replace(&path, &bytes).expect("written");
        let again = Seen::open(folder.path());
        let until = |user, session| again.until_ms(user, session);
        assert_eq!((until("ana", one), until("ana", other), until("bob", one)), (10, 0, 0));
    }

    #[test]
    fn marks_are_bounded_and_a_garbled_file_is_none() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("messages")).expect("a folder");
        std::fs::write(folder.path().join(FILE), "{").expect("written");
        let mut seen = Seen::open(folder.path());
        for number in 0..=MARKS_LIMIT as u64 {
            seen.set(&format!("user {number}"), SessionId([0; 16]), number + 1);
        }
        assert_eq!((seen.marks.len(), seen.until_ms("user 0", SessionId([0; 16]))), (MARKS_LIMIT, 0));
    }
}
