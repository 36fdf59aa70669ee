//! The trash: by age, by path, as folders.

use dci_proto::VolumeId;

use crate::tables::{self, TrashBooks, TrashRow};
use crate::{KvError, KvRead, NodePath, TrashChild, TrashEntry, TrashTotals};

/// How much is in the trash of all volumes. Kept with every change, so reading it is cheap.
pub fn trash_totals(kv: &dyn KvRead) -> Result<TrashTotals, KvError> {
    let books: Option<TrashBooks> = tables::read(kv, tables::TRASH_BOOKS, &tables::TRASH_BOOKS.key(&[]))?;
    Ok(books.unwrap_or_default().totals)
}

/// How much is in the trash of one volume.
pub fn trash_totals_of(kv: &dyn KvRead, volume: VolumeId) -> Result<TrashTotals, KvError> {
    let key = tables::volume_key(tables::TRASH_TOTALS, volume);
    Ok(tables::read(kv, tables::TRASH_TOTALS, &key)?.unwrap_or_default())
}

/// One version.
pub fn trash_entry(kv: &dyn KvRead, id: u64) -> Result<Option<TrashEntry>, KvError> {
    let row = tables::read(kv, tables::TRASH, &tables::trash_key(id))?;
    Ok(row.map(|row| entry(id, row)))
}

/// Versions numbered higher than `after`, the oldest first, at most `limit`.
pub fn trash_oldest(kv: &dyn KvRead, after: u64, limit: usize) -> Result<Vec<TrashEntry>, KvError> {
    let mut found = Vec::new();
    if limit == 0 {
        return Ok(found);
    }
    let from = tables::after_key(&tables::trash_key(after));
    tables::visit(kv, tables::TRASH, &tables::TRASH.key(&[]), &from, &mut |key, row| {
        found.push(entry(tables::trash_id(key), row));
        Ok(found.len() < limit)
    })?;
    Ok(found)
}

/// Versions of what was at a path, the oldest first.
pub fn trash_versions(kv: &dyn KvRead, path: &NodePath) -> Result<Vec<TrashEntry>, KvError> {
    let mut versions = Vec::new();
    let prefix = tables::trash_on_key(path.volume, &path.names);
    visit_ids(kv, &prefix, &prefix, &mut |id| {
        versions.push(existing(kv, id)?);
        Ok(true)
    })?;
    Ok(versions)
}

/// Visits the versions of what was at a path and below it, in the order of paths, those of one path oldest first, until
/// `visit` returns false.
pub fn trash_below(kv: &dyn KvRead, path: &NodePath, visit: &mut dyn FnMut(TrashEntry) -> bool) -> Result<(), KvError> {
    let prefix = tables::trash_below_key(path.volume, &path.names);
    visit_ids(kv, &prefix, &prefix, &mut |id| Ok(visit(existing(kv, id)?)))
}

/// Whether anything lies below a folder: when one of those versions went, in ms since 1970 UTC.
pub fn trash_folder(kv: &dyn KvRead, folder: &NodePath) -> Result<Option<u64>, KvError> {
    let prefix = tables::trash_below_key(folder.volume, &folder.names);
    let below = first(kv, &prefix, &beyond(&prefix))?;
    below.map(|key| Ok(existing(kv, tables::trash_id(&key))?.since_ms)).transpose()
}

/// Visits what the trash holds in a folder in the order of the normalised names, from after the name `after`, until
/// `visit` returns false. What lies deeper is skipped over, not read.
pub fn trash_children(
    kv: &dyn KvRead,
    folder: &NodePath,
    after: Option<&str>,
    visit: &mut dyn FnMut(TrashChild) -> bool,
) -> Result<(), KvError> {
    let prefix = tables::trash_below_key(folder.volume, &folder.names);
    let mut from = match after {
        Some(name) => beyond(&[&prefix, tables::normalized(name).as_bytes()].concat()),
        None => beyond(&prefix),
    };
    while let Some(key) = first(kv, &prefix, &from)? {
        let rest = key.get(prefix.len()..).unwrap_or_default();
        let name = rest.split(|byte| *byte == 0).next().unwrap_or_default();
        let below = [&prefix, name, &[0]].concat();
        if !visit(child(kv, &below, folder.names.len())?) {
            return Ok(());
        }
        from = beyond(&[&prefix, name].concat());
    }
    Ok(())
}

/// What lies under a name, `below` being what keys of it and below it start with.
fn child(kv: &dyn KvRead, below: &[u8], depth: usize) -> Result<TrashChild, KvError> {
    let mut child = TrashChild { name: String::new(), versions: Vec::new(), folder_since_ms: None };
    let own = [below, &[0]].concat();
    visit_ids(kv, &own, &own, &mut |id| {
        child.versions.push(existing(kv, id)?);
        Ok(true)
    })?;
    let deeper = first(kv, below, &beyond(below))?;
    let deeper = deeper.map(|key| existing(kv, tables::trash_id(&key))).transpose()?;
    child.folder_since_ms = deeper.as_ref().map(|deeper| deeper.since_ms);
    let entry = child.versions.last().or(deeper.as_ref());
    child.name = entry.and_then(|entry| entry.path.names.get(depth)).cloned().unwrap_or_default();
    Ok(child)
}

/// The first key after all that go on with a NUL: with the end of a name.
fn beyond(key: &[u8]) -> Vec<u8> {
    [key, &[1]].concat()
}

fn first(kv: &dyn KvRead, prefix: &[u8], from: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
    let mut found = None;
    kv.scan(from, &tables::after_prefix(prefix), &mut |key, _| {
        found = Some(key.to_vec());
        Ok(false)
    })?;
    Ok(found)
}

fn visit_ids(
    kv: &dyn KvRead,
    prefix: &[u8],
    from: &[u8],
    visit: &mut dyn FnMut(u64) -> Result<bool, KvError>,
) -> Result<(), KvError> {
    kv.scan(from, &tables::after_prefix(prefix), &mut |key, _| visit(tables::trash_id(key)))
}

fn existing(kv: &dyn KvRead, id: u64) -> Result<TrashEntry, KvError> {
    let missing = || KvError::Corrupt { table: tables::TRASH.1, reason: format!("version {id} is not there") };
    trash_entry(kv, id)?.ok_or_else(missing)
}

fn entry(id: u64, row: TrashRow) -> TrashEntry {
    let TrashRow { volume, names, node, since_ms, user, reason } = row;
    TrashEntry { id, path: NodePath { volume, names }, node, since_ms, user, reason }
}
