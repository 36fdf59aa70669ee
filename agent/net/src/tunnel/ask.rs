//! What is said before a tunnel stands: one question, one answer, both of fixed form. Pure; see `docs/protocol.md`.

use dci_proto::AgentId;

/// Connections from the asker to the agent it wants, at most.
pub(crate) const HOPS_LIMIT: u8 = 9;
/// Agents named as visited, at most; what is over that is left out, those on the way last.
pub(crate) const VISITED_LIMIT: usize = 128;
/// Bytes of a question before the agents visited.
pub(crate) const ASK_BYTES: usize = 37;
/// Bytes of an answer.
pub(crate) const ANSWER_BYTES: usize = 3;
const ID_BYTES: usize = 32;

/// Asks an agent for a way to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    /// Who is wanted.
    pub(crate) target: AgentId,
    /// Connections the way may still have from the agent asked on: with 1 it must reach the target itself.
    pub(crate) hops: u8,
    /// Further agents that may be asked.
    pub(crate) tries: u8,
    /// Time left, in ms.
    pub(crate) time_ms: u16,
    /// Agents that are not to be asked: those on the way, from the first on, and those that were asked already.
    pub(crate) visited: Vec<AgentId>,
}

/// What an agent answers; after [`Answer::Open`] the bytes are the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The tunnel stands.
    Open,
    /// There is none.
    No {
        /// Why.
        why: Refusal,
        /// Further agents that may still be asked.
        tries: u8,
        /// Whether the agent knows others to ask, had it been allowed more hops.
        more: bool,
    },
}

/// Why there is no tunnel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// No way was found.
    #[error("it knows no way")]
    NoWay,
    /// Too many tunnels go through the agent asked.
    #[error("it has no room for another tunnel")]
    Busy,
    /// The target is no member as far as the agent asked knows.
    #[error("it does not know the agent as a member")]
    Unknown,
}

/// Why bytes are no question or answer; the connection they came on is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it does not speak the tunnel protocol")]
pub(crate) struct Malformed;

impl Ask {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let visited = &self.visited[..self.visited.len().min(VISITED_LIMIT)];
        let mut bytes = Vec::with_capacity(ASK_BYTES + visited.len() * ID_BYTES);
        bytes.extend_from_slice(&self.target.0);
        bytes.extend_from_slice(&[self.hops, self.tries]);
        bytes.extend_from_slice(&self.time_ms.to_be_bytes());
        bytes.push(visited.len() as u8);
        visited.iter().for_each(|agent| bytes.extend_from_slice(&agent.0));
        bytes
    }

    /// Reads the first part; the second result is how many bytes of visited agents follow.
    pub(crate) fn decode(bytes: &[u8; ASK_BYTES]) -> Result<(Self, usize), Malformed> {
        let (target, rest) = bytes.split_first_chunk::<ID_BYTES>().ok_or(Malformed)?;
        let &[hops, tries, time_0, time_1, count] = rest else { return Err(Malformed) };
        let count = usize::from(count);
        if hops == 0 || hops > HOPS_LIMIT || count > VISITED_LIMIT {
            return Err(Malformed);
        }
        let time_ms = u16::from_be_bytes([time_0, time_1]);
        let ask = Self { target: AgentId(*target), hops, tries, time_ms, visited: Vec::new() };
        Ok((ask, count * ID_BYTES))
    }

    /// Takes in the second part.
    pub(crate) fn with_visited(mut self, bytes: &[u8]) -> Self {
        self.visited = bytes.as_chunks::<ID_BYTES>().0.iter().map(|id| AgentId(*id)).collect();
        self
    }
}

impl Answer {
    pub(crate) fn encode(self) -> [u8; ANSWER_BYTES] {
        match self {
            Self::Open => [0, 0, 0],
            Self::No { why, tries, more } => {
                let why = match why {
                    Refusal::NoWay => 1,
                    Refusal::Busy => 2,
                    Refusal::Unknown => 3,
                };
                [why, tries, u8::from(more)]
            }
        }
    }

    pub(crate) fn decode(bytes: [u8; ANSWER_BYTES]) -> Result<Self, Malformed> {
        let [status, tries, more] = bytes;
        let why = match (status, more) {
            (0, 0) if tries == 0 => return Ok(Self::Open),
            (1, 0 | 1) => Refusal::NoWay,
            (2, 0 | 1) => Refusal::Busy,
            (3, 0 | 1) => Refusal::Unknown,
            _ => return Err(Malformed),
        };
        Ok(Self::No { why, tries, more: more == 1 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_question_within_the_limits_or_none(bytes in proptest::collection::vec(any::<u8>(), ASK_BYTES)) {
            let bytes: [u8; ASK_BYTES] = bytes.try_into().expect("as many as asked for");
            if let Ok((ask, rest)) = Ask::decode(&bytes) {
                prop_assert!((1..=HOPS_LIMIT).contains(&ask.hops));
                prop_assert!(rest <= VISITED_LIMIT * ID_BYTES);
                let ask = ask.with_visited(&vec![7; rest]);
                prop_assert_eq!(&ask.encode()[..ASK_BYTES], &bytes[..]);
            }
        }

        #[test]
        fn any_bytes_are_an_answer_or_none(bytes in any::<[u8; ANSWER_BYTES]>()) {
            if let Ok(answer) = Answer::decode(bytes) {
                prop_assert_eq!(answer.encode(), bytes);
            }
        }

        #[test]
        fn a_question_comes_back_as_it_was_sent(
            hops in 1..=HOPS_LIMIT, tries in any::<u8>(), time_ms in any::<u16>(), count in 0..=VISITED_LIMIT,
        ) {
            let visited = (0..count).map(|number| AgentId([number as u8; 32])).collect();
            let ask = Ask { target: AgentId([255; 32]), hops, tries, time_ms, visited };
            let bytes = ask.encode();
            let (head, tail) = bytes.split_first_chunk().expect("long enough");
            let (decoded, rest) = Ask::decode(head).expect("a question");
            prop_assert_eq!(rest, tail.len());
            prop_assert_eq!(decoded.with_visited(tail), ask);
        }
    }
}
