//! Restores: planned, begun, watched, ended.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use shoal_backup_service::recovery;
use shoal_ledger::UserRole;

use super::super::caller::Caller;
use super::super::failure::Failure;
use super::super::handlers::{Answer, Shared, Wish};
use super::types::{FirstRequest, RestoreBegun, RestoreRequest, RestoreView};
use super::views;

pub(super) async fn begin(State(api): Shared, caller: Caller, wish: Wish<RestoreRequest>) -> Result<Response, Failure> {
    let asked = wish.from(&caller, UserRole::Admin)?;
    let backups = api.backups()?;
    let request = recovery::RestoreRequest {
        which: backups.which(asked.which)?,
        archive: asked.archive.into(),
        up_to: asked.up_to,
        paths: asked.paths,
        target: asked.target.as_ref().map(|target| PathBuf::from(OsStr::from_bytes(target.as_bytes()))),
        existing: asked.existing,
    };
    if asked.dry_run {
        return Ok(
            Json(views::restore_plan(backups.recovery.plan(&request).await?, asked.target.as_ref())).into_response()
        );
    }
    let restore = backups.recovery.restore(&request).await?;
    tracing::info!(user = %caller.user, restore, archive = asked.archive, "files are restored");
    Ok((StatusCode::ACCEPTED, Json(RestoreBegun { restore })).into_response())
}

pub(super) async fn list(State(api): Shared, caller: Caller) -> Answer<Vec<RestoreView>> {
    caller.needs(UserRole::Operator)?;
    Ok(Json(api.backups()?.recovery.restores().into_iter().map(views::restore).collect()))
}

pub(super) async fn one(State(api): Shared, caller: Caller, Path(number): Path<u64>) -> Answer<RestoreView> {
    caller.needs(UserRole::Operator)?;
    Ok(Json(views::restore(api.backups()?.recovery.restored(number)?)))
}

pub(super) async fn cancel(State(api): Shared, caller: Caller, Path(number): Path<u64>) -> Result<StatusCode, Failure> {
    caller.needs(UserRole::Admin)?;
    api.backups()?.recovery.cancel(number)?;
    Ok(StatusCode::ACCEPTED)
}

pub(super) async fn first(
    State(api): Shared,
    caller: Caller,
    Path(number): Path<u64>,
    wish: Wish<FirstRequest>,
) -> Result<StatusCode, Failure> {
    let asked = wish.from(&caller, UserRole::Admin)?;
    api.backups()?.recovery.ask_first(number, asked.path)?;
    Ok(StatusCode::ACCEPTED)
}
