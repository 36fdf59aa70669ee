//! A file is read for the engine: opened by where it is below its root, never through a link, and looked at again at the end.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustic_core::{ErrorKind, ReadSourceOpen, RusticError, RusticResult};
use rustix::fs::{Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;

use super::problems::ProblemKind;
use super::shared::Shared;

/// Opens something below a folder; no link on the way is followed and nothing leads out of it.
pub(super) fn open_below(root: &OwnedFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let path = OsStr::from_bytes(if path.is_empty() { b"." } else { path });
    openat2(root, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)
}

/// What tells whether a file changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    size: i64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    pub(super) fn of(stat: &Stat) -> Self {
        Self {
            inode: stat.st_ino,
            size: stat.st_size,
            modified: (stat.st_mtime, stat.st_mtime_nsec as i64),
            changed: (stat.st_ctime, stat.st_ctime_nsec as i64),
        }
    }
}

/// A file that will be opened when its turn comes.
#[derive(Debug)]
pub(crate) struct ToRead {
    pub(super) shared: Arc<Shared>,
    pub(super) root: Arc<OwnedFd>,
    /// Below the root.
    pub(super) below: Vec<u8>,
    /// For people.
    pub(super) path: Vec<u8>,
    pub(super) stamp: Stamp,
    /// Whether it has holes.
    pub(super) is_sparse: bool,
}

impl ReadSourceOpen for ToRead {
    type Reader = Reader;

    fn open(self) -> RusticResult<Reader> {
        let opened = open_below(&self.root, &self.below, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY);
        match opened {
            Ok(file) => {
                let left = u64::try_from(self.stamp.size).unwrap_or(0);
                let data_until = if self.is_sparse { 0 } else { left };
                Ok(Reader { file: file.into(), at: 0, left, data_until, hole_until: 0, of: self, ended: false })
            }
            Err(error) => {
                self.shared.lost(&self.path, error.into());
                Err(RusticError::new(ErrorKind::InputOutput, "the file could not be opened"))
            }
        }
    }
}

/// An open file. Gives at most as many bytes as it had when it was looked at: one that grows has no end otherwise.
#[derive(Debug)]
pub(crate) struct Reader {
    file: File,
    of: ToRead,
    at: u64,
    left: u64,
    /// Up to here there is data.
    data_until: u64,
    /// Up to here there is a hole.
    hole_until: u64,
    ended: bool,
}

impl Reader {
    fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let is_same = self.left == 0 && fstat(&self.file).is_ok_and(|stat| Stamp::of(&stat) == self.of.stamp);
        if !is_same {
            self.of.shared.problem(&self.of.path, ProblemKind::Changed);
        }
    }

    /// Finds out what comes next in a file with holes.
    fn look_ahead(&mut self) -> io::Result<()> {
        let end = self.at + self.left;
        let data = match rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Data(self.at)) {
            Ok(data) => data.min(end),
            Err(Errno::NXIO) => end,
            Err(_) => self.at,
        };
        self.hole_until = data;
        self.data_until = if data == end {
            data
        } else {
            rustix::fs::seek(&self.file, rustix::fs::SeekFrom::Hole(data)).unwrap_or(end).clamp(data + 1, end)
        };
        self.file.seek(SeekFrom::Start(data)).map(drop)
    }
}

impl Read for Reader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.of.shared.watch.is_cancelled() {
            return Err(io::Error::other("cancelled"));
        }
        if self.left == 0 || buffer.is_empty() {
            if self.left == 0 {
                self.end();
            }
            return Ok(0);
        }
        if self.at >= self.data_until {
            self.look_ahead()?;
        }
        let until = if self.at < self.hole_until { self.hole_until } else { self.data_until };
        let len = buffer.len().min(usize::try_from(until - self.at).unwrap_or(usize::MAX));
        let read = if self.at < self.hole_until {
            buffer[..len].fill(0);
            len
        } else {
            self.file.read(&mut buffer[..len]).inspect_err(|error| {
                if error.kind() != io::ErrorKind::Interrupted {
                    self.of.shared.lost(&self.of.path, error.kind().into());
                }
            })?
        };
        if read == 0 {
            self.end();
        }
        self.at += read as u64;
        self.left -= read as u64;
        self.of.shared.watch.add(0, read as u64);
        Ok(read)
    }
}
