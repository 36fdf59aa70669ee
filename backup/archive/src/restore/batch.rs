//! Many files are made durable at once, then take their places.
//!
//! One `fsync` a file would make 50,000 small files take minutes on most disks; one `syncfs` a batch does the same for all of
//! them. Until then they lie beside their places, so a crash leaves the old ones.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Dir, RenameFlags, renameat, renameat_with, syncfs, unlinkat};
use rustix::io::Errno;
use shoal_backup::plan::PathBytes;

use super::UNFINISHED_PREFIX;
use super::target::Place;

/// Numbers names, also of restores at the same time.
static SERIAL: AtomicU64 = AtomicU64::new(0);
/// Files in a batch.
const FILES: usize = 1_024;
/// Bytes in a batch.
const BYTES: u64 = 256 << 20;
/// Folders that a batch keeps open.
const FOLDERS: usize = 128;
/// Up to so many files, each is synced alone: others who write to the same disk do not matter then.
const ALONE: usize = 4;

/// A file that is whole but not in its place.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) path: PathBytes,
    /// Where it lies.
    pub(super) from: Place,
    /// Its name when it is in its place.
    pub(super) name: Vec<u8>,
    /// Open, if it is a file.
    pub(super) file: Option<File>,
    pub(super) bytes: u64,
    /// Whether something may be there that it takes the place of.
    pub(super) replaces: bool,
}

/// Removes what processes that are no more left in a folder.
pub(super) fn sweep(folder: &OwnedFd) -> Result<(), Errno> {
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if is_left(name.to_bytes()) {
            unlinkat(folder, &name, AtFlags::empty())?;
        }
    }
    Ok(())
}

/// Whether this is the name of an unfinished file whose process is no more.
fn is_left(name: &[u8]) -> bool {
    let rest = name.strip_prefix(UNFINISHED_PREFIX.as_bytes()).and_then(|rest| std::str::from_utf8(rest).ok());
    let process = rest.and_then(|rest| rest.split_once('-')).and_then(|(process, _)| process.parse::<i32>().ok());
    let process = process.and_then(rustix::process::Pid::from_raw);
    process.is_some_and(|process| rustix::process::test_kill_process(process) == Err(Errno::SRCH))
}

/// What waits for its place.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pending: Vec<Pending>,
    bytes: u64,
    folders: usize,
}

impl Batch {
    /// A name that nobody has, in the folder of `place`.
    pub(super) fn beside(place: &Place) -> Place {
        // Several restores may write to one folder.
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        let name = format!("{UNFINISHED_PREFIX}{}-{serial}", std::process::id());
        Place { folder: place.folder.clone(), name: name.into_bytes() }
    }

    pub(super) fn add(&mut self, mut pending: Pending) {
        self.bytes += pending.bytes;
        let is_same = |last: &Pending| Rc::ptr_eq(&last.from.folder, &pending.from.folder);
        self.folders += usize::from(!self.pending.last().is_some_and(is_same));
        if self.pending.len() >= ALONE {
            pending.file = None;
        }
        self.pending.push(pending);
    }

    pub(super) fn is_full(&self) -> bool {
        self.pending.len() >= FILES || self.bytes >= BYTES || self.folders >= FOLDERS
    }

    /// Makes all durable and puts them in their places. Tells of each how that went.
    pub(super) fn commit(
        &mut self,
        root: &OwnedFd,
        mut told: impl FnMut(&Pending, Result<(), Errno>),
    ) -> Result<(), Errno> {
        (self.bytes, self.folders) = (0, 0);
        if self.pending.is_empty() {
            return Ok(());
        }
        let synced = if self.pending.len() <= ALONE {
            self.pending.iter().filter_map(|it| it.file.as_ref()).try_for_each(rustix::fs::fsync)
        } else {
            syncfs(root)
        };
        if let Err(error) = synced {
            self.abandon();
            return Err(error);
        }
        for pending in self.pending.drain(..) {
            let (folder, name) = (&*pending.from.folder, OsString::from_vec(pending.name.clone()));
            let renamed = if pending.replaces {
                renameat(folder, pending.from.name(), folder, &name)
            } else {
                match renameat_with(folder, pending.from.name(), folder, &name, RenameFlags::NOREPLACE) {
                    // Not every file system can.
                    Err(Errno::INVAL | Errno::NOSYS) => renameat(folder, pending.from.name(), folder, &name),
                    renamed => renamed,
                }
            };
            if renamed.is_err() {
                remove(&pending.from);
            }
            told(&pending, renamed);
        }
        Ok(())
    }

    /// Takes everything away that has not got its place.
    pub(super) fn abandon(&mut self) {
        self.pending.drain(..).for_each(|pending| remove(&pending.from));
    }
}

/// Removes something of ours that has not got its place.
pub(super) fn remove(unfinished: &Place) {
    let _ = unlinkat(&*unfinished.folder, unfinished.name(), AtFlags::empty());
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.abandon();
    }
}
