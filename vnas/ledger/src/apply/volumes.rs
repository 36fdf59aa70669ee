//! Volumes and what the pool is to survive.

use dci_proto::VolumeId;

use super::namespace::{Place, new_node};
use super::state::State;
use super::{Step, locks, trash, tree};
use crate::tables;
use crate::{Node, NodeKind, NodePath, Outcome, Rejection, VolumePolicy, VolumeRecord, query};

/// Volumes of a pool, at most.
pub const VOLUMES_LIMIT: usize = 1_024;
/// Agents whose loss can be asked to be survived, at most.
pub const SURVIVE_LIMIT: u8 = 16;

/// Bytes of a volume's name, at most.
const NAME_LIMIT_BYTES: usize = 128;

pub(super) fn set_survive(state: &mut State, survive: u8) -> Step<Outcome> {
    check_survive(survive)?;
    let Some(mut pool) = query::pool(&*state.kv)? else {
        return Err(Rejection::Pool("there is no pool yet".to_owned()).into());
    };
    pool.survive = survive;
    state.put(tables::POOL, &tables::POOL.key(&[]), &pool)?;
    Ok(Outcome::Done)
}

pub(super) fn create(state: &mut State, name: &str, policy: VolumePolicy) -> Step<Outcome> {
    let id = VolumeId(state.meta.next_volume);
    check_name(state, id, name)?;
    check_policy(policy)?;
    state.check_room(tables::VOLUMES, VOLUMES_LIMIT)?;
    state.meta.next_volume += 1;
    let root: Node = new_node(state, "", NodeKind::Folder, None);
    let created_ms = state.now_ms();
    let record = VolumeRecord { id, name: name.to_owned(), root: root.inode, policy, created_ms, files: 0, bytes: 0 };
    state.put(tables::ROOTS, &tables::volume_key(tables::ROOTS, id), &root)?;
    state.put(tables::VOLUME_NAMES, &tables::volume_name_key(name), &id)?;
    state.insert_volume(&record)?;
    Ok(Outcome::Volume(record))
}

pub(super) fn set_policy(state: &mut State, id: VolumeId, policy: VolumePolicy) -> Step<Outcome> {
    check_policy(policy)?;
    let record = state.volume_mut(id)?;
    record.policy = policy;
    Ok(Outcome::Volume(record.clone()))
}

pub(super) fn rename(state: &mut State, id: VolumeId, name: &str) -> Step<Outcome> {
    check_name(state, id, name)?;
    let record = state.volume_mut(id)?;
    let before = std::mem::replace(&mut record.name, name.to_owned());
    let record = record.clone();
    state.delete(&tables::volume_name_key(&before))?;
    state.put(tables::VOLUME_NAMES, &tables::volume_name_key(name), &id)?;
    Ok(Outcome::Volume(record))
}

pub(super) fn remove(state: &mut State, id: VolumeId, force: bool) -> Step<Outcome> {
    let record = state.volume(id)?.clone();
    if record.files > 0 && !force {
        return Err(Rejection::NotEmpty(record.name).into());
    }
    let root = NodePath::root(id);
    let place = Place::find(state, &root)?;
    if let Some(node) = &place.node {
        tree::remove(state, &root, &place.key, node, None)?;
    }
    trash::drop_volume(state, id)?;
    locks::drop_below(state, &root, false)?;
    state.delete(&tables::volume_name_key(&record.name))?;
    state.delete_volume(id)?;
    Ok(Outcome::Done)
}

pub(super) fn check_survive(survive: u8) -> Step<()> {
    if survive > SURVIVE_LIMIT {
        return Err(Rejection::Invalid(format!("at most {SURVIVE_LIMIT} lost agents can be survived")).into());
    }
    Ok(())
}

fn check_policy(policy: VolumePolicy) -> Step<()> {
    policy.survive.map_or(Ok(()), check_survive)
}

/// The name can be part of a URL path, and no other volume has it.
fn check_name(state: &State, id: VolumeId, name: &str) -> Step<()> {
    NodePath::new(id, vec![name.to_owned()]).map_err(Rejection::from)?;
    if name.len() > NAME_LIMIT_BYTES {
        return Err(Rejection::Invalid(format!("a volume's name is longer than {NAME_LIMIT_BYTES} bytes")).into());
    }
    match state.read::<VolumeId>(tables::VOLUME_NAMES, &tables::volume_name_key(name))? {
        Some(other) if other != id => Err(Rejection::Exists(format!("volume {name}")).into()),
        _ => Ok(()),
    }
}
