//! Folders get owner, permissions and times when all that is in them is in its place: each file that is put in changes their
//! time, and one that may not be written to would take nothing.

use shoal_backup::plan::PathBytes;

use super::meta;
use super::target::{Target, below};
use crate::entry::Entry;

/// Folders that wait after everything in them was written.
const LEFT: usize = 1_024;

/// Folders that wait.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// What is in them comes just now; the innermost last.
    inside: Vec<Entry>,
    /// Everything in them was written, but is perhaps not in its place; inner ones before outer ones.
    left: Vec<Entry>,
}

impl Folders {
    pub(super) fn enter(&mut self, entry: Entry) {
        self.inside.push(entry);
    }

    /// Leaves those that `path` is not in; without a path, all.
    pub(super) fn leave_for(&mut self, path: Option<&PathBytes>) {
        let is_left = |entry: &mut Entry| path.is_none_or(|path| !path.is_within(&entry.path));
        while let Some(entry) = self.inside.pop_if(is_left) {
            self.left.push(entry);
        }
    }

    pub(super) fn are_many(&self) -> bool {
        self.left.len() >= LEFT
    }

    /// Finishes those that were left, now that everything in them is in its place. What could not be set, and of which.
    pub(super) fn finish(&mut self, target: &mut Target, set_owner: bool) -> Vec<(PathBytes, String)> {
        let finish = |entry: Entry| {
            let folder = target.folder(below(&entry.path)).map_err(|error| error.to_string());
            let set = folder.and_then(|folder| meta::set(folder, &entry, set_owner));
            set.err().map(|why| (entry.path, why))
        };
        self.left.drain(..).filter_map(finish).collect()
    }
}
