//! What is in an archive, folder by folder, from a thread of its own through a short queue.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use rustic_core::TreeId;
use rustic_core::repofile::Node;

use super::isolate::{STACK_BYTES, fenced};
use super::locks::Lock;
use super::{Engine, Indexed, object_name, snapshot};
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
    pub(super) fn list_archive(&self, archive: &ArchiveName) -> Result<Listing, ArchiveError> {
        let lock = Lock::to_read(&self.folder)?;
        let (repository, root) = super::isolated("read the archive", || {
            let files = self.files();
            let root = snapshot(&self.opened(&files)?, archive)?.tree;
            Ok((self.indexed(&files)?, root))
        })?;
        let (sender, receiver) = sync_channel(QUEUED_ENTRIES);
        let list = move || {
            let _lock = lock;
            let ended = fenced("read the archive", || {
                walk(&repository, root, &sender);
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

struct Folder {
    path_len: usize,
    nodes: std::vec::IntoIter<Node>,
    last: Option<Vec<u8>>,
}

/// Sends all entries. Ends early when nobody listens any more.
fn walk(repository: &Indexed, root: TreeId, send: &Send) {
    let mut path: Vec<u8> = Vec::new();
    let mut folders: Vec<Folder> = Vec::new();
    match open(repository, root, &path) {
        Ok(folder) => folders.push(folder),
        Err(error) => _ = send.send(Err(error)),
    }
    while let Some(folder) = folders.last_mut() {
        path.truncate(folder.path_len);
        let Some(node) = folder.nodes.next() else {
            folders.pop();
            continue;
        };
        let name = std::os::unix::ffi::OsStrExt::as_bytes(&*node.name()).to_vec();
        let wrong = name_is_wrong(&name, folder.last.as_deref());
        path.push(b'/');
        path.extend_from_slice(&name);
        if let Some(why) = wrong.or_else(|| (path.len() > PATH_LIMIT_BYTES).then_some("its path is too long")) {
            let path = shoal_backup::plan::PathBytes::new(&path);
            if send.send(Err(ArchiveError::BadEntry(format!("{path}: {why}")))).is_err() {
                return;
            }
            continue;
        }
        folder.last = Some(name);
        let below = node.is_dir().then_some(node.subtree);
        if send.send(Ok(Entry::from_node(path.clone(), node))).is_err() {
            return;
        }
        let below = match below {
            Some(Some(tree)) if folders.len() < DEPTH_LIMIT => open(repository, tree, &path),
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

/// What is wrong with a name: it would lead out of its folder, or stand there twice.
fn name_is_wrong(name: &[u8], last: Option<&[u8]>) -> Option<&'static str> {
    match name {
        b"" | b"." | b".." => return Some("this is no name"),
        name if name.contains(&b'/') || name.contains(&0) => return Some("no name can have this in it"),
        _ => {}
    }
    last.is_some_and(|last| last >= name).then_some("it is out of order")
}

fn open(repository: &Indexed, tree: TreeId, path: &[u8]) -> Result<Folder, ArchiveError> {
    let nodes = tree_nodes(repository, tree, path)?;
    Ok(Folder { path_len: path.len(), nodes: nodes.into_iter(), last: None })
}

/// The entries of a folder.
pub(super) fn tree_nodes(repository: &Indexed, tree: TreeId, path: &[u8]) -> Result<Vec<Node>, ArchiveError> {
    let damaged = |why: String| {
        let pack = repository.get_index_entry(&tree).ok().map(|entry| object_name(&entry.pack));
        let path = shoal_backup::plan::PathBytes::new(if path.is_empty() { b"/" } else { path });
        ArchiveError::Damaged { what: format!("the folder {path} in the archive"), pack, why }
    };
    fenced("read a folder", || repository.get_tree(&tree).map_err(|error| damaged(in_one_line(&error.display_log()))))
        .map(|tree| tree.nodes)
}
