//! What of a copy lies on the disk, object by object, and what of it was found damaged.
//!
//! Each object counts with the bytes that were counted when it came, however many its file has when it goes: somebody may
//! have cut or removed it meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use shoal_backup::ObjectName;

/// Objects with their bytes. As many as a catalogue has, and its trash.
#[derive(Debug, Default)]
pub(super) struct Sizes {
    of: BTreeMap<ObjectName, u64>,
    total_bytes: u64,
}

impl Sizes {
    /// An object is there, perhaps in the place of an earlier one of its name.
    pub(super) fn put(&mut self, name: ObjectName, size_bytes: u64) {
        self.remove(&name);
        self.of.insert(name, size_bytes);
        self.total_bytes = self.total_bytes.saturating_add(size_bytes);
    }

    /// An object is there no more.
    pub(super) fn remove(&mut self, name: &ObjectName) {
        if let Some(size_bytes) = self.of.remove(name) {
            self.total_bytes = self.total_bytes.saturating_sub(size_bytes);
        }
    }

    /// With how many bytes it counts.
    pub(super) fn get(&self, name: &ObjectName) -> Option<u64> {
        self.of.get(name).copied()
    }

    /// Bytes of all.
    pub(super) fn total_bytes(&self) -> u64 {
        self.total_bytes
    }

    /// All names, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &ObjectName> {
        self.of.keys()
    }
}

impl FromIterator<(ObjectName, u64)> for Sizes {
    fn from_iter<I: IntoIterator<Item = (ObjectName, u64)>>(objects: I) -> Self {
        let mut sizes = Self::default();
        objects.into_iter().for_each(|(name, size_bytes)| sizes.put(name, size_bytes));
        sizes
    }
}

/// What was found damaged or gone since the start.
#[derive(Debug, Default)]
pub(super) struct Wounds {
    open: BTreeSet<ObjectName>,
    /// How many there were.
    pub(super) found: u64,
    /// Of them made anew.
    pub(super) mended: u64,
}

impl Wounds {
    /// An object is not what it should be. `is_wanted`: it is to come again.
    pub(super) fn found(&mut self, name: ObjectName, is_wanted: bool) {
        self.found += u64::from(!is_wanted || self.open.insert(name));
    }

    /// It is there again.
    pub(super) fn came(&mut self, name: &ObjectName) {
        self.mended += u64::from(self.open.remove(name));
    }

    /// Nobody wants it any more.
    pub(super) fn given_up(&mut self, name: &ObjectName) {
        self.open.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ObjectName = ObjectName([1; 32]);
    const B: ObjectName = ObjectName([2; 32]);

    #[test]
    fn what_goes_counts_with_what_it_came_with_and_nothing_twice() {
        let mut sizes: Sizes = [(A, 10), (B, 5)].into_iter().collect();
        sizes.put(A, 7);
        assert_eq!((sizes.total_bytes(), sizes.get(&A)), (12, Some(7)));
        sizes.remove(&A);
        sizes.remove(&A);
        assert_eq!((sizes.total_bytes(), sizes.names().collect::<Vec<_>>()), (5, vec![&B]));
    }

    #[test]
    fn a_wound_is_found_once_and_mended_once() {
        let mut wounds = Wounds::default();
        wounds.found(A, true);
        wounds.found(A, true);
        wounds.found(B, false);
        wounds.came(&A);
        wounds.came(&A);
        wounds.came(&B);
        assert_eq!((wounds.found, wounds.mended), (2, 1));
        wounds.found(A, true);
        wounds.given_up(&A);
        wounds.came(&A);
        assert_eq!((wounds.found, wounds.mended), (3, 1));
    }
}
