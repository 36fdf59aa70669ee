//! Several archives as one stream of entries.
//!
//! Which entry of which archive counts is [`Sequential`]'s word; it works on what recovery knows of an entry, so the rest of
//! it waits here in short queues.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use shoal_backup::recovery::{self, Sequential, tree_order};

use super::Restore;
use crate::entry::Entry;
use crate::error::ArchiveError;
use crate::repository::{Listing, Repository};

/// An archive's listing that leaves a copy of each entry in a queue.
struct Tee {
    listing: Listing,
    queue: Rc<RefCell<VecDeque<Entry>>>,
    unread: Rc<RefCell<Vec<ArchiveError>>>,
}

impl Iterator for Tee {
    type Item = recovery::Entry;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.listing.next()? {
                Ok(entry) => {
                    let listed = entry.as_listed();
                    self.queue.borrow_mut().push_back(entry);
                    return Some(listed);
                }
                Err(error) => self.unread.borrow_mut().push(error),
            }
        }
    }
}

/// The entries of all archives.
pub(super) struct Source {
    sequential: Sequential<Tee>,
    queues: Vec<Rc<RefCell<VecDeque<Entry>>>>,
    unread: Rc<RefCell<Vec<ArchiveError>>>,
}

/// An entry that is to be restored.
pub(super) struct Found {
    pub(super) entry: Entry,
    pub(super) listed: recovery::Entry,
    /// Which of the archives it is from.
    pub(super) archive: usize,
}

impl Source {
    pub(super) fn new(repository: &dyn Repository, restore: &Restore) -> Result<Self, ArchiveError> {
        let unread = Rc::default();
        let mut queues = Vec::new();
        let mut tees = Vec::new();
        for archive in &restore.archives {
            let queue = Rc::default();
            tees.push(Tee {
                listing: repository.list_ticked(archive, &restore.ticked)?,
                queue: Rc::clone(&queue),
                unread: Rc::clone(&unread),
            });
            queues.push(queue);
        }
        Ok(Self { sequential: Sequential::new(tees), queues, unread })
    }

    /// What could not be read of the archives since this was asked last.
    pub(super) fn take_unread(&mut self) -> Vec<ArchiveError> {
        self.unread.take()
    }

    /// The next entry.
    pub(super) fn next(&mut self) -> Result<Option<Found>, ArchiveError> {
        let Some(found) = self.sequential.next() else { return Ok(None) };
        let found = found.map_err(|error| ArchiveError::BadEntry(error.to_string()))?;
        let path = found.entry.path.as_bytes();
        let mut wanted = None;
        for (archive, queue) in self.queues.iter().enumerate() {
            let mut queue = queue.borrow_mut();
            while queue.front().is_some_and(|entry| tree_order(entry.path.as_bytes(), path).is_le()) {
                let entry = queue.pop_front();
                if archive == found.archive {
                    wanted = entry;
                }
            }
        }
        let entry = wanted.filter(|entry| entry.path == found.entry.path);
        let entry = entry.ok_or_else(|| ArchiveError::BadEntry(found.entry.path.to_string()))?;
        Ok(Some(Found { entry, listed: found.entry, archive: found.archive }))
    }
}
