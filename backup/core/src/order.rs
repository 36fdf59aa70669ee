//! In which order a copy grows, so that at every moment it is a valid repository.
//!
//! A holder cannot read what it holds, but the catalogue tells it enough. The owner adds an index after the packs it
//! lists, a snapshot after all that it needs. So a copy that takes
//!
//! 1. the configuration, then the keys, before all else,
//! 2. an index only when it has all live packs that were added before it,
//! 3. a snapshot only when it has all live packs and indexes that were added before it,
//!
//! is whole for every snapshot that it has, wherever it stops. The way back is the catalogue's too: owners delete snapshots,
//! then indexes, then packs, and holders drop in the order of the deletions ([`crate::aging`]).

use std::collections::BTreeMap;

use crate::object::ObjectKind;

/// What a copy lacks, by kind and by the sequence at which the catalogue added it. What is on its way is lacking.
#[derive(Debug, Clone)]
pub struct Lacking<T> {
    by_kind: [BTreeMap<u64, T>; ObjectKind::ALL.len()],
}

impl<T> Default for Lacking<T> {
    fn default() -> Self {
        Self { by_kind: ObjectKind::ALL.map(|_| BTreeMap::new()) }
    }
}

impl<T> Lacking<T> {
    /// Notes that it lacks this one.
    pub fn insert(&mut self, kind: ObjectKind, sequence: u64, lacks: T) {
        self.by_kind[kind as usize].insert(sequence, lacks);
    }

    /// It has it now, or it is not needed any more. True if it lacked it.
    pub fn remove(&mut self, kind: ObjectKind, sequence: u64) -> bool {
        self.by_kind[kind as usize].remove(&sequence).is_some()
    }

    /// How many it lacks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_kind.iter().map(BTreeMap::len).sum()
    }

    /// Whether it lacks nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_kind.iter().all(BTreeMap::is_empty)
    }

    /// Everything it lacks, by kind.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_kind.iter().flat_map(BTreeMap::values)
    }

    /// Whether it lacks nothing that others may need and that was added before a sequence.
    #[must_use]
    pub fn is_whole_before(&self, sequence: u64) -> bool {
        let [rest @ .., _] = &self.by_kind;
        rest.iter().all(|lacks| lacks.keys().next().is_none_or(|first| *first >= sequence))
    }

    /// Whether an object may be taken now.
    #[must_use]
    pub fn may_take(&self, kind: ObjectKind, sequence: u64) -> bool {
        let has_before = |kind: ObjectKind| self.first(kind).is_none_or(|first| first > sequence);
        let has_all = |kind: ObjectKind| self.first(kind).is_none();
        match kind {
            ObjectKind::Config => true,
            ObjectKind::Key => has_all(ObjectKind::Config),
            ObjectKind::Pack => has_all(ObjectKind::Config) && has_all(ObjectKind::Key),
            ObjectKind::Index => self.may_take(ObjectKind::Pack, sequence) && has_before(ObjectKind::Pack),
            ObjectKind::Snapshot => self.may_take(ObjectKind::Index, sequence) && has_before(ObjectKind::Index),
        }
    }

    fn first(&self, kind: ObjectKind) -> Option<u64> {
        self.by_kind[kind as usize].keys().next().copied()
    }

    /// What may be taken now, in the order in which it is best taken: the oldest archive first.
    pub fn ready(&self) -> impl Iterator<Item = &T> {
        ObjectKind::ALL.into_iter().flat_map(move |kind| {
            let lacks = self.by_kind[kind as usize].iter();
            lacks.take_while(move |(sequence, _)| self.may_take(kind, **sequence)).map(|(_, lacks)| lacks)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            lacking.insert(kind, sequence, sequence);
        }
        let mut steps = Vec::new();
        while !lacking.is_empty() {
            let ready: Vec<u64> = lacking.ready().copied().collect();
            ready.iter().for_each(|sequence| assert!(lacking.remove(kinds[*sequence as usize - 1], *sequence)));
            steps.push(ready);
        }
        assert_eq!(steps, [vec![1], vec![2], vec![3, 6], vec![4, 7], vec![5]]);
    }

    proptest! {
        #[test]
        fn taken_in_any_order_that_is_allowed_nothing_is_there_before_what_it_may_need(
            kinds in proptest::collection::vec(2usize..5, 1..30), picks in proptest::collection::vec(any::<usize>(), 30),
        ) {
            let mut lacking = Lacking::default();
            let kind = |sequence: u64| ObjectKind::ALL[kinds[sequence as usize - 1]];
            (1..=kinds.len() as u64).for_each(|sequence| lacking.insert(kind(sequence), sequence, sequence));
            for pick in picks.iter().take(kinds.len()) {
                let ready: Vec<u64> = lacking.ready().copied().collect();
                prop_assert!(!ready.is_empty(), "it never stands still");
                let taken = ready[pick % ready.len()];
                lacking.remove(kind(taken), taken);
                let mut earlier_lacking = lacking.iter().filter(|sequence| **sequence < taken);
                prop_assert!(earlier_lacking.all(|sequence| kind(*sequence) >= kind(taken)));
            }
            prop_assert!(lacking.is_empty());
        }
    }
}
