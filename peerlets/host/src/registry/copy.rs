//! Copies a folder that comes from outside: only what it holds itself, only plain files, never more than the limits.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Component, Path, PathBuf};

use rustix::fs::OFlags;

/// Files, folders and links of a peerlet, at most.
pub const FILES_LIMIT: usize = 10_000;
/// Bytes of all of them.
pub const FOLDER_LIMIT_BYTES: u64 = 256 * 1024 * 1024;
/// Folders within each other.
const DEPTH_LIMIT: usize = 16;
/// Bytes copied at once.
const BUFFER_BYTES: usize = 64 * 1024;
/// The bits by which a file lends its owner's or group's rights to who runs it.
const SETID_BITS: u32 = 0o6000;
/// Of folders and of programs; others may read, because programs may run as one of nobody's users.
const OPEN_MODE: u32 = 0o755;
/// Of other files.
const PLAIN_MODE: u32 = 0o644;

/// Why a folder is not taken.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file or folder cannot be read or written.
    #[error("cannot copy {path}: {error}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A link leads out.
    #[error("{path} leads out of the peerlet's folder, to {target}; links must be relative and stay in it")]
    LeadsOut {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// Neither file nor folder nor link.
    #[error("{0} is a device, socket or pipe; a peerlet has files, folders and links")]
    Special(PathBuf),
    /// A program that gives rights to who runs it.
    #[error("{0} is setuid or setgid; a peerlet's programs gain no rights (chmod ug-s)")]
    SetId(PathBuf),
    /// Too much.
    #[error(
        "{0} is too large: a peerlet has at most {FILES_LIMIT} files of {FOLDER_LIMIT_BYTES} bytes together, {DEPTH_LIMIT} folders deep"
    )]
    TooLarge(PathBuf),
    /// It was changed while it was copied.
    #[error("{0} was changed while it was copied; add it again")]
    Changed(PathBuf),
}

/// How much has been copied.
struct Copied {
    root: PathBuf,
    /// The links made, which are looked at when all is there.
    links: Vec<PathBuf>,
    files: usize,
    bytes: u64,
}

/// Copies a folder to where nothing is yet, synced.
pub(super) fn folder(from: &Path, to: &Path) -> Result<(), CopyError> {
    let root = from.canonicalize().map_err(io(from))?;
    let mut copied = Copied { root, links: Vec::new(), files: 0, bytes: 0 };
    copied.folder(from, to, 0)?;
    // All of it at once: thousands of files one by one would take minutes.
    File::open(to).and_then(|copy| Ok(rustix::fs::syncfs(copy)?)).map_err(io(to))?;
    // One that went out of the old folder and back in by its name would lead out of the new one.
    let root = to.canonicalize().map_err(io(to))?;
    for path in copied.links {
        let target = path.canonicalize().map_err(io(&path))?;
        if !target.starts_with(&root) {
            return Err(CopyError::LeadsOut { path, target });
        }
    }
    Ok(())
}

impl Copied {
    fn folder(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), CopyError> {
        if depth > DEPTH_LIMIT {
            return Err(CopyError::TooLarge(from.to_owned()));
        }
        fs::create_dir(to).map_err(io(to))?;
        fs::set_permissions(to, fs::Permissions::from_mode(OPEN_MODE)).map_err(io(to))?;
        for entry in fs::read_dir(from).map_err(io(from))? {
            let entry = entry.map_err(io(from))?;
            self.entry(&entry.path(), &to.join(entry.file_name()), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, from: &Path, to: &Path, depth: usize) -> Result<(), CopyError> {
        self.files += 1;
        if self.files > FILES_LIMIT {
            return Err(CopyError::TooLarge(from.to_owned()));
        }
        let kind = fs::symlink_metadata(from).map_err(io(from))?.file_type();
        if kind.is_dir() {
            self.folder(from, to, depth + 1)
        } else if kind.is_symlink() {
            self.link(from, to)
        } else if kind.is_file() {
            self.file(from, to)
        } else {
            Err(CopyError::Special(from.to_owned()))
        }
    }

    fn link(&mut self, from: &Path, to: &Path) -> Result<(), CopyError> {
        let target = fs::read_link(from).map_err(io(from))?;
        let found = from.canonicalize().map_err(io(from))?;
        let plain = target.components().all(|part| !matches!(part, Component::RootDir | Component::Prefix(_)));
        if !plain || !found.starts_with(&self.root) {
            return Err(CopyError::LeadsOut { path: from.to_owned(), target });
        }
        self.links.push(to.to_owned());
        std::os::unix::fs::symlink(&target, to).map_err(io(to))
    }

    fn file(&mut self, from: &Path, to: &Path) -> Result<(), CopyError> {
        // Nothing that has taken the file's place since it was looked at is followed or waited for.
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let mut source = OpenOptions::new().read(true).custom_flags(flags).open(from).map_err(io(from))?;
        let found = source.metadata().map_err(io(from))?;
        if !found.is_file() {
            return Err(CopyError::Special(from.to_owned()));
        }
        let mode = found.permissions().mode();
        if mode & SETID_BITS != 0 {
            return Err(CopyError::SetId(from.to_owned()));
        }
        let mut copy = OpenOptions::new().write(true).create_new(true).open(to).map_err(io(to))?;
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let count = source.read(&mut buffer).map_err(io(from))?;
            if count == 0 {
                break;
            }
            self.bytes += count as u64;
            if self.bytes > FOLDER_LIMIT_BYTES {
                return Err(CopyError::TooLarge(from.to_owned()));
            }
            copy.write_all(buffer.get(..count).unwrap_or_default()).map_err(io(to))?;
        }
        let mode = if mode & 0o111 == 0 { PLAIN_MODE } else { OPEN_MODE };
        copy.set_permissions(fs::Permissions::from_mode(mode)).map_err(io(to))
    }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CopyError {
    let path = path.to_owned();
    move |error| CopyError::Io { path, error }
}
