//! Giving back the space of dropped shards: what is still in use of a segment is appended anew, then it is removed.
//!
//! Done by the writer between batches, in small steps, so that it neither races with changes nor holds them up. A
//! crash at any instant is harmless: the copies are records like any other, and a segment goes only after the index
//! durably points elsewhere.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;

use super::super::record::{Header, Kind};
use super::super::system::read_at;
use super::index::Change;
use super::scan::Scanner;
use super::writer::{Entry, Writer};
use crate::StoreError;

/// Bytes copied in one step, at most (and one shard more).
const STEP_LIMIT_BYTES: u64 = 1024 * 1024;
/// Records looked at in one step.
const STEP_LIMIT_RECORDS: usize = 1024;
/// A segment is compacted when less than one part in so many is in use.
const LIVE_DIVISOR: u64 = 2;

/// A segment being emptied.
pub(crate) struct Compaction {
    segment: u32,
    file: Arc<File>,
    offset: u64,
    copied_bytes: u64,
}

impl Writer {
    /// Is there a segment to compact? Looks only when something changed.
    pub(super) fn has_compaction(&mut self) -> bool {
        if self.compaction.is_some() {
            return true;
        }
        if !self.compaction_due {
            return false;
        }
        let head = self.head.as_ref().map(|head| head.segment);
        let candidate = self.lengths.iter().find(|(segment, length)| {
            let live = self.live.get(segment).copied().unwrap_or_default();
            Some(**segment) != head && !self.stuck.contains(segment) && live * LIVE_DIVISOR <= **length
        });
        let Some(segment) = candidate.map(|(segment, _)| *segment) else {
            self.compaction_due = false;
            return false;
        };
        match self.shared.segments.file(segment) {
            Ok(file) => self.compaction = Some(Compaction { segment, file, offset: 0, copied_bytes: 0 }),
            Err(error) => {
                tracing::warn!(segment, %error, "a segment cannot be opened to compact it");
                self.stuck.insert(segment);
            }
        }
        self.compaction.is_some()
    }

    /// One bounded step.
    pub(super) fn compact_step(&mut self) -> Result<(), StoreError> {
        // Until it is put back, an error leaves compaction for later.
        self.compaction_due = false;
        let Some(mut compaction) = self.compaction.take() else { return Ok(()) };
        let (entries, finished) = self.copies(&mut compaction)?;
        if !entries.is_empty() {
            let bytes = entries.iter().map(|entry| entry.header.record_bytes()).sum();
            let reservation = self.shared.space.reserve_from_headroom(bytes)?;
            self.append(&entries)?;
            reservation.confirm(0);
        }
        self.compaction_due = true;
        if compaction.copied_bytes * LIVE_DIVISOR > self.lengths.get(&compaction.segment).copied().unwrap_or_default() {
            // Tombstones that must stay: copying them to and fro would never end.
            self.stuck.insert(compaction.segment);
            return Ok(());
        }
        if finished {
            return self.drop_segment(compaction.segment);
        }
        self.compaction = Some(compaction);
        Ok(())
    }

    /// The next records of the segment that must stay, and whether its end was reached.
    fn copies(&self, compaction: &mut Compaction) -> Result<(Vec<Entry>, bool), StoreError> {
        let segments = &self.shared.segments;
        let segment = compaction.segment;
        let length = self.lengths.get(&segment).copied().unwrap_or_default();
        let failed = |error: std::io::Error| segments.error("read", segment, &error);
        let mut scanner = Scanner { file: &compaction.file, salt: &segments.salt, offset: compaction.offset, length };
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for _ in 0..STEP_LIMIT_RECORDS {
            let Some((offset, header)) = scanner.next().map_err(failed)? else {
                return Ok((entries, true));
            };
            if self.must_stay(segment, offset, &header)? {
                let start = u64::from(offset) + header.header_bytes() as u64;
                let data = read_at(&compaction.file, start, header.bytes as usize).map_err(failed)?;
                if data.len() < header.bytes as usize {
                    continue;
                }
                bytes += header.record_bytes();
                entries.push(Entry { header, data: Bytes::from(data) });
            }
            if bytes >= STEP_LIMIT_BYTES {
                break;
            }
        }
        compaction.offset = scanner.offset;
        compaction.copied_bytes += bytes;
        Ok((entries, false))
    }

    /// A shard stays if the index points to this very record; a tombstone as long as the segment of its victim is
    /// there, lest a rebuilt index revive it.
    fn must_stay(&self, segment: u32, offset: u32, header: &Header) -> Result<bool, StoreError> {
        let location = self.shared.segments.index.get(header.key)?;
        Ok(match header.kind {
            Kind::Shard => location.is_some_and(|found| (found.segment, found.offset) == (segment, offset)),
            Kind::Tombstone { victim } => location.is_none() && victim != segment && self.lengths.contains_key(&victim),
        })
    }

    fn drop_segment(&mut self, segment: u32) -> Result<(), StoreError> {
        if self.live.get(&segment).is_some_and(|live| *live > 0) {
            tracing::warn!(segment, "a segment with damaged records stays");
            self.stuck.insert(segment);
            return Ok(());
        }
        self.commit(&[Change::Forget(segment)], true)?;
        self.shared.segments.remove(segment)?;
        if let Some(length) = self.lengths.remove(&segment) {
            self.shared.space.remove(length, 0);
        }
        Ok(())
    }
}
