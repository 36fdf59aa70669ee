//! What the entries of a catalogue amount to: which objects the repository has, in which order they came.

use std::collections::BTreeMap;

use super::{CatalogueError, Entry, Op};
use crate::object::{Object, ObjectName};
use crate::slots::OBJECTS_LIMIT;

/// What a catalogue amounts to after some of its entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State {
    /// The sequence of the last entry; 0 before the first.
    pub(super) sequence: u64,
    /// Its hash.
    pub(super) head: [u8; 32],
    /// Live objects, with the sequence of the entry that added them.
    pub(super) objects: BTreeMap<ObjectName, (u64, Object)>,
    /// The same by that sequence.
    order: BTreeMap<u64, ObjectName>,
    size_bytes: u64,
}

/// What an entry changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// An object is there now.
    Added(Object),
    /// An object is there no more.
    Deleted(Object),
    /// Nothing: what it says was so already.
    Nothing,
}

impl State {
    /// Without objects yet.
    pub(super) fn at(sequence: u64, head: [u8; 32]) -> Self {
        Self { sequence, head, ..Self::default() }
    }

    /// The sequence of the last entry; 0 before the first.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.objects.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Bytes of all objects.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// An object that is there.
    #[must_use]
    pub fn get(&self, name: &ObjectName) -> Option<&Object> {
        self.objects.get(name).map(|(_, object)| object)
    }

    /// The sequence of the entry that added it, if it is there.
    #[must_use]
    pub fn added_at(&self, name: &ObjectName) -> Option<u64> {
        self.objects.get(name).map(|(sequence, _)| *sequence)
    }

    /// All objects, in the order in which they were added, from a sequence on.
    pub fn from_sequence(&self, sequence: u64) -> impl Iterator<Item = (u64, &Object)> {
        let names = self.order.range(sequence..);
        names.filter_map(|(sequence, name)| Some((*sequence, self.get(name)?)))
    }

    /// All objects, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Object)> {
        self.from_sequence(0)
    }

    /// Takes in the entry that follows. That it is signed was checked.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<Change, CatalogueError> {
        if entry.sequence != self.sequence + 1 {
            return Err(CatalogueError::Gap { expected: self.sequence + 1, found: entry.sequence });
        }
        if entry.previous != self.head {
            // The owner signed an entry that follows another one with our last sequence.
            return Err(CatalogueError::Forked(self.sequence));
        }
        let change = match entry.op {
            Op::Add(object) => match self.get(&object.name) {
                Some(known) if (known.kind, known.size_bytes) != (object.kind, object.size_bytes) => {
                    return Err(CatalogueError::Contradiction(object.name));
                }
                Some(_) => Change::Nothing,
                None if self.objects.len() >= OBJECTS_LIMIT => return Err(CatalogueError::Full),
                None => {
                    self.insert(entry.sequence, object);
                    Change::Added(object)
                }
            },
            Op::Delete(name) => self.remove(&name).map_or(Change::Nothing, Change::Deleted),
        };
        self.sequence = entry.sequence;
        self.head = entry.hash();
        Ok(change)
    }

    pub(super) fn insert(&mut self, sequence: u64, object: Object) {
        self.objects.insert(object.name, (sequence, object));
        self.order.insert(sequence, object.name);
        self.size_bytes = self.size_bytes.saturating_add(object.size_bytes);
    }

    pub(super) fn remove(&mut self, name: &ObjectName) -> Option<Object> {
        let (sequence, object) = self.objects.remove(name)?;
        self.order.remove(&sequence);
        self.size_bytes = self.size_bytes.saturating_sub(object.size_bytes);
        Some(object)
    }
}
