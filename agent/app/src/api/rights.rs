//! The calls about who may send what to whom: groups of agents, what types of messages take, rights of users.
//!
//! Whoever is signed in sees them; only an admin changes them. Rights given and taken back are in the audit log, before and
//! after.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use dci_proto::AgentId;
use dci_proto::message::{GroupName, MessageType};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use shoal_ledger::{Command, GroupRecord, KvRead, RightRecord, TypePolicy, UserRole, query};

use super::Api;
use super::caller::Caller;
use super::failure::Failure;
use super::handlers::{Answer, Shared, Wish};
use crate::audit::{Act, Ending};

/// The longest a right with an end may be given for: ten years.
const RIGHT_LIMIT_S: u64 = 10 * 365 * 24 * 60 * 60;
/// Under which type rights are in the audit log.
const AUDIT_TYPE: &str = "shoal.right";

/// A right that was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RightView {
    /// Who has it.
    pub user: String,
    /// Messages of which type.
    #[serde(rename = "type")]
    pub kind: MessageType,
    /// When it ends by the ledger's time, in ms since 1970 UTC; missing: when it is taken back.
    pub expires_ms: Option<u64>,
    /// Whether it has ended.
    pub ended: bool,
    /// Who gave it.
    pub granted_by: String,
    /// When, in ms since 1970 UTC.
    pub granted_ms: u64,
    /// Of one that was just given: why it may not be what was meant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// `PUT rights`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RightGrant {
    /// Who shall have it.
    pub user: String,
    /// Messages of which type.
    #[serde(rename = "type")]
    pub kind: MessageType,
    /// Seconds until it ends; missing: when it is taken back.
    pub expires_s: Option<u64>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupView {
    /// Its name.
    pub name: GroupName,
    /// Its agents.
    pub agents: Vec<GroupMember>,
}

/// An agent of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupMember {
    /// Which.
    pub agent: AgentId,
    /// Its nickname.
    pub name: String,
}

/// `PUT groups/NAME`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupChange {
    /// Its agents by name, id or fingerprint, in the place of those it had.
    pub agents: Vec<String>,
}

/// What it takes to send messages of a type, where an admin has said so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypeView {
    /// Which type.
    #[serde(rename = "type")]
    pub kind: MessageType,
    /// The least role.
    pub role: UserRole,
    /// Whether a right is needed besides. What executes commands needs one whatever stands here.
    pub right: bool,
}

/// `PUT types/TYPE`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TypeChange {
    /// The least role.
    pub role: UserRole,
    /// Whether a right is needed besides.
    #[serde(default)]
    pub right: bool,
}

pub(super) async fn rights(State(api): Shared, _caller: Caller) -> Answer<Vec<RightView>> {
    let now_ms = api.agent.ledger.time_ms()?;
    let rights = query::rights(&*api.agent.ledger.view()?)?;
    Ok(Json(rights.into_iter().map(|right| right_view(right, now_ms)).collect()))
}

fn right_view(right: RightRecord, now_ms: u64) -> RightView {
    let RightRecord { user, kind, expires_ms, granted_by, granted_ms } = right;
    let ended = expires_ms.is_some_and(|end_ms| end_ms <= now_ms);
    RightView { user, kind, expires_ms, ended, granted_by, granted_ms, warnings: Vec::new() }
}

pub(super) async fn grant(State(api): Shared, caller: Caller, grant: Wish<RightGrant>) -> Answer<RightView> {
    let RightGrant { user, kind, expires_s } = grant.from(&caller, UserRole::Admin)?;
    if expires_s.is_some_and(|seconds| seconds == 0 || seconds > RIGHT_LIMIT_S) {
        return Err(Failure::bad(format!("a right that ends is given for 1 to {RIGHT_LIMIT_S} seconds")));
    }
    let ledger = &api.agent.ledger;
    ledger.barrier().await?;
    let now_ms = ledger.time_ms()?;
    let expires_ms = expires_s.map(|seconds| now_ms.saturating_add(seconds.saturating_mul(1_000)));
    let (granted_by, told) = (caller.user.clone(), kind.clone());
    let command = Command::GrantRight { user: user.clone(), kind: kind.clone(), expires_ms, granted_by };
    let until = expires_s.map_or_else(|| "until it is taken back".to_owned(), |seconds| format!("for {seconds} s"));
    audited(&api, &caller, format!("grant {user} the right to {told}, {until}"), command).await?;
    ledger.barrier().await?;
    let right = query::right(&*ledger.view()?, &user, &kind)?;
    let right = right.ok_or_else(|| Failure::conflict("it was taken back at the same time"))?;
    let warnings = warnings(&api, &user, &kind).await?;
    Ok(Json(RightView { warnings, ..right_view(right, now_ms) }))
}

/// Why a right that was given may do nothing: a type that nobody offers, a role that does not suffice.
async fn warnings(api: &Arc<Api>, user: &str, kind: &MessageType) -> Result<Vec<String>, Failure> {
    let Ok(messages) = api.messages().cloned() else { return Ok(Vec::new()) };
    let (asked, wanted) = (messages.clone(), kind.clone());
    let is_offered = tokio::task::spawn_blocking(move || {
        let offers = asked.directory().into_iter().filter_map(|listed| listed.offer);
        asked.peerlets().rights_of(&wanted).is_some()
            || offers.into_iter().any(|offer| offer.peerlets().iter().any(|peerlet| peerlet.kind == wanted))
    });
    let is_offered = is_offered.await.map_err(|error| Failure::broken(error.to_string()))?;
    let mut warnings = Vec::new();
    if !is_offered {
        warnings.push(format!("no agent offers messages of type {kind}; `shoal peerlets` shows what there is"));
    }
    let view = api.agent.ledger.view()?;
    let needed = match (query::type_policy(&*view, kind)?, messages.peerlets().rights_of(kind)) {
        (Some(said), _) => said.role,
        (None, Some(rights)) => crate::messages::permission::policy_of(&rights).role,
        (None, None) => TypePolicy::default().role,
    };
    if let Some(record) = query::user(&*view, user)?.filter(|record| record.role < needed) {
        let (has, needed) = (record.role.as_str(), needed.as_str());
        warnings.push(format!(
            "{user} has the role {has}, and messages of type {kind} take the role {needed} or a higher one besides the right"
        ));
    }
    Ok(warnings)
}

pub(super) async fn revoke(
    State(api): Shared,
    caller: Caller,
    Path((user, kind)): Path<(String, String)>,
) -> Answer<Value> {
    caller.needs(UserRole::Admin)?;
    let kind = type_named(&kind)?;
    let what = format!("take back the right of {user} to {kind}");
    audited(&api, &caller, what, Command::RevokeRight { user, kind }).await?;
    done(&api).await
}

/// Has the ledger do something about rights, with the audit log knowing before and after.
async fn audited(api: &Api, caller: &Caller, what: String, command: Command) -> Result<(), Failure> {
    let kind = type_named(AUDIT_TYPE)?;
    let act = Act { user: Some(caller.user.clone()), from: api.agent.agent, kind, message: None, what };
    tracing::info!(user = %caller.user, what = %act.what, "rights changed");
    let begun = api.agent.audit.begin(act).await?;
    let submitted = api.agent.ledger.submit(command).await;
    let ending = match &submitted {
        Ok(_) => Ending::Handled { status: 0 },
        Err(shoal_ledger::SubmitError::Rejected(rejection)) => Ending::Refused { why: rejection.to_string() },
        // It may still take effect.
        Err(error) => Ending::Unknown { why: error.to_string() },
    };
    api.agent.audit.end(begun, ending).await?;
    submitted?;
    Ok(())
}

pub(super) async fn groups(State(api): Shared, _caller: Caller) -> Answer<Vec<GroupView>> {
    let view = api.agent.ledger.view()?;
    let groups: Result<Vec<GroupView>, Failure> =
        query::groups(&*view)?.into_iter().map(|group| group_view(&*view, group)).collect();
    Ok(Json(groups?))
}

fn group_view(view: &dyn KvRead, group: GroupRecord) -> Result<GroupView, Failure> {
    let mut agents = Vec::new();
    for agent in group.agents {
        let name = query::agent(view, agent)?.map_or_else(|| agent.fingerprint(), |record| record.name);
        agents.push(GroupMember { agent, name });
    }
    Ok(GroupView { name: group.name, agents })
}

pub(super) async fn put_group(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
    change: Wish<GroupChange>,
) -> Answer<GroupView> {
    let change = change.from(&caller, UserRole::Admin)?;
    let name = group_named(&name)?;
    let ledger = &api.agent.ledger;
    ledger.barrier().await?;
    let agents: Result<Vec<AgentId>, Failure> =
        change.agents.iter().map(|agent| Ok(api.agent.member(agent)?.id)).collect();
    ledger.submit(Command::PutGroup { name: name.clone(), agents: agents? }).await?;
    tracing::info!(user = %caller.user, group = %name, agents = change.agents.len(), "group changed");
    ledger.barrier().await?;
    let view = ledger.view()?;
    let group = query::group(&*view, &name)?;
    let group = group.ok_or_else(|| Failure::conflict("it was removed at the same time"))?;
    Ok(Json(group_view(&*view, group)?))
}

pub(super) async fn remove_group(State(api): Shared, caller: Caller, Path(name): Path<String>) -> Answer<Value> {
    caller.needs(UserRole::Admin)?;
    let name = group_named(&name)?;
    api.agent.ledger.submit(Command::RemoveGroup { name: name.clone() }).await?;
    tracing::info!(user = %caller.user, group = %name, "group removed");
    done(&api).await
}

pub(super) async fn types(State(api): Shared, _caller: Caller) -> Answer<Vec<TypeView>> {
    let policies = query::type_policies(&*api.agent.ledger.view()?)?;
    let view = |(kind, TypePolicy { role, right })| TypeView { kind, role, right };
    Ok(Json(policies.into_iter().map(view).collect()))
}

pub(super) async fn put_type(
    State(api): Shared,
    caller: Caller,
    Path(kind): Path<String>,
    change: Wish<TypeChange>,
) -> Answer<TypeView> {
    let TypeChange { role, right } = change.from(&caller, UserRole::Admin)?;
    let kind = type_named(&kind)?;
    let what =
        format!("messages of type {kind} take the role {}{}", role.as_str(), if right { " and a right" } else { "" });
    let policy = Some(TypePolicy { role, right });
    audited(&api, &caller, what, Command::SetTypePolicy { kind: kind.clone(), policy }).await?;
    api.agent.ledger.barrier().await?;
    Ok(Json(TypeView { kind, role, right }))
}

pub(super) async fn reset_type(State(api): Shared, caller: Caller, Path(kind): Path<String>) -> Answer<Value> {
    caller.needs(UserRole::Admin)?;
    let kind = type_named(&kind)?;
    let what = format!("messages of type {kind} take what their peerlet asks for");
    audited(&api, &caller, what, Command::SetTypePolicy { kind, policy: None }).await?;
    done(&api).await
}

/// Whoever asks here next sees it.
async fn done(api: &Api) -> Answer<Value> {
    api.agent.ledger.barrier().await?;
    Ok(Json(json!({ "done": true })))
}

fn type_named(name: &str) -> Result<MessageType, Failure> {
    name.parse().map_err(|error: dci_proto::message::NameError| Failure::bad(error.to_string()))
}

fn group_named(name: &str) -> Result<GroupName, Failure> {
    name.parse().map_err(|error: dci_proto::message::NameError| Failure::bad(error.to_string()))
}
