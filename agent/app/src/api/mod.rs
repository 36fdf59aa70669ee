//! The agent's HTTP API and its page, on a port of their own: another origin than the drive's, so that a stored web page
//! can never act here.
//!
//! The CLI, the page and scripts call the same calls with the same rights. Everything but `/healthz`, the sign-in page
//! and its assets wants to know who asks (`caller`).

mod audit;
pub mod backup;
pub mod boards;
mod caller;
mod care;
pub mod chat;
mod events;
mod failure;
pub mod files;
mod handlers;
pub mod messages;
mod metrics;
mod pages;
mod rights;
mod scrub;
mod serve;
mod session;
mod trash;
pub mod types;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware;
use axum::routing::{delete, get, post, put};
use tokio::sync::Semaphore;

pub use rights::{GroupChange, GroupMember, GroupView, RightGrant, RightView, TypeChange, TypeView};
pub use scrub::ScrubStart;
pub use serve::serve;

use crate::context::AgentContext;
use crate::talk::{Chats, Whiteboards};
use session::Sessions;

/// Serves the socket for programs of this computer, in a data directory, until `shutdown`.
pub(crate) async fn serve_socket(
    api: Arc<Api>,
    data: std::path::PathBuf,
    shutdown: tokio_util::sync::CancellationToken,
) {
    messages::doors::socket::serve(api, data, shutdown).await;
}

/// Bytes of a request's body, at most.
const BODY_LIMIT_BYTES: usize = 64 * 1024;

/// What every call can reach.
pub struct Api {
    agent: Arc<AgentContext>,
    sessions: Mutex<Sessions>,
    started: Instant,
    /// Looks at every stripe, one at a time.
    looks: Semaphore,
    /// What people say; none where this agent has no messages.
    chats: Option<Arc<Chats>>,
    /// What people draw; likewise.
    whiteboards: Option<Arc<Whiteboards>>,
}

impl Api {
    /// The API of a running agent.
    #[must_use]
    pub fn new(agent: Arc<AgentContext>) -> Arc<Self> {
        let messages = agent.messages.as_ref().ok();
        let chats = messages.and_then(|messages| Chats::new(messages.clone(), agent.data(), agent.shutdown_token()));
        let whiteboards = messages.and_then(|messages| Whiteboards::new(messages.clone(), agent.shutdown_token()));
        let (sessions, looks) = (Mutex::default(), Semaphore::new(1));
        Arc::new(Self { agent, sessions, started: Instant::now(), looks, chats, whiteboards })
    }
}

/// All calls.
pub fn router(api: Arc<Api>) -> Router {
    let v1 = Router::new()
        .route("/self", get(handlers::about))
        .route("/status", get(handlers::status))
        .route("/events", get(events::events))
        .route("/nodes", get(handlers::nodes))
        .route("/nodes/{node}", post(handlers::node))
        .route("/nodes/{node}/safe", get(care::safe))
        .route("/nodes/{node}/drain", get(care::drain))
        .route("/nodes/{node}/drain/plan", get(care::plan_drain))
        .route("/nodes/{node}/certificate", get(care::certificate))
        .route("/nodes/{node}/loss", get(care::loss))
        .route("/repair", get(care::repair))
        .route("/repair/plan", get(care::plan))
        .route("/pool/check", get(handlers::check).post(handlers::start_check))
        .route("/invite", post(handlers::invite))
        .route("/discovered", get(handlers::discovered))
        .route("/scrub", get(scrub::scrub).post(scrub::start))
        .route("/policy", get(care::policy).put(care::set_policy))
        .route("/volumes", get(handlers::volumes).post(handlers::create_volume))
        .route("/volumes/{name}", axum::routing::patch(handlers::change_volume).delete(handlers::remove_volume))
        .route("/trash", get(trash::list))
        .route("/trash/restore", post(trash::restore))
        .route("/trash/empty", post(trash::empty))
        .route("/rights", get(rights::rights).put(rights::grant))
        .route("/rights/{user}/{type}", delete(rights::revoke))
        .route("/groups", get(rights::groups))
        .route("/groups/{name}", put(rights::put_group).delete(rights::remove_group))
        .route("/types", get(rights::types))
        .route("/types/{type}", put(rights::put_type).delete(rights::reset_type))
        .route("/audit", get(audit::list))
        .route("/audit/all", get(audit::everywhere))
        .route("/users", get(handlers::users))
        .route("/users/{name}", put(handlers::put_user).delete(handlers::remove_user))
        .merge(messages::routes())
        .merge(chat::routes())
        .merge(boards::routes())
        .merge(files::routes())
        .merge(backup::routes());
    Router::new()
        .nest("/api/v1", v1)
        .merge(messages::doors::soap_routes())
        .route("/metrics", get(metrics::scrape))
        .route("/healthz", get(handlers::health))
        .route("/", get(pages::status))
        .route("/sign-in", get(pages::sign_in_form).post(pages::sign_in))
        .route("/sign-out", post(pages::sign_out))
        .route("/nodes/{node}/{action}", post(pages::node))
        .route("/chat", get(pages::chat))
        .route("/chat/{room}", get(pages::chat_room))
        .route("/chat/with/{user}", get(pages::chat_with))
        .route("/whiteboard", get(pages::whiteboards))
        .route("/whiteboard/{board}", get(pages::whiteboard))
        .route("/assets/board.js", get(pages::board_script))
        .route("/assets/talk.css", get(pages::talk_style))
        .route("/assets/chat.js", get(pages::chat_script))
        .route("/files", get(files::page))
        .route("/run", get(pages::run))
        .route("/assets/run.js", get(pages::run_script))
        .route("/assets/files.js", get(pages::files_script))
        .route("/assets/style.css", get(pages::style))
        .route("/assets/calls.js", get(pages::calls_script))
        .route("/assets/live.js", get(pages::script))
        .fallback(failure::not_found)
        .method_not_allowed_fallback(failure::wrong_method)
        .layer(DefaultBodyLimit::max(BODY_LIMIT_BYTES))
        .layer(middleware::map_response(harden))
        .with_state(api)
}

/// Headers every answer carries: nothing is framed, sniffed, cached or loaded from elsewhere.
async fn harden(mut response: axum::response::Response) -> axum::response::Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; \
             frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        // Not "no-referrer": browsers then send forms with the origin "null", and our own would be turned away.
        (header::REFERRER_POLICY, "same-origin"),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}
