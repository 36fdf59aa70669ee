//! Whether a file could be written at a place, as the ledger stands now: asked before its bytes are taken, so that a
//! hopeless upload fails at once. The ledger asks the same in the step that commits; only that answer counts.

use shoal_ledger::{Expect, Guard, KvRead, Lock, Node, NodeKind, NodePath, Rejection, VolumeRecord, query};

use crate::DriveError;

/// Checks a file's place and guard; answers its volume.
pub(crate) fn check_target(view: &dyn KvRead, path: &NodePath, guard: &Guard) -> Result<VolumeRecord, DriveError> {
    let volume =
        query::volume(view, path.volume)?.ok_or_else(|| Rejection::NotFound(format!("volume {}", path.volume.0)))?;
    let Some(parent) = path.parent() else { return Err(Rejection::IsAFolder(path.to_string()).into()) };
    let parent_is_folder =
        parent.is_root() || query::node(view, &parent)?.is_some_and(|parent| parent.kind == NodeKind::Folder);
    if !parent_is_folder {
        return Err(Rejection::ParentMissing(path.to_string()).into());
    }
    let node = query::node(view, path)?;
    if !expected(guard.expect, node.as_ref()) {
        return Err(Rejection::PreconditionFailed(path.to_string()).into());
    }
    match &node {
        Some(node) if node.kind == NodeKind::Folder => return Err(Rejection::IsAFolder(path.to_string()).into()),
        Some(_) => check_locks(view, path, guard)?,
        // A new member is the folder's affair.
        None => check_locks(view, &parent, guard)?,
    }
    Ok(volume)
}

fn expected(expect: Option<Expect>, node: Option<&Node>) -> bool {
    match (expect, node) {
        (None, _) | (Some(Expect::Absent), None) | (Some(Expect::Present), Some(_)) => true,
        (Some(Expect::Version { inode, version }), Some(node)) => node.inode == inode && node.version == version,
        _ => false,
    }
}

/// A lock protects from everyone but its owner who submits its token; of several shared ones, one's own is enough.
fn check_locks(view: &dyn KvRead, path: &NodePath, guard: &Guard) -> Result<(), DriveError> {
    let locks = query::locks_covering(view, path)?;
    let mine = |lock: &Lock| lock.user == guard.user && guard.tokens.contains(&lock.token);
    if locks.iter().any(mine) {
        return Ok(());
    }
    match locks.into_iter().next() {
        Some(lock) => Err(Rejection::Locked(Box::new(lock)).into()),
        None => Ok(()),
    }
}
