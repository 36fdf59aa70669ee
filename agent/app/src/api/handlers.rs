//! The calls.

mod wish;

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use shoal_ledger::{AgentRoles, AgentState, Command, UserRecord, UserRole, VolumePolicy, VolumeRecord, query};

use super::Api;
use super::caller::Caller;
use super::failure::Failure;
use super::types::{
    InviteAnswer, InviteRequest, NewVolume, NodeAction, NodeList, NodeView, UserAnswer, UserChange, UserView,
    VolumeChange, VolumeView, WaitingView,
};
use crate::auth;
use crate::check::{CheckBoard, CheckState};
use crate::status::StatusReport;

pub(super) use wish::{Body, Wish, fault};

/// How many agents a policy may ask to survive the loss of.
const SURVIVE_LIMIT: u8 = 8;

pub(super) type Shared = State<Arc<Api>>;
pub(super) type Answer<T> = Result<Json<T>, Failure>;

/// Alive, and what could be wrong: for a load balancer or a watchdog. Says nothing to strangers but that.
pub(super) async fn health(State(api): Shared) -> (StatusCode, Json<Value>) {
    if api.agent.consensus.is_none() {
        // It holds no ledger and cannot tell.
        return (StatusCode::OK, Json(json!({ "alive": true, "quorum": null })));
    }
    match api.agent.status().await {
        Ok(report) => (StatusCode::OK, Json(json!({ "alive": true, "quorum": report.quorum }))),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "alive": true, "quorum": false }))),
    }
}

pub(super) async fn about(State(api): Shared, _caller: Caller) -> Json<Value> {
    let agent = &api.agent;
    Json(json!({
        "id": agent.agent,
        "name": agent.name(),
        "fingerprint": agent.agent.fingerprint(),
        "version": env!("CARGO_PKG_VERSION"),
        "dav": agent.dav_address,
    }))
}

pub(super) async fn status(State(api): Shared, _caller: Caller) -> Answer<StatusReport> {
    Ok(Json(api.agent.status().await?))
}

pub(super) async fn nodes(State(api): Shared, _caller: Caller) -> Answer<NodeList> {
    let agent = &api.agent;
    let report = agent.status().await?;
    let quorum = agent.quorum();
    let members = agent.members()?;
    let node = |node: &crate::status::NodeStatus| {
        let record = members.iter().find(|member| member.id == node.id)?;
        let roles = [("store", record.roles.store), ("mount", record.roles.mount), ("vote", record.roles.vote)];
        Some(NodeView {
            id: node.id,
            name: node.name.clone(),
            fingerprint: node.id.fingerprint(),
            state: node.state.as_str().to_owned(),
            set: record.state,
            roles: roles.iter().filter(|(_, has)| *has).map(|(name, _)| (*name).to_owned()).collect(),
            voter: quorum.voters.contains(&node.id),
            leader: quorum.leader == Some(node.id),
            site: record.site.clone(),
            capacity_bytes: node.capacity_bytes,
            used_bytes: node.used_bytes,
            standing: node.standing,
            failing: node.failing,
            reasons: node.reasons.clone(),
            version: record.version.clone(),
            addresses: record.data_addresses.iter().map(ToString::to_string).collect(),
        })
    };
    let waiting = agent.join_requests()?.into_iter().map(|request| WaitingView {
        id: request.agent.id,
        fingerprint: request.agent.id.fingerprint(),
        name: request.agent.name,
        asked_ms: request.asked_ms,
    });
    Ok(Json(NodeList { nodes: report.nodes.iter().filter_map(node).collect(), waiting: waiting.collect() }))
}

pub(super) async fn node(
    State(api): Shared,
    caller: Caller,
    Path(node): Path<String>,
    action: Wish<NodeAction>,
) -> Answer<Value> {
    let action = action.from(&caller, UserRole::Operator)?;
    caller.needs(match action {
        NodeAction::Pause | NodeAction::Resume | NodeAction::Drain => UserRole::Operator,
        _ => UserRole::Admin,
    })?;
    let agent = &api.agent;
    match &action {
        NodeAction::Approve => drop(agent.approve_join(&node).await?),
        NodeAction::Reject => agent.reject_join(&node).await?,
        NodeAction::Pause => agent.set_agent_state(&node, AgentState::Paused).await?,
        NodeAction::Resume => agent.set_agent_state(&node, AgentState::Active).await?,
        NodeAction::Drain => agent.set_agent_state(&node, AgentState::Draining).await?,
        NodeAction::Remove { force } => agent.remove_agent(&node, *force).await?,
        NodeAction::Rename { name } => {
            let id = agent.member(&node)?.id;
            agent.ledger.submit(Command::RenameAgent { agent: id, name: name.clone() }).await?;
        }
    }
    tracing::info!(user = %caller.user, %node, ?action, "node changed");
    // Whoever asks here next sees it.
    agent.ledger.barrier().await?;
    Ok(Json(json!({ "done": true })))
}

/// How far the check is, and what the last one found.
pub(super) async fn check(State(api): Shared, _caller: Caller) -> Json<CheckState> {
    Json(api.agent.check.state())
}

/// Starts a check unless one runs.
pub(super) async fn start_check(State(api): Shared, caller: Caller) -> Answer<CheckState> {
    caller.needs(UserRole::Operator)?;
    CheckBoard::start(&api.agent);
    Ok(Json(api.agent.check.state()))
}

pub(super) async fn invite(State(api): Shared, caller: Caller, request: Wish<InviteRequest>) -> Answer<InviteAnswer> {
    let request = request.from(&caller, UserRole::Admin)?;
    if request.expires_s == 0 {
        return Err(Failure::bad("a ticket that is good for no time lets nobody in"));
    }
    let roles =
        if request.store_only { AgentRoles { store: true, mount: false, vote: false } } else { AgentRoles::default() };
    let ticket = api.agent.invite(&caller.user, roles, Duration::from_secs(request.expires_s)).await?;
    tracing::info!(user = %caller.user, store_only = request.store_only, "ticket given out");
    Ok(Json(InviteAnswer { ticket: ticket.to_string(), expires_ms: ticket.expires_ms }))
}

pub(super) async fn discovered(State(api): Shared, _caller: Caller) -> Answer<Value> {
    let seen = serde_json::to_value(api.agent.discovered()).map_err(|error| Failure::bad(error.to_string()))?;
    Ok(Json(seen))
}

pub(super) fn checked_survive(survive: u8) -> Result<u8, Failure> {
    if survive > SURVIVE_LIMIT {
        return Err(Failure::bad(format!("survive: 0 to {SURVIVE_LIMIT}")));
    }
    Ok(survive)
}

pub(super) async fn volumes(State(api): Shared, _caller: Caller) -> Answer<Vec<VolumeView>> {
    let view = api.agent.ledger.view()?;
    let volumes = query::volumes(&*view)?;
    let volumes: Result<Vec<VolumeView>, Failure> = volumes.iter().map(|volume| volume_view(&api, volume)).collect();
    Ok(Json(volumes?))
}

fn volume_view(api: &Api, volume: &VolumeRecord) -> Result<VolumeView, Failure> {
    let trash = query::trash_totals_of(&*api.agent.ledger.view()?, volume.id)?;
    let space = api.agent.drive.as_ref().and_then(|drive| drive.space(volume).ok());
    Ok(VolumeView {
        name: volume.name.clone(),
        survive: volume.policy.survive,
        compress: volume.policy.compress,
        files: volume.files,
        bytes: volume.bytes,
        trash_files: trash.files,
        trash_bytes: trash.bytes,
        free_bytes: space.map(|space| space.free_bytes),
        created_ms: volume.created_ms,
    })
}

pub(super) fn volume_named(api: &Api, name: &str) -> Result<VolumeRecord, Failure> {
    let view = api.agent.ledger.view()?;
    query::volume_by_name(&*view, name)?.ok_or_else(|| Failure::missing(format!("there is no volume {name}")))
}

pub(super) async fn create_volume(State(api): Shared, caller: Caller, new: Wish<NewVolume>) -> Answer<VolumeView> {
    let new = new.from(&caller, UserRole::Operator)?;
    let policy = VolumePolicy {
        survive: new.survive.map(checked_survive).transpose()?,
        compress: new.compress.unwrap_or(VolumePolicy::default().compress),
    };
    api.agent.ledger.submit(Command::CreateVolume { name: new.name.clone(), policy }).await?;
    tracing::info!(user = %caller.user, volume = %new.name, "volume made");
    api.agent.ledger.barrier().await?;
    Ok(Json(volume_view(&api, &volume_named(&api, &new.name)?)?))
}

pub(super) async fn change_volume(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
    change: Wish<VolumeChange>,
) -> Answer<Value> {
    let change = change.from(&caller, UserRole::Operator)?;
    let volume = volume_named(&api, &name)?;
    if change.survive.is_some() || change.compress.is_some() {
        let survive = change.survive.unwrap_or(volume.policy.survive).map(checked_survive).transpose()?;
        let policy = VolumePolicy { survive, compress: change.compress.unwrap_or(volume.policy.compress) };
        api.agent.ledger.submit(Command::SetVolumePolicy { volume: volume.id, policy }).await?;
    }
    if let Some(new_name) = &change.name {
        api.agent.ledger.submit(Command::RenameVolume { volume: volume.id, name: new_name.clone() }).await?;
    }
    tracing::info!(user = %caller.user, volume = %name, ?change, "volume changed");
    Ok(Json(json!({ "done": true })))
}

/// What a removal is told.
#[derive(Deserialize)]
pub(super) struct Force {
    #[serde(default)]
    force: bool,
}

pub(super) async fn remove_volume(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
    Query(force): Query<Force>,
) -> Answer<Value> {
    caller.needs(UserRole::Admin)?;
    let volume = volume_named(&api, &name)?;
    api.agent.ledger.submit(Command::RemoveVolume { volume: volume.id, force: force.force }).await?;
    tracing::info!(user = %caller.user, volume = %name, force = force.force, "volume removed");
    Ok(Json(json!({ "done": true })))
}

pub(super) async fn users(State(api): Shared, caller: Caller) -> Answer<Vec<UserView>> {
    caller.needs(UserRole::Operator)?;
    let users = query::users(&*api.agent.ledger.view()?)?;
    let view = |user: UserRecord| UserView { name: user.name, role: user.role, created_ms: user.created_ms };
    Ok(Json(users.into_iter().map(view).collect()))
}

pub(super) async fn put_user(
    State(api): Shared,
    caller: Caller,
    Path(name): Path<String>,
    change: Wish<UserChange>,
) -> Answer<UserAnswer> {
    if caller.user != name {
        caller.needs(UserRole::Admin)?;
    }
    let change = change.read()?;
    let known = api.user(&name)?;
    // Everyone may change their own password and nothing else.
    if !(known.is_some() && caller.user == name && change.role.is_none()) {
        caller.needs(UserRole::Admin)?;
    }
    if known.is_some() && change.only_new {
        return Err(Failure::conflict(format!("there is a user {name} already")));
    }
    let made_up = (change.generate || (known.is_none() && change.password.is_none())).then(auth::generate_password);
    let password_hash = match (made_up.as_ref().or(change.password.as_ref()), &known) {
        (Some(password), _) => auth::hash_password(password).await?,
        (None, Some(known)) => known.password_hash.clone(),
        (None, None) => return Err(Failure::bad("a new user needs a password")),
    };
    let role = change.role.or(known.as_ref().map(|user| user.role)).unwrap_or(UserRole::User);
    let created_ms = known.map_or(0, |user| user.created_ms);
    let record = UserRecord { name: name.clone(), password_hash, role, created_ms };
    api.agent.ledger.submit(Command::PutUser(record)).await?;
    sign_out(&api, &name);
    tracing::info!(by = %caller.user, user = %name, ?role, "user changed");
    Ok(Json(UserAnswer { name, role, password: made_up }))
}

pub(super) async fn remove_user(State(api): Shared, caller: Caller, Path(name): Path<String>) -> Answer<Value> {
    caller.needs(UserRole::Admin)?;
    api.agent.ledger.submit(Command::RemoveUser { name: name.clone() }).await?;
    sign_out(&api, &name);
    tracing::info!(by = %caller.user, user = %name, "user removed");
    Ok(Json(json!({ "done": true })))
}

fn sign_out(api: &Api, user: &str) {
    if let Ok(mut sessions) = api.sessions.lock() {
        sessions.end_of_user(user);
    }
}
