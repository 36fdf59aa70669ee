//! What the async side, its blocking jobs and the segment writer share of one open store. All calls block.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use dci_proto::{ShardHash, ShardKey};

use super::existing::{Existing, look};
use super::files::ShardFiles;
use super::identity::Identity;
use super::record::Header;
use super::segments::Segments;
use super::space::{Reservation, Space};
use crate::{ShardInfo, StoreError};

pub(crate) struct Shared {
    pub(crate) identity: Identity,
    pub(crate) space: Arc<Space>,
    pub(crate) files: ShardFiles,
    pub(crate) segments: Segments,
}

impl Shared {
    /// Asks the segments, then the files; says "not here" only if the disk is.
    fn find<T>(
        &self,
        small: impl FnOnce(&Segments) -> Result<Option<T>, StoreError>,
        large: impl FnOnce(&ShardFiles) -> Result<Option<T>, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let found = match small(&self.segments) {
            Ok(None) => large(&self.files),
            found => found,
        };
        match found {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => self.identity.require_plugged().map(|()| None),
            Err(error) => Err(self.identity.explain(error)),
        }
    }

    pub(crate) fn get(&self, key: ShardKey, range: Option<&Range<u32>>) -> Result<Bytes, StoreError> {
        self.find(|small| small.read(key, range), |large| large.read(key, range))?.ok_or(StoreError::NotFound(key))
    }

    pub(crate) fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        self.find(|small| small.info(key), |large| large.info(key))
    }

    pub(crate) fn verify(&self, key: ShardKey) -> Result<ShardInfo, StoreError> {
        self.find(|small| small.verify(key), |large| large.verify(key))?.ok_or(StoreError::NotFound(key))
    }

    /// Writes a large shard as a file, unless it is there.
    pub(crate) fn put_file(
        &self,
        header: &Header,
        data: &Bytes,
        reservation: Result<Reservation, StoreError>,
    ) -> Result<(), StoreError> {
        self.identity.require_plugged()?;
        match self.existing(header.key, header.hash())? {
            Existing::Same => self.files.make_name_durable(header.key).map_err(|error| self.identity.explain(error)),
            Existing::Other => Err(StoreError::Conflict(header.key)),
            Existing::None | Existing::DamagedFile | Existing::DamagedRecord => {
                self.files.write(header, data, reservation?).map_err(|error| self.identity.explain(error))
            }
        }
    }

    pub(crate) fn existing(&self, key: ShardKey, hash: ShardHash) -> Result<Existing, StoreError> {
        look(self, key, hash).map_err(|error| self.identity.explain(error))
    }

    /// Drops a shard's file if it has one; answers whether a segment holds it, which only the writer can drop.
    pub(crate) fn delete_file(&self, key: ShardKey) -> Result<bool, StoreError> {
        self.identity.require_plugged()?;
        let delete = || {
            self.files.delete(key)?;
            Ok(self.segments.index.get(key)?.is_some())
        };
        delete().map_err(|error| self.identity.explain(error))
    }

    /// Shards in order, from both places.
    pub(crate) fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardInfo>, StoreError> {
        let list = || {
            let mut found = self.segments.index.list(after, limit)?;
            for key in self.files.keys(after, limit)? {
                match self.files.info(key) {
                    Ok(info) => found.extend(info),
                    // Listed all the same: one bad sector hides neither its shard nor the others.
                    Err(StoreError::Damaged { .. } | StoreError::Io { .. }) => {
                        found.push(ShardInfo { key, bytes: 0, hash: ShardHash::default() });
                    }
                    Err(error) => return Err(error),
                }
            }
            found.sort_unstable_by_key(|info| info.key);
            found.dedup_by_key(|info| info.key);
            found.truncate(limit);
            Ok(found)
        };
        let found = list().map_err(|error| self.identity.explain(error))?;
        self.identity.require_plugged()?;
        Ok(found)
    }
}
