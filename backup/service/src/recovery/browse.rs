//! Archives looked at: which there are, what is in them, what differs, where a name is. Everything here blocks.

use std::collections::BTreeMap;

use shoal_archive::{ArchiveError, Engine, Entry, Repository};
use shoal_backup::ObjectName;
use shoal_backup::plan::{PathBytes, Pattern};
use shoal_backup::recovery::{self, Difference, tree_order};

use super::RecoveryError;
use super::request::ArchiveRef;
use super::view::{Change, DiffPage, DifferenceView, FileView, FilesPage, FindPage, FoundView};

/// Entries of a page, at most.
pub const PAGE_LIMIT: usize = 10_000;
/// Sentences about folders that could not be read, at most.
const UNREAD_LIMIT: usize = 100;

pub(super) fn files(
    engine: &Engine,
    archive: &ArchiveRef,
    folder: &PathBytes,
    after: Option<&PathBytes>,
    limit: usize,
) -> Result<FilesPage, RecoveryError> {
    let archive = archive.find(&engine.archives()?)?.name;
    let limit = limit.clamp(1, PAGE_LIMIT);
    let mut entries = match engine.list_folder(&archive, folder) {
        Err(ArchiveError::NoFolder(_)) => vec![one(engine, &archive, folder)?],
        listed => listed?,
    };
    if let Some(after) = after {
        entries.retain(|entry| is_after(&entry.path, after));
    }
    let more = entries.len() > limit;
    Ok(FilesPage { entries: entries.iter().take(limit).map(FileView::from).collect(), more })
}

/// What is there under a path that is no folder.
fn one(engine: &Engine, archive: &ObjectName, path: &PathBytes) -> Result<Entry, RecoveryError> {
    let bytes = path.as_bytes();
    let at = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    let found = match engine.list_folder(archive, &PathBytes::new(&bytes[..at])) {
        Err(ArchiveError::NoFolder(_)) => None,
        listed => listed?.into_iter().find(|entry| entry.path == *path),
    };
    found.ok_or_else(|| RecoveryError::NotInArchive(path.clone()))
}

/// `after` may be a whole path or the last name of one.
fn is_after(path: &PathBytes, after: &PathBytes) -> bool {
    if after.as_bytes().starts_with(b"/") {
        return tree_order(path.as_bytes(), after.as_bytes()).is_gt();
    }
    let name = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name > after.as_bytes()
}

/// An archive's listing; what cannot be read of it goes to `unread`.
fn listing<'a>(
    engine: &Engine,
    archive: &ObjectName,
    unread: &'a std::cell::RefCell<Vec<String>>,
) -> Result<impl Iterator<Item = Entry> + use<'a>, ArchiveError> {
    let listing = engine.list(archive)?;
    Ok(listing.filter_map(move |entry| {
        let told = |error: ArchiveError| {
            let mut unread = unread.borrow_mut();
            if unread.len() < UNREAD_LIMIT {
                unread.push(error.to_string());
            }
        };
        entry.map_err(told).ok()
    }))
}

pub(super) fn diff(
    engine: &Engine,
    before: &ArchiveRef,
    after: &ArchiveRef,
    behind: Option<&PathBytes>,
    limit: usize,
) -> Result<DiffPage, RecoveryError> {
    let archives = engine.archives()?;
    let (before, after) = (before.find(&archives)?.name, after.find(&archives)?.name);
    let unread = std::cell::RefCell::default();
    let as_listed = |entry: Entry| entry.as_listed();
    let before = listing(engine, &before, &unread)?.map(as_listed);
    let after = listing(engine, &after, &unread)?.map(as_listed);
    let limit = limit.clamp(1, PAGE_LIMIT);
    let mut page = DiffPage::default();
    for difference in recovery::diff(before, after) {
        let difference = view(difference.map_err(|error| ArchiveError::BadEntry(error.to_string()))?);
        if behind.is_some_and(|behind| tree_order(difference.file.path.as_bytes(), behind.as_bytes()).is_le()) {
            continue;
        }
        if page.differences.len() == limit {
            page.more = true;
            break;
        }
        page.differences.push(difference);
    }
    page.unread = unread.into_inner();
    Ok(page)
}

fn view(difference: Difference) -> DifferenceView {
    let (change, before, entry) = match difference {
        Difference::Added(entry) => (Change::Added, None, entry),
        Difference::Removed(entry) => (Change::Removed, None, entry),
        Difference::Changed { before, after } => (Change::Changed, Some(before), after),
    };
    DifferenceView { change, file: entry.into(), before: before.map(FileView::from) }
}

/// A version of a path: what differs between two of them.
type Version = (Vec<u8>, (u64, i64, Option<[u8; 32]>, recovery::EntryKind));

pub(super) fn find(engine: &Engine, pattern: &str, limit: usize) -> Result<FindPage, RecoveryError> {
    let pattern = Pattern::new(pattern.as_bytes()).map_err(|error| RecoveryError::BadRequest(error.to_string()))?;
    let limit = limit.clamp(1, PAGE_LIMIT);
    let unread = std::cell::RefCell::default();
    let mut page = FindPage::default();
    let mut found: BTreeMap<Version, FoundView> = BTreeMap::new();
    let mut order: Vec<Version> = Vec::new();
    for archive in engine.archives()? {
        for entry in listing(engine, &archive.name, &unread)? {
            let listed = entry.as_listed();
            if !pattern.matches(listed.path.as_bytes()) {
                continue;
            }
            let content = listed.content.map(|content| content.0);
            // A folder's time changes with each file in it, and says nothing.
            let is_folder = listed.kind == recovery::EntryKind::Folder;
            let modified_ns = if is_folder { 0 } else { listed.modified_ns };
            let version = (listed.path.as_bytes().to_vec(), (listed.size_bytes, modified_ns, content, listed.kind));
            if !found.contains_key(&version) {
                if found.len() == limit {
                    page.more = true;
                    continue;
                }
                order.push(version.clone());
                let view = FoundView { file: FileView::from(&entry), archives: Vec::new(), names: Vec::new() };
                found.insert(version.clone(), view);
            }
            if let Some(found) = found.get_mut(&version) {
                found.archives.extend(archive.number);
                found.names.push(archive.name);
            }
        }
    }
    // The sort is stable: versions of one path stay in the order of the archives.
    order.sort_by(|one, other| tree_order(&one.0, &other.0));
    page.found = order.iter().filter_map(|version| found.remove(version)).collect();
    page.unread = unread.into_inner();
    Ok(page)
}
