//! What was said in one conversation: in order, each once, bounded.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::message::UserName;
use dci_proto::{AgentId, MessageId};

/// Something that was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// When, in ms since 1970, as the pool's agents agree on it.
    pub sent_ms: u64,
    /// The agent it was said at.
    pub agent: AgentId,
    /// Its message.
    pub id: MessageId,
    /// Who said it.
    pub user: UserName,
    /// What.
    pub text: String,
}

/// Where it stands: an id is unique only among the messages of one agent.
type Key = (u64, AgentId, MessageId);

impl Said {
    fn key(&self) -> Key {
        (self.sent_ms, self.agent, self.id)
    }

    pub(super) fn size_bytes(&self) -> usize {
        size_of::<Self>() + 2 * size_of::<Key>() + self.user.as_str().len() + self.text.len()
    }
}

/// The newest of what was said, in the same order at every agent, whatever came first.
#[derive(Debug, Clone, Default)]
pub struct Timeline {
    entries: BTreeMap<Key, Said>,
    /// When each message is said to have been sent, so that none is there twice.
    known: BTreeSet<(AgentId, MessageId)>,
    bytes: usize,
    /// Older ones are not here any more.
    cut: bool,
}

impl Timeline {
    /// Takes one in; answers whether it is new and among the newest `limit`.
    pub(super) fn add(&mut self, said: Said, limit: usize) -> bool {
        let is_too_old = || {
            self.entries.len() >= limit && self.entries.first_key_value().is_some_and(|(first, _)| said.key() < *first)
        };
        if self.known.contains(&(said.agent, said.id)) {
            return false;
        }
        if is_too_old() {
            self.cut = true;
            return false;
        }
        self.known.insert((said.agent, said.id));
        self.bytes += said.size_bytes();
        self.entries.insert(said.key(), said);
        while self.entries.len() > limit {
            self.drop_oldest();
        }
        true
    }

    pub(super) fn drop_oldest(&mut self) {
        if let Some((_, said)) = self.entries.pop_first() {
            self.known.remove(&(said.agent, said.id));
            self.bytes = self.bytes.saturating_sub(said.size_bytes());
            self.cut = true;
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// All, the oldest first.
    pub fn entries(&self) -> impl DoubleEndedIterator<Item = &Said> + ExactSizeIterator {
        self.entries.values()
    }

    /// The newest.
    #[must_use]
    pub fn last(&self) -> Option<&Said> {
        self.entries.last_key_value().map(|(_, said)| said)
    }

    /// Whether there was more before the first.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// How many are there that a user has not seen who has seen all up to a time: others' only.
    #[must_use]
    pub fn unread(&self, user: &str, seen_ms: u64) -> usize {
        let later = self.entries.values().rev().take_while(|said| said.sent_ms > seen_ms);
        later.filter(|said| said.user.as_str() != user).count()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::core) fn said(sent_ms: u64, agent: u8, id: u8) -> Said {
        let user = if agent == 1 { "ana" } else { "bob" };
        Said {
            sent_ms,
            agent: AgentId([agent; 32]),
            id: MessageId([id; 16]),
            user: user.parse().expect("a user"),
            text: format!("{sent_ms} {agent} {id}"),
        }
    }

    fn times(timeline: &Timeline) -> Vec<u64> {
        timeline.entries().map(|said| said.sent_ms).collect()
    }

    #[test]
    fn what_comes_late_stands_where_it_belongs_and_twice_is_once() {
        let mut timeline = Timeline::default();
        assert!(timeline.add(said(30, 1, 3), 9) && timeline.add(said(10, 2, 1), 9) && timeline.add(said(20, 1, 2), 9));
        assert!(!timeline.add(said(20, 1, 2), 9));
        // The same id of another agent is another message.
        assert!(timeline.add(said(20, 2, 2), 9));
        assert_eq!(times(&timeline), [10, 20, 20, 30]);
    }

    #[test]
    fn the_oldest_go_first_and_do_not_come_back() {
        let mut timeline = Timeline::default();
        for number in 1..=5 {
            timeline.add(said(u64::from(number), 1, number), 3);
        }
        assert_eq!((times(&timeline), timeline.is_cut()), (vec![3, 4, 5], true));
        assert!(!timeline.add(said(1, 1, 1), 3));
        assert_eq!(times(&timeline), [3, 4, 5]);
    }

    #[test]
    fn only_what_others_said_since_is_unread() {
        let mut timeline = Timeline::default();
        for (at, agent) in [(10, 2), (20, 1), (30, 2), (40, 2)] {
            timeline.add(said(at, agent, u8::try_from(at).expect("small")), 9);
        }
        assert_eq!((timeline.unread("ana", 0), timeline.unread("ana", 10), timeline.unread("bob", 0)), (3, 2, 1));
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(mut all in proptest::collection::vec((0..50u64, 1..4u8, any::<u8>()), 0..40), limit in 1..50usize) {
            let fold = |all: &[(u64, u8, u8)]| {
                let mut timeline = Timeline::default();
                for (at, agent, id) in all {
                    timeline.add(said(*at, *agent, *id), limit);
                    assert!(timeline.entries().len() <= limit && timeline.known.len() == timeline.entries().len());
                }
                assert_eq!(timeline.bytes, timeline.entries().map(Said::size_bytes).sum::<usize>());
                timeline.entries().cloned().collect::<Vec<_>>()
            };
            // One message has one time.
            all.sort_by_key(|one| (one.1, one.2));
            all.dedup_by_key(|one| (one.1, one.2));
            let forth = fold(&all);
            all.reverse();
            prop_assert_eq!(forth, fold(&all));
        }
    }
}
