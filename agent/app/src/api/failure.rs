//! What a call answers when it fails: one place maps every error to a status, a sentence and a hint.

use std::time::Duration;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use shoal_ledger::{KvError, Rejection, SubmitError, UserRole};

use super::types::ApiError;
use crate::audit::AuditError;
use crate::error::AgentError;

/// A failed call.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    error: ApiError,
    retry_after: Option<Duration>,
}

impl Failure {
    fn new(status: StatusCode, error: impl Into<String>, hint: Option<&str>) -> Self {
        let error = ApiError { error: error.into(), hint: hint.map(str::to_owned) };
        Self { status, error, retry_after: None }
    }

    pub(super) fn sign_in(reason: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, reason, None)
    }

    pub(super) fn slow_down(wait: Duration) -> Self {
        let mut failure =
            Self::new(StatusCode::TOO_MANY_REQUESTS, "too many wrong passwords", Some("Wait and try again."));
        failure.retry_after = Some(wait);
        failure
    }

    /// The caller does more at once than one may.
    pub(super) fn too_many(reason: impl Into<String>) -> Self {
        let mut failure = Self::new(StatusCode::TOO_MANY_REQUESTS, reason, None);
        failure.retry_after = Some(Duration::from_secs(2));
        failure
    }

    pub(super) fn forbidden(role: UserRole) -> Self {
        Self::new(StatusCode::FORBIDDEN, format!("this takes the role {role:?}"), Some("Ask an admin."))
    }

    pub(super) fn denied(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, reason, None)
    }

    pub(super) fn broken(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, reason, None)
    }

    pub(super) fn foreign_origin() -> Self {
        Self::new(StatusCode::FORBIDDEN, "another site's page may not act here", None)
    }

    pub(super) fn bad(reason: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, reason, None)
    }

    pub(super) fn missing(what: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, what, None)
    }

    pub(super) fn conflict(what: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, what, None)
    }

    pub(super) fn unavailable(reason: impl Into<String>) -> Self {
        let mut failure = Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, Some("Start more of the pool's agents."));
        failure.retry_after = Some(Duration::from_secs(2));
        failure
    }

    /// Not now, for a reason of this agent's own.
    pub(super) fn later(reason: impl Into<String>) -> Self {
        let mut failure = Self::new(StatusCode::SERVICE_UNAVAILABLE, reason, None);
        failure.retry_after = Some(Duration::from_secs(2));
        failure
    }

    /// With a status of its own.
    pub(super) fn with(status: StatusCode, reason: impl Into<String>) -> Self {
        Self::new(status, reason, None)
    }

    /// As the API shows it.
    pub(super) fn error(&self) -> &ApiError {
        &self.error
    }

    /// The sentence, and what to do next.
    pub(super) fn advice(&self) -> String {
        match &self.error.hint {
            Some(hint) => format!("{}. {hint}", self.error.error.trim_end_matches('.')),
            None => self.error.error.clone(),
        }
    }

    /// The sentence.
    pub(super) fn sentence(&self) -> &str {
        &self.error.error
    }

    /// When it may be tried again, in whole seconds.
    pub(super) fn retry_after_s(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_secs().max(1))
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let retry_after_s = self.retry_after_s();
        let mut response = (self.status, Json(self.error)).into_response();
        if let Some(wait_s) = retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait_s));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            // Not "Basic": a browser must show the page to sign in, not its own dialogue.
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Shoal realm=\"Shoal\""));
        }
        response
    }
}

impl From<KvError> for Failure {
    fn from(error: KvError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), None)
    }
}

impl From<SubmitError> for Failure {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Rejected(rejection) => rejection.into(),
            SubmitError::NoQuorum(_) => Self::unavailable(error.to_string()),
            SubmitError::Kv(error) => error.into(),
        }
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), None)
    }
}

impl From<Rejection> for Failure {
    fn from(rejection: Rejection) -> Self {
        let (status, hint) = match &rejection {
            Rejection::NotFound(_) | Rejection::UnknownAgent(_) | Rejection::ParentMissing(_) => {
                (StatusCode::NOT_FOUND, None)
            }
            Rejection::NotEmpty(_) => (StatusCode::CONFLICT, Some("Repeat it with --force to remove what is in it.")),
            Rejection::StillNeeded { .. } => (
                StatusCode::CONFLICT,
                Some("Empty it first: `shoal node drain NODE --wait`. --force gives up what it holds."),
            ),
            Rejection::NotDrained(_) => (
                StatusCode::CONFLICT,
                Some("`shoal node drain NODE --wait` gets its certificate; --force does without."),
            ),
            Rejection::Invalid(_) | Rejection::Path(_) | Rejection::Inconsistent(_) => {
                (StatusCode::UNPROCESSABLE_ENTITY, None)
            }
            _ => (StatusCode::CONFLICT, None),
        };
        Self::new(status, rejection.to_string(), hint)
    }
}

impl From<AgentError> for Failure {
    fn from(error: AgentError) -> Self {
        match error {
            AgentError::Rejected(rejection) => rejection.into(),
            AgentError::NoQuorum(_) | AgentError::NoPoolYet => Self::unavailable(error.to_string()),
            AgentError::Kv(error) => error.into(),
            AgentError::Password(_) => Self::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string(), None),
            AgentError::UnknownAgent(_) | AgentError::NobodyAsked(_) => Self::missing(error.to_string()),
            AgentError::AmbiguousName(_) => Self::conflict(error.to_string()),
            error => Self::new(StatusCode::INTERNAL_SERVER_ERROR, error.to_string(), None),
        }
    }
}

pub(super) async fn not_found() -> Failure {
    Failure::missing("there is no such call")
}

pub(super) async fn wrong_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "that call takes another method", None)
}
