//! Walks over a folder and all below it. They keep their own stack, so depth costs no call stack, and read a page at
//! a time, so width costs no memory; the time one takes grows with the tree.

use dci_proto::{InodeId, VolumeId};

use super::namespace::{chunk_list, drop_properties, new_node, signed};
use super::state::{PAGE_ROWS, State};
use super::{Step, content};
use crate::tables;
use crate::{KvError, Node, NodeKind, query};

/// What lies in a tree, its top included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Extent {
    pub(super) nodes: usize,
    pub(super) files: i64,
    pub(super) bytes: i64,
    /// Levels below the top.
    pub(super) depth: usize,
}

/// Removes a node and all below it, with properties and content. Locks are the caller's.
pub(super) fn remove(state: &mut State, volume: VolumeId, key: &[u8], node: &Node) -> Step<()> {
    let mut gone = Extent::default();
    let mut folders = Vec::new();
    remove_one(state, key, node, &mut folders, &mut gone)?;
    while let Some(folder) = folders.pop() {
        let prefix = tables::inode_key(tables::NODES, folder);
        loop {
            let page = state.page::<Node>(tables::NODES, &prefix, &prefix)?;
            for (key, node) in &page {
                remove_one(state, key, node, &mut folders, &mut gone)?;
            }
            if page.len() < PAGE_ROWS {
                break;
            }
        }
    }
    state.count_files(volume, -gone.files, -gone.bytes)
}

fn remove_one(
    state: &mut State,
    key: &[u8],
    node: &Node,
    folders: &mut Vec<InodeId>,
    gone: &mut Extent,
) -> Result<(), KvError> {
    match node.kind {
        NodeKind::Folder => folders.push(node.inode),
        NodeKind::File => {
            gone.files += 1;
            gone.bytes += signed(node.size_bytes);
        }
    }
    if let Some(list) = chunk_list(node) {
        content::unlink(state, list)?;
    }
    drop_properties(state, node)?;
    state.delete(key)
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
