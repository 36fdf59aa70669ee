//! The folder that is restored to.
//!
//! Everything is reached from its descriptor, through no link and never upwards: a link that an archive, or somebody at the
//! same time, puts in the way is an error, not a way out.

use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstatvfs, open, openat2, readlinkat, statat};
use rustix::io::Errno;
use shoal_backup::plan::PathBytes;
use shoal_backup::recovery::{ContentHash, Entry, EntryKind};
use shoal_backup::sha256;

use crate::error::ArchiveError;

/// The folder that is restored to.
#[derive(Debug)]
pub(super) struct Target {
    root: Rc<OwnedFd>,
    path: PathBuf,
    /// The folder that was opened last, and its path below the root.
    current: Option<(Vec<u8>, Rc<OwnedFd>)>,
}

/// A place in an open folder.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) folder: Rc<OwnedFd>,
    pub(super) name: Vec<u8>,
}

impl Place {
    pub(super) fn name(&self) -> &OsStr {
        OsStr::from_bytes(&self.name)
    }
}

impl Target {
    /// Opens it; makes it first if there is none.
    pub(super) fn open(path: &Path, make: bool) -> Result<Option<Self>, ArchiveError> {
        if make {
            fs::create_dir_all(path).map_err(|error| ArchiveError::io("make", path, error))?;
        }
        match open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()) {
            Ok(root) => Ok(Some(Self { root: Rc::new(root), path: path.to_owned(), current: None })),
            Err(Errno::NOENT) if !make => Ok(None),
            Err(error) => Err(ArchiveError::io("open", path, error)),
        }
    }

    pub(super) fn root(&self) -> &OwnedFd {
        &self.root
    }

    /// For people.
    pub(super) fn shown(&self, path: &PathBytes) -> PathBuf {
        self.path.join(OsStr::from_bytes(below(path)))
    }

    pub(super) fn free_bytes(&self) -> u64 {
        fstatvfs(&*self.root).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize))
    }

    /// Opens a folder below it.
    pub(super) fn folder(&mut self, below: &[u8]) -> Result<Rc<OwnedFd>, Errno> {
        if below.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some((_, folder)) = self.current.as_ref().filter(|(path, _)| path == below) {
            return Ok(Rc::clone(folder));
        }
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let folder = Rc::new(openat2(&*self.root, OsStr::from_bytes(below), flags, Mode::empty(), resolve)?);
        self.current = Some((below.to_vec(), Rc::clone(&folder)));
        Ok(folder)
    }

    /// Where an entry belongs: the folder it is in, open, and its name.
    pub(super) fn place(&mut self, path: &PathBytes) -> Result<Place, Errno> {
        let below = below(path);
        let at = below.iter().rposition(|byte| *byte == b'/');
        let (folder, name) = at.map_or((&b""[..], below), |at| (&below[..at], &below[at + 1..]));
        if name.is_empty() || name == b"." || name == b".." {
            return Err(Errno::INVAL);
        }
        Ok(Place { folder: self.folder(folder)?, name: name.to_vec() })
    }

    /// What is in a place.
    pub(super) fn look(place: &Place, path: &PathBytes) -> Result<Option<(Entry, Stat)>, Errno> {
        let stat = match statat(&*place.folder, place.name(), AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => EntryKind::Folder,
            FileType::RegularFile => EntryKind::File,
            FileType::Symlink => EntryKind::Link,
            _ => EntryKind::Special,
        };
        let mut content = None;
        if kind == EntryKind::Link {
            let target = readlinkat(&*place.folder, place.name(), Vec::new())?;
            content = Some(ContentHash(sha256(&[target.as_bytes()])));
        }
        let modified_ns = stat.st_mtime.saturating_mul(1_000_000_000).saturating_add(stat.st_mtime_nsec as i64);
        let size_bytes = if kind == EntryKind::File { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 };
        Ok(Some((Entry { path: path.clone(), kind, size_bytes, modified_ns, content, rights: None }, stat)))
    }
}

/// A path of an archive as one below the target.
pub(super) fn below(path: &PathBytes) -> &[u8] {
    path.as_bytes().strip_prefix(b"/").unwrap_or(path.as_bytes())
}
