//! Archives go, and packs that no other archive needs.
//!
//! Snapshots first, then an index of what stays, then the old indexes, then the packs: whenever it is cut short, all that
//! is left can be read, and the next run finishes it.

use rustic_core::PruneOptions;
use rustic_core::repofile::SnapshotId;
use shoal_backup::ObjectName;

use super::{Engine, id_of, snapshot};
use crate::error::ArchiveError;
use crate::repository::{ArchiveName, Forgotten};

const WHAT: &str = "forget archives";

impl Engine {
    pub(super) fn forget_archives(&self, archives: &[ArchiveName]) -> Result<Forgotten, ArchiveError> {
        let files = self.files();
        files.clear_unfinished().map_err(|error| ArchiveError::io("clear", &self.folder, error))?;
        let opened = self.opened(&files)?;
        archives.iter().try_for_each(|archive| snapshot(&opened, archive).map(drop))?;
        let before = files.objects().map_err(|error| ArchiveError::io("list", &self.folder, error))?;

        let ids: Vec<SnapshotId> = archives.iter().map(|archive| id_of(archive).into()).collect();
        let mut options = PruneOptions::default().instant_delete(true).ignore_snaps(ids.clone());
        options.max_repack = "0".parse().map_err(ArchiveError::engine(WHAT))?;
        options.max_unused = "unlimited".parse().map_err(ArchiveError::engine(WHAT))?;
        // Made before anything goes: a repository that lacks something is found here.
        let plan = opened.prune_plan(&options).map_err(ArchiveError::engine(WHAT))?;
        opened.delete_snapshots(&ids).map_err(ArchiveError::engine(WHAT))?;
        opened.prune(&options, plan).map_err(ArchiveError::engine(WHAT))?;

        let (added, removed) = files.take_changes();
        let size_of =
            |name: &ObjectName| before.iter().find(|object| object.name == *name).map_or(0, |it| it.size_bytes);
        let freed: u64 = removed.iter().map(size_of).sum();
        let taken: u64 = added.iter().map(|object| object.size_bytes).sum();
        Ok(Forgotten { added, removed, freed_bytes: freed.saturating_sub(taken) })
    }
}
