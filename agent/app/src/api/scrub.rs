//! Calls about the scrub: every agent reading its shards again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};
use shoal_ledger::UserRole;

use super::Api;
use super::caller::Caller;
use super::failure::Failure;
use super::handlers::Wish;
use crate::scrub::overview::{ScrubOverview, overview};
use crate::wire::ScrubAsk;

/// Which agents, and how much of each.
#[derive(Deserialize)]
pub(super) struct Which {
    /// Name, id or fingerprint; all agents without it.
    node: Option<String>,
    /// Without what was found.
    #[serde(default)]
    brief: bool,
}

/// Whom to have read its shards now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScrubStart {
    /// Name, id or fingerprint; `None`: all agents.
    pub node: Option<String>,
}

pub(super) async fn scrub(
    State(api): State<Arc<Api>>,
    _caller: Caller,
    Query(which): Query<Which>,
) -> Result<Json<ScrubOverview>, Failure> {
    let ask = ScrubAsk { start: false, brief: which.brief };
    Ok(Json(overview(&api.agent, which.node.as_deref(), ask).await?))
}

pub(super) async fn start(
    State(api): State<Arc<Api>>,
    caller: Caller,
    asked: Wish<ScrubStart>,
) -> Result<Json<ScrubOverview>, Failure> {
    let asked = asked.from(&caller, UserRole::Operator)?;
    let ask = ScrubAsk { start: true, brief: true };
    Ok(Json(overview(&api.agent, asked.node.as_deref(), ask).await?))
}
