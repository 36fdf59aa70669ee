//! All conversations an agent knows: bounded in number and bytes, whoever says however much.

use std::collections::BTreeMap;

use dci_proto::message::{Body, UserName};
use dci_proto::{AgentId, MessageId};

use super::{CodecError, Conversation, People, Said, Timeline, Utterance};

/// Conversations, at most; the one that was silent for longest goes.
const CONVERSATIONS_LIMIT: usize = 1_000;
/// Entries of a conversation, at most.
const ENTRIES_LIMIT: usize = 500;
/// Bytes of all entries, at most; the largest conversation loses its oldest.
const BYTES_LIMIT: usize = 16 * 1024 * 1024;

/// A message of type chat, as far as it matters here.
#[derive(Debug, Clone)]
pub struct Heard<'a> {
    /// The agent it was sent at.
    pub agent: AgentId,
    /// On behalf of whom.
    pub user: &'a UserName,
    /// Its id.
    pub id: MessageId,
    /// When it was sent, in ms since 1970.
    pub sent_ms: u64,
    /// When it is void, in ms since 1970.
    pub expires_ms: u64,
    /// What it says.
    pub body: &'a Body,
}

/// What was said, and who is there.
#[derive(Debug, Clone, Default)]
pub struct Rooms {
    conversations: BTreeMap<Conversation, Timeline>,
    people: People,
    bytes: usize,
}

/// What a message has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Something was said that was not known.
    Said(Conversation, Said),
    /// Somebody came, went, or is somewhere else.
    People,
    /// Nothing.
    None,
}

impl Rooms {
    /// Takes a message in; answers where something new was said, and what.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn hear(&mut self, heard: &Heard<'_>) -> Result<Change, CodecError> {
        let utterance = Utterance::of_body(heard.body)?;
        let Some(conversation) = utterance.conversation(heard.user) else {
            let Utterance::Presence(presence) = utterance else { return Ok(Change::None) };
            let changed = self.people.hear(heard, presence);
            return Ok(if changed { Change::People } else { Change::None });
        };
        let (Utterance::Say { text, .. } | Utterance::Direct { text, .. }) = utterance else {
            return Ok(Change::None);
        };
        let said = Said { sent_ms: heard.sent_ms, agent: heard.agent, id: heard.id, user: heard.user.clone(), text };
        let is_new = self.add(conversation.clone(), said.clone());
        Ok(if is_new { Change::Said(conversation, said) } else { Change::None })
    }

    fn add(&mut self, conversation: Conversation, said: Said) -> bool {
        let timeline = self.conversations.entry(conversation).or_default();
        let before = timeline.size_bytes();
        let is_new = timeline.add(said, ENTRIES_LIMIT);
        self.bytes = (self.bytes + timeline.size_bytes()).saturating_sub(before);
        while self.bytes > BYTES_LIMIT {
            let largest = self.conversations.values_mut().max_by_key(|timeline| timeline.size_bytes());
            let Some(largest) = largest.filter(|timeline| timeline.size_bytes() > 0) else { break };
            let before = largest.size_bytes();
            largest.drop_oldest();
            self.bytes = (self.bytes + largest.size_bytes()).saturating_sub(before);
        }
        if self.conversations.len() > CONVERSATIONS_LIMIT {
            let last = |timeline: &Timeline| timeline.last().map_or(0, |said| said.sent_ms);
            let silent = self.conversations.iter().min_by_key(|(_, timeline)| last(timeline));
            if let Some(silent) = silent.map(|(conversation, _)| conversation.clone()) {
                let gone = self.conversations.remove(&silent);
                self.bytes = self.bytes.saturating_sub(gone.map_or(0, |timeline| timeline.size_bytes()));
            }
        }
        is_new
    }

    /// All conversations.
    pub fn all(&self) -> impl Iterator<Item = (&Conversation, &Timeline)> {
        self.conversations.iter()
    }

    /// What was said in one.
    #[must_use]
    pub fn timeline(&self, conversation: &Conversation) -> Option<&Timeline> {
        self.conversations.get(conversation)
    }

    /// Who is there.
    #[must_use]
    pub fn people(&self) -> &People {
        &self.people
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::timeline::tests::said;
    use crate::core::{Presence, RoomName, State};

    fn hear(rooms: &mut Rooms, number: u64, user: &str, utterance: &Utterance) -> Change {
        let (user, body) = (user.parse().expect("a user"), utterance.to_body().expect("a body"));
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let (agent, id) = (AgentId([1; 32]), MessageId(id));
        let heard = Heard { agent, user: &user, id, sent_ms: number, expires_ms: number + 100, body: &body };
        rooms.hear(&heard).expect("heard")
    }

    fn say(room: &str, text: &str) -> Utterance {
        Utterance::Say { room: room.parse().expect("a room"), text: text.into() }
    }

    #[test]
    fn rooms_and_pairs_are_kept_apart() {
        let mut rooms = Rooms::default();
        let direct = Utterance::Direct { to: "ana".parse().expect("a user"), text: "psst".into() };
        hear(&mut rooms, 1, "bob", &say("lobby", "one"));
        hear(&mut rooms, 2, "ana", &say("lab", "two"));
        hear(&mut rooms, 3, "bob", &direct);
        let count = |conversation: &Conversation| rooms.timeline(conversation).map_or(0, |one| one.entries().len());
        let pair = Conversation::between("ana".parse().expect("a user"), "bob".parse().expect("a user"));
        let counts = [Conversation::Room(RoomName::lobby()), Conversation::Room("lab".parse().expect("a room")), pair];
        assert_eq!(counts.map(|conversation| count(&conversation)), [1, 1, 1]);
        assert_eq!(rooms.all().count(), 3);
    }

    #[test]
    fn a_message_heard_twice_changes_nothing() {
        let mut rooms = Rooms::default();
        assert!(matches!(hear(&mut rooms, 1, "ana", &say("lobby", "a")), Change::Said(..)));
        assert_eq!(hear(&mut rooms, 1, "ana", &say("lobby", "a")), Change::None);
        let here = Utterance::Presence(Presence { state: State::Here, rooms: vec![RoomName::lobby()] });
        assert_eq!(hear(&mut rooms, 2, "ana", &here), Change::People);
        assert_eq!(hear(&mut rooms, 2, "ana", &here), Change::None);
    }

    #[test]
    fn memory_is_bounded_and_small_rooms_do_not_pay_for_large_ones() {
        let mut rooms = Rooms::default();
        rooms.add(Conversation::Room("quiet".parse().expect("a room")), said(1, 1, 1));
        let long = "x".repeat(7_900);
        for number in 0..2_400 {
            hear(&mut rooms, 10 + number, "ana", &say(&format!("room-{}", number % 8), &long));
        }
        assert!(rooms.bytes <= BYTES_LIMIT);
        let actual: usize = rooms.conversations.values().map(Timeline::size_bytes).sum();
        assert_eq!(rooms.bytes, actual);
        assert!(rooms.timeline(&Conversation::Room("quiet".parse().expect("a room"))).is_some_and(|one| !one.is_cut()));
        for number in 0..1_050 {
            hear(&mut rooms, 5_000 + number, "ana", &say(&format!("new-{number}"), "x"));
        }
        assert!(rooms.conversations.len() <= CONVERSATIONS_LIMIT);
        assert_eq!(rooms.bytes, rooms.conversations.values().map(Timeline::size_bytes).sum::<usize>());
    }
}
