//! Reading a record back, verified: one buffer, of which the answer is a slice.

use std::fs::File;
use std::io;
use std::ops::Range;

use bytes::Bytes;
use dci_proto::{BLOCK_BYTES, ShardKey};

use super::record::{FIXED_BYTES, Header, Kind, Salt, header_bytes, record_bytes};
use super::system::read_at;
use crate::range::checked_range;
use crate::{ShardInfo, StoreError};

/// Where a record lies and what it must be.
pub(crate) struct Source<'a> {
    pub(crate) file: &'a File,
    pub(crate) offset: u64,
    pub(crate) key: ShardKey,
    pub(crate) salt: &'a Salt,
    /// Bytes from `offset` that the record has according to the file system or the index.
    pub(crate) record_bytes: u64,
}

impl Source<'_> {
    fn damaged(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Damaged { key: self.key, reason: reason.into() }
    }

    fn read(&self, offset: u64, length: usize) -> Result<Vec<u8>, StoreError> {
        read_at(self.file, offset, length).map_err(|error| self.io_error(&error))
    }

    fn io_error(&self, error: &io::Error) -> StoreError {
        StoreError::Io { action: format!("read shard {}", self.key), reason: error.to_string() }
    }

    /// The header in `bytes`, if it is of this key and this length.
    fn header(&self, bytes: &[u8]) -> Result<Header, StoreError> {
        let header = Header::decode(bytes, self.salt).map_err(|reason| self.damaged(reason))?;
        if header.key != self.key || header.kind != Kind::Shard {
            return Err(self.damaged(format!("what lies there is shard {}", header.key)));
        }
        if header.record_bytes() != self.record_bytes {
            return Err(self.damaged(format!(
                "it has {} bytes with its header instead of {}",
                self.record_bytes,
                header.record_bytes()
            )));
        }
        Ok(header)
    }

    /// The header alone.
    pub(crate) fn read_header(&self) -> Result<Header, StoreError> {
        let mut head = self.read(self.offset, longest_header(self.record_bytes))?;
        head.truncate(usize::try_from(self.record_bytes).unwrap_or(usize::MAX));
        self.header(&head)
    }

    /// All of it, every block checked: what it is and its bytes.
    pub(crate) fn read_whole(&self) -> Result<(ShardInfo, Bytes), StoreError> {
        let length = usize::try_from(self.record_bytes)
            .ok()
            .filter(|_| self.record_bytes <= record_bytes(crate::SHARD_LIMIT_BYTES))
            .ok_or_else(|| self.damaged(format!("it has {} bytes, more than any shard", self.record_bytes)))?;
        let record = self.read(self.offset, length)?;
        self.check_whole(Bytes::from(record))
    }

    /// A record read by other means: every block checked, what it is and its bytes.
    pub(crate) fn check_whole(&self, record: Bytes) -> Result<(ShardInfo, Bytes), StoreError> {
        if (record.len() as u64) < self.record_bytes {
            return Err(self.damaged("it is cut short"));
        }
        let header = self.header(&record)?;
        header.check_blocks(0, &record[header.header_bytes()..]).map_err(|reason| self.damaged(reason))?;
        let info = ShardInfo { key: self.key, bytes: header.bytes, hash: header.hash() };
        Ok((info, record.slice(header.header_bytes()..)))
    }

    /// The range asked for: its header and the blocks that hold the range are read, and checked.
    pub(crate) fn read_range(&self, range: Option<&Range<u32>>) -> Result<Bytes, StoreError> {
        let Some(range) = range else { return self.read_whole().map(|(_, data)| data) };
        let header = self.read_header()?;
        let range = checked_range(self.key, header.bytes, Some(range))?;
        let (start, end) = (range.start as usize, range.end as usize);
        let first_block = start / BLOCK_BYTES;
        let blocks_start = first_block * BLOCK_BYTES;
        let blocks_end = (end.div_ceil(BLOCK_BYTES) * BLOCK_BYTES).min(header.bytes as usize);
        let data_offset = self.offset + (header.header_bytes() + blocks_start) as u64;
        let blocks = self.read(data_offset, blocks_end - blocks_start)?;
        if blocks.len() < blocks_end - blocks_start {
            return Err(self.damaged("it is cut short"));
        }
        header.check_blocks(first_block, &blocks).map_err(|reason| self.damaged(reason))?;
        Ok(Bytes::from(blocks).slice(start - blocks_start..end - blocks_start))
    }
}

/// Bytes that hold the header of a record of this length, whatever the shard's own length is.
fn longest_header(record_bytes: u64) -> usize {
    let bound = u32::try_from(record_bytes).unwrap_or(u32::MAX).min(crate::SHARD_LIMIT_BYTES);
    header_bytes(bound).max(FIXED_BYTES)
}
