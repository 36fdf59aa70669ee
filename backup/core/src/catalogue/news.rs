//! What a tail changed: told when all of it was taken in, undone when something in it was wrong.

use std::collections::BTreeMap;

use super::State;
use super::state::Change;
use crate::object::{Object, ObjectName};

/// What a tail changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TakenIn {
    /// Objects that are there now and were not, in the order in which they came.
    pub added: Vec<Object>,
    /// Objects that were there and are not now, in the order in which they may go.
    pub deleted: Vec<Object>,
    /// Entries that were new.
    pub entries: usize,
}

/// Changes of a state, one after the other.
#[derive(Debug, Default)]
pub(super) struct News {
    changes: Vec<(Change, [u8; 32], Option<u64>)>,
    /// Whether an object was there before its first change.
    before: BTreeMap<ObjectName, bool>,
}

impl News {
    /// A base took the place of the state.
    pub(super) fn replaced(&mut self, old: &State, new: &State) {
        let gone = old.iter().map(|(_, object)| *object).filter(|object| new.get(&object.name).is_none());
        let mut gone: Vec<Object> = gone.collect();
        // Nobody says in which order they went. What needs others goes before them.
        gone.sort_by_key(|object| std::cmp::Reverse(object.kind));
        let came = new.iter().map(|(_, object)| *object).filter(|object| old.get(&object.name).is_none());
        for change in gone.into_iter().map(Change::Deleted).chain(came.map(Change::Added)) {
            self.changed(change, [0; 32], None);
        }
    }

    /// An entry was applied. `head`, `added_at`: the state's head and the object's sequence before.
    pub(super) fn changed(&mut self, change: Change, head: [u8; 32], added_at: Option<u64>) {
        match change {
            Change::Added(object) => self.before.entry(object.name).or_insert(false),
            Change::Deleted(object) => self.before.entry(object.name).or_insert(true),
            Change::Nothing => &mut false,
        };
        self.changes.push((change, head, added_at));
    }

    /// Puts a state back to before the changes, which were all by entries.
    pub(super) fn undo(self, state: &mut State) {
        for (change, head, added_at) in self.changes.into_iter().rev() {
            match change {
                Change::Added(object) => _ = state.remove(&object.name),
                Change::Deleted(object) => state.insert(added_at.unwrap_or_default(), object),
                Change::Nothing => {}
            }
            state.sequence -= 1;
            state.head = head;
        }
    }

    /// What it all amounts to.
    pub(super) fn told(mut self, state: &State, entries: usize) -> TakenIn {
        let mut told = TakenIn { entries, ..TakenIn::default() };
        // The last change of each object says when; the first one, whether it was there.
        for (change, ..) in self.changes.iter().rev() {
            let (Change::Added(object) | Change::Deleted(object)) = change else { continue };
            let Some(before) = self.before.remove(&object.name) else { continue };
            match (before, state.get(&object.name).is_some()) {
                (false, true) => told.added.push(*object),
                (true, false) => told.deleted.push(*object),
                _ => {}
            }
        }
        told.added.reverse();
        told.deleted.reverse();
        told
    }
}
