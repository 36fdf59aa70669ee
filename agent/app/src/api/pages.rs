//! The page's calls: sign in, sign out, the page, its assets.

mod visitor;

use std::sync::Arc;

use axum::extract::{Extension, Form, Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::Markup;
use serde::Deserialize;
use shoal_ledger::{AgentState, UserRole, query};

use super::Api;
use super::caller::{COOKIE, Caller, cookie, same_origin};
use super::failure::Failure;
use super::serve::Remote;
use crate::page::talk::{self, ChatPlace};
use crate::page::{self, Choice, PageInput, Recipients, System};
use crate::status::NodeStatus;

pub(super) use visitor::Visitor;
use visitor::{SIGN_IN, own_page};

/// What the sign-in form sends.
#[derive(Deserialize)]
pub(super) struct SignIn {
    user: String,
    password: String,
    /// The page one comes back to.
    #[serde(default)]
    next: String,
}

/// What is told where one signs in.
#[derive(Deserialize)]
pub(super) struct Wanted {
    /// The page one comes back to.
    #[serde(default)]
    next: String,
}

pub(super) async fn status(
    State(api): State<Arc<Api>>,
    Visitor(caller): Visitor,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let report = api.agent.status().await?;
    let pool = api.agent.pool()?;
    let text = |name: header::HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
    let drive = drive_url(&api, text(header::HOST));
    let input = PageInput {
        pool: &pool.name,
        user: &caller.user,
        may_act: caller.role >= UserRole::Operator,
        drive: drive.as_deref(),
        system: System::of_user_agent(text(header::USER_AGENT)),
        report: &report,
    };
    Ok(page::status(&input).into_response())
}

pub(super) async fn chat() -> Redirect {
    Redirect::to("/chat/lobby")
}

pub(super) async fn chat_room(
    State(api): State<Arc<Api>>,
    Visitor(caller): Visitor,
    Path(room): Path<String>,
) -> Result<Response, Failure> {
    let room: shoal_chat::RoomName =
        room.parse().map_err(|error: shoal_chat::NameError| Failure::missing(error.to_string()))?;
    Ok(talk::chat(&api.agent.pool()?.name, &caller.user, ChatPlace::Room(room.as_str())).into_response())
}

pub(super) async fn chat_with(
    State(api): State<Arc<Api>>,
    Visitor(caller): Visitor,
    Path(other): Path<String>,
) -> Result<Response, Failure> {
    if api.user(&other)?.is_none() {
        return Err(Failure::missing(format!("there is no user {other}")));
    }
    Ok(talk::chat(&api.agent.pool()?.name, &caller.user, ChatPlace::With(&other)).into_response())
}

pub(super) async fn whiteboards() -> Redirect {
    Redirect::to(&format!("/whiteboard/{}", shoal_whiteboard::BOARD_USUAL))
}

pub(super) async fn whiteboard(
    State(api): State<Arc<Api>>,
    Visitor(caller): Visitor,
    Path(board): Path<String>,
) -> Result<Response, Failure> {
    let board: shoal_whiteboard::BoardName =
        board.parse().map_err(|error: shoal_whiteboard::NameError| Failure::missing(error.to_string()))?;
    Ok(talk::whiteboard(&api.agent.pool()?.name, &caller.user, board.as_str()).into_response())
}

/// The drive as the visitor reaches it: on the host they came to, if the drive listens there, else where it listens.
fn drive_url(api: &Api, host: &str) -> Option<String> {
    let dav = api.agent.dav_address?;
    let volume = api.agent.drive.as_ref()?.volumes().ok()?.into_iter().next()?.name;
    let scheme = if dav.ip().is_loopback() { "http" } else { "https" };
    let visited = host.rsplit_once(':').map_or(host, |(name, _)| name);
    let address = if dav.ip().is_unspecified() && !visited.is_empty() {
        format!("{visited}:{}", dav.port())
    } else {
        dav.to_string()
    };
    Some(format!("{scheme}://{address}/{volume}/"))
}

pub(super) async fn sign_in_form(Query(wanted): Query<Wanted>) -> Markup {
    page::sign_in(None, own_page(&wanted.next))
}

pub(super) async fn sign_in(
    State(api): State<Arc<Api>>,
    Extension(remote): Extension<Remote>,
    headers: HeaderMap,
    Form(form): Form<SignIn>,
) -> Response {
    // Nobody is signed in by a foreign page, not even as themselves.
    if headers.contains_key(header::ORIGIN) && !same_origin(&headers) {
        return Failure::foreign_origin().into_response();
    }
    let next = own_page(&form.next);
    let caller = match api.check(&form.user, &form.password, remote.address.ip()).await {
        Ok(caller) => caller,
        Err(failure) => return (failure.status(), page::sign_in(Some(failure.sentence()), next)).into_response(),
    };
    let name = crate::auth::generate_password() + &crate::auth::generate_password();
    let secure = if remote.encrypted { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={name}; Path=/; HttpOnly; SameSite=Strict{secure}");
    if let Ok(mut sessions) = api.sessions.lock() {
        sessions.begin(name, caller.user, caller.role, api.now());
    }
    with_cookie(Redirect::to(next).into_response(), &cookie)
}

pub(super) async fn sign_out(State(api): State<Arc<Api>>, _caller: Caller, headers: HeaderMap) -> Response {
    if let (Some(name), Ok(mut sessions)) = (cookie(&headers), api.sessions.lock()) {
        sessions.end(&name);
    }
    let gone = format!("{COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
    with_cookie(Redirect::to(SIGN_IN).into_response(), &gone)
}

/// What a button beside an agent does. Only a page of this origin may press it; see [`Caller`].
pub(super) async fn node(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path((node, action)): Path<(String, String)>,
) -> Result<Redirect, Failure> {
    caller.needs(UserRole::Operator)?;
    let state = match action.as_str() {
        "drain" => AgentState::Draining,
        "pause" => AgentState::Paused,
        "resume" => AgentState::Active,
        _ => return Err(Failure::missing("there is no such button")),
    };
    api.agent.set_agent_state(&node, state).await?;
    tracing::info!(user = %caller.user, %node, ?state, "node changed on the page");
    api.agent.ledger.barrier().await?;
    Ok(Redirect::to("/"))
}

fn with_cookie(mut response: Response, cookie: &str) -> Response {
    match HeaderValue::from_str(cookie) {
        Ok(value) => {
            response.headers_mut().insert(header::SET_COOKIE, value);
            response
        }
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

pub(super) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE).into_response()
}

pub(super) async fn files_script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], page::FILES_SCRIPT).into_response()
}

pub(super) async fn calls_script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], page::CALLS_SCRIPT).into_response()
}

pub(super) async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], page::SCRIPT).into_response()
}

pub(super) async fn talk_style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], talk::STYLE).into_response()
}

pub(super) async fn chat_script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], talk::CHAT_SCRIPT).into_response()
}

pub(super) async fn board_script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], talk::BOARD_SCRIPT).into_response()
}

pub(super) async fn run(State(api): State<Arc<Api>>, Visitor(caller): Visitor) -> Result<Response, Failure> {
    let from = recipients(&api, true).await?;
    Ok(page::run::run(&api.agent.pool()?.name, &caller.user, &from).into_response())
}

/// Whom a form offers to choose from; `own`: this agent too.
pub(super) async fn recipients(api: &Api, own: bool) -> Result<Recipients, Failure> {
    let report = api.agent.status().await?;
    let name = api.agent.name();
    let nodes = report.nodes.iter().filter(|node| own || node.name != name);
    let choice = |node: &NodeStatus| Choice {
        name: node.name.clone(),
        note: if node.state.answers() { "" } else { node.state.as_str() },
    };
    let mut agents: Vec<Choice> = nodes.map(choice).collect();
    agents.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    let groups = query::groups(&*api.agent.ledger.view()?)?;
    let groups = groups.into_iter().map(|group| (group.name.to_string(), group.agents.len())).collect();
    Ok(Recipients { agents, groups })
}

pub(super) async fn run_script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], page::run::SCRIPT).into_response()
}
