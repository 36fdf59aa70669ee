//! Files, folders and their properties.

use dci_proto::InodeId;

use super::volume;
use crate::tables;
use crate::{KvError, KvRead, Node, NodeKind, NodePath, Property};

/// What stands at a path. Names are looked up in Unicode normal form C.
pub fn node(kv: &dyn KvRead, path: &NodePath) -> Result<Option<Node>, KvError> {
    let Some((name, folders)) = path.names.split_last() else {
        return tables::read(kv, tables::ROOTS, &tables::volume_key(tables::ROOTS, path.volume));
    };
    let Some(volume) = volume(kv, path.volume)? else { return Ok(None) };
    let Some(folder) = walk(kv, volume.root, folders)? else { return Ok(None) };
    entry(kv, folder, name)
}

/// The folder at the end of these names, from a folder down; `None` if one is not there or a file.
pub(crate) fn walk(kv: &dyn KvRead, from: InodeId, names: &[String]) -> Result<Option<InodeId>, KvError> {
    let mut folder = from;
    for name in names {
        match entry(kv, folder, name)? {
            Some(node) if node.kind == NodeKind::Folder => folder = node.inode,
            _ => return Ok(None),
        }
    }
    Ok(Some(folder))
}

/// What a folder holds under a name.
pub(crate) fn entry(kv: &dyn KvRead, folder: InodeId, name: &str) -> Result<Option<Node>, KvError> {
    tables::read(kv, tables::NODES, &tables::node_key(folder, name))
}

/// Visits what a folder holds in the order of the normalised names, from after the name `after`, until `visit`
/// returns false.
pub fn children(
    kv: &dyn KvRead,
    folder: InodeId,
    after: Option<&str>,
    visit: &mut dyn FnMut(Node) -> bool,
) -> Result<(), KvError> {
    let prefix = tables::inode_key(tables::NODES, folder);
    let from = after.map_or_else(|| prefix.clone(), |name| tables::after_key(&tables::node_key(folder, name)));
    tables::visit(kv, tables::NODES, &prefix, &from, &mut |_, node| Ok(visit(node)))
}

/// Dead properties of a node.
pub fn properties(kv: &dyn KvRead, node: InodeId) -> Result<Vec<Property>, KvError> {
    tables::read_all(kv, tables::PROPERTIES, &tables::inode_key(tables::PROPERTIES, node))
}
