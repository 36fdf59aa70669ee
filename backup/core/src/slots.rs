//! Many objects in many sets, small in memory: each object gets a slot number, a set is one bit for each slot.
//!
//! An owner with a terabyte has some 65,000 packs. Sets of names for a hundred archives and ten peers would take 200 MB,
//! sets of bits take 1 MB, and "does it hold all that this archive needs" is a thousand machine words.

use std::collections::BTreeMap;

use crate::object::{Object, ObjectName};

/// Objects of one owner's repository, at most: at 16 MiB for a pack that is 16 TiB.
pub const OBJECTS_LIMIT: usize = 1 << 20;

/// Stands for an object in sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot(u32);

/// A set of slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots {
    words: Vec<u64>,
    count: usize,
}

/// Equal if the same slots are in both.
impl PartialEq for Slots {
    fn eq(&self, other: &Self) -> bool {
        self.count == other.count && self.is_within(other)
    }
}

impl Slots {
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn contains(&self, slot: Slot) -> bool {
        self.words.get(slot.0 as usize / 64).is_some_and(|word| word >> (slot.0 % 64) & 1 == 1)
    }

    /// True if it is new.
    pub(crate) fn insert(&mut self, slot: Slot) -> bool {
        let (index, bit) = (slot.0 as usize / 64, 1 << (slot.0 % 64));
        if index >= self.words.len() {
            self.words.resize(index + 1, 0);
        }
        let new = self.words[index] & bit == 0;
        self.words[index] |= bit;
        self.count += usize::from(new);
        new
    }

    /// True if it was there.
    pub(crate) fn remove(&mut self, slot: Slot) -> bool {
        let there = self.contains(slot);
        if there {
            self.words[slot.0 as usize / 64] &= !(1 << (slot.0 % 64));
            self.count -= 1;
        }
        there
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether all of it is in `other` too.
    pub(crate) fn is_within(&self, other: &Self) -> bool {
        self.words.iter().enumerate().all(|(index, word)| word & !other.words.get(index).unwrap_or(&0) == 0)
    }

    /// In order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Slot> {
        self.words.iter().enumerate().filter(|(_, word)| **word != 0).flat_map(|(index, word)| {
            let word = *word;
            (0..64u32).filter(move |bit| word >> bit & 1 == 1).map(move |bit| Slot(index as u32 * 64 + bit))
        })
    }
}

/// Which object has which slot.
#[derive(Debug, Clone, Default)]
pub(crate) struct SlotTable {
    by_name: BTreeMap<ObjectName, Slot>,
    objects: Vec<Option<Object>>,
    free: Vec<Slot>,
}

impl SlotTable {
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn slot(&self, name: &ObjectName) -> Option<Slot> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn object(&self, slot: Slot) -> Option<&Object> {
        self.objects.get(slot.0 as usize)?.as_ref()
    }

    /// The slot of an object, a new one if it has none; `None` if there are [`OBJECTS_LIMIT`].
    pub(crate) fn take(&mut self, object: Object) -> Option<Slot> {
        if let Some(slot) = self.slot(&object.name) {
            return Some(slot);
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.objects.len() < OBJECTS_LIMIT => Slot(u32::try_from(self.objects.len()).ok()?),
            None => return None,
        };
        match self.objects.get_mut(slot.0 as usize) {
            Some(place) => *place = Some(object),
            None => self.objects.push(Some(object)),
        }
        self.by_name.insert(object.name, slot);
        Some(slot)
    }

    /// Frees the slot of an object. It must be in no set any more: the slot will stand for another object.
    pub(crate) fn free(&mut self, name: &ObjectName) -> Option<Slot> {
        let slot = self.by_name.remove(name)?;
        self.objects[slot.0 as usize] = None;
        self.free.push(slot);
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::object::{ArchiveId, ObjectKind};

    proptest! {
        #[test]
        fn a_set_of_bits_is_a_set(changes in proptest::collection::vec((any::<bool>(), 0u32..200), 0..100), other in
            proptest::collection::btree_set(0u32..200, 0..50))
        {
            let (mut slots, mut naive) = (Slots::default(), BTreeSet::new());
            for (insert, number) in changes {
                if insert {
                    prop_assert_eq!(slots.insert(Slot(number)), naive.insert(number));
                } else {
                    prop_assert_eq!(slots.remove(Slot(number)), naive.remove(&number));
                }
            }
            prop_assert_eq!(slots.len(), naive.len());
            prop_assert_eq!(slots.iter().map(|slot| slot.0).collect::<BTreeSet<_>>(), naive.clone());
            let mut others = Slots::default();
            other.iter().for_each(|number| { others.insert(Slot(*number)); });
            prop_assert_eq!(slots.is_within(&others), naive.is_subset(&other));
            prop_assert_eq!(slots == others, naive == other);
        }
    }

    #[test]
    fn a_freed_slot_is_given_out_again() {
        let object = |number: u8| Object {
            name: ObjectName([number; 32]),
            kind: ObjectKind::Pack,
            size_bytes: 1,
            archive: ArchiveId(1),
        };
        let mut table = SlotTable::default();
        let first = table.take(object(1)).unwrap();
        assert_eq!(table.take(object(1)), Some(first));
        assert_ne!(table.take(object(2)), Some(first));
        assert_eq!((table.free(&object(1).name), table.len()), (Some(first), 1));
        assert_eq!((table.take(object(3)), table.object(first)), (Some(first), Some(&object(3))));
        assert_eq!(table.slot(&object(1).name), None);
    }
}
