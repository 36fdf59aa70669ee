//! The trash: its rows, how they are found, what they count, what they hold.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::VolumeId;

use super::{Check, Validator, ensure};
use crate::limits::{TRASH_ROWS_LIMIT, TRASH_VERSIONS_LIMIT};
use crate::tables::{self, TrashBooks, TrashRow};
use crate::{Node, NodeKind, TrashTotals, query};

impl Validator<'_> {
    /// Answers the files that are in the trash.
    pub(super) fn trash(&self) -> Check<Vec<Node>> {
        let rows = self.rows::<TrashRow>(tables::TRASH)?;
        let volumes: BTreeSet<VolumeId> = query::volumes(self.kv)?.into_iter().map(|volume| volume.id).collect();
        let mut counted: BTreeMap<VolumeId, TrashTotals> = BTreeMap::new();
        let mut versions: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
        let mut keys = BTreeSet::new();
        let mut latest_ms = 0;
        for (key, row) in &rows {
            let id = tables::trash_id(key);
            let file = row.node.kind == NodeKind::File && row.node.size_bytes > 0 && !row.node.has_properties;
            ensure(file, || format!("version {id} in the trash is no file with bytes"))?;
            ensure(volumes.contains(&row.volume), || format!("version {id} is in the trash of no volume"))?;
            ensure(row.since_ms >= latest_ms, || format!("version {id} went before the one before it"))?;
            latest_ms = row.since_ms;
            keys.insert(tables::trash_path_key(row.volume, &row.names, id));
            *versions.entry(tables::trash_on_key(row.volume, &row.names)).or_default() += 1;
            let totals = counted.entry(row.volume).or_default();
            totals.files += 1;
            totals.bytes += row.node.size_bytes;
        }
        let most = versions.values().max().copied().unwrap_or(0);
        ensure(most <= TRASH_VERSIONS_LIMIT, || format!("{most} versions of one path are in the trash"))?;
        let mut listed = BTreeSet::new();
        for (key, ()) in self.rows::<()>(tables::TRASH_PATHS)? {
            listed.insert(tables::TRASH_PATHS.key(&[&key]));
        }
        ensure(listed == keys, || format!("paths of trash {listed:?} do not lead to {keys:?}"))?;
        self.trash_counters(&counted, rows.last().map_or(0, |(key, _)| tables::trash_id(key)))?;
        ensure(latest_ms <= query::time_ms(self.kv)?, || "something went to the trash in the future".to_owned())?;
        Ok(rows.into_iter().map(|(_, row)| row.node).collect())
    }

    fn trash_counters(&self, counted: &BTreeMap<VolumeId, TrashTotals>, highest: u64) -> Check {
        let mut claimed = BTreeMap::new();
        for (key, totals) in self.rows::<TrashTotals>(tables::TRASH_TOTALS)? {
            let volume = key.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
            claimed.insert(VolumeId(volume), totals);
        }
        ensure(claimed == *counted, || format!("the trash of volumes claims {claimed:?} and has {counted:?}"))?;
        let books: Option<TrashBooks> = tables::read(self.kv, tables::TRASH_BOOKS, &tables::TRASH_BOOKS.key(&[]))?;
        let books = books.unwrap_or_default();
        let all = counted.values().fold(TrashTotals::default(), |sum, volume| TrashTotals {
            files: sum.files + volume.files,
            bytes: sum.bytes + volume.bytes,
        });
        ensure(books.totals == all, || format!("the trash claims {:?} and has {all:?}", books.totals))?;
        ensure(all.files <= TRASH_ROWS_LIMIT, || format!("{} versions are in the trash", all.files))?;
        ensure(highest < books.next_id, || format!("number {highest} in the trash is yet to be given"))
    }
}
