//! All boards an agent knows: bounded in number and bytes, whoever draws however much.

use std::collections::BTreeMap;

use dci_proto::message::{Body, UserName};
use dci_proto::{AgentId, MessageId};

use super::{Act, Board, BoardName, CodecError, Deed};

/// Boards, at most; the one on which nothing happened for longest goes.
const BOARDS_LIMIT: usize = 200;
/// Bytes of all boards, at most; the largest loses its oldest.
const BYTES_LIMIT: usize = 24 * 1024 * 1024;

/// All boards.
#[derive(Debug, Clone, Default)]
pub struct Boards {
    boards: BTreeMap<BoardName, Board>,
    bytes: usize,
}

impl Boards {
    /// Takes a message in; answers what it has done, where that is new.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn take(
        &mut self,
        (agent, id): (AgentId, MessageId),
        user: &UserName,
        sent_ms: u64,
        body: &Body,
    ) -> Result<Option<(BoardName, Deed)>, CodecError> {
        let Act { board, line, kind } = Act::of_body(body)?;
        let deed = Deed { sent_ms, agent, id, user: user.clone(), line, kind };
        Ok(self.add(board.clone(), deed.clone()).then_some((board, deed)))
    }

    fn add(&mut self, name: BoardName, deed: Deed) -> bool {
        let board = self.boards.entry(name).or_default();
        let before = board.size_bytes();
        let is_new = board.add(deed);
        self.bytes = (self.bytes + board.size_bytes()).saturating_sub(before);
        while self.bytes > BYTES_LIMIT {
            let largest = self.boards.values_mut().max_by_key(|board| board.size_bytes());
            let Some(largest) = largest.filter(|board| board.size_bytes() > 0) else { break };
            let before = largest.size_bytes();
            largest.drop_oldest();
            self.bytes = (self.bytes + largest.size_bytes()).saturating_sub(before);
        }
        if self.boards.len() > BOARDS_LIMIT {
            let still = self.boards.iter().min_by_key(|(_, board)| board.last_ms()).map(|(name, _)| name.clone());
            let gone = still.and_then(|name| self.boards.remove(&name));
            self.bytes = self.bytes.saturating_sub(gone.map_or(0, |board| board.size_bytes()));
        }
        is_new
    }

    /// All boards.
    pub fn all(&self) -> impl Iterator<Item = (&BoardName, &Board)> {
        self.boards.iter()
    }

    /// One; nothing was done on one that is not known.
    #[must_use]
    pub fn board(&self, name: &BoardName) -> Option<&Board> {
        self.boards.get(name)
    }
}

#[cfg(test)]
mod tests {
    use super::super::board::tests::{deed, stroke};
    use super::super::{ActKind, POINTS_LIMIT, Point, Stroke};
    use super::*;

    fn name(text: &str) -> BoardName {
        text.parse().expect("a board")
    }

    #[test]
    fn a_message_taken_twice_does_it_once() {
        let mut boards = Boards::default();
        let act = Act { board: name("plan"), line: dci_proto::SessionId([1; 16]), kind: stroke(1) };
        let (from, user, body) =
            ((AgentId([1; 32]), MessageId([1; 16])), "ana".parse().expect("a user"), act.to_body());
        let body = body.expect("a body");
        assert!(boards.take(from, &user, 1, &body).expect("taken").is_some());
        assert!(boards.take(from, &user, 1, &body).expect("taken").is_none());
        assert_eq!(boards.board(&name("plan")).map(|board| board.shapes().len()), Some(1));
    }

    #[test]
    fn memory_is_bounded_and_small_boards_do_not_pay_for_large_ones() {
        let mut boards = Boards::default();
        boards.add(name("quiet"), deed(1, "ana", 1, stroke(1)));
        let points = vec![Point(1, 1); POINTS_LIMIT];
        let kind = ActKind::Stroke(Stroke { colour: "#000000".parse().expect("a colour"), width: 1, points });
        for number in 0..12_000 {
            boards.add(name(&format!("board-{}", number % 3)), deed(10 + number, "ana", 1, kind.clone()));
        }
        assert!(boards.bytes <= BYTES_LIMIT);
        assert_eq!(boards.bytes, boards.boards.values().map(Board::size_bytes).sum::<usize>());
        assert_eq!(boards.board(&name("quiet")).map(|board| board.shapes().len()), Some(1));
        for number in 0..300 {
            boards.add(name(&format!("new-{number}")), deed(20_000 + number, "ana", 1, stroke(1)));
        }
        assert!(boards.boards.len() <= BOARDS_LIMIT);
        assert_eq!(boards.bytes, boards.boards.values().map(Board::size_bytes).sum::<usize>());
    }
}
