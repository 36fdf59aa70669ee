//! Where in the shards a range of the plain bytes is.

use std::ops::Range;

use shoal_ledger::{CHUNK_BYTES, StripeRecord};

use super::crypto::FrameParameters;
use super::{FRAME_BYTES, KEY_EPOCH, PLAIN, SALT_BYTES, StripeError, TAG_BYTES, ZSTD};
use crate::codec::{self, ALIGNMENT_BYTES};

/// What to fetch for a range of a stripe's plain bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPlan {
    /// The plain bytes wanted.
    pub range: Range<u32>,
    /// The frames they are in.
    pub frames: Range<u32>,
    /// What to fetch of any k shards when one of `pieces` cannot be had.
    pub column: Range<u32>,
    /// What to fetch of which data shards when all is well.
    pub pieces: Vec<(u8, Range<u32>)>,
}

/// The measures of a stripe's stored bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    pub(super) head_bytes: u32,
    pub(super) payload_bytes: u32,
    pub(super) frames: u32,
    pub(super) stored_bytes: u32,
    pub(super) shard_bytes: u32,
    pub(super) k: u8,
}

impl Layout {
    /// Of a payload that is about to be sealed.
    pub(super) fn of_payload(payload_bytes: u32, compression: u8, k: u8) -> Self {
        let head_bytes = if compression == PLAIN { 0 } else { SALT_BYTES };
        let frames = payload_bytes.div_ceil(FRAME_BYTES);
        let stored_bytes = head_bytes + payload_bytes + frames * TAG_BYTES;
        let shard_bytes = if k == 1 {
            stored_bytes
        } else {
            stored_bytes.div_ceil(u32::from(k.max(1))).next_multiple_of(ALIGNMENT_BYTES)
        };
        Self { head_bytes, payload_bytes, frames, stored_bytes, shard_bytes, k }
    }

    /// Of a record, which is taken for hostile: whatever passes is consistent.
    pub(super) fn of_record(record: &StripeRecord) -> Result<Self, StripeError> {
        let shape = |reason: String| Err(StripeError::Shape(reason));
        if record.key_epoch != KEY_EPOCH || record.compression > ZSTD {
            return Err(StripeError::Newer(format!(
                "key epoch {}, compression {}",
                record.key_epoch, record.compression
            )));
        }
        if record.k == 0 || record.plain_bytes > CHUNK_BYTES {
            return shape(format!("{} data shards of {} plain bytes", record.k, record.plain_bytes));
        }
        let head_bytes = if record.compression == PLAIN { 0 } else { SALT_BYTES };
        // Each frame but the last is full, so their number follows from the length.
        let framed = record.stored_bytes.checked_sub(head_bytes);
        let Some(framed) =
            framed.filter(|framed| *framed <= CHUNK_BYTES + CHUNK_BYTES.div_ceil(FRAME_BYTES) * TAG_BYTES)
        else {
            return shape(format!("{} stored bytes", record.stored_bytes));
        };
        let frames = framed.div_ceil(FRAME_BYTES + TAG_BYTES);
        let Some(payload_bytes) = framed.checked_sub(frames * TAG_BYTES) else {
            return shape(format!("{} stored bytes", record.stored_bytes));
        };
        let layout = Self::of_payload(payload_bytes, record.compression, record.k);
        let fits = layout.stored_bytes == record.stored_bytes && layout.shard_bytes == record.shard_bytes;
        if !fits || (record.compression == PLAIN && payload_bytes != record.plain_bytes) {
            return shape(format!(
                "{} plain, {} stored and {} shard bytes do not go together",
                record.plain_bytes, record.stored_bytes, record.shard_bytes
            ));
        }
        Ok(layout)
    }

    /// Where a frame's ciphertext and tag stand among the stored bytes.
    pub(super) fn frame(&self, number: u32) -> Range<usize> {
        let from = self.head_bytes + number * (FRAME_BYTES + TAG_BYTES);
        let to = from.saturating_add(FRAME_BYTES + TAG_BYTES).min(self.stored_bytes);
        from as usize..to as usize
    }

    fn stored_range(&self, frames: &Range<u32>) -> Range<u32> {
        if frames.is_empty() {
            return 0..0;
        }
        let from = if frames.start == 0 { 0 } else { self.frame(frames.start).start as u32 };
        from..self.frame(frames.end - 1).end as u32
    }
}

/// What to fetch for a range of plain bytes, which is cut to what there is. A record that makes no sense gives a plan to
/// fetch nothing; [`super::open`] tells what is wrong with it.
#[must_use]
pub fn plan_read(record: &StripeRecord, range: Range<u32>) -> ReadPlan {
    let range = range.start.min(record.plain_bytes)..range.end.min(record.plain_bytes);
    let range = if range.start < range.end { range } else { 0..0 };
    let Ok(layout) = Layout::of_record(record) else {
        return ReadPlan { range, frames: 0..0, column: 0..0, pieces: Vec::new() };
    };
    let frames = if range.is_empty() {
        0..0
    } else if record.compression == PLAIN {
        range.start / FRAME_BYTES..(range.end - 1) / FRAME_BYTES + 1
    } else {
        0..layout.frames
    };
    let (pieces, column) = pieces(&layout, &layout.stored_range(&frames), record.codec);
    ReadPlan { range, frames, column, pieces }
}

fn pieces(layout: &Layout, stored: &Range<u32>, code: u8) -> (Vec<(u8, Range<u32>)>, Range<u32>) {
    let mut pieces = Vec::with_capacity(usize::from(layout.k));
    let (mut from, mut to) = (u32::MAX, 0);
    for index in 0..layout.k {
        let begin = u32::from(index) * layout.shard_bytes;
        let piece = stored.start.max(begin)..stored.end.min(begin + layout.shard_bytes);
        if piece.start < piece.end {
            let piece = piece.start - begin..piece.end - begin;
            (from, to) = (from.min(piece.start), to.max(piece.end));
            pieces.push((index, piece));
        }
    }
    if pieces.is_empty() {
        return (pieces, 0..0);
    }
    if code == codec::COPIES {
        return (pieces, from..to);
    }
    let aligned =
        from / ALIGNMENT_BYTES * ALIGNMENT_BYTES..to.next_multiple_of(ALIGNMENT_BYTES).min(layout.shard_bytes);
    (pieces, aligned)
}

/// What the frames of a record are bound to.
pub(super) fn parameters(record: &StripeRecord, layout: &Layout) -> FrameParameters {
    FrameParameters {
        content: record.content,
        compression: record.compression,
        frames: layout.frames,
        plain_bytes: record.plain_bytes,
    }
}
