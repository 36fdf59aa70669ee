//! In which order a copy grows, so that at every moment it is a valid repository.
//!
//! A holder cannot read what it holds, but the catalogue tells it enough. The owner adds an index after the packs it
//! lists, a snapshot after all that it needs. Indexes that are written anew when old archives went take the place of older
//! ones for all archives: the owner adds them as [`ArchiveId`] 0. So a copy that takes
//!
//! 1. the configuration, then the keys, before all else,
//! 2. an index only when it has all live packs that were added before it,
//! 3. a snapshot only when it has all live packs and indexes that were added before it, and all indexes of archive 0,
//!
//! is whole for every snapshot that it has, wherever it stops. The way back is the catalogue's too: owners delete snapshots,
//! then indexes, then packs, and holders drop in the order of the deletions ([`crate::aging`]).

use std::collections::BTreeMap;

use crate::object::{ArchiveId, Object, ObjectKind};
use crate::planted;

/// Objects of one class are taken under the same conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Config,
    Key,
    Pack,
    IndexOfAll,
    Index,
    Snapshot,
}

impl Class {
    const ALL: [Self; 6] = [Self::Config, Self::Key, Self::Pack, Self::IndexOfAll, Self::Index, Self::Snapshot];

    fn of(object: &Object) -> Self {
        match object.kind {
            ObjectKind::Config => Self::Config,
            ObjectKind::Key => Self::Key,
            ObjectKind::Pack => Self::Pack,
            ObjectKind::Index if object.archive == ArchiveId(0) => Self::IndexOfAll,
            ObjectKind::Index => Self::Index,
            ObjectKind::Snapshot => Self::Snapshot,
        }
    }
}

/// What a copy lacks, by the sequence at which the catalogue added it. What is on its way is lacking.
#[derive(Debug, Clone)]
pub struct Lacking<T> {
    by_class: [BTreeMap<u64, T>; Class::ALL.len()],
}

impl<T> Default for Lacking<T> {
    fn default() -> Self {
        Self { by_class: Class::ALL.map(|_| BTreeMap::new()) }
    }
}

impl<T> Lacking<T> {
    /// Notes that it lacks this object, which `lacks` stands for.
    pub fn insert(&mut self, object: &Object, sequence: u64, lacks: T) {
        self.by_class[Class::of(object) as usize].insert(sequence, lacks);
    }

    /// It has it now, or it is not needed any more. True if it lacked it.
    pub fn remove(&mut self, object: &Object, sequence: u64) -> bool {
        self.by_class[Class::of(object) as usize].remove(&sequence).is_some()
    }

    /// How many it lacks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_class.iter().map(BTreeMap::len).sum()
    }

    /// Whether it lacks nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_class.iter().all(BTreeMap::is_empty)
    }

    /// Everything it lacks.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_class.iter().flat_map(BTreeMap::values)
    }

    /// Whether it lacks nothing that others may need and that was added before a sequence.
    #[must_use]
    pub fn is_whole_before(&self, sequence: u64) -> bool {
        let [rest @ .., _] = &self.by_class;
        rest.iter().all(|lacks| lacks.keys().next().is_none_or(|first| *first >= sequence))
    }

    /// Whether an object may be taken now.
    #[must_use]
    pub fn may_take(&self, object: &Object, sequence: u64) -> bool {
        self.may_take_class(Class::of(object), sequence)
    }

    fn may_take_class(&self, class: Class, sequence: u64) -> bool {
        let first = |class: Class| self.by_class[class as usize].keys().next().copied();
        let has_before = |class: Class| first(class).is_none_or(|first| first > sequence);
        let has_all = |class: Class| first(class).is_none();
        if planted::has(planted::Bug::AnyOrder) {
            return true;
        }
        match class {
            Class::Config => true,
            Class::Key => has_all(Class::Config),
            Class::Pack => has_all(Class::Config) && has_all(Class::Key),
            Class::IndexOfAll | Class::Index => self.may_take_class(Class::Pack, sequence) && has_before(Class::Pack),
            Class::Snapshot => {
                let has_indexes = has_all(Class::IndexOfAll) && has_before(Class::Index);
                has_indexes && self.may_take_class(Class::Index, sequence)
            }
        }
    }

    /// What may be taken now, in the order in which it is best taken: the oldest archive first.
    pub fn ready(&self) -> impl Iterator<Item = &T> {
        Class::ALL.into_iter().flat_map(move |class| {
            let lacks = self.by_class[class as usize].iter();
            lacks.take_while(move |(sequence, _)| self.may_take_class(class, **sequence)).map(|(_, lacks)| lacks)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalogue::tests::object;

    #[test]
    fn config_and_keys_then_packs_then_indexes_then_snapshots() {
        let mut lacking = Lacking::default();
        let kinds = [
            ObjectKind::Config,
            ObjectKind::Key,
            ObjectKind::Pack,
            ObjectKind::Index,
            ObjectKind::Snapshot,
            ObjectKind::Pack,
            ObjectKind::Index,
        ];
        for (sequence, kind) in (1..).zip(kinds) {
            lacking.insert(&object(sequence, kind, 1), sequence, sequence);
        }
        let mut steps = Vec::new();
        while !lacking.is_empty() {
            let ready: Vec<u64> = lacking.ready().copied().collect();
            ready
                .iter()
                .for_each(|sequence| assert!(lacking.remove(&object(0, kinds[*sequence as usize - 1], 1), *sequence)));
            steps.push(ready);
        }
        assert_eq!(steps, [vec![1], vec![2], vec![3, 6], vec![4, 7], vec![5]]);
    }

    #[test]
    fn indexes_of_all_archives_come_before_older_snapshots_too() {
        let (snapshot, pack) = (object(1, ObjectKind::Snapshot, 1), object(2, ObjectKind::Pack, 2));
        let (of_all, later) = (object(3, ObjectKind::Index, 0), object(4, ObjectKind::Index, 2));
        let mut lacking = Lacking::default();
        (1..)
            .zip([snapshot, pack, of_all, later])
            .for_each(|(sequence, thing)| lacking.insert(&thing, sequence, sequence));
        assert_eq!(lacking.ready().collect::<Vec<_>>(), [&2]);
        lacking.remove(&pack, 2);
        assert!(!lacking.may_take(&snapshot, 1));
        lacking.remove(&of_all, 3);
        assert!(lacking.may_take(&snapshot, 1), "it does not wait for the index of a later archive");
    }

    proptest! {
        #[test]
        fn taken_in_any_order_that_is_allowed_nothing_is_there_before_what_it_may_need(
            kinds in proptest::collection::vec(2usize..5, 1..30), picks in proptest::collection::vec(any::<usize>(), 30),
        ) {
            let mut lacking = Lacking::default();
            let kind = |sequence: u64| ObjectKind::ALL[kinds[sequence as usize - 1]];
            let thing = |sequence| object(sequence, kind(sequence), 1);
            (1..=kinds.len() as u64).for_each(|sequence| lacking.insert(&thing(sequence), sequence, sequence));
            for pick in picks.iter().take(kinds.len()) {
                let ready: Vec<u64> = lacking.ready().copied().collect();
                prop_assert!(!ready.is_empty(), "it never stands still");
                let taken = ready[pick % ready.len()];
                lacking.remove(&thing(taken), taken);
                let mut earlier_lacking = lacking.iter().filter(|sequence| **sequence < taken);
                prop_assert!(earlier_lacking.all(|sequence| kind(*sequence) >= kind(taken)));
            }
            prop_assert!(lacking.is_empty());
        }
    }
}
