//! The copy of one owner's repository: what the core knows of it, and the folder it lies in.
//!
//! ```text
//! OWNER/catalogue  OWNER/catalogue.base   the owner's catalogue
//! OWNER/state                             the trash, the grace clock, whether the copy was released
//! OWNER/repo/…     OWNER/incoming/…       objects, and those on their way
//! ```
//!
//! The state is written before the catalogue: what the owner deleted is in the trash before the catalogue forgets what it
//! was. When a write fails, what is in memory may be ahead of the disk; then the copy is read from the disk again before
//! anything more is done with it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dci_proto::AgentId;
use shoal_backup::aging::Trashed;
use shoal_backup::catalogue::{CatalogueError, Op, Tail};
use shoal_backup::peersync::{Copy, CopyState, Fetcher, Taken};
use shoal_backup::{ArchiveId, Now, Object, ObjectKind, ObjectName};

use super::kept::{Sizes, Wounds};
use super::room::Room;
use super::stored::Stored;
use super::{HolderError, Verify};
use crate::call::Standing;
use crate::files::{CatalogueFile, FilesError, Objects, Opened, StoredObject};

/// One owner's copy.
pub(super) struct Held {
    pub(super) owner: AgentId,
    pub(super) folder: PathBuf,
    pub(super) objects: Objects,
    verifier: Verify,
    room: Arc<Room>,
    inner: Mutex<Inner>,
    /// One peersync at a time.
    pub(super) syncing: tokio::sync::Mutex<()>,
}

struct Inner {
    loaded: Loaded,
    /// A write failed: it is to be read from the disk again.
    unsure: bool,
    /// Bytes counted as kept in the room.
    counted_bytes: u64,
    /// Objects that somebody writes right now, or looks at because they are said to be damaged.
    claimed: BTreeSet<ObjectName>,
    /// What was found damaged.
    wounds: Wounds,
    /// The folder is gone.
    gone: bool,
    all_deleted: bool,
    forked: Option<String>,
}

/// What is known of a copy.
pub(super) struct Loaded {
    pub(super) copy: Copy,
    pub(super) fetcher: Fetcher,
    file: CatalogueFile,
    /// The objects on the disk.
    sizes: Sizes,
    released_ms: Option<u64>,
}

/// A copy, locked. All that changes it goes through here.
pub(super) struct Access<'a> {
    held: &'a Held,
    inner: MutexGuard<'a, Inner>,
}

impl Held {
    /// The copy in a folder, which is made if there is none.
    pub(super) fn open(
        folder: &Path,
        owner: AgentId,
        verifier: Verify,
        room: Arc<Room>,
        now: Now,
    ) -> Result<Self, HolderError> {
        let objects = Objects::create(&folder.join("repo"))?;
        let loaded = load(owner, folder, &objects, &verifier, &room, &BTreeSet::new(), now)?;
        let inner = Inner {
            loaded,
            unsure: false,
            counted_bytes: 0,
            claimed: BTreeSet::new(),
            wounds: Wounds::default(),
            gone: false,
            all_deleted: false,
            forked: None,
        };
        let (folder, syncing) = (folder.to_owned(), tokio::sync::Mutex::default());
        let held = Self { owner, folder, objects, verifier, room, inner: Mutex::new(inner), syncing };
        let is_new = !held.folder.join("state").exists();
        let mut access = held.access(now)?;
        if is_new {
            access.save()?;
        }
        drop(access);
        Ok(held)
    }

    /// The copy, locked; read from the disk first if a write failed.
    pub(super) fn access(&self, now: Now) -> Result<Access<'_>, HolderError> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.gone {
            return Err(HolderError::NotHeld);
        }
        let mut is_new = false;
        if inner.unsure {
            Objects::create(&self.folder.join("repo"))?;
            is_new = !self.folder.join("state").exists();
            let mut loaded =
                load(self.owner, &self.folder, &self.objects, &self.verifier, &self.room, &inner.claimed, now)?;
            if is_new {
                loaded.released_ms = inner.loaded.released_ms;
            }
            let before = std::mem::replace(&mut inner.loaded, loaded);
            let Inner { loaded, wounds, .. } = &mut *inner;
            let gone = before.sizes.names().filter(|name| loaded.sizes.get(name).is_none());
            gone.for_each(|name| wounds.found(*name, before.copy.catalogue().state().get(name).is_some()));
            inner.unsure = false;
        }
        let mut access = Access { held: self, inner };
        access.count();
        if is_new {
            access.save()?;
        }
        Ok(access)
    }

    /// Whether the files are there that a copy cannot be without. If somebody removed them, the copy is what the disk has from
    /// now on, and is filled again.
    pub(super) fn look(&self) {
        let is_there = |name: &str| self.folder.join(name).try_exists().unwrap_or(true);
        if is_there("catalogue") && is_there("state") {
            return;
        }
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.gone {
            tracing::error!(owner = %self.owner, folder = %self.folder.display(), "a copy was removed by somebody else");
            inner.unsure = true;
        }
    }

    /// Lets an object be written by others again.
    pub(super) fn unclaim(&self, name: &ObjectName) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).claimed.remove(name);
    }
}

/// A copy as the disk has it.
fn load(
    owner: AgentId,
    folder: &Path,
    objects: &Objects,
    verifier: &Verify,
    room: &Room,
    claimed: &BTreeSet<ObjectName>,
    now: Now,
) -> Result<Loaded, HolderError> {
    let path = folder.join("state");
    let stored = Stored::read(&path).map_err(|error| FilesError::Io { what: "read", path, error })?;
    let Opened { file, catalogue, cut_bytes } = CatalogueFile::open(folder, owner, verifier.as_ref())?;
    if cut_bytes > 0 {
        tracing::warn!(%owner, cut_bytes, "a part of a catalogue was cut off; it is asked for again");
    }
    let on_disk = objects.list()?;
    let sizes = on_disk.iter().map(|object| (object.name, object.size_bytes)).collect();
    let new = || Stored { copy: Copy::new(owner, now).state().clone(), ..Stored::default() };
    let mut stored = stored.unwrap_or_else(new);
    stored.copy.clock.tick(now);
    // What neither catalogue nor trash know was deleted, if the catalogue is all there: its grace time begins now. If the
    // catalogue is not, nothing is known of it, and nothing of it goes.
    let sequence = catalogue.state().sequence();
    if cut_bytes == 0 && sequence > 0 && sequence >= stored.sequence {
        let Stored { copy: CopyState { trash, clock, .. }, .. } = &mut stored;
        let is_known = |name: &ObjectName| catalogue.state().get(name).is_some() || trash.contains(name);
        let mut unknown: Vec<_> = on_disk.iter().filter(|object| !is_known(&object.name)).collect();
        unknown.sort_by_key(|object| std::cmp::Reverse(object.kind));
        for StoredObject { kind, name, size_bytes } in unknown.into_iter().copied() {
            let object = Object { name, kind, size_bytes, archive: ArchiveId(0) };
            trash.put(Trashed { object, sequence, added_at: 0, learnt_ms: clock.passed_ms() });
        }
    }
    let copy = Copy::recover(catalogue, on_disk.iter().map(|object| object.name), stored.copy, now);
    let size_bytes = |name: &ObjectName| copy.catalogue().state().get(name).map(|object| object.size_bytes);
    objects.sweep(|name| claimed.contains(name) || (size_bytes(name).is_some() && !copy.has(name)))?;
    room.ended_all(owner);
    for (name, have_bytes) in objects.on_their_way()? {
        room.found(owner, name, size_bytes(&name).unwrap_or(have_bytes), have_bytes, now.steady_ms);
    }
    Ok(Loaded { copy, fetcher: Fetcher::default(), file, sizes, released_ms: stored.released_ms })
}

impl std::ops::Deref for Access<'_> {
    type Target = Loaded;

    fn deref(&self) -> &Loaded {
        &self.inner.loaded
    }
}

impl std::ops::DerefMut for Access<'_> {
    fn deref_mut(&mut self) -> &mut Loaded {
        &mut self.inner.loaded
    }
}

impl Access<'_> {
    /// Tells the room what this copy takes.
    fn count(&mut self) {
        let bytes = self.sizes.total_bytes().saturating_add(self.file.length());
        let counted_bytes = std::mem::replace(&mut self.inner.counted_bytes, bytes);
        self.held.room.kept(bytes.saturating_sub(counted_bytes));
        self.held.room.freed(counted_bytes.saturating_sub(bytes));
    }

    /// What failed may have left the memory ahead of the disk: the next one who needs the copy reads it again.
    fn or_again<T>(&mut self, done: Result<T, FilesError>) -> Result<T, HolderError> {
        if done.is_err() {
            self.inner.unsure = true;
        }
        done.map_err(HolderError::from)
    }

    fn stored(&self) -> Stored {
        let sequence = self.copy.catalogue().state().sequence();
        Stored { copy: self.copy.state().clone(), sequence, released_ms: self.released_ms }
    }

    /// Writes the state.
    pub(super) fn save(&mut self) -> Result<(), HolderError> {
        let written = self.stored().write(&self.held.folder.join("state"));
        self.or_again(written)
    }

    /// Takes in a tail, durably. The last thing done with this access.
    pub(super) fn take_in(mut self, tail: &Tail, now: Now) -> Result<Taken, HolderError> {
        let sequence = self.copy.catalogue().state().sequence();
        let base = self.copy.catalogue().base().map(|base| base.state().sequence());
        let trash = &self.copy.state().trash;
        let changes_trash = |op: &Op| matches!(op, Op::Delete(_)) || trash.contains(&op.name());
        let changes_trash = tail.base.is_some() || tail.entries.iter().any(|entry| changes_trash(&entry.op));
        let verifier = Arc::clone(&self.held.verifier);
        let taken = match self.copy.take_in(tail, verifier.as_ref(), now) {
            Err(error @ CatalogueError::Forked(_)) => {
                tracing::error!(owner = %self.held.owner, %error, "a catalogue forked");
                self.inner.forked = Some(error.to_string());
                return Err(HolderError::Files(error.into()));
            }
            taken => taken.map_err(FilesError::from)?,
        };
        let has_base = self.copy.catalogue().base().map(|base| base.state().sequence()) != base;
        if has_base || self.copy.catalogue().state().sequence() != sequence {
            if changes_trash {
                self.save()?;
            }
            let loaded = &mut *self;
            let written = if has_base {
                loaded.file.replace_base(loaded.copy.catalogue())
            } else {
                loaded.file.append(&loaded.copy.catalogue().tail(sequence).entries)
            };
            self.or_again(written)?;
        }
        for object in &taken.given_up {
            self.give_up(&object.name)?;
        }
        if taken.all_deleted {
            tracing::warn!(owner = %self.held.owner, "an owner deleted all its archives");
            self.inner.all_deleted = true;
        }
        self.inner.all_deleted &= self.archives() == 0;
        self.count();
        Ok(taken)
    }

    /// An object need not come any more.
    fn give_up(&mut self, name: &ObjectName) -> Result<(), HolderError> {
        self.fetcher.given_up(name);
        self.inner.wounds.given_up(name);
        // Who writes it finds out when it is whole.
        if !self.inner.claimed.contains(name) {
            self.held.objects.discard(name)?;
            self.held.room.ended(self.held.owner, *name);
        }
        Ok(())
    }

    /// Keeps an object for whoever writes it. False if somebody does already.
    pub(super) fn claim(&mut self, name: &ObjectName) -> bool {
        self.inner.claimed.insert(*name)
    }

    /// Whether somebody writes it right now.
    pub(super) fn is_claimed(&self, name: &ObjectName) -> bool {
        self.inner.claimed.contains(name)
    }

    /// What the catalogue says of an object that is lacking and may be taken now.
    pub(super) fn takeable(&self, name: &ObjectName) -> Option<Object> {
        self.copy.may_take(name).then(|| self.copy.catalogue().state().get(name).copied()).flatten()
    }

    /// An object was checked: gives it its place. False if it is not wanted any more.
    pub(super) fn place(&mut self, object: &Object) -> Result<bool, HolderError> {
        let name = &object.name;
        if self.takeable(name).is_none() {
            self.held.objects.discard(name)?;
            self.held.room.ended(self.held.owner, *name);
            return Ok(false);
        }
        let placed = self.held.objects.place(object.kind, name);
        self.or_again(placed)?;
        self.copy.stored(name);
        self.sizes.put(*name, object.size_bytes);
        self.inner.wounds.came(name);
        self.count();
        self.held.room.ended(self.held.owner, *name);
        Ok(true)
    }

    /// An object goes, since its grace time is over. Its file is removed.
    pub(super) fn remove(&mut self, name: &ObjectName) -> Result<(), HolderError> {
        self.remove_file(name)?;
        self.copy.dropped(name);
        Ok(())
    }

    fn remove_file(&mut self, name: &ObjectName) -> Result<(), HolderError> {
        let removed = self.held.objects.remove(name);
        self.or_again(removed)?;
        self.sizes.remove(name);
        self.count();
        Ok(())
    }

    /// An object goes, since it is damaged or gone already. True if it is wanted back.
    pub(super) fn lose(&mut self, name: &ObjectName) -> Result<bool, HolderError> {
        self.remove_file(name)?;
        self.copy.lost(name);
        self.save()?;
        let is_wanted = self.copy.catalogue().state().get(name).is_some();
        self.inner.wounds.found(*name, is_wanted);
        Ok(is_wanted)
    }

    /// The owner needs the copy no more, or does again.
    pub(super) fn set_released(&mut self, released: bool, now: Now) -> Result<(), HolderError> {
        if released == self.released_ms.is_some() {
            return Ok(());
        }
        // Looks at the clocks: nothing is due that was not.
        self.copy.droppable(now, u64::MAX);
        self.released_ms = released.then(|| self.copy.state().clock.passed_ms());
        self.save()
    }

    /// When it was released, by the copy's clock.
    pub(super) fn released_ms(&self) -> Option<u64> {
        self.released_ms
    }

    /// Removes the copy, in an order in which what is left is a valid repository at each moment.
    pub(super) fn remove_all(mut self) -> Result<(), HolderError> {
        let mut objects = self.held.objects.list()?;
        objects.sort_by_key(|object| std::cmp::Reverse(object.kind));
        self.inner.unsure = true;
        for object in objects {
            self.held.objects.remove(&object.name)?;
        }
        let removed = std::fs::remove_dir_all(&self.held.folder);
        removed.map_err(|error| FilesError::Io { what: "remove", path: self.held.folder.clone(), error })?;
        self.inner.gone = true;
        self.held.room.ended_all(self.held.owner);
        self.held.room.freed(std::mem::take(&mut self.inner.counted_bytes));
        Ok(())
    }

    /// Archives that are in the catalogue.
    pub(super) fn archives(&self) -> u32 {
        let objects = self.copy.catalogue().state().iter();
        let count = objects.filter(|(_, object)| object.kind == ObjectKind::Snapshot).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// How far it is.
    pub(super) fn standing(&self, now: Now) -> Standing {
        Standing {
            sequence: self.copy.catalogue().state().sequence(),
            holds: self.released_ms.is_none(),
            lacking: self.copy.lacking().len() as u64,
            held_bytes: self.sizes.total_bytes(),
            wall_ms: now.wall_ms,
        }
    }

    /// All that is held, the trash too, in order.
    pub(super) fn names(&self) -> Vec<ObjectName> {
        self.sizes.names().copied().collect()
    }

    /// Bytes of objects, the trash too.
    pub(super) fn held_bytes(&self) -> u64 {
        self.sizes.total_bytes()
    }

    /// Bytes of an object that is held, in the trash or not: those that it should have, if it is known.
    pub(super) fn size_of(&self, name: &ObjectName) -> Option<u64> {
        let known = self.copy.catalogue().state().get(name).map(|object| object.size_bytes);
        self.copy.has(name).then(|| known.or_else(|| self.sizes.get(name))).flatten()
    }

    /// What was found damaged since the start, and of that made anew.
    pub(super) fn wounds(&self) -> (u64, u64) {
        (self.inner.wounds.found, self.inner.wounds.mended)
    }

    /// A piece of the catalogue's base.
    pub(super) fn base_piece(&self, offset: u64, length: usize) -> Result<bytes::Bytes, FilesError> {
        self.file.base_piece(offset, length)
    }

    /// The owner deleted all its archives.
    pub(super) fn all_deleted(&self) -> bool {
        self.inner.all_deleted
    }

    /// What is wrong with the owner's catalogue.
    pub(super) fn forked(&self) -> Option<String> {
        self.inner.forked.clone()
    }
}
