//! One board: what was done on it, in order, each once, and what is to be seen of it. The order of arrival does not matter.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::message::UserName;
use dci_proto::{AgentId, MessageId};

use super::{ActKind, LineId, Stroke};

/// What is done on a board and remembered, at most; the oldest goes.
const DEEDS_LIMIT: usize = 20_000;

/// Something that was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deed {
    /// When, in ms since 1970, as the pool's agents agree on it.
    pub sent_ms: u64,
    /// The agent it was done at.
    pub agent: AgentId,
    /// Its message.
    pub id: MessageId,
    /// Who did it.
    pub user: UserName,
    /// Under which line it is taken back; of an undo, which is.
    pub line: LineId,
    /// What.
    pub kind: ActKind,
}

/// A stroke that is to be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape<'a> {
    /// Its message.
    pub id: MessageId,
    /// Who drew it.
    pub user: &'a UserName,
    /// Of which line.
    pub line: LineId,
    /// The stroke.
    pub stroke: &'a Stroke,
}

type Key = (u64, AgentId, MessageId);

impl Deed {
    fn key(&self) -> Key {
        (self.sent_ms, self.agent, self.id)
    }

    pub(super) fn size_bytes(&self) -> usize {
        let points = match &self.kind {
            ActKind::Stroke(stroke) => size_of_val(stroke.points.as_slice()),
            ActKind::Clear | ActKind::Undo => 0,
        };
        size_of::<Self>() + 2 * size_of::<Key>() + self.user.as_str().len() + points
    }
}

/// A board.
#[derive(Debug, Clone, Default)]
pub struct Board {
    deeds: BTreeMap<Key, Deed>,
    known: BTreeSet<(AgentId, MessageId)>,
    bytes: usize,
}

impl Board {
    /// Takes one in; answers whether it is new.
    pub(super) fn add(&mut self, deed: Deed) -> bool {
        if !self.known.insert((deed.agent, deed.id)) {
            return false;
        }
        self.bytes += deed.size_bytes();
        self.deeds.insert(deed.key(), deed);
        if self.deeds.len() > DEEDS_LIMIT {
            self.drop_oldest();
        }
        true
    }

    pub(super) fn drop_oldest(&mut self) {
        if let Some((_, deed)) = self.deeds.pop_first() {
            self.known.remove(&(deed.agent, deed.id));
            self.bytes = self.bytes.saturating_sub(deed.size_bytes());
        }
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.bytes
    }

    /// What was done last.
    #[must_use]
    pub fn last(&self) -> Option<&Deed> {
        self.deeds.last_key_value().map(|(_, deed)| deed)
    }

    /// When something was last done, in ms since 1970.
    #[must_use]
    pub fn last_ms(&self) -> u64 {
        self.last().map_or(0, |deed| deed.sent_ms)
    }

    /// What is to be seen, the lowest first: what was drawn after the last clear that holds, and was not taken back by who did it.
    #[must_use]
    pub fn shapes(&self) -> Vec<Shape<'_>> {
        let undone = self.undone();
        let mut shapes = Vec::new();
        for deed in self.deeds.values().filter(|deed| !undone.contains(&(&deed.user, deed.line))) {
            match &deed.kind {
                ActKind::Stroke(stroke) => {
                    shapes.push(Shape { id: deed.id, user: &deed.user, line: deed.line, stroke });
                }
                ActKind::Clear => shapes.clear(),
                ActKind::Undo => {}
            }
        }
        shapes
    }

    /// What a user did last that can still be taken back.
    #[must_use]
    pub fn last_of(&self, user: &str) -> Option<LineId> {
        let undone = self.undone();
        let is_theirs = |deed: &&Deed| {
            deed.kind != ActKind::Undo && deed.user.as_str() == user && !undone.contains(&(&deed.user, deed.line))
        };
        let last = self.deeds.values().rev().find(is_theirs)?;
        // What somebody else cleared away does not come back.
        let is_there = last.kind == ActKind::Clear || self.shapes().iter().any(|shape| shape.line == last.line);
        is_there.then_some(last.line)
    }

    fn undone(&self) -> BTreeSet<(&UserName, LineId)> {
        let undos = self.deeds.values().filter(|deed| deed.kind == ActKind::Undo);
        undos.map(|deed| (&deed.user, deed.line)).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::super::Point;
    use super::*;

    pub(in crate::core) fn deed(number: u64, user: &str, line: u8, kind: ActKind) -> Deed {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        Deed {
            sent_ms: number,
            agent: AgentId([1; 32]),
            id: MessageId(id),
            user: user.parse().expect("a user"),
            line: dci_proto::SessionId([line; 16]),
            kind,
        }
    }

    pub(in crate::core) fn stroke(x: u16) -> ActKind {
        let points = vec![Point(x, 0), Point(x, 10)];
        ActKind::Stroke(Stroke { colour: "#000000".parse().expect("a colour"), width: 4, points })
    }

    fn seen(deeds: &[Deed]) -> Vec<u16> {
        let mut board = Board::default();
        deeds.iter().for_each(|deed| assert!(board.add(deed.clone())));
        board.shapes().iter().map(|shape| shape.stroke.points[0].0).collect()
    }

    #[test]
    fn everybody_takes_back_their_own_lines_and_whole_ones() {
        let mut deeds = vec![
            deed(1, "ana", 1, stroke(1)),
            deed(2, "bob", 2, stroke(2)),
            deed(3, "ana", 3, stroke(3)),
            deed(4, "ana", 3, stroke(4)),
        ];
        assert_eq!(seen(&deeds), [1, 2, 3, 4]);
        deeds.push(deed(5, "ana", 3, ActKind::Undo));
        assert_eq!(seen(&deeds), [1, 2]);
        // Not somebody else's.
        deeds.push(deed(6, "ana", 2, ActKind::Undo));
        assert_eq!(seen(&deeds), [1, 2]);
    }

    #[test]
    fn a_clear_takes_what_was_before_and_can_be_taken_back() {
        let mut deeds =
            vec![deed(1, "ana", 1, stroke(1)), deed(2, "bob", 2, ActKind::Clear), deed(3, "ana", 3, stroke(3))];
        assert_eq!(seen(&deeds), [3]);
        deeds.push(deed(4, "ana", 2, ActKind::Undo));
        assert_eq!(seen(&deeds), [3]);
        deeds.push(deed(5, "bob", 2, ActKind::Undo));
        assert_eq!(seen(&deeds), [1, 3]);
    }

    #[test]
    fn the_last_of_a_user_is_what_undo_takes_back() {
        let mut board = Board::default();
        board.add(deed(1, "ana", 1, stroke(1)));
        board.add(deed(2, "bob", 2, stroke(2)));
        assert_eq!(board.last_of("ana"), Some(dci_proto::SessionId([1; 16])));
        board.add(deed(3, "ana", 1, ActKind::Undo));
        assert_eq!((board.last_of("ana"), board.last_of("eve")), (None, None));
        board.add(deed(4, "ana", 4, ActKind::Clear));
        assert_eq!(board.last_of("bob"), None, "it was cleared away");
        assert_eq!(board.last_of("ana"), Some(dci_proto::SessionId([4; 16])));
    }

    proptest! {
        #[test]
        fn all_agents_see_the_same_whatever_came_first(
            mut all in proptest::collection::vec((0..200u64, prop_oneof!["ana", "bob"], 0..6u8, 0..4u8), 0..60),
            seed in any::<u64>(),
        ) {
            all.sort();
            all.dedup_by_key(|one| one.0);
            let mut deeds: Vec<Deed> = all
                .iter()
                .map(|(at, user, line, what)| {
                    let kind = match what {
                        0 | 1 => stroke(u16::try_from(*at).expect("small")),
                        2 => ActKind::Undo,
                        _ => ActKind::Clear,
                    };
                    deed(*at, user, *line, kind)
                })
                .collect();
            let forth = seen(&deeds);
            let length = deeds.len().max(1);
            deeds.rotate_left(usize::try_from(seed % length as u64).expect("small"));
            prop_assert_eq!(&forth, &seen(&deeds));
            deeds.reverse();
            prop_assert_eq!(forth, seen(&deeds));
        }
    }
}
