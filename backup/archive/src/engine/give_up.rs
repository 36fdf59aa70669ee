//! What runs wrote that came to no archive goes, so that a disk that they filled has room again.
//!
//! Nothing is written for it. Indexes go before the packs that they list, and are durably gone before the first pack goes:
//! whenever it is cut short, what is left can be read, and packs that no index lists are found the next time. A pack that is listed
//! beside one that is needed stays.

use std::collections::BTreeSet;

use rustic_core::repofile::IndexFile;
use rustic_core::{FileType, WriteBackend};
use shoal_backup::{ObjectKind, ObjectName};

use super::files::sync_folder;
use super::needs::packs_of;
use super::{Engine, id_of, object_name};
use crate::error::ArchiveError;
use crate::repository::{Forgotten, StoredObject};

const WHAT: &str = "give up what is unfinished";

impl Engine {
    pub(super) fn give_up_unfinished(&self) -> Result<Forgotten, ArchiveError> {
        let files = self.files();
        let io = |what: &'static str| move |error| ArchiveError::io(what, &self.folder, error);
        files.clear_unfinished().map_err(io("clear"))?;
        let opened = self.opened(&files)?;
        let engine = ArchiveError::engine(WHAT);
        // One archive that cannot be read as a whole, and nothing goes: what it needs is not known.
        let trees: Vec<_> = opened.get_all_snapshots().map_err(&engine)?.iter().map(|archive| archive.tree).collect();
        let needed = match trees.is_empty() {
            true => BTreeSet::new(),
            false => packs_of(&self.indexed(&files)?, &files, trees)?,
        };
        let (mut stays, mut goes) = (needed.clone(), BTreeSet::new());
        for index in opened.stream_files::<IndexFile>().map_err(&engine)? {
            let (id, index) = index.map_err(&engine)?;
            let packs: Vec<ObjectName> =
                index.packs.iter().chain(&index.packs_to_delete).map(|pack| object_name(&pack.id)).collect();
            if packs.iter().any(|pack| needed.contains(pack)) {
                stays.extend(packs);
            } else {
                goes.insert(object_name(&id));
            }
        }
        let objects = files.objects().map_err(io("list"))?;
        let unneeded = |object: &&StoredObject| match object.kind {
            ObjectKind::Index => goes.contains(&object.name),
            ObjectKind::Pack => !stays.contains(&object.name),
            ObjectKind::Config | ObjectKind::Key | ObjectKind::Snapshot => false,
        };
        let unneeded: Vec<StoredObject> = objects.iter().filter(unneeded).copied().collect();
        let mut folders = BTreeSet::new();
        for (kind, its) in [(FileType::Index, ObjectKind::Index), (FileType::Pack, ObjectKind::Pack)] {
            for object in unneeded.iter().filter(|object| object.kind == its) {
                let id = id_of(&object.name);
                files.remove(kind, &id, false).map_err(&engine)?;
                folders.extend(files.path(kind, &id).parent().map(std::path::Path::to_owned));
            }
            for folder in std::mem::take(&mut folders) {
                sync_folder(&folder).map_err(|error| ArchiveError::io("make durable", &folder, error))?;
            }
        }
        let freed_bytes = unneeded.iter().map(|object| object.size_bytes).sum();
        let (added, removed) = files.take_changes();
        Ok(Forgotten { added, removed, freed_bytes })
    }
}
