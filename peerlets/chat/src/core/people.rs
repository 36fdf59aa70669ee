//! Who is there, as agents say it of their users; each word holds as long as its message is valid.

use std::collections::BTreeMap;

use dci_proto::AgentId;
use dci_proto::message::UserName;

use super::{Heard, Presence, RoomName, State};

/// Users at agents that are remembered, at most; the one heard of longest ago goes.
const PEOPLE_LIMIT: usize = 2_000;

/// Somebody who is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Who.
    pub user: UserName,
    /// Here or away.
    pub state: State,
    /// The rooms they have before them.
    pub rooms: Vec<RoomName>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word {
    presence: Presence,
    sent_ms: u64,
    until_ms: u64,
}

/// The last word of each agent about each of its users.
#[derive(Debug, Clone, Default)]
pub struct People {
    words: BTreeMap<(UserName, AgentId), Word>,
}

impl People {
    /// Takes a word in; answers whether it says something else than the one before.
    pub(super) fn hear(&mut self, heard: &Heard<'_>, presence: Presence) -> bool {
        let key = (heard.user.clone(), heard.agent);
        let word = Word { presence, sent_ms: heard.sent_ms, until_ms: heard.expires_ms };
        let before = self.words.get(&key);
        if before.is_some_and(|before| before.sent_ms >= word.sent_ms) {
            return false;
        }
        // One whose time was over is news again.
        let is_same = before.is_some_and(|one| one.presence == word.presence && one.until_ms >= word.sent_ms);
        self.words.insert(key, word);
        if self.words.len() > PEOPLE_LIMIT {
            let oldest = self.words.iter().min_by_key(|(_, word)| word.sent_ms).map(|(key, _)| key.clone());
            oldest.map(|key| self.words.remove(&key));
        }
        !is_same
    }

    /// Who is there now, by name; who is at several agents is once.
    #[must_use]
    pub fn now(&self, now_ms: u64) -> Vec<Person> {
        let mut people: Vec<Person> = Vec::new();
        for ((user, _), word) in &self.words {
            if word.until_ms <= now_ms || word.presence.state == State::Gone {
                continue;
            }
            let presence = &word.presence;
            match people.last_mut().filter(|last| last.user == *user) {
                Some(person) => {
                    person.state = person.state.max(presence.state);
                    person.rooms.extend(presence.rooms.iter().cloned());
                    person.rooms.sort_unstable();
                    person.rooms.dedup();
                }
                None => {
                    let rooms = presence.rooms.clone();
                    people.push(Person { user: user.clone(), state: presence.state, rooms });
                }
            }
        }
        people
    }
}

#[cfg(test)]
mod tests {
    use dci_proto::MessageId;
    use dci_proto::message::Body;

    use super::*;

    fn hear(people: &mut People, user: &str, agent: u8, sent_ms: u64, state: State, rooms: &[&str]) -> bool {
        let (user, body) = (user.parse().expect("a user"), Body::default());
        let heard = Heard {
            agent: AgentId([agent; 32]),
            user: &user,
            id: MessageId([0; 16]),
            sent_ms,
            expires_ms: sent_ms + 100,
            body: &body,
        };
        let rooms = rooms.iter().map(|room| room.parse().expect("a room")).collect();
        people.hear(&heard, Presence { state, rooms })
    }

    fn now(people: &People, now_ms: u64) -> Vec<String> {
        let one = |person: Person| format!("{} {} {}", person.user, person.state.as_str(), person.rooms.len());
        people.now(now_ms).into_iter().map(one).collect()
    }

    #[test]
    fn a_word_holds_until_the_next_or_its_end() {
        let mut people = People::default();
        assert!(hear(&mut people, "ana", 1, 10, State::Here, &["lobby"]));
        assert!(!hear(&mut people, "ana", 1, 20, State::Here, &["lobby"]));
        assert_eq!(now(&people, 119), ["ana here 1"]);
        assert!(now(&people, 120).is_empty());
        assert!(hear(&mut people, "ana", 1, 130, State::Here, &["lobby"]), "back after the end is news");
        assert!(hear(&mut people, "ana", 1, 140, State::Gone, &[]));
        assert!(!hear(&mut people, "ana", 1, 135, State::Here, &["lobby"]), "an older word comes late");
        assert!(now(&people, 141).is_empty());
    }

    #[test]
    fn who_is_at_two_agents_is_there_once_with_all_rooms() {
        let mut people = People::default();
        hear(&mut people, "ana", 1, 10, State::Away, &["lobby"]);
        hear(&mut people, "ana", 2, 11, State::Here, &["lab", "lobby"]);
        hear(&mut people, "bob", 2, 12, State::Away, &[]);
        assert_eq!(now(&people, 50), ["ana here 2", "bob away 0"]);
    }

    #[test]
    fn names_without_end_do_not_fill_the_memory() {
        let mut people = People::default();
        for number in 0..3_000 {
            hear(&mut people, &format!("user {number}"), 1, number, State::Here, &[]);
        }
        assert!(people.words.len() <= PEOPLE_LIMIT);
    }
}
