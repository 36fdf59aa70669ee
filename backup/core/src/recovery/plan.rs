//! What restoring would do to a target, step by step, before anything is done.
//!
//! There is no step that deletes: what the target has and the archives do not is left alone, and so is what stands in the
//! way with another kind, such as a folder where the archive has a file.

use serde::{Deserialize, Serialize};

use super::listing::{Checked, Entry, EntryKind, NotSorted, tree_order};
use super::sequential::{FromArchive, Sequential, fused};
use crate::plan::PathBytes;

/// What to do with files that are there and differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Existing {
    /// They are overwritten.
    #[default]
    Overwrite,
    /// They stay.
    Keep,
}

/// What is done with an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It is made.
    Create,
    /// It takes the place of what is there.
    Overwrite,
    /// It is there already.
    Unchanged,
    /// It is left out.
    Skip(Skipped),
}

/// Why an entry is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// What is there was to stay.
    Kept,
    /// There is a folder in its place, and no folder is ever deleted.
    FolderInTheWay,
    /// It is a folder, and there is something else in its place.
    NoFolder,
    /// The folder that it is in could not be made.
    NotReached,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What, and from which archive.
    pub found: FromArchive,
    /// What is done with it.
    pub action: Action,
}

/// A number of entries and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sum {
    /// Entries.
    pub count: u64,
    /// Bytes in them.
    pub bytes: u64,
}

/// What a plan amounts to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Made.
    pub created: Sum,
    /// Overwritten.
    pub overwritten: Sum,
    /// There already.
    pub unchanged: Sum,
    /// Left out.
    pub skipped: Sum,
}

impl Totals {
    /// Takes in a step.
    pub fn add(&mut self, step: &Step) {
        let sum = match step.action {
            Action::Create => &mut self.created,
            Action::Overwrite => &mut self.overwritten,
            Action::Unchanged => &mut self.unchanged,
            Action::Skip(_) => &mut self.skipped,
        };
        sum.count += 1;
        sum.bytes = sum.bytes.saturating_add(step.found.entry.size_bytes);
    }
}

/// The steps of a restore, one after the other.
#[derive(Debug)]
pub struct Plan<I: Iterator<Item = Entry>, D: Iterator<Item = Entry>> {
    archives: Sequential<I>,
    disk: Checked<D>,
    existing: Existing,
    ticked: Vec<PathBytes>,
    /// A folder that cannot be made.
    unreachable: Option<PathBytes>,
    failed: bool,
}

impl<I: Iterator<Item = Entry>, D: Iterator<Item = Entry>> Plan<I, D> {
    /// A plan for these archives and what is on the target's disk. `ticked`: only these and what is in them, with the folders
    /// above them; none: everything.
    #[must_use]
    pub fn new(archives: Sequential<I>, disk: D, existing: Existing, ticked: Vec<PathBytes>) -> Self {
        Self { archives, disk: Checked::new(disk), existing, ticked, unreachable: None, failed: false }
    }

    fn is_wanted(&self, entry: &Entry) -> bool {
        let is_above = |ticked: &PathBytes| entry.kind == EntryKind::Folder && ticked.is_within(&entry.path);
        self.ticked.is_empty() || self.ticked.iter().any(|ticked| entry.path.is_within(ticked) || is_above(ticked))
    }

    fn on_disk(&mut self, path: &PathBytes) -> Result<Option<Entry>, NotSorted> {
        while let Some(entry) = self.disk.peek() {
            match tree_order(entry.path.as_bytes(), path.as_bytes()) {
                std::cmp::Ordering::Less => drop(self.disk.next()?),
                std::cmp::Ordering::Equal => return self.disk.next(),
                std::cmp::Ordering::Greater => break,
            }
        }
        Ok(None)
    }

    fn action(&mut self, entry: &Entry) -> Result<Action, NotSorted> {
        if self.unreachable.as_ref().is_some_and(|above| entry.path.is_within(above)) {
            return Ok(Action::Skip(Skipped::NotReached));
        }
        let Some(there) = self.on_disk(&entry.path)? else {
            return Ok(Action::Create);
        };
        Ok(match (entry.kind, there.kind) {
            _ if entry.is_same(&there) => Action::Unchanged,
            (EntryKind::Folder, _) => {
                self.unreachable = Some(entry.path.clone());
                Action::Skip(Skipped::NoFolder)
            }
            (_, EntryKind::Folder) => Action::Skip(Skipped::FolderInTheWay),
            _ if self.existing == Existing::Keep => Action::Skip(Skipped::Kept),
            _ => Action::Overwrite,
        })
    }

    fn step(&mut self) -> Result<Option<Step>, NotSorted> {
        while let Some(found) = self.archives.next().transpose()? {
            if self.is_wanted(&found.entry) {
                let action = self.action(&found.entry)?;
                return Ok(Some(Step { found, action }));
            }
        }
        Ok(None)
    }
}

impl<I: Iterator<Item = Entry>, D: Iterator<Item = Entry>> Iterator for Plan<I, D> {
    type Item = Result<Step, NotSorted>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = (!self.failed).then(|| self.step());
        fused(step, &mut self.failed)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::listing::tests::{entry, listing};
    use super::*;

    fn steps(archive: Vec<Entry>, disk: Vec<Entry>, existing: Existing, ticked: &[&str]) -> Vec<(String, Action)> {
        let ticked = ticked.iter().map(|path| PathBytes::from(*path)).collect();
        let plan = Plan::new(Sequential::new([archive.into_iter()]), disk.into_iter(), existing, ticked);
        plan.map(|step| step.unwrap()).map(|step| (step.found.entry.path.to_string(), step.action)).collect()
    }

    fn expect(expected: &[(&str, Action)]) -> Vec<(String, Action)> {
        expected.iter().map(|(path, action)| ((*path).to_owned(), *action)).collect()
    }

    #[test]
    fn what_is_created_overwritten_and_left() {
        let archive = || listing(1, &["a/", "a/new", "a/old", "a/same", "f/", "f/x", "g"]);
        let mut disk = listing(2, &["a/", "a/old", "a/unknown", "f", "g/", "g/mine"]);
        disk.insert(2, entry(1, "a/same"));
        let rest = [
            ("f", Action::Skip(Skipped::NoFolder)),
            ("f/x", Action::Skip(Skipped::NotReached)),
            ("g", Action::Skip(Skipped::FolderInTheWay)),
        ];
        let first =
            |old| [("a", Action::Unchanged), ("a/new", Action::Create), ("a/old", old), ("a/same", Action::Unchanged)];
        let all = |old| expect(&[&first(old)[..], &rest[..]].concat());
        assert_eq!(steps(archive(), disk.clone(), Existing::Overwrite, &[]), all(Action::Overwrite));
        assert_eq!(steps(archive(), disk, Existing::Keep, &[]), all(Action::Skip(Skipped::Kept)));
    }

    #[test]
    fn what_is_ticked_comes_back_with_the_folders_above_it() {
        let archive = listing(1, &["a/", "a/b/", "a/b/x", "a/b c", "a/d", "e"]);
        let created = |paths: &[&str]| expect(&paths.iter().map(|path| (*path, Action::Create)).collect::<Vec<_>>());
        let steps = steps(archive, vec![], Existing::Overwrite, &["a/b"]);
        assert_eq!(steps, created(&["a", "a/b", "a/b/x"]));
    }

    #[test]
    fn unknown_content_is_judged_by_size_and_time() {
        let on_disk = |modified_ns| vec![Entry { content: None, modified_ns, ..entry(1, "a") }];
        let action = |modified_ns| steps(listing(1, &["a"]), on_disk(modified_ns), Existing::Overwrite, &[])[0].1;
        assert_eq!((action(1), action(2)), (Action::Unchanged, Action::Overwrite));
    }

    proptest! {
        #[test]
        fn nothing_unknown_is_touched_and_a_second_time_nothing_is_left_to_do(
            archive in proptest::collection::btree_map("[abc]", any::<bool>(), 0..4),
            disk in proptest::collection::btree_map("[abc]", any::<bool>(), 0..4),
        ) {
            let entries = |content, paths: &std::collections::BTreeMap<String, bool>| -> Vec<Entry> {
                paths.iter().map(|(path, folder)| entry(content, &format!("{path}{}", if *folder { "/" } else { "" }))).collect()
            };
            let (archive, before) = (entries(1, &archive), entries(2, &disk));
            let mut after: std::collections::BTreeMap<_, _> = before.iter().map(|it| (it.path.clone(), it.clone())).collect();
            let mut totals = Totals::default();
            let new = || Sequential::new([archive.clone().into_iter()]);
            for step in Plan::new(new(), before.clone().into_iter(), Existing::Overwrite, vec![]) {
                let step = step.unwrap();
                totals.add(&step);
                if matches!(step.action, Action::Create | Action::Overwrite) {
                    let replaced = after.insert(step.found.entry.path.clone(), step.found.entry);
                    prop_assert!(replaced.is_none_or(|replaced| replaced.kind != EntryKind::Folder));
                }
            }
            for entry in &before {
                let known = archive.iter().any(|it| it.path == entry.path);
                prop_assert!(known || after.get(&entry.path) == Some(entry));
            }
            let sums = [totals.created, totals.overwritten, totals.unchanged, totals.skipped];
            prop_assert_eq!(sums.iter().map(|sum| sum.count).sum::<u64>(), archive.len() as u64);
            let again = Plan::new(new(), after.into_values(), Existing::Overwrite, vec![]);
            prop_assert!(again.map(|step| step.unwrap().action).all(|it| matches!(it, Action::Unchanged | Action::Skip(_))));
        }
    }
}
