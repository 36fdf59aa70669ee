//! Reading segments from end to end: after a crash, to rebuild the index, and to compact.
//!
//! What was acknowledged must be found again even if damaged, and what a crash cut short must not. Each record says
//! below which offset its segment was durable when it was written: a damaged record below the highest such offset
//! was acknowledged and is kept, to be reported; one above it is a torn tail and is ignored.

use std::fs::File;
use std::io;

use dci_proto::ShardKey;

use super::super::record::{FIXED_BYTES, Header, Kind, MAGIC, Salt, header_bytes};
use super::super::system::read_at;
use super::Segments;
use super::index::{Change, Location, Position};
use crate::StoreError;
use crate::disk::FILE_FROM_BYTES;

/// Bytes of the longest header of a small shard.
const HEADER_READ_BYTES: usize = header_bytes(FILE_FROM_BYTES);
/// Bytes read at a time in search of the next record after a damaged header.
const SEARCH_WINDOW_BYTES: usize = 64 * 1024;
/// Changes put into the index at a time while recovering.
const CHANGES_PER_COMMIT: usize = 4096;

/// Walks the records of one segment; steps over what is no record.
pub(super) struct Scanner<'a> {
    pub(super) file: &'a File,
    pub(super) salt: &'a Salt,
    /// Where the next record is looked for.
    pub(super) offset: u64,
    /// Where the segment ends.
    pub(super) length: u64,
}

impl Scanner<'_> {
    /// The next record with an intact header, and its offset. Its bytes may be damaged or cut short.
    pub(super) fn next(&mut self) -> io::Result<Option<(u32, Header)>> {
        while self.offset + FIXED_BYTES as u64 <= self.length {
            let head = read_at(self.file, self.offset, HEADER_READ_BYTES)?;
            if let (Ok(header), Ok(offset)) = (Header::decode(&head, self.salt), u32::try_from(self.offset)) {
                self.offset += header.record_bytes();
                return Ok(Some((offset, header)));
            }
            self.offset = self.next_magic(self.offset + 1)?;
        }
        Ok(None)
    }

    fn next_magic(&self, mut from: u64) -> io::Result<u64> {
        while from < self.length {
            let window = read_at(self.file, from, SEARCH_WINDOW_BYTES)?;
            if let Some(found) = window.windows(MAGIC.len()).position(|bytes| bytes == MAGIC) {
                return Ok(from + found as u64);
            }
            if window.len() < SEARCH_WINDOW_BYTES {
                break;
            }
            // A magic may lie across the edge of the window.
            from += (window.len() - MAGIC.len() + 1) as u64;
        }
        Ok(self.length)
    }
}

/// All records of a segment from an offset on.
#[cfg(feature = "fuzzing")]
pub(crate) fn records_of(file: &File, salt: &Salt, offset: u64, length: u64) -> Vec<(u32, Header)> {
    let mut scanner = Scanner { file, salt, offset, length };
    std::iter::from_fn(|| scanner.next().ok().flatten()).collect()
}

/// Brings the index up to the segments. Answers where the last segment ends, if there is any.
pub(crate) fn recover(segments: &Segments) -> Result<Option<Position>, StoreError> {
    segments.sync_names()?;
    let lengths = segments.lengths()?;
    let Some(last) = lengths.keys().next_back().copied() else { return Ok(None) };
    let known = segments.index.position()?;
    let mut recovery = Recovery { segments, changes: Vec::new(), live: segments.index.live_bytes()? };
    let mut end = Position { segment: last, offset: 0 };
    for (&segment, &length) in lengths.range(known.segment..) {
        let from = if segment == known.segment { u64::from(known.offset).min(length) } else { 0 };
        let failed = |error: io::Error| segments.error("read", segment, &error);
        let file = segments.append_file(segment)?;
        // The process before may have died between a write and its sync: what is read now will count as durable.
        shoal_files::sync(&file).map_err(failed)?;
        let durable_below = if segment == last {
            durable_below(&file, &segments.salt, from, length).map_err(failed)?
        } else {
            // The next segment was begun only when this one was durable.
            length
        };
        let tail = recovery.segment(&file, segment, from, length, durable_below)?;
        if segment == last {
            if tail < length {
                shoal_files::set_length(&file, tail).and_then(|()| shoal_files::sync(&file)).map_err(failed)?;
            }
            end.offset = u32::try_from(tail).unwrap_or(u32::MAX);
        }
    }
    recovery.commit(end.max(known), true)?;
    Ok(Some(end))
}

fn durable_below(file: &File, salt: &Salt, from: u64, length: u64) -> io::Result<u64> {
    let mut highest = from;
    let mut scanner = Scanner { file, salt, offset: from, length };
    while let Some((_, header)) = scanner.next()? {
        highest = highest.max(u64::from(header.durable_below));
    }
    Ok(highest.min(length))
}

struct Recovery<'a> {
    segments: &'a Segments,
    changes: Vec<Change>,
    live: std::collections::BTreeMap<u32, u64>,
}

impl Recovery<'_> {
    /// Takes in one segment; answers where what counts in it ends.
    fn segment(
        &mut self,
        file: &File,
        segment: u32,
        from: u64,
        length: u64,
        durable_below: u64,
    ) -> Result<u64, StoreError> {
        let salt = &self.segments.salt;
        let failed = |error: io::Error| self.segments.error("read", segment, &error);
        let mut scanner = Scanner { file, salt, offset: from, length };
        let mut tail = durable_below;
        let mut found = Vec::new();
        while let Some((offset, header)) = scanner.next().map_err(failed)? {
            let start = u64::from(offset);
            if start >= durable_below && !is_intact(file, start, &header).map_err(failed)? {
                continue;
            }
            tail = tail.max((start + header.record_bytes()).min(length));
            found.push(change(segment, offset, &header));
            if found.len() >= CHANGES_PER_COMMIT {
                self.changes.append(&mut found);
                // Not durable, and the position of an earlier time: a crash now begins this again.
                let position = self.segments.index.position()?;
                self.segments.index.apply(&self.changes, position, false, &mut self.live)?;
                self.changes.clear();
            }
        }
        self.changes.append(&mut found);
        Ok(tail)
    }

    fn commit(&mut self, position: Position, durable: bool) -> Result<(), StoreError> {
        self.segments.index.apply(&self.changes, position, durable, &mut self.live)
    }
}

fn change(segment: u32, offset: u32, header: &Header) -> Change {
    let key: ShardKey = header.key;
    match header.kind {
        Kind::Shard => Change::Put(key, Location { segment, offset, bytes: header.bytes, hash: header.hash() }),
        Kind::Tombstone { .. } => Change::Remove(key),
    }
}

fn is_intact(file: &File, start: u64, header: &Header) -> io::Result<bool> {
    let data = read_at(file, start + header.header_bytes() as u64, header.bytes as usize)?;
    Ok(data.len() == header.bytes as usize && header.check_blocks(0, &data).is_ok())
}
