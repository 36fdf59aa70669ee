//! Several archives as one: recovery *sequentially up to* an archive.
//!
//! The oldest archive first, each later one over it: of a path that several have, the latest counts. What a later archive
//! does not have stays as the earlier ones had it: nothing is taken away because it is missing. Where a later archive has a
//! file and an earlier one a folder, the file takes the folder's place, and what was in the folder is passed over; also if
//! there is a folder again later.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::listing::{Checked, Entry, EntryKind, NotSorted, tree_order};
use crate::plan::PathBytes;

/// An entry, and from which archive it is: its place among those that were given, the oldest is 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FromArchive {
    /// What.
    pub entry: Entry,
    /// From which.
    pub archive: usize,
}

/// Archives as one listing, in [`tree_order`].
#[derive(Debug)]
pub struct Sequential<I: Iterator<Item = Entry>> {
    archives: Vec<Checked<I>>,
    heads: BinaryHeap<Reverse<Head>>,
    /// The paths above the next one; what older archives have in it is hidden, because a later one had no folder there.
    above: Vec<(PathBytes, usize)>,
    failed: bool,
}

/// The next entry of an archive.
#[derive(Debug)]
struct Head {
    entry: Entry,
    archive: usize,
}

impl Ord for Head {
    /// By path; of one path, the latest archive first.
    fn cmp(&self, other: &Self) -> Ordering {
        let paths = tree_order(self.entry.path.as_bytes(), other.entry.path.as_bytes());
        paths.then(other.archive.cmp(&self.archive))
    }
}

impl PartialOrd for Head {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Eq for Head {}

impl PartialEq for Head {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<I: Iterator<Item = Entry>> Sequential<I> {
    /// Of these archives, the oldest first, up to the one that is meant.
    #[must_use]
    pub fn new(oldest_first: impl IntoIterator<Item = I>) -> Self {
        let archives: Vec<Checked<I>> = oldest_first.into_iter().map(Checked::new).collect();
        let mut sequential = Self { archives, heads: BinaryHeap::new(), above: Vec::new(), failed: false };
        for archive in 0..sequential.archives.len() {
            // The first entry of a listing is never out of order.
            let _ = sequential.advance(archive);
        }
        sequential
    }

    fn advance(&mut self, archive: usize) -> Result<(), NotSorted> {
        if let Some(entry) = self.archives[archive].next()? {
            self.heads.push(Reverse(Head { entry, archive }));
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<Head>, NotSorted> {
        let Some(Reverse(head)) = self.heads.pop() else { return Ok(None) };
        self.advance(head.archive)?;
        Ok(Some(head))
    }

    fn step(&mut self) -> Result<Option<FromArchive>, NotSorted> {
        while let Some(head) = self.pop()? {
            while self.above.last().is_some_and(|(folder, _)| !head.entry.path.is_within(folder)) {
                self.above.pop();
            }
            let hidden = self.above.last().map_or(0, |(_, hidden)| *hidden);
            let mut hidden_in_it = if head.entry.kind == EntryKind::Folder { hidden } else { usize::MAX };
            while self.heads.peek().is_some_and(|Reverse(next)| next.entry.path == head.entry.path) {
                let older = self.pop()?;
                if let Some(older) = older.filter(|older| older.entry.kind != EntryKind::Folder) {
                    hidden_in_it = hidden_in_it.max(older.archive);
                }
            }
            self.above.push((head.entry.path.clone(), hidden_in_it));
            if head.archive >= hidden {
                return Ok(Some(FromArchive { entry: head.entry, archive: head.archive }));
            }
        }
        Ok(None)
    }
}

impl<I: Iterator<Item = Entry>> Iterator for Sequential<I> {
    type Item = Result<FromArchive, NotSorted>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = (!self.failed).then(|| self.step());
        fused(step, &mut self.failed)
    }
}

/// What an iterator answers for a step it took; `None`: it has failed before. After a failure it ends.
pub(super) fn fused<T, E>(step: Option<Result<Option<T>, E>>, failed: &mut bool) -> Option<Result<T, E>> {
    let item = step?.transpose();
    *failed = matches!(item, Some(Err(_)));
    item
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::listing::tests::{entry, listing};
    use super::*;

    fn told(archives: Vec<Vec<Entry>>) -> Vec<(String, usize)> {
        let sequential = Sequential::new(archives.into_iter().map(Vec::into_iter));
        sequential.map(|found| found.unwrap()).map(|found| (found.entry.path.to_string(), found.archive)).collect()
    }

    fn expect(expected: &[(&str, usize)]) -> Vec<(String, usize)> {
        expected.iter().map(|(path, archive)| ((*path).to_owned(), *archive)).collect()
    }

    #[test]
    fn the_later_archive_wins_and_nothing_goes_because_it_is_missing() {
        let archives =
            vec![listing(1, &["a/", "a/x", "a/y", "b"]), listing(2, &["a/", "a/x", "c"]), listing(3, &["a/", "a/z"])];
        assert_eq!(told(archives), expect(&[("a", 2), ("a/x", 1), ("a/y", 0), ("a/z", 2), ("b", 0), ("c", 1)]));
    }

    #[test]
    fn a_file_takes_the_place_of_a_folder_and_a_folder_that_of_a_file() {
        let folder = || listing(1, &["a/", "a/x", "a b"]);
        assert_eq!(told(vec![folder(), listing(2, &["a"])]), expect(&[("a", 1), ("a b", 0)]));
        assert_eq!(told(vec![listing(2, &["a"]), folder()]), expect(&[("a", 1), ("a/x", 1), ("a b", 1)]));
    }

    #[test]
    fn a_listing_out_of_order_is_an_error_not_a_wrong_plan() {
        let found: Vec<_> = Sequential::new([vec![entry(1, "b"), entry(1, "a"), entry(1, "c")].into_iter()]).collect();
        assert_eq!(found, [Err(NotSorted { path: "a".into() })]);
    }

    proptest! {
        #[test]
        fn it_is_what_unpacking_one_after_the_other_gives(
            archives in proptest::collection::vec(proptest::collection::btree_map("[ab]/[ab]|[ab]", any::<bool>(), 0..6), 0..5),
        ) {
            let mut listings = Vec::new();
            let mut disk: BTreeMap<String, (EntryKind, usize)> = BTreeMap::new();
            for (archive, paths) in archives.iter().enumerate() {
                let mut entries: BTreeMap<String, EntryKind> = BTreeMap::new();
                for (path, is_folder) in paths {
                    entries.insert(path.clone(), if *is_folder { EntryKind::Folder } else { EntryKind::File });
                }
                for path in paths.keys().filter(|path| path.len() > 1) {
                    entries.insert(path[..1].to_owned(), EntryKind::Folder);
                }
                let mut sorted: Vec<Entry> = entries.iter().map(|(path, kind)| Entry { kind: *kind, ..entry(1, path) }).collect();
                sorted.sort_by(|one, other| tree_order(one.path.as_bytes(), other.path.as_bytes()));
                for found in &sorted {
                    let path = found.path.to_string();
                    if found.kind != EntryKind::Folder {
                        disk.retain(|known, _| !known.starts_with(&format!("{path}/")));
                    }
                    disk.insert(path, (found.kind, archive));
                }
                listings.push(sorted.into_iter());
            }
            let found: BTreeMap<String, (EntryKind, usize)> = Sequential::new(listings)
                .map(|found| found.unwrap())
                .map(|found| (found.entry.path.to_string(), (found.entry.kind, found.archive)))
                .collect();
            prop_assert_eq!(found, disk);
        }
    }
}
