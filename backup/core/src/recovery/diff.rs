//! What differs between two archives, and where a name is found.

use super::listing::{Checked, Entry, NotSorted, tree_order};
use crate::plan::Pattern;

/// A path in which two archives differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the later one has it.
    Added(Entry),
    /// Only the earlier one has it.
    Removed(Entry),
    /// Both have it, with other content, of another kind, or with other rights.
    Changed {
        /// What it was.
        before: Entry,
        /// What it is.
        after: Entry,
    },
}

/// What differs between an earlier and a later listing, in order. After an error it ends.
pub fn diff(
    before: impl Iterator<Item = Entry>,
    after: impl Iterator<Item = Entry>,
) -> impl Iterator<Item = Result<Difference, NotSorted>> {
    let (mut before, mut after) = (Checked::new(before), Checked::new(after));
    let mut failed = false;
    std::iter::from_fn(move || {
        let found = if failed { Ok(None) } else { next(&mut before, &mut after) }.transpose();
        failed = matches!(found, Some(Err(_)));
        found
    })
}

fn next<B: Iterator<Item = Entry>, A: Iterator<Item = Entry>>(
    before: &mut Checked<B>,
    after: &mut Checked<A>,
) -> Result<Option<Difference>, NotSorted> {
    loop {
        let order = match (before.peek(), after.peek()) {
            (Some(before), Some(after)) => tree_order(before.path.as_bytes(), after.path.as_bytes()),
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, _) => std::cmp::Ordering::Greater,
        };
        if order.is_lt() {
            return Ok(before.next()?.map(Difference::Removed));
        }
        if order.is_gt() {
            return Ok(after.next()?.map(Difference::Added));
        }
        if let (Some(before), Some(after)) = (before.next()?, after.next()?)
            && !(before.is_same(&after) && before.has_same_rights(&after))
        {
            return Ok(Some(Difference::Changed { before, after }));
        }
    }
}

/// The entries of a listing that a pattern stands for.
pub fn find(listing: impl Iterator<Item = Entry>, pattern: &Pattern) -> impl Iterator<Item = Entry> {
    listing.filter(|entry| pattern.matches(entry.path.as_bytes()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::listing::Rights;
    use super::super::listing::tests::{entry, listing};
    use super::*;

    #[test]
    fn what_came_went_and_changed() {
        let before = vec![entry(1, "a"), entry(1, "b/"), entry(1, "b/x"), entry(1, "c")];
        let after = vec![entry(1, "a"), entry(2, "b/"), entry(2, "b/x"), entry(2, "d")];
        let found: Vec<_> = diff(before.into_iter(), after.into_iter()).map(Result::unwrap).collect();
        let changed = Difference::Changed { before: entry(1, "b/x"), after: entry(2, "b/x") };
        assert_eq!(found, [changed, Difference::Removed(entry(1, "c")), Difference::Added(entry(2, "d"))]);
        let unsorted = vec![entry(1, "b"), entry(1, "a")];
        assert_eq!(diff(unsorted.into_iter(), [].into_iter()).last(), Some(Err(NotSorted { path: "a".into() })));
    }

    #[test]
    fn other_rights_or_another_owner_are_a_change_of_files_and_folders() {
        let with = |path, mode, uid| Entry { rights: Some(Rights { mode, uid, gid: 0 }), ..entry(1, path) };
        let before = vec![with("a", 0o644, 0), with("b/", 0o755, 0), with("c", 0o644, 0), entry(1, "d")];
        let after = vec![with("a", 0o600, 0), with("b/", 0o755, 1), with("c", 0o644, 0), with("d", 0o600, 0)];
        let found = diff(before.clone().into_iter(), after.clone().into_iter()).map(Result::unwrap);
        let changed = |at: usize| Difference::Changed { before: before[at].clone(), after: after[at].clone() };
        assert_eq!(found.collect::<Vec<_>>(), [changed(0), changed(1)]);
    }

    #[test]
    fn names_are_found() {
        let pattern = Pattern::new(b"*.txt").unwrap();
        let found: Vec<String> = find(listing(1, &["a/", "a/x.txt", "a/y", "z.txt"]).into_iter(), &pattern)
            .map(|entry| entry.path.to_string())
            .collect();
        assert_eq!(found, ["a/x.txt", "z.txt"]);
    }

    proptest! {
        #[test]
        fn what_differs_makes_the_later_of_the_earlier(
            before in proptest::collection::btree_map("[a-e]", 0u8..3, 0..6), after in
            proptest::collection::btree_map("[a-e]", 0u8..3, 0..6),
        ) {
            let entries = |paths: &std::collections::BTreeMap<String, u8>| -> Vec<Entry> {
                paths.iter().map(|(path, content)| entry(*content, path)).collect()
            };
            let mut made = before.clone();
            for difference in diff(entries(&before).into_iter(), entries(&after).into_iter()) {
                match difference.unwrap() {
                    Difference::Removed(entry) => _ = made.remove(&entry.path.to_string()),
                    Difference::Added(entry) | Difference::Changed { after: entry, .. } => {
                        made.insert(entry.path.to_string(), entry.size_bytes as u8);
                    }
                }
            }
            prop_assert_eq!(made, after);
        }
    }
}
