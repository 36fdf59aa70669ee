//! Renaming, moving, copying.

use super::namespace::{Place, shown};
use super::state::State;
use super::trash::Departure;
use super::{Step, locks, tree};
use crate::tables::{self, normalized};
use crate::{Guard, Node, NodeKind, NodePath, NodePathError, Outcome, Rejection, TrashReason};

/// Files and folders one command copies, at most: the ledger stands still meanwhile.
pub const COPY_LIMIT_NODES: usize = 100_000;

/// How two paths lie to each other.
#[derive(PartialEq, Eq)]
enum Relation {
    Same,
    /// The destination is below the source.
    Below,
    /// The destination is a folder the source is in.
    Above,
    Apart,
}

fn relation(from: &NodePath, to: &NodePath) -> Relation {
    let alike = |(left, right): (&String, &String)| normalized(left) == normalized(right);
    if from.volume != to.volume || !from.names.iter().zip(&to.names).all(alike) {
        return Relation::Apart;
    }
    match from.names.len().cmp(&to.names.len()) {
        std::cmp::Ordering::Equal => Relation::Same,
        std::cmp::Ordering::Less => Relation::Below,
        std::cmp::Ordering::Greater => Relation::Above,
    }
}

/// One row moves. A folder that moves down takes what is in it beyond the depth that paths may have; such nodes can be
/// reached again once a folder above them is moved up.
pub(super) fn rename(
    state: &mut State,
    from: &NodePath,
    to: &NodePath,
    overwrite: bool,
    guard: &Guard,
) -> Step<Outcome> {
    let (key, mut node) = Place::existing(state, from, guard)?;
    let Some(name) = to.name().filter(|_| !from.is_root()) else {
        return Err(Rejection::Invalid("the root of a volume cannot be moved or replaced".to_owned()).into());
    };
    let relation = relation(from, to);
    if relation == Relation::Same && from.name() != Some(name) {
        return respell(state, from, name, guard, &key, node);
    }
    let place = destination(state, from, to, overwrite, relation, true)?;
    locks::check_member(state, from, guard)?;
    locks::check_tree(state, from, guard)?;
    check_destination_locks(state, to, &place, guard)?;
    let created = clear(state, to, &place, guard)?;
    if from.volume != to.volume {
        let extent = tree::measure(state, &node, usize::MAX)?;
        state.count_files(from.volume, -extent.files, -extent.bytes)?;
        state.count_files(to.volume, extent.files, extent.bytes)?;
    }
    locks::drop_below(state, from, false)?;
    name.clone_into(&mut node.name);
    state.delete(&key)?;
    state.put(tables::NODES, &place.key, &node)?;
    Ok(Outcome::Node { node, created })
}

/// The same name in another normal form: the row stays where it is.
fn respell(state: &mut State, path: &NodePath, name: &str, guard: &Guard, key: &[u8], mut node: Node) -> Step<Outcome> {
    locks::check_member(state, path, guard)?;
    locks::check_tree(state, path, guard)?;
    locks::drop_below(state, path, false)?;
    name.clone_into(&mut node.name);
    state.put(tables::NODES, key, &node)?;
    Ok(Outcome::Node { node, created: true })
}

pub(super) fn copy(
    state: &mut State,
    from: &NodePath,
    to: &NodePath,
    overwrite: bool,
    deep: bool,
    guard: &Guard,
) -> Step<Outcome> {
    let (_, source) = Place::existing(state, from, guard)?;
    let Some(name) = to.name() else {
        return Err(Rejection::Invalid("the root of a volume cannot be replaced".to_owned()).into());
    };
    let whole = deep && source.kind == NodeKind::Folder;
    let place = destination(state, from, to, overwrite, relation(from, to), whole)?;
    check_destination_locks(state, to, &place, guard)?;
    if whole {
        let extent = tree::measure(state, &source, COPY_LIMIT_NODES)?;
        if extent.nodes > COPY_LIMIT_NODES {
            return Err(Rejection::TooMany("files and folders to copy at once".to_owned()).into());
        }
        if to.names.len() + extent.depth > NodePath::DEPTH_LIMIT {
            return Err(Rejection::from(NodePathError::TooDeep).into());
        }
    }
    let created = clear(state, to, &place, guard)?;
    let node = tree::copy(state, to.volume, &source, &place.key, name, deep)?;
    Ok(Outcome::Node { node, created })
}

/// Looks the destination up and refuses one that cannot be: taken, or entangled with the source. `whole`: all below
/// the source goes along.
fn destination(
    state: &mut State,
    from: &NodePath,
    to: &NodePath,
    overwrite: bool,
    relation: Relation,
    whole: bool,
) -> Step<Place> {
    if relation == Relation::Same || (relation == Relation::Below && whole) {
        return Err(Rejection::IntoItself(shown(from)).into());
    }
    let place = Place::find(state, to)?;
    if place.node.is_some() && !overwrite {
        return Err(Rejection::Exists(shown(to)).into());
    }
    if relation == Relation::Above {
        return Err(Rejection::IntoItself(shown(from)).into());
    }
    Ok(place)
}

pub(super) fn check_destination_locks(state: &State, to: &NodePath, place: &Place, guard: &Guard) -> Step<()> {
    locks::check_member(state, to, guard)?;
    if place.node.is_some() { locks::check_tree(state, to, guard) } else { Ok(()) }
}

/// Removes what stands at the destination; locks on that very path stay (RFC 4918 §7.6). True: nothing stood there.
pub(super) fn clear(state: &mut State, to: &NodePath, place: &Place, guard: &Guard) -> Step<bool> {
    let Some(node) = &place.node else { return Ok(true) };
    let departure = Departure { user: &guard.user, reason: TrashReason::Overwritten };
    tree::remove(state, to, &place.key, node, Some(departure))?;
    locks::drop_below(state, to, true)?;
    Ok(false)
}
