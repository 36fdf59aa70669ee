//! What an owner deleted and a holder still keeps, for a grace time from when it learnt of it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::object::{Object, ObjectKind, ObjectName};

/// An object that was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trashed {
    /// What.
    pub object: Object,
    /// The catalogue's last sequence when this holder learnt of it.
    pub sequence: u64,
    /// The catalogue's sequence with which it had been added; 0: not known.
    pub added_at: u64,
    /// When it learnt of it, by its [`super::GraceClock`].
    pub learnt_ms: u64,
}

/// What was deleted, in the order in which this holder learnt of it. Kept over restarts. Never more than the repository
/// has objects: what is in it was in the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Trash {
    by_place: BTreeMap<u64, Trashed>,
    places: BTreeMap<ObjectName, u64>,
    next: u64,
}

impl Trash {
    /// The owner deleted what is held here.
    pub fn put(&mut self, trashed: Trashed) {
        self.take_back(&trashed.object.name);
        self.places.insert(trashed.object.name, self.next);
        self.by_place.insert(self.next, trashed);
        self.next += 1;
    }

    /// The owner wants it again, or it has gone. True if it was here.
    pub fn take_back(&mut self, name: &ObjectName) -> bool {
        let place = self.places.remove(name);
        place.is_some_and(|place| self.by_place.remove(&place).is_some())
    }

    /// Whether it is here.
    #[must_use]
    pub fn contains(&self, name: &ObjectName) -> bool {
        self.places.contains_key(name)
    }

    /// Objects here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether nothing is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// All of it, the oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Trashed> {
        self.by_place.values()
    }

    /// What the grace time of is over at `passed_ms` of this holder's time, in the order in which it is to be dropped:
    /// what needs others before them.
    pub fn due(&self, passed_ms: u64, grace_ms: u64) -> impl Iterator<Item = &Trashed> {
        self.iter().take_while(move |trashed| passed_ms.saturating_sub(trashed.learnt_ms) >= grace_ms)
    }

    /// Archives whose snapshot is here: they could be taken back.
    #[must_use]
    pub fn snapshots(&self) -> usize {
        self.iter().filter(|trashed| trashed.object.kind == ObjectKind::Snapshot).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::tests::object;

    #[test]
    fn what_was_deleted_is_due_after_the_grace_time_in_the_order_it_was_learnt() {
        let mut trash = Trash::default();
        let trashed = |number, learnt_ms| Trashed {
            object: object(number, ObjectKind::Pack, 1),
            sequence: 1,
            added_at: 1,
            learnt_ms,
        };
        for (number, learnt_ms) in [(5, 0), (3, 0), (9, 50)] {
            trash.put(trashed(number, learnt_ms));
        }
        let due = |trash: &Trash, passed_ms| -> Vec<u64> {
            trash.due(passed_ms, 100).map(|trashed| trashed.object.size_bytes - 100).collect()
        };
        assert_eq!((due(&trash, 99), due(&trash, 100), due(&trash, 150)), (vec![], vec![5, 3], vec![5, 3, 9]));
        assert!(trash.take_back(&trashed(5, 0).object.name) && !trash.take_back(&trashed(5, 0).object.name));
        trash.put(trashed(3, 60));
        assert_eq!(
            (due(&trash, 150), due(&trash, 160), trash.len()),
            (vec![9], vec![9, 3], 2),
            "deleted anew, kept anew"
        );
        let stored = postcard::to_allocvec(&trash).unwrap();
        assert_eq!(postcard::from_bytes::<Trash>(&stored).unwrap(), trash);
    }
}
