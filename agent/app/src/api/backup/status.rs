//! How the backup of this PC stands, and what its admin wants of it.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use axum::Json;
use axum::extract::{Path as Segment, Query, State};
use axum::http::StatusCode;
use shoal_backup::plan::{PathBytes, Plan};
use shoal_backup_service::holder::ScrubAsked;
use shoal_ledger::UserRole;

use super::super::Api;
use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::handlers::{Answer, Shared, Wish};
use super::types::{
    BackupView, InitRequest, KitView, PeersRequest, PlanQuery, PlanView, RunAsked, RunRequest, RunRequestView,
    ScrubBegun,
};
use super::views;
use crate::backup::homes;

pub(super) async fn status(State(api): Shared, caller: Caller) -> Answer<BackupView> {
    let backups = api.backups()?.clone();
    // The holder looks at the disk a little.
    let view = tokio::task::spawn_blocking(move || views::backup(&backups)).await;
    let mut view = view.map_err(|error| Failure::broken(error.to_string()))?;
    if caller.needs(UserRole::Admin).is_err() {
        // Names of files are for those who may look into archives.
        view.last_run.iter_mut().for_each(|last| last.problems.clear());
    }
    Ok(Json(view))
}

pub(super) async fn plan(State(api): Shared, caller: Caller) -> Answer<PlanView> {
    caller.needs(UserRole::Operator)?;
    let owner = &api.backups()?.owner;
    let (plan, is_proposal) = match owner.plan() {
        Ok(plan) => ((*plan).clone(), false),
        Err(_) => (owner.propose(homes()), true),
    };
    Ok(Json(view(plan, is_proposal)))
}

/// Whether a plan can be meant and which of its folders are not there; it is not taken.
pub(super) async fn look_at_plan(State(_): Shared, caller: Caller, wish: Wish<Plan>) -> Answer<PlanView> {
    // As for setting it up: who may ask learns which folders there are on this PC.
    let plan = wish.from(&caller, UserRole::Admin)?;
    plan.validate().map_err(|error| Failure::bad(error.to_string()))?;
    Ok(Json(view(plan, true)))
}

pub(super) async fn set_plan(
    State(api): Shared,
    caller: Caller,
    Query(query): Query<PlanQuery>,
    wish: Wish<Plan>,
) -> Answer<PlanView> {
    let plan = wish.from(&caller, UserRole::Admin)?;
    let had = api.backups()?.owner.plan()?;
    let is_new = |root: &&PathBytes| !had.roots.contains(root);
    must_be_there(plan.roots.iter().filter(is_new), query.allow_missing)?;
    take(&api, &caller, plan).await
}

fn view(plan: Plan, is_proposal: bool) -> PlanView {
    let missing = plan.roots.iter().filter(|root| !is_there(root)).cloned().collect();
    PlanView { plan, is_proposal, missing }
}

/// What cannot be looked at may be there.
fn is_there(path: &PathBytes) -> bool {
    Path::new(OsStr::from_bytes(path.as_bytes())).try_exists().unwrap_or(true)
}

/// A folder that is not there is a slip of the pen, unless it was said that it is meant.
fn must_be_there<'a>(mut roots: impl Iterator<Item = &'a PathBytes>, allow_missing: bool) -> Result<(), Failure> {
    match roots.find(|root| !allow_missing && !is_there(root)) {
        None => Ok(()),
        Some(root) => {
            let meant = "if it is on a disk that is not always there, say so with --allow-missing (API: allow_missing)";
            Err(Failure::conflict(format!("{root} is not there, so nothing of it would be kept; {meant}")))
        }
    }
}

async fn take(api: &Api, caller: &Caller, plan: Plan) -> Answer<PlanView> {
    let owner = api.backups()?.owner.clone();
    tracing::info!(user = %caller.user, "the backup's plan is changed");
    let set = tokio::task::spawn_blocking(move || {
        owner.set_plan(plan)?;
        owner.plan()
    });
    let plan = set.await.map_err(|error| Failure::broken(error.to_string()))??;
    Ok(Json(view((*plan).clone(), false)))
}

pub(super) async fn init(State(api): Shared, caller: Caller, wish: Wish<InitRequest>) -> Answer<KitView> {
    let request = wish.from(&caller, UserRole::Admin)?;
    let owner = &api.backups()?.owner;
    let plan = request.plan.unwrap_or_else(|| owner.propose(homes()));
    must_be_there(plan.roots.iter(), request.allow_missing)?;
    let kit = match request.passphrase {
        None => owner.init(plan).await?,
        Some(passphrase) => owner.take_up(plan, super::passphrase(&passphrase)).await?,
    };
    tracing::info!(user = %caller.user, "the backup of this computer is set up");
    Ok(Json(views::kit(&kit)))
}

pub(super) async fn kit(State(api): Shared, caller: Caller) -> Answer<KitView> {
    caller.needs(UserRole::Admin)?;
    tracing::info!(user = %caller.user, "the recovery kit is shown");
    Ok(Json(views::kit(&api.backups()?.owner.kit()?)))
}

pub(super) async fn run(
    State(api): Shared,
    caller: Caller,
    wish: Wish<RunRequest>,
) -> Result<(StatusCode, Json<RunAsked>), Failure> {
    let request = wish.from(&caller, UserRole::Operator)?;
    let asked = api.backups()?.owner.ask_run(request.mode)?;
    let (request, on, is_that) = (asked.request, asked.on.map(|(mode, _)| mode), asked.is_that);
    Ok((StatusCode::ACCEPTED, Json(RunAsked { request, on, is_that })))
}

/// What became of a run that was asked for.
pub(super) async fn requested(
    State(api): Shared,
    Segment(request): Segment<u64>,
    _caller: Caller,
) -> Answer<RunRequestView> {
    let backups = api.backups()?;
    let requested = backups.owner.requested(request)?;
    let requested = requested.ok_or_else(|| {
        Failure::missing(
            "that request is not known: this agent was started anew; a run that was cut short goes on by itself",
        )
    })?;
    Ok(Json(views::requested(requested, backups.owner.status())))
}

pub(super) async fn cancel(State(api): Shared, caller: Caller) -> Result<StatusCode, Failure> {
    caller.needs(UserRole::Operator)?;
    api.backups()?.owner.cancel_run()?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn assign(State(api): Shared, caller: Caller, wish: Wish<PeersRequest>) -> Answer<PlanView> {
    let request = wish.from(&caller, UserRole::Admin)?;
    let backups = api.backups()?;
    let find = |text: &String| {
        backups
            .find(text)
            .ok_or_else(|| Failure::missing(format!("{text} is no agent of this pool: see `shoal nodes`")))
    };
    let assigned = request.assigned.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let plan = Plan { assigned, ..(*backups.owner.plan()?).clone() };
    take(&api, &caller, plan).await
}

pub(super) async fn drill(State(api): Shared, caller: Caller) -> Result<StatusCode, Failure> {
    caller.needs(UserRole::Operator)?;
    let backups = api.backups()?;
    // What speaks against it at once is said at once.
    backups.owner.plan()?;
    match backups.begin_drill() {
        true => Ok(StatusCode::ACCEPTED),
        false => Err(Failure::conflict("a restore drill is under way")),
    }
}

/// Reads all copies of others through now, or joins who does.
pub(super) async fn scrub(State(api): Shared, caller: Caller) -> Result<(StatusCode, Json<ScrubBegun>), Failure> {
    caller.needs(UserRole::Operator)?;
    let holder = api.backups()?.holder.clone();
    let begun = tokio::task::spawn_blocking(move || holder.begin_scrub()).await;
    let ScrubAsked { is_new, round } = begun.map_err(|error| Failure::broken(error.to_string()))?;
    Ok((StatusCode::ACCEPTED, Json(ScrubBegun { is_new, scrub: round })))
}
