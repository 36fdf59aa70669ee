//! The calls about the volume's care: the pool's patience, what is being done, emptying agents, and what would be.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use base64::Engine as _;
use shoal_ledger::{CarePolicy, Command, query};

use super::Api;
use super::caller::Caller;
use super::failure::Failure;
use super::handlers::{Answer, Shared, Wish, checked_survive};
use super::types::{CertificateView, DrainView, PolicyChange, PolicyView, RepairView, SafeView};
use crate::keeping::{is_genuine, statement};
use crate::outlook::loss::removal_loss;
use crate::outlook::plan::{drain_plan, repair_plan};
use crate::outlook::{DrainPlan, RemovalLoss, RepairPlan};
use crate::status_board::drain_of;
use shoal_ledger::UserRole;

pub(super) async fn policy(State(api): Shared, _caller: Caller) -> Answer<PolicyView> {
    Ok(Json(policy_now(&api)?))
}

fn policy_now(api: &Api) -> Result<PolicyView, Failure> {
    let view = api.agent.ledger.view()?;
    let care = query::care_policy(&*view)?;
    let stores = query::agents(&*view)?.iter().filter(|member| member.roles.store).count();
    let CarePolicy { absent_after_s, restripe_after_s, scrub_period_s, trash_keep_s } = care;
    let survive = api.agent.pool()?.survive;
    Ok(PolicyView { survive, absent_after_s, restripe_after_s, scrub_period_s, trash_keep_s, stores })
}

/// Changes what is named; the rest stays. Two who change different things at the same instant may undo one another's.
pub(super) async fn set_policy(State(api): Shared, caller: Caller, change: Wish<PolicyChange>) -> Answer<PolicyView> {
    let change = change.from(&caller, UserRole::Operator)?;
    let survive = change.survive.map(checked_survive).transpose()?;
    let ledger = &api.agent.ledger;
    let patience = PolicyChange { survive: None, ..change };
    if patience != PolicyChange::default() {
        ledger.barrier().await?;
        let before = query::care_policy(&*ledger.view()?)?;
        let policy = CarePolicy {
            absent_after_s: change.absent_after_s.unwrap_or(before.absent_after_s),
            restripe_after_s: change.restripe_after_s.unwrap_or(before.restripe_after_s),
            scrub_period_s: change.scrub_period_s.unwrap_or(before.scrub_period_s),
            trash_keep_s: change.trash_keep_s.unwrap_or(before.trash_keep_s),
        };
        ledger.submit(Command::SetCarePolicy { policy }).await?;
    }
    if let Some(survive) = survive {
        ledger.submit(Command::SetSurvive { survive }).await?;
    }
    tracing::info!(user = %caller.user, ?change, "policy changed");
    ledger.barrier().await?;
    Ok(Json(policy_now(&api)?))
}

pub(super) async fn repair(State(api): Shared, _caller: Caller) -> Answer<RepairView> {
    let report = api.agent.status().await?;
    Ok(Json(RepairView { verdict: report.verdict, stripes: report.stripes, repair: report.repair, work: report.work }))
}

pub(super) async fn plan(State(api): Shared, caller: Caller) -> Answer<RepairPlan> {
    caller.needs(UserRole::Operator)?;
    let _one_at_a_time = one_look(&api)?;
    Ok(Json(repair_plan(&api.agent).await?))
}

pub(super) async fn drain(State(api): Shared, _caller: Caller, Path(node): Path<String>) -> Answer<DrainView> {
    let agent = &api.agent;
    let member = agent.member(&node)?;
    let work = agent.progress().await;
    let drain = drain_of(agent, &*agent.ledger.view()?, member.id, work.as_ref())?;
    Ok(Json(DrainView { id: member.id, name: member.name, drain }))
}

pub(super) async fn plan_drain(State(api): Shared, caller: Caller, Path(node): Path<String>) -> Answer<DrainPlan> {
    caller.needs(UserRole::Operator)?;
    let member = api.agent.member(&node)?;
    let _one_at_a_time = one_look(&api)?;
    Ok(Json(drain_plan(&api.agent, member.id, &member.name).await?))
}

pub(super) async fn loss(State(api): Shared, caller: Caller, Path(node): Path<String>) -> Answer<RemovalLoss> {
    caller.needs(UserRole::Operator)?;
    let member = api.agent.member(&node)?;
    let _one_at_a_time = one_look(&api)?;
    Ok(Json(removal_loss(&api.agent, member.id).await?))
}

/// Looks at all stripes cost: one at a time.
fn one_look(api: &Arc<Api>) -> Result<tokio::sync::SemaphorePermit<'_>, Failure> {
    api.looks.try_acquire().map_err(|_| Failure::conflict("another look at all stripes is under way; try again soon"))
}

pub(super) async fn safe(State(api): Shared, _caller: Caller, Path(node): Path<String>) -> Answer<SafeView> {
    let member = api.agent.member(&node)?;
    let report = api.agent.status().await?;
    let found = report.nodes.into_iter().find(|node| node.id == member.id);
    let node = found.ok_or_else(|| Failure::missing(format!("{} is no member any more", member.name)))?;
    Ok(Json(SafeView { id: node.id, name: node.name, switch_off: node.switch_off, drain: node.drain }))
}

pub(super) async fn certificate(
    State(api): Shared,
    _caller: Caller,
    Path(node): Path<String>,
) -> Answer<CertificateView> {
    let agent = &api.agent;
    let member = agent.member(&node)?;
    let view = agent.ledger.view()?;
    let certificate = query::certificate(&*view, member.id)?
        .ok_or_else(|| Failure::missing(format!("{} has no certificate: it was not emptied", member.name)))?;
    let pool = agent.pool()?.id;
    let signer = query::agent(&*view, certificate.signer)?;
    Ok(Json(CertificateView {
        agent: member.id,
        position: certificate.position,
        issued_ms: certificate.issued_ms,
        signer: certificate.signer,
        signer_name: signer.map(|signer| signer.name),
        statement: statement(pool, member.id, certificate.position, certificate.issued_ms),
        signature: base64::engine::general_purpose::STANDARD.encode(&certificate.signature),
        genuine: is_genuine(pool, &certificate),
        empty_now: query::agent_usage(&*view, member.id)?.shards == 0,
        name: member.name,
    }))
}
