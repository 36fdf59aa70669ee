//! Planning and carrying out a restore.

use std::collections::HashMap;
use std::io;

use rustix::fs::{AtFlags, FileType, Mode, linkat, mkdirat, mknodat, statat, symlinkat};
use rustix::io::Errno;
use shoal_backup::plan::PathBytes;
use shoal_backup::recovery::{Action, EntryKind, Existing, FromArchive, Skipped, Step};

use super::Restore;
use super::batch::{Batch, Pending, remove, sweep};
use super::decide::action;
use super::file::{NotWritten, write};
use super::first::{First, Nothing};
use super::folders::Folders;
use super::meta;
use super::report::{Outcome, Preview};
use super::source::{Found, Source};
use super::target::{Place, Target, below};
use crate::engine::isolated;
use crate::entry::{Entry, Kind};
use crate::error::ArchiveError;
use crate::repository::{ReadContents, Repository};
use crate::watch::Watch;

/// Files with several names that are remembered; more become files of their own.
const LINKED_LIMIT: usize = 1 << 20;

impl Restore {
    /// What it would do, entry by entry; nothing is written.
    ///
    /// # Errors
    /// An archive cannot be opened, or is out of order.
    pub fn preview(
        &self,
        repository: &dyn Repository,
        watch: &Watch,
        each: &mut (dyn FnMut(&Step) + Send),
    ) -> Result<Preview, ArchiveError> {
        isolated("plan the restore", || {
            let mut preview = Preview::default();
            let mut source = Source::new(repository, self)?;
            let mut target = Target::open(&self.target, false)?;
            preview.free_bytes = match &target {
                Some(target) => target.free_bytes(),
                None => free_above(&self.target),
            };
            let mut closed: Option<PathBytes> = None;
            while let Some(found) = source.next()? {
                source.take_unread().iter().for_each(|error| preview.failures.add(None, error));
                if watch.is_cancelled() {
                    return Err(ArchiveError::Cancelled);
                }
                if !self.is_wanted(&found.entry.path, found.listed.kind == EntryKind::Folder) {
                    continue;
                }
                let action = match &mut target {
                    None => Action::Create,
                    Some(target) => self.look(target, &found, &mut closed),
                };
                watch.add(1, found.listed.size_bytes);
                let step = Step { found: FromArchive { entry: found.listed, archive: found.archive }, action };
                if self.is_ticked(&step.found.entry.path) {
                    preview.totals.add(&step);
                }
                each(&step);
            }
            source.take_unread().iter().for_each(|error| preview.failures.add(None, error));
            watch.finish();
            Ok(preview)
        })
    }

    /// What would be done with an entry, if nothing that comes before it is done.
    fn look(&self, target: &mut Target, found: &Found, closed: &mut Option<PathBytes>) -> Action {
        if closed.as_ref().is_some_and(|closed| found.entry.path.is_within(closed)) {
            return Action::Skip(Skipped::NotReached);
        }
        let there = target.place(&found.entry.path).and_then(|place| Target::look(&place, &found.entry.path));
        let action = match there {
            Ok(there) => action(&found.listed, there.as_ref().map(|(there, _)| there), self.existing),
            Err(Errno::NOENT) => Action::Create,
            Err(_) => Action::Skip(Skipped::NotReached),
        };
        if found.listed.kind == EntryKind::Folder && matches!(action, Action::Skip(_)) {
            *closed = Some(found.entry.path.clone());
        }
        action
    }

    /// Does it.
    ///
    /// # Errors
    /// An archive cannot be opened, or the target cannot. What goes wrong after that is in the [`Outcome`].
    pub fn run(&self, repository: &dyn Repository, watch: &Watch) -> Result<Outcome, ArchiveError> {
        self.run_with(repository, watch, &mut Nothing)
    }

    /// Does it; what somebody asks for meanwhile goes first.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_with(
        &self,
        repository: &dyn Repository,
        watch: &Watch,
        first: &mut dyn First,
    ) -> Result<Outcome, ArchiveError> {
        isolated("restore", || {
            let contents = repository.contents()?;
            let mut source = Source::new(repository, self)?;
            let Some(target) = Target::open(&self.target, true)? else { return Ok(Outcome::default()) };
            let roots = roots(repository, self)?;
            let mut run = Run {
                restore: self,
                contents: &*contents,
                watch,
                target,
                roots,
                outcome: Outcome::default(),
                batch: Batch::default(),
                folders: Folders::default(),
                linked: HashMap::new(),
                closed: None,
                set_owner: meta::may_set_owners(),
            };
            run.sweep(&PathBytes::from("/"));
            loop {
                if first.waits() {
                    if let Err(error) = run.commit() {
                        run.outcome.stopped = Some(error);
                        break;
                    }
                    first.run();
                }
                let next = source.next();
                source.take_unread().iter().for_each(|error| run.outcome.failures.add(None, error));
                let done = match next {
                    Ok(None) => break,
                    Ok(Some(found)) => run.entry(found),
                    Err(error) => Err(error),
                };
                if let Err(error) = done {
                    run.outcome.stopped = Some(error);
                    break;
                }
            }
            run.end();
            watch.finish();
            Ok(run.outcome)
        })
    }
}

/// The folders that the archives are of.
fn roots(repository: &dyn Repository, restore: &Restore) -> Result<Vec<PathBytes>, ArchiveError> {
    let archives = repository.archives()?;
    let ours = archives.iter().filter(|archive| restore.archives.contains(&archive.name));
    let read = |text: &String| serde_json::from_value(text.clone().into()).unwrap_or_else(|_| text.as_str().into());
    Ok(ours.flat_map(|archive| archive.roots.iter().map(read)).collect())
}

fn free_above(path: &std::path::Path) -> u64 {
    let there = path.ancestors().find_map(|above| rustix::fs::statvfs(above).ok());
    there.map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// What the names of one file have in common: archive, device, inode.
type Key = (usize, u64, u64);

/// A restore that is under way.
struct Run<'a> {
    restore: &'a Restore,
    contents: &'a dyn ReadContents,
    watch: &'a Watch,
    target: Target,
    roots: Vec<PathBytes>,
    outcome: Outcome,
    batch: Batch,
    folders: Folders,
    /// Files with several names: where the first one is, and as what.
    linked: HashMap<Key, (PathBytes, Option<(u64, u64)>)>,
    /// A folder that cannot be gone into.
    closed: Option<PathBytes>,
    set_owner: bool,
}

impl Run<'_> {
    fn fail(&mut self, path: &PathBytes, error: &ArchiveError) {
        self.outcome.failures.add(Some(path), error);
    }

    fn refuse(&mut self, what: &'static str, path: &PathBytes, error: impl Into<io::Error>) {
        let error = ArchiveError::io(what, &self.target.shown(path), error);
        self.fail(path, &error);
    }

    /// An error here ends the restore.
    fn entry(&mut self, found: Found) -> Result<(), ArchiveError> {
        if self.watch.is_cancelled() {
            return Err(ArchiveError::Cancelled);
        }
        let is_folder = found.listed.kind == EntryKind::Folder;
        if !self.restore.is_wanted(&found.entry.path, is_folder) {
            return Ok(());
        }
        self.folders.leave_for(Some(&found.entry.path));
        let failed_before = self.outcome.failures.count;
        let path = found.entry.path.clone();
        let action = if self.closed.as_ref().is_some_and(|closed| path.is_within(closed)) {
            Action::Skip(Skipped::NotReached)
        } else {
            match self.place(&found) {
                Ok((place, action)) => {
                    match action {
                        Action::Create | Action::Overwrite if is_folder => self.make_folder(&place, &found.entry),
                        Action::Create | Action::Overwrite => self.make(&place, &found, action == Action::Overwrite)?,
                        Action::Unchanged if is_folder => {
                            self.sweep(&path);
                            self.enter_existing(found.entry.clone());
                        }
                        Action::Unchanged | Action::Skip(_) => {}
                    }
                    action
                }
                Err(error) => {
                    self.refuse("reach", &path, error);
                    Action::Skip(Skipped::NotReached)
                }
            }
        };
        if let Action::Skip(skipped) = action {
            if is_folder {
                self.closed = Some(path.clone());
            }
            let why = match skipped {
                Skipped::FolderInTheWay => {
                    Some(io::Error::other("there is a folder in its place, which is left alone"))
                }
                Skipped::NoFolder => {
                    Some(io::Error::other("there is something else in its place, which is left alone"))
                }
                Skipped::Kept | Skipped::NotReached => None,
            };
            why.into_iter().for_each(|why| self.refuse("restore", &path, why));
        }
        // Folders above what was asked for are only the way there.
        if self.restore.is_ticked(&path) {
            let is_back =
                matches!(action, Action::Create | Action::Overwrite | Action::Unchanged | Action::Skip(Skipped::Kept))
                    && self.outcome.failures.count == failed_before;
            self.watch.add(u64::from(!is_folder && is_back), 0);
            let step = Step { found: FromArchive { entry: found.listed, archive: found.archive }, action };
            self.outcome.totals.add(&step);
        }
        if self.batch.is_full() || self.folders.are_many() { self.commit() } else { Ok(()) }
    }

    /// What a restore that was killed left in a folder goes.
    fn sweep(&mut self, path: &PathBytes) {
        let swept = self.target.folder(below(path)).and_then(|folder| sweep(&folder));
        if let Err(error) = swept {
            tracing::debug!(folder = %self.target.shown(path).display(), %error, "what a restore left was not looked for");
        }
    }

    fn place(&mut self, found: &Found) -> Result<(Place, Action), Errno> {
        let place = self.target.place(&found.entry.path)?;
        let there = Target::look(&place, &found.entry.path)?;
        let action = action(&found.listed, there.as_ref().map(|(there, _)| there), self.restore.existing);
        if let (Action::Unchanged, Some(key), Some((_, stat))) = (action, key(found), &there) {
            self.remember(key, &found.entry.path, Some((stat.st_dev, stat.st_ino)));
        }
        Ok((place, action))
    }

    fn remember(&mut self, key: Key, path: &PathBytes, is: Option<(u64, u64)>) {
        if self.linked.len() < LINKED_LIMIT {
            self.linked.insert(key, (path.clone(), is));
        }
    }

    fn make_folder(&mut self, place: &Place, entry: &Entry) {
        match mkdirat(&*place.folder, place.name(), Mode::RWXU) {
            Ok(()) => {
                self.outcome.restored += 1;
                self.folders.enter(entry.clone());
            }
            Err(error) => {
                self.closed = Some(entry.path.clone());
                self.refuse("make", &entry.path, error);
            }
        }
    }

    /// A folder that is there gets what the archive says, if it is restored itself and may be changed. Those above what was
    /// ticked are only the way there: their owner may have closed them since.
    fn enter_existing(&mut self, entry: Entry) {
        let is_ours = self.roots.iter().any(|root| entry.path.is_within(root));
        if is_ours && self.restore.is_ticked(&entry.path) && self.restore.existing == Existing::Overwrite {
            self.folders.enter(entry);
        }
    }

    fn make(&mut self, place: &Place, found: &Found, replaces: bool) -> Result<(), ArchiveError> {
        let entry = &found.entry;
        if self.make_link(place, found, replaces)? {
            return Ok(());
        }
        let from = Batch::beside(place);
        let mut file = None;
        let mut bytes = 0;
        let made = match &entry.kind {
            Kind::Folder => return Ok(()),
            Kind::File(pieces) => write(&from, pieces, self.contents, self.watch).map(|(written, length)| {
                bytes = length;
                if let Err(why) = meta::set(&written, entry, self.set_owner) {
                    self.refuse("restore all of", &entry.path, io::Error::other(why));
                }
                file = Some(written);
            }),
            kind => special(&from, kind)
                .and_then(|()| meta::set_unopened(&from, entry, self.set_owner))
                .map_err(|error| NotWritten::from(io::Error::from(error))),
        };
        match made {
            Ok(()) => {
                if let Some(key) = key(found) {
                    let is = file.as_ref().and_then(|file| rustix::fs::fstat(file).ok());
                    self.remember(key, &entry.path, is.map(|stat| (stat.st_dev, stat.st_ino)));
                }
                let name = place.name.clone();
                self.batch.add(Pending { path: entry.path.clone(), from, name, file, bytes, replaces });
                Ok(())
            }
            Err(not_written) => {
                remove(&from);
                match not_written {
                    NotWritten::Cancelled => return Err(ArchiveError::Cancelled),
                    NotWritten::Full(error) => {
                        return Err(ArchiveError::io(
                            "write (the disk is full)",
                            &self.target.shown(&entry.path),
                            error,
                        ));
                    }
                    NotWritten::File(error) => self.fail(&entry.path, &error),
                    NotWritten::Refused(error) => self.refuse("write", &entry.path, error),
                }
                Ok(())
            }
        }
    }

    /// Another name of a file that is restored already. False: it is to be written.
    fn make_link(&mut self, place: &Place, found: &Found, replaces: bool) -> Result<bool, ArchiveError> {
        let Some((first, is)) = key(found).and_then(|key| self.linked.get(&key)).cloned() else { return Ok(false) };
        self.commit()?;
        let from = Batch::beside(place);
        let linked = self.target.place(&first).and_then(|there| {
            let stat = statat(&*there.folder, there.name(), AtFlags::SYMLINK_NOFOLLOW)?;
            if is.is_some_and(|is| is != (stat.st_dev, stat.st_ino)) {
                return Err(Errno::STALE);
            }
            linkat(&*there.folder, there.name(), &*from.folder, from.name(), AtFlags::empty())
        });
        if linked.is_err() {
            // It failed before, somebody changed it, or the file system knows no such names: a file of its own then.
            return Ok(false);
        }
        let (path, name) = (found.entry.path.clone(), place.name.clone());
        self.batch.add(Pending { path, from, name, file: None, bytes: 0, replaces });
        Ok(true)
    }

    fn commit(&mut self) -> Result<(), ArchiveError> {
        let mut failed = Vec::new();
        let mut done = 0;
        let committed = self.batch.commit(self.target.root(), |pending, renamed| match renamed {
            Ok(()) => done += 1,
            Err(error) => failed.push((pending.path.clone(), error)),
        });
        self.outcome.restored += done;
        failed.into_iter().for_each(|(path, error)| self.refuse("put in its place", &path, error));
        let unfinished = self.folders.finish(&mut self.target, self.set_owner);
        unfinished.into_iter().for_each(|(path, why)| self.refuse("restore all of", &path, io::Error::other(why)));
        committed.map_err(|error| ArchiveError::io("write to", &self.restore.target, error))
    }

    /// What is whole takes its place, whatever made the restore end.
    fn end(&mut self) {
        self.folders.leave_for(None);
        let committed = self.commit();
        let synced = rustix::fs::syncfs(self.target.root());
        let synced = synced.map_err(|error| ArchiveError::io("write to", &self.restore.target, error));
        if let Err(error) = committed.and(synced) {
            self.outcome.stopped.get_or_insert(error);
        }
    }
}

fn key(found: &Found) -> Option<Key> {
    let (device, inode) = found.entry.same_as.filter(|_| found.listed.kind != EntryKind::Folder)?;
    Some((found.archive, device, inode))
}

/// Makes what is neither file nor folder.
fn special(place: &Place, kind: &Kind) -> Result<(), Errno> {
    use std::os::unix::ffi::OsStrExt;
    let (kind, device) = match kind {
        Kind::Link(target) => {
            return symlinkat(std::ffi::OsStr::from_bytes(target), &*place.folder, place.name());
        }
        Kind::Pipe => (FileType::Fifo, 0),
        Kind::Socket => (FileType::Socket, 0),
        Kind::BlockDevice(device) => (FileType::BlockDevice, *device),
        Kind::CharacterDevice(device) => (FileType::CharacterDevice, *device),
        Kind::Folder | Kind::File(_) => return Err(Errno::INVAL),
    };
    mknodat(&*place.folder, place.name(), kind, Mode::RUSR | Mode::WUSR, device)
}
