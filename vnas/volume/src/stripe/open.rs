//! From shards back to plain bytes.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use shoal_ledger::StripeRecord;

use super::compress::decompressed;
use super::crypto::{FrameCipher, PoolKeys};
use super::layout::{Layout, ReadPlan, parameters};
use super::{FRAME_BYTES, PLAIN, SALT_BYTES, StripeError, TAG_BYTES};
use crate::codec;

/// The plain bytes a plan was made for, from exactly its pieces or from its column of any k shards.
///
/// # Errors
/// If the pieces are neither, the record makes no sense, or the bytes fail their authentication.
pub fn open(
    keys: &PoolKeys,
    record: &StripeRecord,
    plan: &ReadPlan,
    parts: Vec<(u8, Bytes)>,
) -> Result<Bytes, StripeError> {
    let layout = Layout::of_record(record)?;
    if plan.frames.is_empty() {
        return Ok(Bytes::new());
    }
    let pieces = if are_pieces(plan, &parts) { parts } else { decode(record, plan, &parts)? };
    let stored = Stored::new(&layout, plan, pieces)?;
    let salt = stored.salt(record)?;
    let cipher = keys.cipher(&parameters(record, &layout), &salt)?;
    let payload = decrypt(&layout, plan, &stored, &cipher)?;
    if record.compression == PLAIN {
        let skip = plan.frames.start * FRAME_BYTES;
        let range = (plan.range.start - skip) as usize..(plan.range.end - skip) as usize;
        return Ok(Bytes::from(payload).slice(range));
    }
    let plain = decompressed(&payload, record.plain_bytes as usize)?;
    Ok(Bytes::from(plain).slice(plan.range.start as usize..plan.range.end as usize))
}

fn are_pieces(plan: &ReadPlan, parts: &[(u8, Bytes)]) -> bool {
    let fits = |(index, range): &(u8, Range<u32>)| {
        parts.iter().any(|(part, bytes)| part == index && bytes.len() == range.len())
    };
    parts.len() == plan.pieces.len() && plan.pieces.iter().all(fits)
}

/// The pieces, cut from columns of any k shards, the missing ones decoded.
fn decode(record: &StripeRecord, plan: &ReadPlan, parts: &[(u8, Bytes)]) -> Result<Vec<(u8, Bytes)>, StripeError> {
    let column_bytes = plan.column.len();
    if let Some((index, bytes)) = parts.iter().find(|(_, bytes)| bytes.len() != column_bytes) {
        return Err(StripeError::Shape(format!(
            "shard {index} gave {} bytes, neither its piece nor the column of {column_bytes}",
            bytes.len()
        )));
    }
    let present: Vec<(usize, &[u8])> = parts.iter().map(|(index, bytes)| (usize::from(*index), &bytes[..])).collect();
    let codec = codec::by_id(record.codec)?;
    let recovered = codec.recover(usize::from(record.k), usize::from(record.m), &present)?;
    let mut recovered: Vec<(usize, Bytes)> = recovered.into_iter().map(|(index, b)| (index, Bytes::from(b))).collect();
    recovered.extend(parts.iter().map(|(index, bytes)| (usize::from(*index), bytes.clone())));
    let piece = |(index, range): &(u8, Range<u32>)| {
        let column = recovered.iter().find(|(found, _)| *found == usize::from(*index)).map(|(_, bytes)| bytes);
        let column = column.ok_or_else(|| StripeError::Shape(format!("shard {index} was not decoded")))?;
        let from = (range.start - plan.column.start) as usize;
        Ok((*index, column.slice(from..from + range.len())))
    };
    plan.pieces.iter().map(piece).collect()
}

/// The stored bytes a plan covers, as the pieces that came.
struct Stored {
    /// Each with where it begins among the stored bytes, in order, without gaps.
    pieces: Vec<(usize, Bytes)>,
}

impl Stored {
    fn new(layout: &Layout, plan: &ReadPlan, parts: Vec<(u8, Bytes)>) -> Result<Self, StripeError> {
        let mut pieces = Vec::with_capacity(parts.len());
        for (index, bytes) in parts {
            let planned = plan.pieces.iter().find(|(planned, _)| *planned == index);
            let (_, range) = planned.ok_or_else(|| StripeError::Shape(format!("shard {index} was not asked for")))?;
            let begin = usize::from(index) * layout.shard_bytes as usize + range.start as usize;
            pieces.push((begin, bytes));
        }
        pieces.sort_by_key(|(begin, _)| *begin);
        Ok(Self { pieces })
    }

    /// A range of the stored bytes: borrowed where it lies in one piece.
    fn range(&self, range: Range<usize>) -> Result<Cow<'_, [u8]>, StripeError> {
        let after = self.pieces.partition_point(|(begin, _)| *begin <= range.start);
        let mut joined = Vec::new();
        let mut position = range.start;
        for (begin, bytes) in self.pieces.iter().skip(after.saturating_sub(1)) {
            let Some(from) = position.checked_sub(*begin).filter(|from| *from < bytes.len()) else { break };
            let to = bytes.len().min(range.end - begin);
            if position == range.start && begin + to == range.end {
                return Ok(Cow::Borrowed(&bytes[from..to]));
            }
            joined.extend_from_slice(&bytes[from..to]);
            position = begin + to;
            if position == range.end {
                return Ok(Cow::Owned(joined));
            }
        }
        Err(StripeError::Shape(format!("bytes {range:?} of the stripe are not there")))
    }

    fn salt(&self, record: &StripeRecord) -> Result<Cow<'_, [u8]>, StripeError> {
        if record.compression == PLAIN { Ok(Cow::Borrowed(&[])) } else { self.range(0..SALT_BYTES as usize) }
    }
}

fn decrypt(layout: &Layout, plan: &ReadPlan, stored: &Stored, cipher: &FrameCipher) -> Result<Vec<u8>, StripeError> {
    let end = (u64::from(plan.frames.end) * u64::from(FRAME_BYTES)).min(u64::from(layout.payload_bytes)) as usize;
    let begin = plan.frames.start as usize * FRAME_BYTES as usize;
    let payload_bytes = end.saturating_sub(begin);
    let mut payload = Vec::with_capacity(payload_bytes);
    for number in plan.frames.clone() {
        let frame = stored.range(layout.frame(number))?;
        // Frame by frame, the zeros are still in the cache when they are written over.
        let from = payload.len();
        payload.resize(payload_bytes.min(from + FRAME_BYTES as usize), 0);
        let plain = &mut payload[from..];
        if frame.len() != plain.len() + TAG_BYTES as usize {
            return Err(StripeError::Shape(format!("frame {number} has {} bytes", frame.len())));
        }
        cipher.open(number, &frame, plain)?;
    }
    Ok(payload)
}
