//! Chat over HTTP: conversations, what was said in them, saying something, and what happens as it does.
//!
//! A room is everybody's; what was said between two users only they are told, whoever else may ask for what.

mod events;
pub mod types;
mod views;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use dci_proto::MessageId;
use dci_proto::message::UserName;
use serde::Deserialize;
use shoal_chat::{Conversation, RoomName};
use shoal_ledger::{UserRole, query};

use super::Api;
use super::caller::Caller;
use super::failure::Failure;
use super::handlers::{Answer, Wish};
use super::messages::user_of;
use crate::talk::{Chats, TalkError};
use types::{AwayRequest, ConversationList, History, SayAnswer, SayRequest, SeenRequest};

/// Entries of a page unless said otherwise, and at most.
const ENTRIES_USUAL: usize = 100;
const ENTRIES_LIMIT: usize = 500;

/// The calls.
pub(super) fn routes() -> Router<Arc<Api>> {
    Router::new()
        .route("/chat/rooms", get(conversations))
        .route("/chat/rooms/{room}", get(room_history).post(room_say))
        .route("/chat/rooms/{room}/events", get(room_events))
        .route("/chat/rooms/{room}/seen", post(room_seen))
        .route("/chat/with/{user}", get(pair_history).post(pair_say))
        .route("/chat/with/{user}/events", get(pair_events))
        .route("/chat/with/{user}/seen", post(pair_seen))
        .route("/chat/events", get(all_events))
        .route("/chat/away", post(away))
}

impl From<TalkError> for Failure {
    fn from(error: TalkError) -> Self {
        match error {
            TalkError::Chat(error) => Self::bad(error.to_string()),
            TalkError::Board(reason) => Self::bad(reason),
            TalkError::Send(error) => error.into(),
            TalkError::Log(error) => Self::unavailable(error.to_string()),
        }
    }
}

impl Api {
    /// Chat, or why there is none.
    pub(super) fn chats(&self) -> Result<&Arc<Chats>, Failure> {
        self.messages()?;
        self.chats.as_ref().ok_or_else(|| Failure::unavailable("this agent has no chat"))
    }
}

/// On whose behalf, and which page.
#[derive(Deserialize)]
pub(super) struct Wanted {
    #[serde(rename = "as")]
    user: Option<String>,
    limit: Option<usize>,
    before: Option<MessageId>,
}

/// Who asks, if they may chat.
fn chatter(caller: &Caller, wanted: Option<&str>) -> Result<UserName, Failure> {
    caller.needs(UserRole::User)?;
    user_of(caller, wanted)
}

fn in_room(room: &str) -> Result<Conversation, Failure> {
    let room: RoomName = room.parse().map_err(|error: shoal_chat::NameError| Failure::bad(error.to_string()))?;
    Ok(Conversation::Room(room))
}

/// A conversation with a user there is, or one that has begun.
fn with(api: &Api, user: &UserName, other: &str) -> Result<Conversation, Failure> {
    if api.user(other)?.is_none() {
        return Err(Failure::missing(format!("there is no user {other}")));
    }
    Ok(Conversation::between(user.clone(), other.parse()?))
}

async fn conversations(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Answer<ConversationList> {
    let user = chatter(&caller, wanted.user.as_deref())?;
    let users = query::users(&*api.agent.ledger.view()?)?;
    let users = users.into_iter().filter(|one| one.role >= UserRole::User).map(|one| one.name).collect();
    let chats = api.chats()?;
    let names = api.names();
    let picture = chats.picture().await?;
    let look = views::Look { chats, picture: &picture, names: &names, user: &user };
    Ok(Json(look.list(users)))
}

async fn history(
    api: &Api,
    user: &UserName,
    conversation: &Conversation,
    wanted: &Wanted,
) -> Result<Json<History>, Failure> {
    let limit = wanted.limit.unwrap_or(ENTRIES_USUAL).clamp(1, ENTRIES_LIMIT);
    let chats = api.chats()?;
    let names = api.names();
    let picture = chats.picture().await?;
    let look = views::Look { chats, picture: &picture, names: &names, user };
    Ok(Json(look.history(conversation, wanted.before, limit)))
}

async fn say(api: &Api, user: UserName, conversation: &Conversation, text: &str) -> Answer<SayAnswer> {
    let id = api.chats()?.say(user, conversation, text).await?;
    Ok(Json(SayAnswer { id }))
}

async fn room_history(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(room): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer<History> {
    let user = chatter(&caller, wanted.user.as_deref())?;
    history(&api, &user, &in_room(&room)?, &wanted).await
}

async fn pair_history(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(other): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Answer<History> {
    let user = chatter(&caller, wanted.user.as_deref())?;
    history(&api, &user, &with(&api, &user, &other)?, &wanted).await
}

async fn room_say(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(room): Path<String>,
    request: Wish<SayRequest>,
) -> Answer<SayAnswer> {
    let request = request.from(&caller, UserRole::User)?;
    let user = chatter(&caller, request.user.as_deref())?;
    say(&api, user, &in_room(&room)?, &request.text).await
}

async fn pair_say(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(other): Path<String>,
    request: Wish<SayRequest>,
) -> Answer<SayAnswer> {
    let request = request.from(&caller, UserRole::User)?;
    let user = chatter(&caller, request.user.as_deref())?;
    let conversation = with(&api, &user, &other)?;
    say(&api, user, &conversation, &request.text).await
}

async fn room_seen(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(room): Path<String>,
    request: Wish<SeenRequest>,
) -> Answer<()> {
    let request = request.from(&caller, UserRole::User)?;
    let user = chatter(&caller, request.user.as_deref())?;
    api.chats()?.see(&user, &in_room(&room)?, request.until_ms);
    Ok(Json(()))
}

async fn pair_seen(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(other): Path<String>,
    request: Wish<SeenRequest>,
) -> Answer<()> {
    let request = request.from(&caller, UserRole::User)?;
    let user = chatter(&caller, request.user.as_deref())?;
    api.chats()?.see(&user, &with(&api, &user, &other)?, request.until_ms);
    Ok(Json(()))
}

async fn away(State(api): State<Arc<Api>>, caller: Caller, request: Wish<AwayRequest>) -> Answer<()> {
    let request = request.from(&caller, UserRole::User)?;
    let user = chatter(&caller, None)?;
    api.chats()?.set_away(&user, request.window, request.away);
    Ok(Json(()))
}

async fn room_events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(room): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Failure> {
    let user = chatter(&caller, wanted.user.as_deref())?;
    events::stream(api, caller, user, Some(in_room(&room)?), true).await
}

async fn pair_events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Path(other): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Response, Failure> {
    let user = chatter(&caller, wanted.user.as_deref())?;
    let conversation = with(&api, &user, &other)?;
    events::stream(api, caller, user, Some(conversation), true).await
}

/// Events of all conversations, and the room one looks at.
#[derive(Deserialize)]
struct Watched {
    #[serde(rename = "as")]
    user: Option<String>,
    room: Option<String>,
}

async fn all_events(
    State(api): State<Arc<Api>>,
    caller: Caller,
    Query(watched): Query<Watched>,
) -> Result<Response, Failure> {
    let user = chatter(&caller, watched.user.as_deref())?;
    let room = watched.room.as_deref().map(in_room).transpose()?;
    events::stream(api, caller, user, room, false).await
}
