//! Groups of agents, what types of messages need, rights of users.

use dci_proto::AgentId;
use dci_proto::message::{GroupName, MessageType};

use super::state::State;
use super::{Step, members, namespace};
use crate::tables;
use crate::{GroupRecord, KvError, Outcome, Rejection, RightRecord, TypePolicy, query};

/// Groups of a pool, at most.
pub const GROUPS_LIMIT: usize = 1_024;
/// Types of messages with a policy of their own, at most.
pub const TYPE_POLICIES_LIMIT: usize = 1_024;
/// Rights given, at most.
pub const RIGHTS_LIMIT: usize = 10_000;

pub(super) fn put_group(state: &mut State, name: &GroupName, agents: &[AgentId]) -> Step<Outcome> {
    if agents.len() > members::MEMBERS_LIMIT {
        return Err(Rejection::TooMany("agents in a group".to_owned()).into());
    }
    for agent in agents {
        members::check_member(state, *agent)?;
    }
    if query::group(&*state.kv, name)?.is_none() {
        state.check_room(tables::GROUPS, GROUPS_LIMIT)?;
    }
    let mut agents = agents.to_vec();
    agents.sort_unstable();
    agents.dedup();
    state.put(tables::GROUPS, &tables::group_key(name), &GroupRecord { name: name.clone(), agents })?;
    Ok(Outcome::Done)
}

pub(super) fn remove_group(state: &mut State, name: &GroupName) -> Step<Outcome> {
    query::group(&*state.kv, name)?.ok_or_else(|| Rejection::NotFound(format!("group {name}")))?;
    state.delete(&tables::group_key(name))?;
    Ok(Outcome::Done)
}

pub(super) fn set_type_policy(state: &mut State, kind: &MessageType, policy: Option<TypePolicy>) -> Step<Outcome> {
    if kind.is_reserved() {
        return Err(Rejection::Invalid(format!("messages of type {kind} are the agents' own")).into());
    }
    let key = tables::type_key(kind);
    match policy {
        Some(policy) => {
            if state.read::<TypePolicy>(tables::TYPE_POLICIES, &key)?.is_none() {
                state.check_room(tables::TYPE_POLICIES, TYPE_POLICIES_LIMIT)?;
            }
            state.put(tables::TYPE_POLICIES, &key, &policy)?;
        }
        None => state.delete(&key)?,
    }
    Ok(Outcome::Done)
}

pub(super) fn grant(
    state: &mut State,
    user: &str,
    kind: &MessageType,
    expires_ms: Option<u64>,
    granted_by: &str,
) -> Step<Outcome> {
    let known = query::user(&*state.kv, user)?;
    let known = known.ok_or_else(|| Rejection::NotFound(format!("user {}", namespace::shortened(user))))?;
    members::check_name("the name of who gives a right", granted_by)?;
    let granted_ms = state.now_ms();
    if expires_ms.is_some_and(|expires_ms| expires_ms <= granted_ms) {
        return Err(Rejection::Invalid("the right would have ended already".to_owned()).into());
    }
    if query::right(&*state.kv, user, kind)?.is_none() {
        state.check_room(tables::RIGHTS, RIGHTS_LIMIT)?;
    }
    let granted_by = granted_by.to_owned();
    let right = RightRecord { user: known.name, kind: kind.clone(), expires_ms, granted_by, granted_ms };
    state.put(tables::RIGHTS, &tables::right_key(user, kind), &right)?;
    Ok(Outcome::Done)
}

pub(super) fn revoke(state: &mut State, user: &str, kind: &MessageType) -> Step<Outcome> {
    let known = query::right(&*state.kv, user, kind)?;
    known.ok_or_else(|| Rejection::NotFound(format!("right of {} to {kind}", namespace::shortened(user))))?;
    state.delete(&tables::right_key(user, kind))?;
    Ok(Outcome::Done)
}

/// A user is none any more: one of the same name that is added later has none of these rights.
pub(super) fn forget_user(state: &mut State, user: &str) -> Result<(), KvError> {
    for right in query::rights_of(&*state.kv, user)? {
        state.delete(&tables::right_key(user, &right.kind))?;
    }
    Ok(())
}

/// An agent is no member any more.
pub(super) fn forget_agent(state: &mut State, agent: AgentId) -> Result<(), KvError> {
    for mut group in query::groups(&*state.kv)? {
        if let Ok(at) = group.agents.binary_search(&agent) {
            group.agents.remove(at);
            state.put(tables::GROUPS, &tables::group_key(&group.name), &group)?;
        }
    }
    Ok(())
}
