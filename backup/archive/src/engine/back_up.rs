//! An archive is made: the walker's entries through the engine, then the snapshot, written by us when all is known.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use rustic_core::repofile::{IndexFile, PackId, SnapshotFile};
use rustic_core::{BackupOptions, FileType, ParentOptions, ReadBackend, RepairIndexOptions, SnapshotOptions};

use super::equal::is_equal;
use super::files::Files;
use super::{Engine, Open, archives, id_of, snapshot};
use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::repository::{ArchiveName, BackUp, BackedUp};
use crate::walk::Source;
use crate::watch::Watch;

const WHAT: &str = "back up";

impl Engine {
    pub(super) fn make_archive(
        &self,
        files: &Arc<Files>,
        what: &BackUp,
        watch: &Arc<Watch>,
    ) -> Result<BackedUp, ArchiveError> {
        files.clear_unfinished().map_err(|error| ArchiveError::io("clear", &self.folder, error))?;
        let opened = self.opened(files)?;
        reconcile(&opened, files)?;
        let parent = parent(&opened, what)?;
        let before = parent.as_ref().map(|name| snapshot(&opened, name)).transpose()?;
        let repository = opened.to_indexed_ids().map_err(ArchiveError::engine("read the index"))?;

        let source = Source::new(Arc::clone(&what.plan), &self.folder, Arc::clone(watch))?;
        let roots = what.plan.roots.iter().map(|root| PathBuf::from(root.to_string())).collect::<Vec<_>>();
        let empty = SnapshotOptions::default().host(what.host.clone()).to_snapshot();
        let empty = empty.map_err(ArchiveError::engine(WHAT))?;

        files.hold_snapshots(true);
        let made =
            repository.archive(&options(parent.map(|name| name.to_string()), what.reread), &source, empty, &roots);
        files.hold_snapshots(false);
        if watch.is_cancelled() {
            return Err(ArchiveError::Cancelled);
        }
        if let Some(why) = files.failed() {
            return Err(ArchiveError::Engine { what: WHAT, why });
        }
        let mut snapshot: SnapshotFile = made.map_err(ArchiveError::engine(WHAT))?;
        let problems = source.into_problems(snapshot.summary.as_ref().map_or(0, |sum| sum.total_files_processed));
        if problems.nothing_read {
            return Err(ArchiveError::NothingRead(problems.description()));
        }
        snapshot.description = (problems.count > 0).then(|| problems.description());
        if what.only_changes
            && let Some(before) = before
            && is_equal(|| self.indexed(files), files, &what.plan.roots, &before, &snapshot)?
        {
            watch.finish();
            let (added, removed) = files.take_changes();
            return Ok(BackedUp { archive: Archive::of(&before), is_new: false, problems, added, removed });
        }
        snapshot.tags = serde_json::from_value(Archive::tags(what.number, what.mode, problems.count == 0).into())
            .map_err(|error| ArchiveError::Engine { what: WHAT, why: error.to_string() })?;
        snapshot.program_version = format!("shoal {}", env!("CARGO_PKG_VERSION"));
        repository.save_snapshots(vec![snapshot.clone()]).map_err(ArchiveError::engine(WHAT))?;

        let (added, removed) = files.take_changes();
        let name = added.iter().rev().find(|object| object.kind == shoal_backup::ObjectKind::Snapshot);
        snapshot.id = name.map(|object| id_of(&object.name).into()).unwrap_or_default();
        watch.finish();
        Ok(BackedUp { archive: Archive::of(&snapshot), is_new: true, problems, added, removed })
    }
}

/// How the engine compares files with those of the parent.
fn options(parent: Option<String>, reread: bool) -> BackupOptions {
    let parents = ParentOptions::default()
        // The engine would take a parent of the same host and paths only; which one it is, we know.
        .group_by(rustic_core::SnapshotGroupCriterion::new())
        .force(reread || parent.is_none())
        .parents(parent.into_iter().collect::<Vec<_>>())
        // In 0.13 the sense of this one is turned round: inodes are compared only when it is set.
        .ignore_inode(true);
    BackupOptions::default().no_scan(true).parent_opts(parents)
}

/// The archive that unchanged files are taken from.
fn parent(opened: &Open, what: &BackUp) -> Result<Option<ArchiveName>, ArchiveError> {
    let known = archives(opened)?;
    if let Some(wanted) = &what.parent {
        let found = known.iter().find(|archive| archive.name == *wanted);
        return found.map(|archive| Some(archive.name)).ok_or(ArchiveError::NoArchive(*wanted));
    }
    Ok(known.iter().rev().find(|archive| archive.host == what.host).map(|archive| archive.name))
}

/// Brings index and packs together, if they are not: packs that a run wrote which was cut short are listed, so that they are
/// used; packs that are gone are not listed any more, so that what was in them is packed again.
fn reconcile(opened: &Open, files: &Arc<Files>) -> Result<(), ArchiveError> {
    let engine = ArchiveError::engine("compare index and packs");
    let mut packs: BTreeMap<PackId, u32> = BTreeMap::new();
    packs
        .extend(files.list_with_size(FileType::Pack).map_err(&engine)?.into_iter().map(|(id, size)| (id.into(), size)));
    let mut agrees = true;
    for index in opened.stream_files::<IndexFile>().map_err(&engine)? {
        let (_, index) = index.map_err(&engine)?;
        agrees &= index.packs_to_delete.is_empty();
        for pack in index.packs {
            agrees &= packs.remove(&pack.id).is_some_and(|size| size == pack.pack_size());
        }
    }
    if agrees && packs.is_empty() {
        return Ok(());
    }
    tracing::warn!(folder = %files.location(), "index and packs of the repository differ: the index is made anew");
    opened.repair_index(&RepairIndexOptions::default(), false).map_err(&engine)
}
