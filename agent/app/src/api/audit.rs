//! Calls about the audit log: of this agent, and of all of them.

use axum::Json;
use axum::extract::{Query, State};
use dci_proto::message::MessageType;
use serde::Deserialize;
use shoal_ledger::UserRole;

use super::caller::Caller;
use super::handlers::{Answer, Shared};
use super::messages::user_of;
use crate::audit::{self, AuditEverywhere, AuditPage, AuditQuery};

/// Entries of all agents together unless more or fewer are asked for.
const EVERYWHERE_USUAL: usize = 100;

/// Which entries of all agents are wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EverywhereQuery {
    before_ms: Option<u64>,
    limit: Option<usize>,
    user: Option<String>,
    #[serde(rename = "type")]
    kind: Option<MessageType>,
    /// On whose behalf; only who signs in with the token of this computer may say.
    #[serde(rename = "as")]
    asker: Option<String>,
}

pub(super) async fn list(State(api): Shared, caller: Caller, Query(wanted): Query<AuditQuery>) -> Answer<AuditPage> {
    caller.needs(UserRole::Admin)?;
    Ok(Json(api.agent.audit.page(wanted).await?))
}

/// Each other agent asks the ledger whether the one who asks is an admin.
pub(super) async fn everywhere(
    State(api): Shared,
    caller: Caller,
    Query(wanted): Query<EverywhereQuery>,
) -> Answer<AuditEverywhere> {
    caller.needs(UserRole::Admin)?;
    let user = user_of(&caller, wanted.asker.as_deref())?;
    let query = AuditQuery {
        before: None,
        before_ms: wanted.before_ms,
        limit: Some(wanted.limit.unwrap_or(EVERYWHERE_USUAL)),
        user: wanted.user,
        kind: wanted.kind,
    };
    Ok(Json(audit::everywhere(&api.agent, &user, &query).await?))
}
