//! From folder to folder.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;

use rustic_core::repofile::Node;
use rustic_core::{ReadSourceEntry, RusticResult};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, fstatfs, open, statat};
use rustix::io::Errno;
use shoal_backup::plan::{PathBytes, Plan, Selection};

use super::folder::Names;
use super::node::node;
use super::read::{Stamp, ToRead, open_below};
use super::shared::Shared;
use crate::restore::UNFINISHED_PREFIX;

/// Folders on the way down that are kept open; those above are opened again when they are come back to.
const OPEN_FOLDERS: usize = 64;
/// Files smaller than this are read whole, holes or not.
const SPARSE_FROM_BYTES: i64 = 65_536;
/// Bytes in a block as `st_blocks` counts them.
const BLOCK_BYTES: i64 = 512;
/// File systems that the kernel makes up: what is in them is not the user's. See linux/magic.h.
const MADE_UP: [u64; 13] = [
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x1cd1,      // devpts
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0x6165_676c, // pstore
    0xcafe_4a11, // bpf
    0x6265_6570, // configfs
    0x1980_0202, // mqueue
    0x4249_4e4d, // binfmt_misc
];

type Found = ReadSourceEntry<ToRead>;

/// Walks the roots of a plan.
#[derive(Debug)]
pub(crate) struct Walker {
    plan: Arc<Plan>,
    repository: Option<(u64, u64)>,
    shared: Arc<Shared>,
    roots: VecDeque<PathBytes>,
    /// Entries that come before anything else: folders above a root.
    ready: VecDeque<Found>,
    /// Folders above roots that were handed on already.
    last_above: Vec<u8>,
    root: Option<Root>,
    levels: Vec<Level>,
    any_root: bool,
}

#[derive(Debug)]
struct Root {
    folder: Arc<OwnedFd>,
    path_len: usize,
}

#[derive(Debug)]
struct Level {
    /// Absolute.
    path: Vec<u8>,
    folder: Option<OwnedFd>,
    device: u64,
    names: Names,
}

impl Walker {
    pub(super) fn new(plan: Arc<Plan>, repository: Option<(u64, u64)>, shared: Arc<Shared>) -> Self {
        let mut roots: Vec<PathBytes> = Selection::of(&plan).roots().into_iter().cloned().collect();
        roots.sort_by(|one, other| shoal_backup::recovery::tree_order(one.as_bytes(), other.as_bytes()));
        Self {
            plan,
            repository,
            shared,
            roots: roots.into(),
            ready: VecDeque::new(),
            last_above: Vec::new(),
            root: None,
            levels: Vec::new(),
            any_root: false,
        }
    }

    /// Opens the next root. Links on the way to it are the user's word and are followed.
    fn begin_root(&mut self, path: &PathBytes) {
        let bytes = path.as_bytes().strip_suffix(b"/").unwrap_or(path.as_bytes()).to_vec();
        let opened = open(OsStr::from_bytes(path.as_bytes()), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
            .and_then(|file| fstat(&file).map(|stat| (file, stat)));
        let (file, stat) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.shared.unreadable(&bytes, &error.into()),
        };
        let above = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            self.any_root = true;
            self.give_above(&bytes[..above]);
            return self.give_lone_file(&bytes, above, &stat);
        }
        match open_folder(&file, b"").and_then(|folder| Ok((Names::read(&folder)?, folder))) {
            Ok((names, folder)) => {
                self.any_root = true;
                self.give_above(&bytes);
                self.levels.push(Level { path: bytes.clone(), folder: Some(folder), device: stat.st_dev, names });
                self.root = Some(Root { folder: Arc::new(file), path_len: bytes.len() });
            }
            Err(error) => self.shared.unreadable(&bytes, &error.into()),
        }
    }

    /// A root that is a file.
    fn give_lone_file(&mut self, path: &[u8], above: usize, stat: &Stat) {
        let folder_path = OsStr::from_bytes(if above == 0 { b"/" } else { &path[..above] });
        let folder = open(folder_path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty());
        let name = &path[above + 1..];
        match folder.and_then(|folder| node(&folder, name, stat).map(|node| (folder, node))) {
            Ok((folder, node)) => {
                let root = Root { folder: Arc::new(folder), path_len: above };
                let found = self.found(path.to_vec(), node, stat, &root);
                self.ready.push_back(found);
            }
            Err(error) => self.shared.unreadable(path, &error.into()),
        }
    }

    /// The folders from `/` to a root, each once, as they are.
    fn give_above(&mut self, path: &[u8]) {
        let ends = path.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
        for end in ends.chain([path.len()]).filter(|end| *end > 1) {
            let above = &path[..end];
            if PathBytes::new(&self.last_above).is_within(&PathBytes::new(above)) {
                continue;
            }
            let name_at = above.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            let within = OsStr::from_bytes(if name_at == 0 { b"/" } else { &above[..name_at] });
            let made = rustix::fs::stat(OsStr::from_bytes(above)).and_then(|stat| {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                node(open(within, flags, Mode::empty())?, &above[name_at + 1..], &stat)
            });
            match made {
                Ok(node) => self.ready.push_back(entry(above.to_vec(), node, None)),
                Err(error) => self.shared.unreadable(above, &error.into()),
            }
        }
        self.last_above = path.to_vec();
    }

    /// The next entry of the folder that is walked, or nothing if there was nothing to hand on.
    fn step(&mut self) -> Option<Found> {
        let depth = self.levels.len();
        let root = self.root.take()?;
        let found = (|| {
            let level = self.levels.last_mut()?;
            let Some(name) = level.names.next() else {
                self.levels.pop();
                return None;
            };
            let mut path = level.path.clone();
            path.push(b'/');
            path.extend_from_slice(&name);
            let looked = (|| {
                if level.folder.is_none() {
                    level.folder = Some(open_folder(&root.folder, below(&level.path, root.path_len))?);
                }
                let folder = level.folder.as_ref().ok_or(Errno::BADF)?;
                let stat = statat(folder, OsStr::from_bytes(&name), AtFlags::SYMLINK_NOFOLLOW)?;
                let is_folder = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
                let is_kept = Selection::of(&self.plan).keeps(&PathBytes::new(&path), is_folder);
                // What a restore that was killed left here means nothing.
                let is_left = !is_folder && name.starts_with(UNFINISHED_PREFIX.as_bytes());
                if !is_kept || is_left || is_folder && self.repository == Some((stat.st_dev, stat.st_ino)) {
                    return Ok(None);
                }
                let node = node(folder, &name, &stat)?;
                let inner = is_folder.then(|| open_inner(folder, &name, level.device, &stat)).transpose();
                Ok(Some((node, stat, inner)))
            })();
            match looked {
                Ok(None) => None,
                Ok(Some((node, stat, inner))) => {
                    match inner {
                        Ok(None) => {}
                        Ok(Some((folder, names))) => {
                            if let Some(far) = depth.checked_sub(OPEN_FOLDERS).and_then(|at| self.levels.get_mut(at)) {
                                far.folder = None;
                            }
                            let level = Level { path: path.clone(), folder, device: stat.st_dev, names };
                            self.levels.push(level);
                        }
                        // The folder itself is kept, with nothing in it.
                        Err(error) => self.shared.unreadable(&path, &Errno::into(error)),
                    }
                    Some(self.found(path, node, &stat, &root))
                }
                Err(error) => {
                    self.shared.unreadable(&path, &Errno::into(error));
                    None
                }
            }
        })();
        self.root = (!self.levels.is_empty()).then_some(root);
        found
    }

    fn found(&self, path: Vec<u8>, node: Node, stat: &Stat, root: &Root) -> Found {
        if node.is_dir() {
            return entry(path, node, None);
        }
        self.shared.give();
        self.shared.watch.add(1, 0);
        let to_read = node.is_file().then(|| ToRead {
            shared: Arc::clone(&self.shared),
            root: Arc::clone(&root.folder),
            below: below(&path, root.path_len).to_vec(),
            path: path.clone(),
            stamp: Stamp::of(stat),
            is_sparse: stat.st_size >= SPARSE_FROM_BYTES && stat.st_blocks * BLOCK_BYTES < stat.st_size,
        });
        entry(path, node, to_read)
    }
}

fn below(path: &[u8], root_len: usize) -> &[u8] {
    path.get(root_len + 1..).unwrap_or_default()
}

fn open_folder(root: &OwnedFd, below: &[u8]) -> Result<OwnedFd, Errno> {
    open_below(root, below, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Opens a folder in a folder and reads its names; of a file system that the kernel makes up, nothing.
fn open_inner(folder: &OwnedFd, name: &[u8], device: u64, stat: &Stat) -> Result<(Option<OwnedFd>, Names), Errno> {
    let inner = open_folder(folder, name)?;
    if stat.st_dev != device && MADE_UP.contains(&(fstatfs(&inner)?.f_type as u64)) {
        return Ok((Some(inner), Names::default()));
    }
    let names = Names::read(&inner)?;
    Ok((Some(inner), names))
}

fn entry(path: Vec<u8>, node: Node, open: Option<ToRead>) -> Found {
    ReadSourceEntry { path: PathBuf::from(OsString::from_vec(path)), node, open }
}

impl Iterator for Walker {
    type Item = RusticResult<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.shared.watch.is_cancelled() {
                return None;
            }
            if let Some(found) = self.ready.pop_front() {
                return Some(Ok(found));
            }
            if self.root.is_some() {
                if let Some(found) = self.step() {
                    return Some(Ok(found));
                }
                continue;
            }
            let Some(root) = self.roots.pop_front() else {
                if !self.any_root {
                    self.shared.nothing_read();
                }
                return None;
            };
            self.begin_root(&root);
        }
    }
}
