//! The call about the audit log of this agent.

use axum::Json;
use axum::extract::{Query, State};
use shoal_ledger::UserRole;

use super::caller::Caller;
use super::handlers::{Answer, Shared};
use crate::audit::{AuditPage, AuditQuery};

pub(super) async fn list(State(api): Shared, caller: Caller, Query(wanted): Query<AuditQuery>) -> Answer<AuditPage> {
    caller.needs(UserRole::Admin)?;
    Ok(Json(api.agent.audit.page(wanted).await?))
}
