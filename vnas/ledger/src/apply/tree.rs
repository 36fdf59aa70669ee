//! Walks over a folder and all below it. They keep their own stack, so depth costs no call stack, and read a page at
//! a time, so width costs no memory; the time one takes grows with the tree.

use dci_proto::{InodeId, VolumeId};

use super::namespace::{chunk_list, drop_properties, new_node, signed};
use super::state::{PAGE_ROWS, State};
use super::trash::Departure;
use super::{Step, content, trash};
use crate::tables;
use crate::{KvError, Node, NodeKind, NodePath, query};

/// What lies in a tree, its top included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub(super) nodes: usize,
    pub(super) files: i64,
    pub(super) bytes: i64,
    /// Levels below the top.
    pub(super) depth: usize,
}

/// Removes what stands at a path and all below it, with properties. Content goes to the trash, or for good without a
/// departure. Locks are the caller's.
pub(super) fn remove(
    state: &mut State,
    path: &NodePath,
    key: &[u8],
    node: &Node,
    departure: Option<Departure<'_>>,
) -> Step<()> {
    let mut removal = Removal { departure, volume: path.volume, gone: Extent::default(), folders: Vec::new() };
    let mut names = path.names.clone();
    removal.remove_one(state, key, node, &names)?;
    while let Some(folder) = removal.folders.pop() {
        // Folders come in the order of a walk down: those above this one are the ones walked last.
        names.truncate(folder.depth.saturating_sub(1).max(path.names.len()));
        if folder.depth > path.names.len() {
            names.push(folder.name);
        }
        let prefix = tables::inode_key(tables::NODES, folder.inode);
        loop {
            let page = state.page::<Node>(tables::NODES, &prefix, &prefix)?;
            for (key, node) in &page {
                names.push(node.name.clone());
                removal.remove_one(state, key, node, &names)?;
                names.pop();
            }
            if page.len() < PAGE_ROWS {
                break;
            }
        }
    }
    let gone = removal.gone;
    state.count_files(path.volume, -gone.files, -gone.bytes)
}

/// A folder whose row is gone and whose members are not yet.
struct Emptying {
    inode: InodeId,
    name: String,
    /// Names that lead to it.
    depth: usize,
}

struct Removal<'a> {
    departure: Option<Departure<'a>>,
    volume: VolumeId,
    gone: Extent,
    folders: Vec<Emptying>,
}

impl Removal<'_> {
    fn remove_one(&mut self, state: &mut State, key: &[u8], node: &Node, names: &[String]) -> Step<()> {
        match node.kind {
            NodeKind::Folder => {
                let name = names.last().cloned().unwrap_or_default();
                self.folders.push(Emptying { inode: node.inode, name, depth: names.len() });
            }
            NodeKind::File => {
                self.gone.files += 1;
                self.gone.bytes += signed(node.size_bytes);
                trash::take(state, self.volume, names, node, self.departure)?;
            }
        }
        drop_properties(state, node)?;
        Ok(state.delete(key)?)
    }
}

/// Measures a node and all below it, until there are more than `limit` nodes.
pub(super) fn measure(state: &State, top: &Node, limit: usize) -> Result<Extent, KvError> {
    let mut extent = Extent::default();
    let mut folders = Vec::new();
    let mut count = |node: &Node, depth: usize, folders: &mut Vec<(InodeId, usize)>| {
        extent.nodes += 1;
        extent.depth = extent.depth.max(depth);
        match node.kind {
            NodeKind::Folder => folders.push((node.inode, depth)),
            NodeKind::File => {
                extent.files += 1;
                extent.bytes += signed(node.size_bytes);
            }
        }
        extent.nodes <= limit
    };
    let mut within = count(top, 0, &mut folders);
    while let (true, Some((folder, depth))) = (within, folders.pop()) {
        query::children(&*state.kv, folder, None, &mut |node| {
            within = count(&node, depth + 1, &mut folders);
            within
        })?;
    }
    Ok(extent)
}

/// Copies a node to a free place in a volume under a name, `deep`: with all below it. Contents are shared.
pub(super) fn copy(
    state: &mut State,
    volume: VolumeId,
    source: &Node,
    key: &[u8],
    name: &str,
    deep: bool,
) -> Step<Node> {
    let mut made = Extent::default();
    let mut folders = Vec::new();
    let top = copy_one(state, source, key, name, &mut made)?;
    if deep && source.kind == NodeKind::Folder {
        folders.push((source.inode, top.inode));
    }
    while let Some((from, to)) = folders.pop() {
        let prefix = tables::inode_key(tables::NODES, from);
        let mut at = prefix.clone();
        loop {
            let page = state.page::<Node>(tables::NODES, &prefix, &at)?;
            for (_, node) in &page {
                let copied = copy_one(state, node, &tables::node_key(to, &node.name), &node.name, &mut made)?;
                if node.kind == NodeKind::Folder {
                    folders.push((node.inode, copied.inode));
                }
            }
            match page.last() {
                Some((key, _)) if page.len() == PAGE_ROWS => at = tables::after_key(key),
                _ => break,
            }
        }
    }
    state.count_files(volume, made.files, made.bytes)?;
    Ok(top)
}

fn copy_one(state: &mut State, source: &Node, key: &[u8], name: &str, made: &mut Extent) -> Result<Node, KvError> {
    let fresh = new_node(state, name, source.kind, Some(source.modified_ms));
    let copied = Node {
        inode: fresh.inode,
        name: fresh.name,
        created_ms: fresh.created_ms,
        version: fresh.version,
        ..source.clone()
    };
    if let Some(list) = chunk_list(source) {
        content::share(state, list)?;
    }
    if source.has_properties {
        for property in query::properties(&*state.kv, source.inode)? {
            let name = &property.name;
            let key = tables::property_key(copied.inode, &name.namespace, &name.name);
            state.put(tables::PROPERTIES, &key, &property)?;
        }
    }
    if copied.kind == NodeKind::File {
        made.files += 1;
        made.bytes += signed(copied.size_bytes);
    }
    state.put(tables::NODES, key, &copied)?;
    Ok(copied)
}
