//! Messages over HTTP: sending, asking and waiting for answers, what became of them, the log.

mod ask;
pub(super) mod doors;
mod follow;
mod log;
mod peerlets;
mod send;
pub mod types;
mod views;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{delete, get, post};
use dci_proto::AgentId;
use dci_proto::message::UserName;

use super::Api;
use super::caller::Caller;
use super::failure::Failure;
use crate::messages::Messages;

/// Bytes of a call that carries a message, at most: one of the largest, escaped in JSON.
const MESSAGE_BODY_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// On whose behalf the CLI of this computer sends unless it says so.
const LOCAL_USER: &str = "admin";

pub(super) use send::targets;

/// Messages that were sent, as the API shows them.
pub(super) fn sent_answer(api: &Api, sent: &[crate::messages::Sent]) -> types::SentAnswer {
    let names = api.names();
    types::SentAnswer { messages: sent.iter().map(|one| views::sent(&names, one)).collect() }
}

/// The calls.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/messages", post(send::send))
        .route("/messages/{id}", get(send::states))
        .route("/requests", post(ask::ask))
        .route("/log", get(log::query))
        .route("/log/follow", get(follow::follow))
        .route("/log/replay", post(log::replay))
        .route("/peerlets", get(peerlets::all).post(peerlets::add))
        .route("/peerlets/own", get(peerlets::own))
        .route("/peerlets/{type}", delete(peerlets::remove))
        .layer(middleware::from_fn(not_too_large))
        .merge(doors::routes())
        .layer(DefaultBodyLimit::max(MESSAGE_BODY_LIMIT_BYTES))
}

/// Turns away what says itself that it is too large, before any of it is read.
async fn not_too_large(request: Request, next: Next) -> Response {
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > MESSAGE_BODY_LIMIT_BYTES as u64) {
        let reason = format!(
            "the body has more than the {MESSAGE_BODY_LIMIT_BYTES} bytes that this call takes; larger things travel as files"
        );
        return Failure::with(StatusCode::PAYLOAD_TOO_LARGE, reason).into_response();
    }
    next.run(request).await
}

impl Api {
    /// The message plane, or why there is none.
    pub(super) fn messages(&self) -> Result<&Arc<Messages>, Failure> {
        self.agent.messages.as_ref().map_err(|why| Failure::later(format!("this agent has no messages: {why}")))
    }

    /// Names of all members.
    pub(super) fn names(&self) -> Arc<BTreeMap<AgentId, String>> {
        self.agent.names()
    }
}

/// On whose behalf a caller sends. The token of this computer is everybody's here; who else signs in is themselves.
pub(super) fn user_of(caller: &Caller, wanted: Option<&str>) -> Result<UserName, Failure> {
    let name = match wanted {
        Some(wanted) if caller.local || wanted == caller.user => wanted,
        Some(_) => return Err(Failure::bad("only the CLI of this agent's own computer sends on behalf of others")),
        None if caller.local => LOCAL_USER,
        None => &caller.user,
    };
    name.parse().map_err(|error: dci_proto::message::NameError| Failure::bad(error.to_string()))
}
