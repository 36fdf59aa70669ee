//! Where each small shard lies: a redb table that is quick to ask and can always be made anew from the segments.
//!
//! Each batch is committed without waiting for the disk; now and then a commit is durable. With each commit goes the
//! position up to which the segments are told of here, so that after a crash only the rest is read again.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use dci_proto::{ShardHash, ShardKey, StripeId};
use redb::{Database, Durability, ReadableDatabase, ReadableTable, ReadableTableMetadata, TableDefinition};

use super::super::record::record_bytes;
use crate::{ShardInfo, StoreError};

/// Memory the index may keep pages in.
const CACHE_BYTES: usize = 4 * 1024 * 1024;

const SHARDS: TableDefinition<&[u8; 17], &[u8; 28]> = TableDefinition::new("shards-1");
const LIVE_BYTES: TableDefinition<u32, u64> = TableDefinition::new("segment-live-bytes-1");
const POSITION: TableDefinition<(), (u32, u32)> = TableDefinition::new("position-1");

/// Where a small shard is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
    pub(crate) bytes: u32,
    pub(crate) hash: ShardHash,
}

/// A place in the segments: which, and the offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

/// What a batch does to the index.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Change {
    Put(ShardKey, Location),
    Remove(ShardKey),
    /// A segment was dropped.
    Forget(u32),
}

pub(crate) struct Index {
    database: Database,
    path: PathBuf,
}

impl Location {
    pub(crate) fn record_bytes(&self) -> u64 {
        record_bytes(self.bytes)
    }

    fn encode(&self) -> [u8; 28] {
        let mut out = [0; 28];
        out[..4].copy_from_slice(&self.segment.to_le_bytes());
        out[4..8].copy_from_slice(&self.offset.to_le_bytes());
        out[8..12].copy_from_slice(&self.bytes.to_le_bytes());
        out[12..].copy_from_slice(&self.hash.0);
        out
    }

    fn decode(bytes: &[u8; 28]) -> Self {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let mut hash = [0; 16];
        hash.copy_from_slice(&bytes[12..]);
        Self { segment: number(0), offset: number(4), bytes: number(8), hash: ShardHash(hash) }
    }

    pub(crate) fn info(&self, key: ShardKey) -> ShardInfo {
        ShardInfo { key, bytes: self.bytes, hash: self.hash }
    }
}

fn encode_key(key: ShardKey) -> [u8; 17] {
    let mut out = [0; 17];
    out[..16].copy_from_slice(&key.stripe.0);
    out[16] = key.index;
    out
}

fn decode_key(bytes: &[u8; 17]) -> ShardKey {
    let mut stripe = [0; 16];
    stripe.copy_from_slice(&bytes[..16]);
    ShardKey { stripe: StripeId(stripe), index: bytes[16] }
}

impl Index {
    /// Opens the index; one that is missing or cannot be read is begun anew, to be filled from the segments.
    pub(crate) fn open(path: &Path) -> Result<Self, StoreError> {
        // The database gives up with a panic on some damage; the index is no reason to.
        let opened = std::panic::catch_unwind(|| Self::try_open(path));
        let damaged = |_| Err(redb::Error::Corrupted("it makes the database panic".into()));
        match opened.unwrap_or_else(damaged) {
            Ok(index) => Ok(index),
            Err(reason) => {
                tracing::warn!(path = %path.display(), %reason, "the index of small shards is unusable; rebuilding it");
                shoal_files::remove(path).map_err(|error| super::super::system::disk_error("remove", path, &error))?;
                Self::try_open(path).map_err(|error| failed(path, "create", &error))
            }
        }
    }

    fn try_open(path: &Path) -> Result<Self, redb::Error> {
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(shoal_files::Backend::create(path)?)?;
        let transaction = database.begin_write()?;
        transaction.open_table(SHARDS)?;
        transaction.open_table(LIVE_BYTES)?;
        transaction.open_table(POSITION)?;
        transaction.commit()?;
        Ok(Self { database, path: path.to_owned() })
    }

    fn read<T>(&self, read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>) -> Result<T, StoreError> {
        let result = self.database.begin_read().map_err(redb::Error::from).and_then(|transaction| read(&transaction));
        result.map_err(|error| failed(&self.path, "read", &error))
    }

    pub(crate) fn get(&self, key: ShardKey) -> Result<Option<Location>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(SHARDS)?;
            Ok(table.get(&encode_key(key))?.map(|value| Location::decode(value.value())))
        })
    }

    /// Shards from after `after` in order, at most `limit`.
    pub(crate) fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardInfo>, StoreError> {
        use std::ops::Bound;
        let after = after.map(encode_key);
        let start = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        self.read(|transaction| {
            let table = transaction.open_table(SHARDS)?;
            let mut found = Vec::new();
            for row in table.range::<&[u8; 17]>((start, Bound::Unbounded))?.take(limit) {
                let (key, value) = row?;
                found.push(Location::decode(value.value()).info(decode_key(key.value())));
            }
            Ok(found)
        })
    }

    pub(crate) fn shards(&self) -> Result<u64, StoreError> {
        self.read(|transaction| Ok(transaction.open_table(SHARDS)?.len()?))
    }

    /// Up to where the segments are told of here.
    pub(crate) fn position(&self) -> Result<Position, StoreError> {
        self.read(|transaction| {
            let row = transaction.open_table(POSITION)?.get(())?;
            let (segment, offset) = row.map(|value| value.value()).unwrap_or_default();
            Ok(Position { segment, offset })
        })
    }

    /// Bytes of records in use, by segment.
    pub(crate) fn live_bytes(&self) -> Result<BTreeMap<u32, u64>, StoreError> {
        self.read(|transaction| {
            let table = transaction.open_table(LIVE_BYTES)?;
            let mut live = BTreeMap::new();
            for row in table.iter()? {
                let (segment, bytes) = row?;
                live.insert(segment.value(), bytes.value());
            }
            Ok(live)
        })
    }

    /// Bytes the index takes on the disk.
    pub(crate) fn file_bytes(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    /// Applies a batch whole, or not at all. `live` follows (bytes in use by segment); after an error it is stale.
    pub(crate) fn apply(
        &self,
        changes: &[Change],
        position: Position,
        durable: bool,
        live: &mut BTreeMap<u32, u64>,
    ) -> Result<(), StoreError> {
        self.try_apply(changes, position, durable, live).map_err(|error| failed(&self.path, "write", &error))
    }

    fn try_apply(
        &self,
        changes: &[Change],
        position: Position,
        durable: bool,
        live: &mut BTreeMap<u32, u64>,
    ) -> Result<(), redb::Error> {
        let mut transaction = self.database.begin_write()?;
        if durable {
            // The open after a crash then need not walk the whole index.
            transaction.set_quick_repair(true);
        } else {
            transaction.set_durability(Durability::None)?;
        }
        {
            let mut shards = transaction.open_table(SHARDS)?;
            let mut segments = transaction.open_table(LIVE_BYTES)?;
            let mut touched = Vec::new();
            for change in changes {
                let (old, new) = match change {
                    Change::Put(key, location) => {
                        let old = shards.insert(&encode_key(*key), &location.encode())?;
                        (old.map(|value| Location::decode(value.value())), Some(*location))
                    }
                    Change::Remove(key) => {
                        let old = shards.remove(&encode_key(*key))?;
                        (old.map(|value| Location::decode(value.value())), None)
                    }
                    Change::Forget(segment) => {
                        live.remove(segment);
                        segments.remove(segment)?;
                        continue;
                    }
                };
                if let Some(old) = old {
                    let bytes = live.entry(old.segment).or_default();
                    *bytes = bytes.saturating_sub(old.record_bytes());
                    touched.push(old.segment);
                }
                if let Some(new) = new {
                    *live.entry(new.segment).or_default() += new.record_bytes();
                    touched.push(new.segment);
                }
            }
            touched.sort_unstable();
            touched.dedup();
            for segment in touched {
                segments.insert(segment, live.get(&segment).copied().unwrap_or_default())?;
            }
            transaction.open_table(POSITION)?.insert((), (position.segment, position.offset))?;
        }
        transaction.commit()?;
        Ok(())
    }
}

fn failed(path: &Path, action: &str, error: &redb::Error) -> StoreError {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    match error {
        redb::Error::Io(io) if matches!(io.kind(), StorageFull | QuotaExceeded) => {
            StoreError::Full(format!("{action} {}: {io}", path.display()))
        }
        _ => StoreError::Io { action: format!("{action} {}", path.display()), reason: error.to_string() },
    }
}
