//! Catalogue and repository are brought together: what the engine wrote is said to everybody, what it dropped is taken back,
//! what is lost here is noticed. At a start, while a run goes on, after it, after archives went; so whatever was cut short in between
//! is found the next time.
//!
//! What is not on this disk is *deleted* for everybody only if it can be said for sure that no archive needs it: when every
//! archive of the catalogue is on this disk or was to go, and the engine can say what each one needs. Otherwise it is
//! *missing*, and is fetched back from a holder.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use shoal_archive::{Archive, Repository, StoredObject};
use shoal_backup::aging::unused;
use shoal_backup::catalogue::Op;
use shoal_backup::{ArchiveId, Object, ObjectKind, ObjectName, sha256};

use super::error::OwnerError;
use super::stored;
use super::{Owner, Setup};

const MAGIC: &[u8; 4] = b"SBN1";

impl Owner {
    /// Packs that a run wrote so far are said, so that they travel while it goes on. Blocks.
    pub(super) fn tell_packs(&self, setup: &Setup) -> Result<(), OwnerError> {
        if !setup.books().clearance.is_clear {
            return Ok(());
        }
        let mut found = setup.engine.objects()?;
        found.retain(|object| object.kind == ObjectKind::Pack);
        let number = {
            let books = setup.books();
            found.retain(|object| books.catalogue.state().get(&object.name).is_none());
            ArchiveId(books.state.next_archive)
        };
        // Their names may not be durable yet: the engine sees to that only before it writes an index.
        let folders: BTreeSet<_> = found
            .iter()
            .filter_map(|object| setup.objects.path(object.kind, &object.name).parent().map(Path::to_owned))
            .collect();
        for folder in folders {
            stored::sync_folder(&folder).map_err(|error| OwnerError::io("make durable", &folder, error))?;
        }
        let ops: Vec<Op> = found.iter().map(|object| Op::Add(object_of(object, number))).collect();
        setup.books().append(&self.hand, self.now().wall_ms, &ops)
    }

    /// Brings all of it together. Blocks.
    pub(super) fn bring_together(&self, setup: &Setup) -> Result<(), OwnerError> {
        self.bring_together_without(setup, &BTreeSet::new())
    }

    /// After a run: deletes what was missing before it and what nobody has, though archives may need it. Blocks.
    pub(super) fn let_go_what_is_gone(&self, setup: &Setup, before: &BTreeSet<ObjectName>) -> Result<(), OwnerError> {
        let gone = setup.books().gone(before);
        if gone.is_empty() {
            return Ok(());
        }
        tracing::error!(
            objects = gone.len(),
            "objects of the backup are gone: this disk damaged them before a copy was made"
        );
        self.bring_together_without(setup, &gone)
    }

    /// `gone`: objects that nobody has.
    fn bring_together_without(&self, setup: &Setup, gone_for_good: &BTreeSet<ObjectName>) -> Result<(), OwnerError> {
        let disk = setup.engine.objects()?;
        let names: BTreeSet<ObjectName> = disk.iter().map(|object| object.name).collect();
        let archives = setup.engine.archives()?;
        let wall_ms = self.now().wall_ms;
        self.say_what_is_new(setup, &disk, &names, &archives, wall_ms)?;
        let (packs, all_known) = self.packs_of(setup, &archives, &names, gone_for_good);
        let mut books = setup.books();
        let newest = archives.iter().filter_map(|archive| archive.number).max().unwrap_or_default();
        books.state.next_archive = books.state.next_archive.max(newest.0.saturating_add(1));
        books.archives = archives;
        books.packs = packs;
        books.say_needs();
        let gone: Vec<Object> =
            books.catalogue.state().iter().map(|(_, object)| *object).filter(|it| !names.contains(&it.name)).collect();
        let goes = |name: &ObjectName| books.state.forgetting.contains(name) || gone_for_good.contains(name);
        let lost_archive = gone.iter().any(|object| object.kind == ObjectKind::Snapshot && !goes(&object.name));
        if books.clearance.is_clear && all_known && !lost_archive && !gone.is_empty() {
            let needed = names.iter().chain(books.packs.values().flat_map(|packs| packs.iter())).copied().collect();
            let dropped = unused(books.catalogue.state(), &needed, None);
            let ops: Vec<Op> = dropped.into_iter().map(Op::Delete).collect();
            books.append(&self.hand, wall_ms, &ops)?;
        }
        // What is on the disk still was not forgotten after all: it is chosen again the next time.
        let known: BTreeSet<ObjectName> = books.state.forgetting.iter().copied().collect();
        let state = books.catalogue.state();
        let going = known.into_iter().filter(|name| !names.contains(name) && state.get(name).is_some()).collect();
        books.state.forgetting = going;
        let state = books.catalogue.state();
        books.missing =
            state.iter().filter(|(_, it)| !names.contains(&it.name)).map(|(_, it)| (it.name, *it)).collect();
        if !books.missing.is_empty() {
            tracing::warn!(
                objects = books.missing.len(),
                "objects of the backup are not on this disk: fetching them back"
            );
        }
        books.compact(&self.hand, wall_ms)?;
        books.note_run_of_newest();
        books.note_whole_archives();
        books.save()
    }

    fn say_what_is_new(
        &self,
        setup: &Setup,
        disk: &[StoredObject],
        names: &BTreeSet<ObjectName>,
        archives: &[Archive],
        wall_ms: u64,
    ) -> Result<(), OwnerError> {
        let mut books = setup.books();
        if !books.clearance.is_clear {
            return Ok(());
        }
        let state = books.catalogue.state();
        // Indexes that take the place of others list packs of any archive.
        let replaces = state.iter().any(|(_, it)| it.kind == ObjectKind::Index && !names.contains(&it.name));
        // What is new belongs to the archive that is, or to the one in the making.
        let made =
            archives.iter().filter(|archive| state.get(&archive.name).is_none()).filter_map(|it| it.number).min();
        let next = made.unwrap_or(ArchiveId(books.state.next_archive));
        let number = |object: &StoredObject| match object.kind {
            ObjectKind::Config | ObjectKind::Key => ArchiveId(0),
            ObjectKind::Index if replaces => ArchiveId(0),
            ObjectKind::Snapshot => {
                archives.iter().find(|archive| archive.name == object.name).and_then(|it| it.number).unwrap_or(next)
            }
            ObjectKind::Index | ObjectKind::Pack => next,
        };
        // By kind: what is needed comes before what needs it.
        let new = disk.iter().filter(|object| state.get(&object.name).is_none());
        let ops: Vec<Op> = new.map(|object| Op::Add(object_of(object, number(object)))).collect();
        books.append(&self.hand, wall_ms, &ops)
    }

    /// Packs that each archive needs, and whether that is known of all. What it was known to need is not looked for again, unless
    /// some of it is not on the disk: the engine may have packed that again elsewhere. If it has not, the archive needs what it
    /// needed, without what is gone for good.
    fn packs_of(
        &self,
        setup: &Setup,
        archives: &[Archive],
        names: &BTreeSet<ObjectName>,
        gone: &BTreeSet<ObjectName>,
    ) -> (BTreeMap<ObjectName, Arc<BTreeSet<ObjectName>>>, bool) {
        let folder = self.parts.folder.join("needs");
        let (known, mut damaged) = {
            let books = setup.books();
            (books.packs.clone(), books.state.damaged.clone())
        };
        let (mut packs, mut all_known) = (BTreeMap::new(), true);
        for archive in archives {
            let name = archive.name;
            let before = known.get(&name).cloned().or_else(|| read_packs(&folder, &name).map(Arc::new));
            if let Some(before) = before.as_ref().filter(|it| it.is_subset(names) && !damaged.contains(&name)) {
                packs.insert(name, Arc::clone(before));
                continue;
            }
            let found = match (setup.engine.needs(&name), &before) {
                (Ok(needs), _) if needs.packs.is_disjoint(gone) => {
                    damaged.remove(&name);
                    Arc::new(needs.packs)
                }
                (_, Some(before)) => {
                    if !before.is_disjoint(gone) {
                        damaged.insert(name);
                    }
                    Arc::new(before.difference(gone).copied().collect())
                }
                (Ok(_), None) => {
                    all_known = false;
                    continue;
                }
                (Err(error), None) => {
                    tracing::warn!(archive = %name, %error, "what an archive needs is not known");
                    all_known = false;
                    continue;
                }
            };
            if before.as_ref() != Some(&found) {
                write_packs(&folder, &name, &found);
            }
            packs.insert(name, found);
        }
        damaged.retain(|name| packs.contains_key(name));
        setup.books().state.damaged = damaged;
        for name in known.keys().filter(|name| !packs.contains_key(*name)) {
            let _ = std::fs::remove_file(folder.join(name.to_string()));
        }
        (packs, all_known)
    }
}

fn object_of(object: &StoredObject, archive: ArchiveId) -> Object {
    Object { name: object.name, kind: object.kind, size_bytes: object.size_bytes, archive }
}

/// What was worked out before; anything that is not whole is worked out again.
fn read_packs(folder: &Path, archive: &ObjectName) -> Option<BTreeSet<ObjectName>> {
    let bytes = stored::read(&folder.join(archive.to_string())).ok()??;
    let rest = bytes.strip_prefix(MAGIC)?;
    let (names, hash) = rest.split_at_checked(rest.len().checked_sub(32)?)?;
    if sha256(&[&archive.0, names]) != *hash {
        return None;
    }
    let (names, rest) = names.as_chunks::<32>();
    rest.is_empty().then(|| names.iter().map(|name| ObjectName(*name)).collect())
}

fn write_packs(folder: &Path, archive: &ObjectName, packs: &BTreeSet<ObjectName>) {
    let names: Vec<u8> = packs.iter().flat_map(|name| name.0).collect();
    let hash = sha256(&[&archive.0, &names]);
    let bytes = [MAGIC.as_slice(), &names, &hash].concat();
    let written = std::fs::create_dir_all(folder).map_err(|error| OwnerError::io("make", folder, error));
    if let Err(error) = written.and_then(|()| stored::write(&folder.join(archive.to_string()), &bytes)) {
        tracing::debug!(%error, "what an archive needs was not noted: it is worked out again");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use super::*;

    #[test]
    fn what_an_archive_needs_is_noted_and_damage_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let (archive, other) = (ObjectName::of(b"archive"), ObjectName::of(b"other"));
        let packs = BTreeSet::from([ObjectName::of(b"a"), ObjectName::of(b"b")]);
        assert_eq!(read_packs(folder.path(), &archive), None);
        write_packs(folder.path(), &archive, &packs);
        assert_eq!(read_packs(folder.path(), &archive), Some(packs));
        let path = folder.path().join(archive.to_string());
        std::fs::copy(&path, folder.path().join(other.to_string())).unwrap();
        assert_eq!(read_packs(folder.path(), &other), None, "what belongs to another archive");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(read_packs(folder.path(), &archive), None);
    }
}
