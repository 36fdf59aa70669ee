//! Proof that a holder has the bytes: it is sent a number nobody could foresee and a range of an object, and answers with
//! the hash of the number and the bytes. It cannot answer without them, and an answer of before is of no use.
//!
//! Who asks need not hold the object. There are two ways to know the right answer:
//!
//! - **Prepared**: while the owner still has the bytes (it just sent them), it works out a few answers and keeps them
//!   ([`Prepared`], 120 bytes each). Each is used once at each peer.
//! - **Compared**: two or more holders are asked the same ([`judge`]). If they differ, the object is fetched and hashed, and
//!   whoever answered otherwise lied.

use std::collections::BTreeMap;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};

use crate::now::{MINUTE_MS, mix_ids};
use crate::object::{Object, ObjectName, sha256};

/// Bytes that one challenge reads, at most: a disk seek more or less, nothing that its user would notice.
pub const RANGE_LIMIT_BYTES: u64 = 64 * 1024;
/// An answer that takes longer is none, if its holder can be reached otherwise.
pub const ANSWER_WITHIN_MS: u64 = MINUTE_MS;
/// Prepared answers an owner keeps, at most: 8 MB.
pub const PREPARED_LIMIT: usize = 65_536;

/// A number nobody could foresee. The shell draws it.
pub type Nonce = [u8; 32];

/// The hash of the nonce and the bytes.
pub type Answer = [u8; 32];

/// What a holder is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Challenge {
    /// The number.
    pub nonce: Nonce,
    /// Of which object.
    pub object: ObjectName,
    /// From which byte on.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl Challenge {
    /// A challenge of a range of an object that follows from the nonce.
    #[must_use]
    pub fn of_range(object: &Object, nonce: Nonce) -> Self {
        let length = object.size_bytes.min(RANGE_LIMIT_BYTES);
        let offset = mix_ids(0, &[&nonce]) % (object.size_bytes - length + 1);
        Self { nonce, object: object.name, offset, length }
    }

    /// A challenge of all of an object, for a holder that has to win back trust.
    #[must_use]
    pub fn of_all(object: &Object, nonce: Nonce) -> Self {
        Self { nonce, object: object.name, offset: 0, length: object.size_bytes }
    }

    /// The range in the object, if the object has it: a challenge comes from outside.
    #[must_use]
    pub fn range(&self, size_bytes: u64) -> Option<std::ops::Range<u64>> {
        let end = self.offset.checked_add(self.length)?;
        (end <= size_bytes).then_some(self.offset..end)
    }

    /// The answer, from the bytes of the range.
    #[must_use]
    pub fn answer(&self, bytes: &[u8]) -> Answer {
        sha256(&[&self.nonce, bytes])
    }
}

/// A challenge and its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    /// What will be asked.
    pub challenge: Challenge,
    /// What is right.
    pub answer: Answer,
}

/// What answers to one challenge say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The answers agree, of at least two holders, or with the right one.
    Proven(Vec<AgentId>),
    /// The right answer is known, and these gave another or none.
    Lied(Vec<AgentId>),
    /// They differ. Fetch the object from anywhere, check its hash, and judge again with the right answer.
    Disputed,
    /// There is nothing to compare with.
    Undecided,
}

/// Judges answers to one challenge by holders that could be reached; `None`: it gave none in time. With a `right` answer the
/// liars are told first: judge again without them.
#[must_use]
pub fn judge(answers: &BTreeMap<AgentId, Option<Answer>>, right: Option<Answer>) -> Verdict {
    if let Some(right) = right {
        let (honest, liars): (Vec<_>, Vec<_>) = answers.iter().partition(|(_, answer)| **answer == Some(right));
        let agents = |found: Vec<(&AgentId, &Option<Answer>)>| found.into_iter().map(|(agent, _)| *agent).collect();
        return match (honest.is_empty(), liars.is_empty()) {
            (_, false) => Verdict::Lied(agents(liars)),
            (false, true) => Verdict::Proven(agents(honest)),
            (true, true) => Verdict::Undecided,
        };
    }
    let mut given = answers.values();
    match (given.next(), answers.len()) {
        (None, _) => Verdict::Undecided,
        (Some(Some(_)), 1) => Verdict::Undecided,
        (Some(Some(first)), _) if given.all(|answer| *answer == Some(*first)) => {
            Verdict::Proven(answers.keys().copied().collect())
        }
        _ => Verdict::Disputed,
    }
}

/// Which object of a peer is challenged next: each once in a round, in an order that nobody can foresee without the seed,
/// another one in each round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Rounds {
    round: u64,
    passed: Option<u64>,
}

impl Rounds {
    /// The next object among those the peer holds. `seed` is the owner's secret.
    pub fn next<'a>(
        &mut self,
        seed: u64,
        peer: AgentId,
        held: impl Iterator<Item = &'a Object> + Clone,
    ) -> Option<&'a Object> {
        for _ in 0..2 {
            let rank = |object: &Object| mix_ids(seed ^ self.round, &[&peer.0, &object.name.0]);
            let left = held.clone().map(|object| (rank(object), object)).filter(|(rank, _)| self.passed < Some(*rank));
            if let Some((rank, object)) = left.min_by_key(|(rank, _)| *rank) {
                self.passed = Some(rank);
                return Some(object);
            }
            *self = Self { round: self.round.wrapping_add(1), passed: None };
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::catalogue::tests::object;
    use crate::object::ObjectKind;

    fn answers(given: &[Option<u8>]) -> BTreeMap<AgentId, Option<Answer>> {
        (1..).zip(given).map(|(agent, answer)| (AgentId([agent; 32]), answer.map(|byte| [byte; 32]))).collect()
    }

    fn agents(numbers: &[u8]) -> Vec<AgentId> {
        numbers.iter().map(|number| AgentId([*number; 32])).collect()
    }

    #[test]
    fn answers_are_judged() {
        let right = Some([7; 32]);
        assert_eq!(judge(&answers(&[Some(7), Some(8), None]), right), Verdict::Lied(agents(&[2, 3])));
        assert_eq!(judge(&answers(&[Some(7)]), right), Verdict::Proven(agents(&[1])));
        assert_eq!(judge(&answers(&[]), right), Verdict::Undecided);
        assert_eq!(judge(&answers(&[Some(7), Some(7)]), None), Verdict::Proven(agents(&[1, 2])));
        assert_eq!(judge(&answers(&[Some(7), Some(8)]), None), Verdict::Disputed);
        assert_eq!(judge(&answers(&[Some(7), None]), None), Verdict::Disputed);
        assert_eq!(judge(&answers(&[Some(7)]), None), Verdict::Undecided);
        assert_eq!(judge(&answers(&[None]), None), Verdict::Disputed, "it could be reached and has no answer");
    }

    #[test]
    fn each_object_has_its_turn_in_each_round() {
        let objects: Vec<Object> = (0..20).map(|number| object(number, ObjectKind::Pack, 1)).collect();
        let mut rounds = Rounds::default();
        let mut round = || -> Vec<_> {
            (0..20).filter_map(|_| rounds.next(3, AgentId([1; 32]), objects.iter())).map(|object| object.name).collect()
        };
        let (first, second) = (round(), round());
        assert_eq!(
            (first.iter().collect::<BTreeSet<_>>().len(), second.iter().collect::<BTreeSet<_>>().len()),
            (20, 20)
        );
        assert_ne!(first, second);
        assert_eq!(rounds.next(3, AgentId([1; 32]), [].iter()), None);
    }

    proptest! {
        #[test]
        fn an_answer_proves_the_bytes_of_the_range(size in 0u64..200_000, nonce in any::<[u8; 32]>(), at in any::<u64>()) {
            let thing = Object { size_bytes: size, ..object(1, ObjectKind::Pack, 1) };
            let mut bytes: Vec<u8> = (0..size).map(|at| at as u8).collect();
            let challenge = Challenge::of_range(&thing, nonce);
            let range = challenge.range(size).unwrap();
            let range = range.start as usize..range.end as usize;
            prop_assert!(challenge.length == size.min(RANGE_LIMIT_BYTES));
            let answer = challenge.answer(&bytes[range.clone()]);
            prop_assert_ne!(answer, Challenge { nonce: [9; 32], ..challenge }.answer(&bytes[range.clone()]));
            if size > 0 {
                let at = range.start + at as usize % range.len();
                bytes[at] ^= 1;
                prop_assert_ne!(answer, challenge.answer(&bytes[range]));
            }
        }
    }

    #[test]
    fn a_range_outside_of_the_object_is_none() {
        let challenge = |offset, length| Challenge { nonce: [0; 32], object: ObjectName::default(), offset, length };
        assert_eq!(challenge(5, 5).range(10), Some(5..10));
        assert_eq!(challenge(5, 6).range(10), None);
        assert_eq!(challenge(u64::MAX, 2).range(10), None);
    }
}
