//! What was said and who is there, as this agent's log has it, with the ticks of what was said here.

use std::collections::BTreeMap;

use dci_proto::MessageId;
use shoal_chat::{Change, Conversation, Heard, Rooms, Said, Utterance};
use shoal_mailbox::{Direction, LogEntry, Place, RecipientStatus, State};

use super::kept::Picture;

/// Messages of this agent whose ticks are known, at most; those of the oldest are forgotten.
const TICKS_LIMIT: usize = 4_096;

/// On how many agents something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    /// On so many.
    pub(crate) got: usize,
    /// Of those that are to get it.
    pub(crate) of: usize,
}

/// Something changed.
#[derive(Debug, Clone)]
pub(crate) enum ChatNews {
    Said(Conversation, Said, Option<Tick>),
    Tick(Conversation, MessageId, Tick),
    /// Somebody came or went.
    People,
    /// A user has seen a conversation up to a time.
    Seen(String, Conversation, u64),
    /// All may be different.
    Anew,
}

/// The picture.
#[derive(Default)]
pub(crate) struct ChatPicture {
    pub(crate) rooms: Rooms,
    ticks: BTreeMap<MessageId, (Conversation, Place, Tick)>,
    places: BTreeMap<Place, MessageId>,
}

impl ChatPicture {
    /// The ticks of a message that was said here.
    pub(crate) fn tick(&self, id: MessageId) -> Option<Tick> {
        self.ticks.get(&id).map(|(_, _, tick)| *tick)
    }

    fn mind(&mut self, id: MessageId, conversation: Conversation, place: Place, tick: Tick) {
        self.ticks.insert(id, (conversation, place, tick));
        self.places.insert(place, id);
        // Ids of this agent grow with the time.
        while self.ticks.len() > TICKS_LIMIT
            && let Some((_, (_, place, _))) = self.ticks.pop_first()
        {
            self.places.remove(&place);
        }
    }
}

impl Picture for ChatPicture {
    type News = ChatNews;

    fn take(&mut self, entry: &LogEntry) -> Option<ChatNews> {
        let message = &entry.envelope.message;
        let user = message.from.user.as_ref()?;
        let heard = Heard {
            agent: message.from.agent,
            user,
            id: message.id,
            sent_ms: message.sent_ms,
            expires_ms: message.expires_ms,
            body: &message.body,
        };
        // What is not as it should be was told its sender by the peerlet.
        let change = self.rooms.hear(&heard).ok()?;
        let mut tick = None;
        if entry.direction == Direction::Sent
            && let Some(conversation) = Utterance::of_body(&message.body).ok()?.conversation(user)
        {
            let now = tick_of(&entry.states);
            tick = Some(now);
            self.mind(message.id, conversation, entry.place, now);
        }
        match change {
            Change::Said(conversation, said) => Some(ChatNews::Said(conversation, said, tick)),
            Change::People => Some(ChatNews::People),
            Change::None => None,
        }
    }

    fn minds(&self, place: Place) -> bool {
        self.places.contains_key(&place)
    }

    fn set_states(&mut self, id: MessageId, states: &[RecipientStatus]) -> Option<ChatNews> {
        let (conversation, _, tick) = self.ticks.get_mut(&id)?;
        let now = tick_of(states);
        if *tick == now {
            return None;
        }
        *tick = now;
        Some(ChatNews::Tick(conversation.clone(), id, now))
    }

    fn anew() -> ChatNews {
        ChatNews::Anew
    }
}

fn tick_of(states: &[RecipientStatus]) -> Tick {
    let has = |state: &&RecipientStatus| {
        matches!(state.status.state, State::Delivered | State::Handled { .. } | State::Failed { .. })
    };
    Tick { got: states.iter().filter(has).count(), of: states.len() }
}
