//! What is in an archive, folder by folder, from a thread of its own through a short queue.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use rustic_core::TreeId;
use rustic_core::repofile::Node;
use shoal_backup::plan::PathBytes;

use super::files::Files;
use super::isolate::{STACK_BYTES, fenced};
use super::locks::Lock;
use super::{Engine, Indexed, id_of, object_name, snapshot};
use crate::entry::Entry;
use crate::error::{ArchiveError, in_one_line};
use crate::repository::{ArchiveName, Listing};

/// Entries that wait for whoever takes them.
const QUEUED_ENTRIES: usize = 256;
/// Folders in folders, at most: more than a path on Linux can have.
const DEPTH_LIMIT: usize = 4_096;
/// Bytes of a path, at most.
const PATH_LIMIT_BYTES: usize = 65_536;

type Send = SyncSender<Result<Entry, ArchiveError>>;

impl Engine {
    /// Folders in which nothing is ticked are not looked into.
    pub(super) fn list_archive(&self, archive: &ArchiveName, ticked: &[PathBytes]) -> Result<Listing, ArchiveError> {
        let ticked = ticked.to_vec();
        let lock = Lock::to_read(&self.folder)?;
        let (repository, files, root) = super::isolated("read the archive", || {
            let files = self.files();
            let root = snapshot(&self.opened(&files)?, archive)?.tree;
            Ok((self.indexed(&files)?, files, root))
        })?;
        let (sender, receiver) = sync_channel(QUEUED_ENTRIES);
        let list = move || {
            let _lock = lock;
            let ended = fenced("read the archive", || {
                walk(&repository, &files, root, &ticked, &sender);
                Ok(())
            });
            if let Err(error) = ended {
                // Nobody listens any more, if this fails.
                let _ = sender.send(Err(error));
            }
        };
        let builder = thread::Builder::new().name("archive-listing".to_owned()).stack_size(STACK_BYTES);
        builder.spawn(list).map_err(|error| ArchiveError::io("read", &self.folder, error))?;
        Ok(Box::new(receiver.into_iter()))
    }
}

impl Engine {
    /// What is in one folder of an archive, in order; only the folders above it are read. `/` is the root. A name that cannot
    /// be meant is left out.
    ///
    /// # Errors
    /// There is no such archive or no such folder in it, or it cannot be read.
    pub fn list_folder(&self, archive: &ArchiveName, folder: &PathBytes) -> Result<Vec<Entry>, ArchiveError> {
        let _lock = Lock::to_read(&self.folder)?;
        super::isolated("read the archive", || {
            let files = self.files();
            let mut tree = snapshot(&self.opened(&files)?, archive)?.tree;
            let repository = self.indexed(&files)?;
            let mut path = Vec::new();
            for part in folder.as_bytes().split(|byte| *byte == b'/').filter(|part| !part.is_empty()) {
                let nodes = tree_nodes(&repository, &files, tree, &path)?;
                path.push(b'/');
                path.extend_from_slice(part);
                let found = nodes.into_iter().find(|node| node.is_dir() && name_of(node) == part);
                let below = found.and_then(|node| node.subtree);
                tree = below.ok_or_else(|| ArchiveError::NoFolder(folder.clone()))?;
            }
            let mut entries = Vec::new();
            let mut last: Option<Vec<u8>> = None;
            for node in tree_nodes(&repository, &files, tree, &path)? {
                let name = name_of(&node);
                if name_is_wrong(&name, last.as_deref()).is_none() {
                    entries.push(Entry::from_node([&path[..], b"/", &name].concat(), node));
                    last = Some(name);
                }
            }
            Ok(entries)
        })
    }
}

fn name_of(node: &Node) -> Vec<u8> {
    std::os::unix::ffi::OsStrExt::as_bytes(&*node.name()).to_vec()
}

struct Folder {
    path_len: usize,
    nodes: std::vec::IntoIter<Node>,
    last: Option<Vec<u8>>,
}

/// Sends all entries. Ends early when nobody listens any more.
fn walk(repository: &Indexed, files: &Files, root: TreeId, ticked: &[PathBytes], send: &Send) {
    let mut path: Vec<u8> = Vec::new();
    let mut folders: Vec<Folder> = Vec::new();
    match open(repository, files, root, &path) {
        Ok(folder) => folders.push(folder),
        Err(error) => _ = send.send(Err(error)),
    }
    while let Some(folder) = folders.last_mut() {
        path.truncate(folder.path_len);
        let Some(node) = folder.nodes.next() else {
            folders.pop();
            continue;
        };
        let name = name_of(&node);
        let wrong = name_is_wrong(&name, folder.last.as_deref());
        path.push(b'/');
        path.extend_from_slice(&name);
        if let Some(why) = wrong.or_else(|| (path.len() > PATH_LIMIT_BYTES).then_some("its path is too long")) {
            let path = PathBytes::new(&path);
            if send.send(Err(ArchiveError::BadEntry(format!("{path}: {why}")))).is_err() {
                return;
            }
            continue;
        }
        folder.last = Some(name);
        let below = (node.is_dir() && is_wanted(&path, ticked)).then_some(node.subtree);
        if send.send(Ok(Entry::from_node(path.clone(), node))).is_err() {
            return;
        }
        let below = match below {
            Some(Some(tree)) if folders.len() < DEPTH_LIMIT => open(repository, files, tree, &path),
            Some(_) => {
                Err(ArchiveError::BadEntry(format!("{}: a folder without content", String::from_utf8_lossy(&path))))
            }
            None => continue,
        };
        match below {
            Ok(folder) => folders.push(folder),
            Err(error) => {
                if send.send(Err(error)).is_err() {
                    return;
                }
            }
        }
    }
}

/// Whether something in this folder may be ticked.
fn is_wanted(path: &[u8], ticked: &[PathBytes]) -> bool {
    let path = PathBytes::new(path);
    ticked.is_empty() || ticked.iter().any(|ticked| path.is_within(ticked) || ticked.is_within(&path))
}

/// What is wrong with a name: it would lead out of its folder, or stand there twice.
fn name_is_wrong(name: &[u8], last: Option<&[u8]>) -> Option<&'static str> {
    match name {
        b"" | b"." | b".." => return Some("this is no name"),
        name if name.contains(&b'/') || name.contains(&0) => return Some("no name can have this in it"),
        _ => {}
    }
    last.is_some_and(|last| last >= name).then_some("it is out of order")
}

fn open(repository: &Indexed, files: &Files, tree: TreeId, path: &[u8]) -> Result<Folder, ArchiveError> {
    let nodes = tree_nodes(repository, files, tree, path)?;
    Ok(Folder { path_len: path.len(), nodes: nodes.into_iter(), last: None })
}

/// The entries of a folder.
pub(super) fn tree_nodes(
    repository: &Indexed,
    files: &Files,
    tree: TreeId,
    path: &[u8],
) -> Result<Vec<Node>, ArchiveError> {
    let pack = || repository.get_index_entry(&tree).ok().map(|entry| object_name(&entry.pack));
    let damaged = |why: String| {
        let path = PathBytes::new(if path.is_empty() { b"/" } else { path });
        ArchiveError::Damaged { what: format!("the folder {path} in the archive"), pack: pack(), why }
    };
    let read = || {
        fenced("read a folder", || {
            repository.get_tree(&tree).map_err(|error| damaged(in_one_line(&error.display_log())))
        })
    };
    let nodes = match (read(), pack()) {
        (Err(error), Some(pack)) => match files.mend(&id_of(&pack)) {
            Ok(true) => read(),
            Ok(false) => Err(error),
            Err(error) => Err(damaged(error.to_string())),
        },
        (read, _) => read,
    };
    Ok(nodes?.nodes)
}
