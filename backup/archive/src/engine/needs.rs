//! Which objects an archive needs.

use std::collections::BTreeSet;

use rustic_core::repofile::{IndexFile, SnapshotFile};
use rustic_core::{PackedId, TreeId};
use shoal_backup::ObjectName;

use super::files::Files;
use super::listing::tree_nodes;
use super::{Engine, Indexed, object_name, snapshot};
use crate::error::ArchiveError;
use crate::repository::{ArchiveName, Needs};

impl Engine {
    pub(super) fn needs_of(&self, archive: &ArchiveName) -> Result<Needs, ArchiveError> {
        let files = self.files();
        let opened = self.opened(&files)?;
        let snapshot: SnapshotFile = snapshot(&opened, archive)?;
        let mut needs = Needs { packs: packs_of(&self.indexed(&files)?, &files, [snapshot.tree])?, ..Needs::default() };
        let engine = ArchiveError::engine("read the index");
        for index in opened.stream_files::<IndexFile>().map_err(&engine)? {
            let (id, index) = index.map_err(&engine)?;
            if index.packs.iter().any(|pack| needs.packs.contains(&object_name(&pack.id))) {
                needs.indexes.insert(object_name(&id));
            }
        }
        Ok(needs)
    }
}

/// The packs that trees of folders and the files in them lie in. A folder that is there twice is looked at once.
pub(super) fn packs_of(
    repository: &Indexed,
    files: &Files,
    roots: impl IntoIterator<Item = TreeId>,
) -> Result<BTreeSet<ObjectName>, ArchiveError> {
    let mut packs = BTreeSet::new();
    let mut seen: BTreeSet<TreeId> = roots.into_iter().collect();
    let mut trees: Vec<TreeId> = seen.iter().copied().collect();
    while let Some(tree) = trees.pop() {
        packs.insert(pack_of(repository, &tree)?);
        for node in tree_nodes(repository, files, tree, b"")? {
            for piece in node.content.iter().flatten() {
                packs.insert(pack_of(repository, piece)?);
            }
            trees.extend(node.subtree.filter(|below| node.is_dir() && seen.insert(*below)));
        }
    }
    Ok(packs.into_iter().map(|id| object_name(&id)).collect())
}

fn pack_of<T: PackedId>(repository: &Indexed, id: &T) -> Result<rustic_core::Id, ArchiveError> {
    let entry = repository.get_index_entry(id).map_err(|error| ArchiveError::Damaged {
        what: "a part of the archive".to_owned(),
        pack: None,
        why: crate::error::in_one_line(&error.display_log()),
    })?;
    Ok(entry.pack.into_inner())
}
