//! Getting versions back from the trash.

use dci_proto::{InodeId, VolumeId};

use super::namespace::{Place, check_expect, check_path, chunk_list, drop_content, new_node, shown, signed};
use super::state::State;
use super::transfer::{check_destination_locks, clear};
use super::trash::{self, Departure};
use super::{Step, content, locks};
use crate::tables;
use crate::{Guard, Node, NodeKind, NodePath, Outcome, Rejection, TrashReason, query};

/// Moves a version from the trash to a path, by default where it was.
pub(super) fn restore(
    state: &mut State,
    volume: VolumeId,
    id: u64,
    to: Option<&NodePath>,
    overwrite: bool,
    guard: &Guard,
) -> Step<Outcome> {
    let row = trash::find(state, volume, id)?;
    let path = to.cloned().unwrap_or(NodePath { volume, names: row.names.clone() });
    let way = Way::find(state, &path)?;
    let before = match way.missing.is_empty() {
        true => Place::find(state, &path)?.node,
        false => None,
    };
    check_expect(guard, before.as_ref(), &path)?;
    match &before {
        Some(node) if node.kind == NodeKind::Folder => return Err(Rejection::IsAFolder(shown(&path)).into()),
        Some(_) if !overwrite => return Err(Rejection::Exists(shown(&path)).into()),
        Some(_) => locks::check_node(state, &path, guard)?,
        None => locks::check_member(state, &way.first_made, guard)?,
    }
    trash::take_out(state, id, &row)?;
    let folder = way.make(state)?;
    let created = before.is_none();
    let fresh = new_node(state, path.name().unwrap_or_default(), NodeKind::File, Some(row.node.modified_ms));
    let mut node = Node { inode: fresh.inode, name: fresh.name, version: fresh.version, ..row.node };
    if let Some(before) = before {
        let departure = Departure { user: &guard.user, reason: TrashReason::Overwritten };
        drop_content(state, &path, &before, departure)?;
        node = Node { inode: before.inode, name: before.name, has_properties: before.has_properties, ..node };
    }
    state.count_files(path.volume, i64::from(created), signed(node.size_bytes))?;
    state.put(tables::NODES, &tables::node_key(folder, &node.name), &node)?;
    Ok(Outcome::Restored { path, created })
}

/// Copies a version from the trash to a path whose folder is there.
pub(super) fn copy(
    state: &mut State,
    volume: VolumeId,
    id: u64,
    to: &NodePath,
    overwrite: bool,
    guard: &Guard,
) -> Step<Outcome> {
    let row = trash::find(state, volume, id)?;
    check_expect(guard, Some(&row.node), to)?;
    let Some(name) = to.name() else {
        return Err(Rejection::Invalid("the root of a volume cannot be replaced".to_owned()).into());
    };
    let place = Place::find(state, to)?;
    if place.node.is_some() && !overwrite {
        return Err(Rejection::Exists(shown(to)).into());
    }
    check_destination_locks(state, to, &place, guard)?;
    // First, as clearing the destination may drop the oldest version of its path: this one.
    if let Some(list) = chunk_list(&row.node) {
        content::share(state, list)?;
    }
    let created = clear(state, to, &place, guard)?;
    let fresh = new_node(state, name, NodeKind::File, Some(row.node.modified_ms));
    let (inode, version, created_ms) = (fresh.inode, fresh.version, fresh.created_ms);
    let node = Node { inode, name: fresh.name, created_ms, version, ..row.node };
    state.count_files(to.volume, 1, signed(node.size_bytes))?;
    state.put(tables::NODES, &place.key, &node)?;
    Ok(Outcome::Node { node, created })
}

/// The folders down to a path, as far as they are there.
struct Way {
    /// The last one that is there.
    folder: InodeId,
    /// Names of those that are not.
    missing: Vec<String>,
    /// The first thing that is to be made: a folder, or what goes to the path itself.
    first_made: NodePath,
}

impl Way {
    fn find(state: &mut State, path: &NodePath) -> Step<Self> {
        check_path(path)?;
        let mut folder = state.volume(path.volume)?.root;
        let Some((_, folders)) = path.names.split_last() else {
            return Err(Rejection::Invalid("the root of a volume cannot be replaced".to_owned()).into());
        };
        for (depth, name) in folders.iter().enumerate() {
            let (above, rest) = path.names.split_at(depth + 1);
            let here = NodePath { volume: path.volume, names: above.to_vec() };
            match query::entry(&*state.kv, folder, name)? {
                Some(node) if node.kind == NodeKind::Folder => folder = node.inode,
                Some(_) => return Err(Rejection::NotAFolder(shown(&here)).into()),
                None => {
                    let between = rest.split_last().map(|(_, between)| between).unwrap_or_default();
                    let missing = [std::slice::from_ref(name), between].concat();
                    return Ok(Self { folder, missing, first_made: here });
                }
            }
        }
        Ok(Self { folder, missing: Vec::new(), first_made: path.clone() })
    }

    /// Makes the folders that are missing; answers the one the path is in.
    fn make(&self, state: &mut State) -> Step<InodeId> {
        let mut folder = self.folder;
        for name in &self.missing {
            let node = new_node(state, name, NodeKind::Folder, None);
            state.put(tables::NODES, &tables::node_key(folder, name), &node)?;
            folder = node.inode;
        }
        Ok(folder)
    }
}
