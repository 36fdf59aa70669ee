//! Where each entry of the log lies, and the newest entries in memory.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::types::{Entry, LogId, entry_bytes};

/// Bytes of entries kept in memory: some seconds of a busy ledger, so that neither applying nor a follower that is
/// a little behind reads the disk.
const CACHE_LIMIT_BYTES: usize = 8 * 1024 * 1024;
/// Entries kept in memory, at most.
const CACHE_LIMIT_ENTRIES: usize = 4096;

/// A segment file that is part of the log.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) first_index: u64,
    /// Where each entry begins.
    pub(super) offsets: Vec<u32>,
    pub(super) length_bytes: u64,
}

impl Segment {
    /// One past its last entry.
    pub(super) fn end_index(&self) -> u64 {
        self.first_index + self.offsets.len() as u64
    }
}

/// The log as it is known to be on disk.
pub(super) struct LogIndex {
    pub(super) segments: VecDeque<Segment>,
    pub(super) purged: Option<LogId>,
    /// The last entry's id, or `purged` when there is none.
    pub(super) last: Option<LogId>,
    /// Bytes appended since the start.
    pub(super) appended_bytes: u64,
    cache: VecDeque<Entry>,
    cache_bytes: usize,
}

/// Where to find an entry.
pub(super) enum Place {
    Memory(Entry),
    Disk { file: Arc<File>, path: PathBuf, offset: u64 },
}

impl LogIndex {
    pub(super) fn new(segments: VecDeque<Segment>, purged: Option<LogId>, last: Option<LogId>) -> Self {
        Self { segments, purged, last, appended_bytes: 0, cache: VecDeque::new(), cache_bytes: 0 }
    }

    /// The index of the first entry that can be read.
    pub(super) fn first_index(&self) -> u64 {
        self.purged.map_or(0, |id| id.index + 1)
    }

    /// One past the last entry.
    pub(super) fn end_index(&self) -> u64 {
        self.last.map_or(0, |id| id.index + 1)
    }

    /// Bytes of all segments.
    pub(super) fn total_bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length_bytes).sum()
    }

    pub(super) fn find(&self, index: u64) -> Option<Place> {
        if index < self.first_index() || index >= self.end_index() {
            return None;
        }
        if let Some(first) = self.cache.front().map(|entry| entry.log_id.index)
            && let Some(entry) = index.checked_sub(first).and_then(|at| self.cache.get(at as usize))
        {
            return Some(Place::Memory(entry.clone()));
        }
        self.find_on_disk(index)
    }

    /// Also finds purged entries whose segment is still there.
    pub(super) fn find_on_disk(&self, index: u64) -> Option<Place> {
        let at = self.segments.partition_point(|segment| segment.end_index() <= index);
        let segment = self.segments.get(at)?;
        let offset = *segment.offsets.get(index.checked_sub(segment.first_index)? as usize)?;
        Some(Place::Disk { file: Arc::clone(&segment.file), path: segment.path.clone(), offset: offset.into() })
    }

    /// Takes up entries that are durable now.
    pub(super) fn remember(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            self.last = Some(entry.log_id);
            self.cache_bytes += entry_bytes(&entry);
            self.cache.push_back(entry);
        }
        while self.cache_bytes > CACHE_LIMIT_BYTES || self.cache.len() > CACHE_LIMIT_ENTRIES {
            self.forget_oldest();
        }
    }

    /// Drops cached entries from `index` on.
    pub(super) fn forget_from(&mut self, index: u64) {
        while self.cache.back().is_some_and(|entry| entry.log_id.index >= index) {
            if let Some(entry) = self.cache.pop_back() {
                self.cache_bytes -= entry_bytes(&entry);
            }
        }
    }

    /// Drops cached entries up to `index`, inclusive.
    pub(super) fn forget_through(&mut self, index: u64) {
        while self.cache.front().is_some_and(|entry| entry.log_id.index <= index) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(entry) = self.cache.pop_front() {
            self.cache_bytes -= entry_bytes(&entry);
        }
    }
}
