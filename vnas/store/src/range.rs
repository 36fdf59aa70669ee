//! What part of a shard was asked for.

use std::ops::Range;

use bytes::Bytes;
use dci_proto::{ShardHash, ShardKey};

use crate::{SHARD_LIMIT_BYTES, StoreError};

/// The range asked for, checked against the shard's length; the whole shard if none was.
pub(crate) fn checked_range(key: ShardKey, bytes: u32, range: Option<&Range<u32>>) -> Result<Range<u32>, StoreError> {
    match range {
        None => Ok(0..bytes),
        Some(range) if range.start >= range.end => {
            Err(StoreError::Invalid(format!("empty range {}..{} of shard {key}", range.start, range.end)))
        }
        Some(range) if range.end > bytes => Err(StoreError::Invalid(format!(
            "range {}..{} is beyond the end of shard {key}, which has {bytes} bytes",
            range.start, range.end
        ))),
        Some(range) => Ok(range.clone()),
    }
}

/// The length of what is to be kept, if a shard may have it.
pub(crate) fn checked_length(key: ShardKey, data: &Bytes) -> Result<u32, StoreError> {
    u32::try_from(data.len()).ok().filter(|bytes| *bytes <= SHARD_LIMIT_BYTES).ok_or_else(|| {
        StoreError::Invalid(format!(
            "shard {key} of {} bytes is too large: {SHARD_LIMIT_BYTES} bytes are the limit",
            data.len()
        ))
    })
}

/// Refuses bytes other than those that were meant.
pub(crate) fn checked_hash(key: ShardKey, found: ShardHash, expected: Option<ShardHash>) -> Result<(), StoreError> {
    match expected {
        Some(expected) if expected != found => Err(StoreError::Invalid(format!(
            "the bytes given for shard {key} have the hash {found} instead of {expected}"
        ))),
        _ => Ok(()),
    }
}
