//! What happens in chat, as it does (server-sent events). Who listens is there: the others are told.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse as _, Response};
use dci_proto::message::UserName;
use shoal_chat::Conversation;
use shoal_ledger::UserRole;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::super::Api;
use super::super::caller::Caller;
use super::super::events::Slot;
use super::super::failure::Failure;
use super::types::{ChatEvent, PersonView};
use super::views;
use crate::talk::{ChatNews, Window};

/// How often it is looked whose word that they are there has run out, and whether who listens still may.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Who listens to what.
struct Listening {
    api: Arc<Api>,
    caller: Caller,
    user: UserName,
    /// Only this one.
    only: Option<Conversation>,
    news: Receiver<ChatNews>,
    window: Window,
    told: Option<Vec<PersonView>>,
    stopping: CancellationToken,
    _slot: Slot,
}

/// Events of one conversation (`only`), or of all a user has while they look at one.
pub(super) async fn stream(
    api: Arc<Api>,
    caller: Caller,
    user: UserName,
    at: Option<Conversation>,
    only: bool,
) -> Result<Response, Failure> {
    let slot = Slot::take()?;
    let chats = api.chats()?.clone();
    let news = chats.news();
    // Read now, so that what happens is told from the first event on.
    drop(chats.picture().await?);
    let room = match &at {
        Some(Conversation::Room(room)) => Some(room.clone()),
        _ => None,
    };
    let window = chats.open(&user, room);
    let stopping = api.agent.shutdown_token();
    let only = at.filter(|_| only);
    let listening = Listening { api, caller, user, only, news, window, told: None, stopping, _slot: slot };
    let stream = futures::stream::unfold(listening, |mut listening| async move {
        let event = listening.next().await?;
        let data = serde_json::to_string(&event).unwrap_or_default();
        Some((Ok::<_, Infallible>(Event::default().event(event.name()).data(data)), listening))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

impl Listening {
    async fn next(&mut self) -> Option<ChatEvent> {
        if self.told.is_none() {
            let people = self.people().await?;
            self.told = Some(people.clone());
            return Some(ChatEvent::Ready { window: self.window.number(), people });
        }
        loop {
            let stopping = self.stopping.clone();
            let waited = tokio::time::timeout(LOOK_EVERY, self.news.recv());
            let event = match stopping.run_until_cancelled(waited).await? {
                Ok(Ok(ChatNews::People)) => self.people_changed().await,
                Ok(Ok(news)) => self.event(news),
                Ok(Err(RecvError::Lagged(_))) => Some(ChatEvent::Anew),
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => {
                    if !self.still_may() {
                        return None;
                    }
                    self.people_changed().await
                }
            };
            if event.is_some() {
                return event;
            }
        }
    }

    fn event(&self, news: ChatNews) -> Option<ChatEvent> {
        let place = |conversation: &Conversation| {
            let is_wanted = self.only.as_ref().is_none_or(|only| only == conversation);
            views::place(conversation, &self.user).filter(|_| is_wanted)
        };
        match news {
            ChatNews::Said(conversation, said, tick) => {
                let entry = views::said(&self.api.names(), &self.user, &said, tick);
                Some(ChatEvent::Said { place: place(&conversation)?, entry })
            }
            ChatNews::Tick(conversation, id, tick) => {
                Some(ChatEvent::Tick { place: place(&conversation)?, id, tick: views::tick_view(tick) })
            }
            ChatNews::Seen(user, conversation, until_ms) if user == self.user.as_str() => {
                Some(ChatEvent::Seen { place: place(&conversation)?, until_ms })
            }
            ChatNews::Anew => Some(ChatEvent::Anew),
            ChatNews::Seen(..) | ChatNews::People => None,
        }
    }

    async fn people(&self) -> Option<Vec<PersonView>> {
        let chats = self.api.chats().ok()?;
        let picture = chats.picture().await.ok()?;
        Some(views::people(picture.rooms.people(), chats.now_ms()))
    }

    async fn people_changed(&mut self) -> Option<ChatEvent> {
        let people = self.people().await?;
        if self.told.as_ref() == Some(&people) {
            return None;
        }
        self.told = Some(people.clone());
        Some(ChatEvent::People { people })
    }

    /// A user who was removed or demoted meanwhile hears nothing more.
    fn still_may(&self) -> bool {
        if self.caller.local {
            return true;
        }
        match self.api.user(&self.caller.user) {
            Ok(user) => user.is_some_and(|user| user.role >= UserRole::User),
            // The ledger cannot be read now.
            Err(_) => true,
        }
    }
}
