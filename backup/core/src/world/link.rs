//! What is on its way.

use std::collections::{BTreeMap, BTreeSet};

use crate::catalogue::Tail;
use crate::challenge::{Answer, Challenge};
use crate::object::ObjectName;
use crate::replication::SendFailure;

/// What nodes send each other.
#[derive(Debug, Clone)]
pub(super) enum Packet {
    /// Owner to peer: an object.
    Push { name: ObjectName, bytes: Vec<u8> },
    /// To the owner: its disk has it.
    Confirm { name: ObjectName },
    /// To the owner: it does not take it now.
    Refuse { name: ObjectName, why: SendFailure },
    /// To the owner: all that its disk has, as it says; what it knows; whether it catches up by itself.
    Report { holds: BTreeSet<ObjectName>, sequence: u64, pulls: bool, sent_ms: u64 },
    /// To the owner: found damaged.
    Damaged { name: ObjectName },
    /// From who catches up: what came after this sequence, and which of these do you have?
    Hello { sequence: u64, lacks: Vec<ObjectName> },
    /// The answer.
    Welcome { tail: Tail, has: Vec<ObjectName> },
    /// The rest of an object, please.
    Ask { name: ObjectName, offset: u64 },
    /// A piece of it; `None`: it is not here.
    Piece { name: ObjectName, offset: u64, bytes: Option<Vec<u8>> },
    /// Prove that you have it.
    Prove { challenge: Challenge },
    /// The proof.
    Answer { challenge: Challenge, answer: Option<Answer>, sent_ms: u64 },
}

type Sent = (usize, usize, u64, Packet);

/// All links. Each is ordered, as a connection is: what is sent later never arrives earlier.
#[derive(Debug, Default)]
pub(super) struct Links {
    packets: BTreeMap<(u64, u64), Sent>,
    last_ms: BTreeMap<(usize, usize), u64>,
    count: u64,
}

impl Links {
    pub(super) fn put(&mut self, now_ms: u64, delay_ms: u64, sent: Sent) {
        let last_ms = self.last_ms.entry((sent.0, sent.1)).or_default();
        *last_ms = (*last_ms).max(now_ms + delay_ms);
        self.count += 1;
        self.packets.insert((*last_ms, self.count), sent);
    }

    pub(super) fn next_before(&mut self, until_ms: u64) -> Option<(u64, usize, usize, u64, Packet)> {
        let first = self.packets.first_entry()?;
        if first.key().0 > until_ms {
            return None;
        }
        let ((at_ms, _), (from, to, life, packet)) = first.remove_entry();
        Some((at_ms, from, to, life, packet))
    }
}
