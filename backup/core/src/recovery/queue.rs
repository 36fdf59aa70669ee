//! What is restored next on a new PC: what somebody asks for comes first, all the rest in the background.
//!
//! Nothing is remembered of what was restored early: when the background comes by, it is there already and the plan says so.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::plan::PathBytes;

/// Paths somebody asked for that are remembered, at most.
pub const ASKED_LIMIT: usize = 1_024;

/// What to restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Work {
    /// This and all that is in it, at once.
    Asked(PathBytes),
    /// The rest, from behind this path on (`None`: from the beginning), until something is asked for.
    Background(Option<PathBytes>),
    /// All is there.
    Done,
}

/// What is to be restored. Kept over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RestoreQueue {
    asked: VecDeque<PathBytes>,
    background: Option<PathBytes>,
    done: bool,
}

impl RestoreQueue {
    /// Somebody wants this first. False if too much is asked for already; the background brings it too.
    pub fn ask(&mut self, path: PathBytes) -> bool {
        if self.asked.iter().any(|asked| path.is_within(asked)) {
            return true;
        }
        let room = self.asked.len() < ASKED_LIMIT;
        if room {
            self.asked.push_back(path);
        }
        room
    }

    /// What to do now. It stays the same until it is told to be done.
    #[must_use]
    pub fn next(&self) -> Work {
        match self.asked.front() {
            Some(path) => Work::Asked(path.clone()),
            None if self.done => Work::Done,
            None => Work::Background(self.background.clone()),
        }
    }

    /// What was asked for is there, or cannot be had.
    pub fn asked_done(&mut self, path: &PathBytes) {
        self.asked.retain(|asked| asked != path);
    }

    /// The background has come to this path, in [`super::tree_order`].
    pub fn background_at(&mut self, path: PathBytes) {
        self.background = Some(path);
    }

    /// The background has come to its end.
    pub fn background_done(&mut self) {
        self.done = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_comes_first_and_the_background_goes_on_where_it_was() {
        let mut queue = RestoreQueue::default();
        assert_eq!(queue.next(), Work::Background(None));
        queue.background_at("b".into());
        assert!(queue.ask("x".into()) && queue.ask("x/y".into()) && queue.ask("c".into()));
        let stored = postcard::to_allocvec(&queue).unwrap();
        let mut queue: RestoreQueue = postcard::from_bytes(&stored).unwrap();
        let mut done = Vec::new();
        while let Work::Asked(path) = queue.next() {
            queue.asked_done(&path);
            done.push(path.to_string());
        }
        assert_eq!((done, queue.next()), (vec!["x".to_owned(), "c".to_owned()], Work::Background(Some("b".into()))));
        queue.background_done();
        assert_eq!(queue.next(), Work::Done);
        assert!((0..ASKED_LIMIT).all(|number| queue.ask(number.to_string().as_str().into())) && !queue.ask("z".into()));
    }
}
