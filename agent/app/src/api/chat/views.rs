//! What was said, as one user is shown it.

use std::collections::BTreeMap;
use std::sync::Arc;

use dci_proto::message::UserName;
use dci_proto::{AgentId, MessageId};
use shoal_chat::{Conversation, LOBBY, People, Said, Timeline};

use super::types::{ConversationList, ConversationView, History, PersonView, SaidView, TickView, Where};
use crate::talk::{ChatPicture, Chats, Tick};

/// Who looks at what.
pub(super) struct Look<'a> {
    pub(super) chats: &'a Arc<Chats>,
    pub(super) picture: &'a ChatPicture,
    pub(super) names: &'a BTreeMap<AgentId, String>,
    pub(super) user: &'a UserName,
}

/// A conversation as a user of it calls it; `None`: it is not theirs.
pub(super) fn place(conversation: &Conversation, user: &UserName) -> Option<Where> {
    if !conversation.is_open_to(user.as_str()) {
        return None;
    }
    Some(match (conversation, conversation.other(user.as_str())) {
        (Conversation::Room(room), _) => Where::Room(room.to_string()),
        (Conversation::Pair(..), Some(other)) => Where::With(other.to_string()),
        (Conversation::Pair(one, _), None) => Where::With(one.to_string()),
    })
}

pub(super) fn said(names: &BTreeMap<AgentId, String>, user: &UserName, said: &Said, tick: Option<Tick>) -> SaidView {
    SaidView {
        id: said.id,
        sent_ms: said.sent_ms,
        user: said.user.to_string(),
        agent: names.get(&said.agent).cloned().unwrap_or_else(|| said.agent.fingerprint()),
        text: said.text.clone(),
        own: said.user == *user,
        tick: tick.filter(|_| said.user == *user).map(tick_view),
    }
}

pub(super) fn tick_view(tick: Tick) -> TickView {
    TickView { got: tick.got, of: tick.of }
}

pub(super) fn people(people: &People, now_ms: u64) -> Vec<PersonView> {
    let one = |person: shoal_chat::Person| PersonView {
        user: person.user.to_string(),
        state: person.state.as_str().to_owned(),
        rooms: person.rooms.iter().map(ToString::to_string).collect(),
    };
    people.now(now_ms).into_iter().map(one).collect()
}

impl Look<'_> {
    fn said(&self, one: &Said) -> SaidView {
        said(self.names, self.user, one, self.picture.tick(one.id))
    }

    pub(super) fn list(&self, users: Vec<String>) -> ConversationList {
        let mut conversations: Vec<ConversationView> =
            self.picture.rooms.all().filter_map(|(conversation, timeline)| self.one(conversation, timeline)).collect();
        let lobby = Where::Room(LOBBY.to_owned());
        if !conversations.iter().any(|one| one.place == lobby) {
            conversations.push(ConversationView { place: lobby.clone(), unread: 0, last: None });
        }
        // The lobby, rooms by name, then users, the last heard of first.
        let last = |one: &ConversationView| one.last.as_ref().map_or(0, |said| said.sent_ms);
        conversations.sort_by_cached_key(|one| match &one.place {
            Where::Room(name) => (one.place != lobby, 0, name.clone()),
            Where::With(name) => (true, u64::MAX - last(one), name.clone()),
        });
        let people = people(self.picture.rooms.people(), self.chats.now_ms());
        ConversationList { user: self.user.to_string(), conversations, people, users }
    }

    fn one(&self, conversation: &Conversation, timeline: &Timeline) -> Option<ConversationView> {
        let place = place(conversation, self.user)?;
        let seen_ms = self.chats.seen_ms(self.user, conversation);
        let unread = timeline.unread(self.user.as_str(), seen_ms);
        Some(ConversationView { place, unread, last: timeline.last().map(|last| self.said(last)) })
    }

    /// The newest, or those before one; nothing of what is not the user's.
    pub(super) fn history(&self, conversation: &Conversation, before: Option<MessageId>, limit: usize) -> History {
        let place = place(conversation, self.user);
        let timeline = self.picture.rooms.timeline(conversation).filter(|_| place.is_some());
        let mut entries = Vec::new();
        let mut more = timeline.is_some_and(Timeline::is_cut);
        if let Some(timeline) = timeline {
            let mut rest = timeline.entries().rev();
            if let Some(before) = before {
                rest.by_ref().find(|one| one.id == before);
            }
            entries.extend(rest.by_ref().take(limit).map(|one| self.said(one)));
            more |= rest.next().is_some();
        }
        entries.reverse();
        History {
            place: place.unwrap_or(Where::Room(String::new())),
            user: self.user.to_string(),
            entries,
            more,
            seen_ms: self.chats.seen_ms(self.user, conversation),
        }
    }
}
