//! Groups of agents, and who may send what.

use dci_proto::message::{GroupName, MessageType};

use crate::tables;
use crate::{GroupRecord, KvError, KvRead, RightRecord, SendRefusal, TypePolicy, UserRecord, query};

/// All groups, by name.
pub fn groups(kv: &dyn KvRead) -> Result<Vec<GroupRecord>, KvError> {
    tables::read_all(kv, tables::GROUPS, &tables::GROUPS.key(&[]))
}

/// One group.
pub fn group(kv: &dyn KvRead, name: &GroupName) -> Result<Option<GroupRecord>, KvError> {
    tables::read(kv, tables::GROUPS, &tables::group_key(name))
}

/// What it takes to send messages of a type, where an admin has said so.
pub fn type_policy(kv: &dyn KvRead, kind: &MessageType) -> Result<Option<TypePolicy>, KvError> {
    tables::read(kv, tables::TYPE_POLICIES, &tables::type_key(kind))
}

/// What an admin has said of types of messages, by type.
pub fn type_policies(kv: &dyn KvRead) -> Result<Vec<(MessageType, TypePolicy)>, KvError> {
    let (mut policies, prefix) = (Vec::new(), tables::TYPE_POLICIES.key(&[]));
    tables::visit(kv, tables::TYPE_POLICIES, &prefix, &prefix, &mut |key, policy| {
        policies.push((tables::type_of_key(key)?, policy));
        Ok(true)
    })?;
    Ok(policies)
}

/// All rights given, by user.
pub fn rights(kv: &dyn KvRead) -> Result<Vec<RightRecord>, KvError> {
    tables::read_all(kv, tables::RIGHTS, &tables::RIGHTS.key(&[]))
}

/// The rights of one user.
pub fn rights_of(kv: &dyn KvRead, user: &str) -> Result<Vec<RightRecord>, KvError> {
    tables::read_all(kv, tables::RIGHTS, &tables::rights_prefix(user))
}

/// One right, ended or not.
pub fn right(kv: &dyn KvRead, user: &str, kind: &MessageType) -> Result<Option<RightRecord>, KvError> {
    tables::read(kv, tables::RIGHTS, &tables::right_key(user, kind))
}

/// Whether a user may send messages of a type. `peerlet`: what the peerlet that takes them asks for; what an admin has said
/// of the type goes before it, but never takes away that a right is needed. `now_ms`: the ledger's time now, which goes on
/// where nothing is written to it.
///
/// # Errors
/// Only that the view cannot be read; that they may not is the answer.
pub fn may_send(
    kv: &dyn KvRead,
    user: &str,
    kind: &MessageType,
    peerlet: TypePolicy,
    now_ms: u64,
) -> Result<Result<UserRecord, SendRefusal>, KvError> {
    let Some(record) = query::user(kv, user)? else {
        return Ok(Err(SendRefusal::UnknownUser(user.chars().take(80).collect())));
    };
    let said = type_policy(kv, kind)?.unwrap_or(peerlet);
    let policy = TypePolicy { right: said.right || peerlet.right, ..said };
    if record.role < policy.role {
        let (user, kind) = (record.name, kind.clone());
        return Ok(Err(SendRefusal::Role { user, kind, needed: policy.role, has: record.role }));
    }
    if policy.right {
        let (user, kind) = (record.name.clone(), kind.clone());
        match right(kv, &user, &kind)? {
            None => return Ok(Err(SendRefusal::NoRight { user, kind })),
            Some(right) if right.expires_ms.is_some_and(|end_ms| end_ms <= now_ms) => {
                return Ok(Err(SendRefusal::Ended { user, kind }));
            }
            Some(_) => {}
        }
    }
    Ok(Ok(record))
}
