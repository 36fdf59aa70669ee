//! An entry of an archive or a disk, and the order of entries.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::plan::PathBytes;

/// Stands for the content of a file or the target of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 32]);

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum EntryKind {
    /// A folder.
    Folder,
    /// A file.
    File,
    /// A symbolic link.
    Link,
    /// A device, a socket, a pipe.
    Special,
}

/// Who may do what with a file or folder, and whose it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Permissions, with set-user-id, set-group-id and sticky: twelve bits.
    pub mode: u32,
    /// Its owner's number.
    pub uid: u32,
    /// Its group's number.
    pub gid: u32,
}

/// A file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where, in bytes.
    pub path: PathBytes,
    /// What.
    pub kind: EntryKind,
    /// Of a file.
    pub size_bytes: u64,
    /// When it was changed, ns since 1970.
    pub modified_ns: i64,
    /// What is in it. Not known of what is on a disk: reading all of it would take long.
    pub content: Option<ContentHash>,
    /// Not looked at of what is on a disk.
    pub rights: Option<Rights>,
}

impl Entry {
    /// Whether both have the same rights as far as is known.
    #[must_use]
    pub fn has_same_rights(&self, other: &Self) -> bool {
        self.rights.is_none() || other.rights.is_none() || self.rights == other.rights
    }

    /// Whether both are the same as far as is known, rights aside: content if both know it, else size and time.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        if self.kind != other.kind {
            return false;
        }
        match (self.kind, self.content, other.content) {
            (EntryKind::Folder, ..) => true,
            (_, Some(content), Some(others)) => content == others && self.size_bytes == other.size_bytes,
            _ => self.size_bytes == other.size_bytes && self.modified_ns == other.modified_ns,
        }
    }
}

/// The order of listings: by bytes, but `/` before all others, so that all that is in a folder stands right behind it.
/// A listing has the folders of all that it has.
#[must_use]
pub fn tree_order(one: &[u8], other: &[u8]) -> Ordering {
    let rank = |byte: &u8| if *byte == b'/' { 0 } else { u16::from(*byte) + 1 };
    one.iter().map(rank).cmp(other.iter().map(rank))
}

/// A listing is not in order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the listing is not in order: {path} comes too late; the archive is damaged or its reader is wrong")]
pub struct NotSorted {
    /// Where.
    pub path: PathBytes,
}

/// A listing whose order is checked as it passes.
#[derive(Debug, Clone)]
pub(super) struct Checked<I: Iterator<Item = Entry>> {
    entries: std::iter::Peekable<I>,
    last: Option<PathBytes>,
}

impl<I: Iterator<Item = Entry>> Checked<I> {
    pub(super) fn new(entries: I) -> Self {
        Self { entries: entries.peekable(), last: None }
    }

    pub(super) fn peek(&mut self) -> Option<&Entry> {
        self.entries.peek()
    }

    pub(super) fn next(&mut self) -> Result<Option<Entry>, NotSorted> {
        let Some(entry) = self.entries.next() else { return Ok(None) };
        if self.last.as_ref().is_some_and(|last| tree_order(last.as_bytes(), entry.path.as_bytes()).is_ge()) {
            return Err(NotSorted { path: entry.path });
        }
        self.last = Some(entry.path.clone());
        Ok(Some(entry))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Entries of these paths; a path that ends with `/` is a folder. `content` is their time too.
    pub(in crate::recovery) fn listing(content: u8, paths: &[&str]) -> Vec<Entry> {
        let mut entries: Vec<Entry> = paths.iter().map(|path| entry(content, path)).collect();
        entries.sort_by(|one, other| tree_order(one.path.as_bytes(), other.path.as_bytes()));
        entries
    }

    pub(in crate::recovery) fn entry(content: u8, path: &str) -> Entry {
        let kind = if path.ends_with('/') { EntryKind::Folder } else { EntryKind::File };
        let path = path.trim_end_matches('/').into();
        let modified_ns = i64::from(content);
        let content_hash = Some(ContentHash([content; 32]));
        Entry { path, kind, size_bytes: u64::from(content), modified_ns, content: content_hash, rights: None }
    }

    #[test]
    fn all_that_is_in_a_folder_stands_right_behind_it() {
        let sorted = ["a", "a/b", "a/b/c", "a/b c", "a b", "a.b", "b"];
        assert!(sorted.is_sorted_by(|one, other| tree_order(one.as_bytes(), other.as_bytes()).is_lt()));
        let mut checked = Checked::new(vec![entry(1, "b"), entry(1, "a")].into_iter());
        assert!(checked.next().is_ok());
        assert_eq!(checked.next(), Err(NotSorted { path: "a".into() }));
    }

    proptest! {
        #[test]
        fn it_is_the_order_of_the_parts(one in "[a/.]{0,6}", other in "[a/.]{0,6}") {
            let parts = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
            prop_assert_eq!(tree_order(one.as_bytes(), other.as_bytes()), parts(&one).cmp(&parts(&other)));
        }
    }
}
