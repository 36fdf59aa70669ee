//! The state while a batch is applied: the store, and the counters that are written once at its end.

use std::collections::BTreeMap;

use dci_proto::{AgentId, InodeId, VolumeId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Step;
use crate::tables::{self, MetaRow, Table, TrashBooks, UsageRow};
use crate::{KvError, KvWrite, Rejection, StripeRecord, TrashTotals, VolumeRecord, query};

/// Rows read at a time where a walk changes what it walks over.
pub(super) const PAGE_ROWS: usize = 512;

pub(super) struct State<'a> {
    pub(super) kv: &'a mut dyn KvWrite,
    pub(super) meta: MetaRow,
    meta_before: MetaRow,
    /// Volumes read in this batch; `true`: changed.
    volumes: BTreeMap<VolumeId, (VolumeRecord, bool)>,
    usage: BTreeMap<AgentId, UsageRow>,
    trash: Option<TrashBooks>,
    trash_totals: BTreeMap<VolumeId, TrashTotals>,
    pool_seen: bool,
}

impl<'a> State<'a> {
    pub(super) fn load(kv: &'a mut dyn KvWrite) -> Result<Self, KvError> {
        query::check_format(&*kv)?;
        let meta = query::meta(&*kv)?;
        let (volumes, usage, trash_totals) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { meta_before: meta.clone(), meta, volumes, usage, trash: None, trash_totals, pool_seen: false, kv })
    }

    /// Writes what was held back.
    pub(super) fn save(mut self) -> Result<(), KvError> {
        for (id, row) in std::mem::take(&mut self.usage) {
            let key = tables::agent_key(tables::USAGE, id);
            if row == UsageRow::default() { self.kv.delete(&key)? } else { self.put(tables::USAGE, &key, &row)? }
        }
        for (id, (record, changed)) in std::mem::take(&mut self.volumes) {
            if changed {
                self.put(tables::VOLUMES, &tables::volume_key(tables::VOLUMES, id), &record)?;
            }
        }
        for (id, totals) in std::mem::take(&mut self.trash_totals) {
            let key = tables::volume_key(tables::TRASH_TOTALS, id);
            if totals == TrashTotals::default() {
                self.kv.delete(&key)?;
            } else {
                self.put(tables::TRASH_TOTALS, &key, &totals)?;
            }
        }
        if let Some(books) = self.trash.take() {
            self.put(tables::TRASH_BOOKS, &tables::TRASH_BOOKS.key(&[]), &books)?;
        }
        if self.meta != self.meta_before {
            let meta = self.meta.clone();
            self.put(tables::META, &tables::META.key(&[]), &meta)?;
        }
        Ok(())
    }

    pub(super) fn read<Row: DeserializeOwned>(&self, table: Table, key: &[u8]) -> Result<Option<Row>, KvError> {
        tables::read(&*self.kv, table, key)
    }

    pub(super) fn put<Row: Serialize>(&mut self, table: Table, key: &[u8], row: &Row) -> Result<(), KvError> {
        self.kv.put(key, &tables::encode(table, row)?)
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Result<(), KvError> {
        self.kv.delete(key)
    }

    /// Up to [`PAGE_ROWS`] rows from `from` on whose keys start with `prefix`.
    pub(super) fn page<Row: DeserializeOwned>(
        &self,
        table: Table,
        prefix: &[u8],
        from: &[u8],
    ) -> Result<Vec<(Vec<u8>, Row)>, KvError> {
        let mut rows = Vec::new();
        tables::visit(&*self.kv, table, prefix, from, &mut |key, row| {
            rows.push((key.to_vec(), row));
            Ok(rows.len() < PAGE_ROWS)
        })?;
        Ok(rows)
    }

    /// Rows of a table whose keys start with `prefix`, counted up to `limit`.
    pub(super) fn count(&self, prefix: &[u8], limit: usize) -> Result<usize, KvError> {
        let mut count = 0;
        self.kv.scan(prefix, &tables::after_prefix(prefix), &mut |_, _| {
            count += 1;
            Ok(count < limit)
        })?;
        Ok(count)
    }

    /// Refuses one more row in a table that has as many as it may.
    pub(super) fn check_room(&self, table: Table, limit: usize) -> Step<()> {
        if self.count(&table.key(&[]), limit)? >= limit {
            return Err(Rejection::TooMany(table.1.to_owned()).into());
        }
        Ok(())
    }

    pub(super) fn has_pool(&mut self) -> Result<bool, KvError> {
        if !self.pool_seen {
            self.pool_seen = query::pool(&*self.kv)?.is_some();
        }
        Ok(self.pool_seen)
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.meta.time_ms
    }

    /// The time as files carry it.
    pub(super) fn now_signed_ms(&self) -> i64 {
        i64::try_from(self.meta.time_ms).unwrap_or(i64::MAX)
    }

    pub(super) fn new_inode(&mut self) -> InodeId {
        let inode = InodeId(self.meta.next_inode);
        self.meta.next_inode += 1;
        inode
    }

    pub(super) fn new_version(&mut self) -> u64 {
        let version = self.meta.next_version;
        self.meta.next_version += 1;
        version
    }

    pub(super) fn volume(&mut self, id: VolumeId) -> Step<&VolumeRecord> {
        Ok(&self.volume_entry(id)?.0)
    }

    pub(super) fn volume_mut(&mut self, id: VolumeId) -> Step<&mut VolumeRecord> {
        let (record, changed) = self.volume_entry(id)?;
        *changed = true;
        Ok(record)
    }

    fn volume_entry(&mut self, id: VolumeId) -> Step<&mut (VolumeRecord, bool)> {
        use std::collections::btree_map::Entry;
        match self.volumes.entry(id) {
            Entry::Occupied(held) => Ok(held.into_mut()),
            Entry::Vacant(free) => {
                let record = query::volume(&*self.kv, id)?;
                let record = record.ok_or_else(|| Rejection::NotFound(format!("volume {}", id.0)))?;
                Ok(free.insert((record, false)))
            }
        }
    }

    /// Adds a volume that was just made; at once, as paths are looked up in the store.
    pub(super) fn insert_volume(&mut self, record: &VolumeRecord) -> Result<(), KvError> {
        self.put(tables::VOLUMES, &tables::volume_key(tables::VOLUMES, record.id), record)
    }

    /// Forgets a volume for good.
    pub(super) fn delete_volume(&mut self, id: VolumeId) -> Result<(), KvError> {
        self.volumes.remove(&id);
        self.kv.delete(&tables::volume_key(tables::VOLUMES, id))
    }

    /// Counts files of a volume in or out.
    pub(super) fn count_files(&mut self, id: VolumeId, files: i64, bytes: i64) -> Step<()> {
        if files != 0 || bytes != 0 {
            let record = self.volume_mut(id)?;
            record.files = record.files.saturating_add_signed(files);
            record.bytes = record.bytes.saturating_add_signed(bytes);
        }
        Ok(())
    }

    /// Counts a stripe's shards in with their holders, or out.
    pub(super) fn count_shards(&mut self, record: &StripeRecord, holds: bool) -> Result<(), KvError> {
        let bytes = u64::from(record.shard_bytes);
        for agent in record.shards.iter().filter_map(|place| place.agent) {
            let usage = self.usage_mut(agent)?;
            if holds {
                usage.shards += 1;
                usage.bytes += bytes;
            } else {
                usage.shards = usage.shards.saturating_sub(1);
                usage.bytes = usage.bytes.saturating_sub(bytes);
            }
        }
        Ok(())
    }

    /// The counters of the trash, to be changed.
    pub(super) fn trash_mut(&mut self) -> Result<&mut TrashBooks, KvError> {
        let books = match self.trash {
            Some(books) => books,
            None => tables::read(&*self.kv, tables::TRASH_BOOKS, &tables::TRASH_BOOKS.key(&[]))?.unwrap_or_default(),
        };
        Ok(self.trash.insert(books))
    }

    /// What a volume's trash counts, to be changed.
    pub(super) fn trash_totals_mut(&mut self, volume: VolumeId) -> Result<&mut TrashTotals, KvError> {
        use std::collections::btree_map::Entry;
        match self.trash_totals.entry(volume) {
            Entry::Occupied(held) => Ok(held.into_mut()),
            Entry::Vacant(free) => {
                let key = tables::volume_key(tables::TRASH_TOTALS, volume);
                Ok(free.insert(tables::read(&*self.kv, tables::TRASH_TOTALS, &key)?.unwrap_or_default()))
            }
        }
    }

    pub(super) fn usage_mut(&mut self, agent: AgentId) -> Result<&mut UsageRow, KvError> {
        use std::collections::btree_map::Entry;
        match self.usage.entry(agent) {
            Entry::Occupied(held) => Ok(held.into_mut()),
            Entry::Vacant(free) => {
                let key = tables::agent_key(tables::USAGE, agent);
                Ok(free.insert(tables::read(&*self.kv, tables::USAGE, &key)?.unwrap_or_default()))
            }
        }
    }
}
