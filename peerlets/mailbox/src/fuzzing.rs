//! Laws of what is read from a mailbox's file, for any bytes: run by the fuzz targets in `fuzz/` and, mutated from their
//! seeds, by every test run.

use dci_proto::message::{Body, Envelope, Message, ReceiptState, Recipient, Sender};
use dci_proto::{AgentId, MessageId, SessionId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::core::{Direction, MulticastRow, PendingRow, ReceivedRow, Record, SentRow, WaitingRow};
use crate::disk::encoding::{StoredHead, decode, decode_record, encode, encode_record};
use crate::{Place, State, Status};

/// A name, the law, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets of this crate.
pub const TARGETS: &[Target] = &[("mailbox_log", log, log_seeds), ("mailbox_rows", rows, row_seeds)];

/// An entry that decodes to a message is, written and read again, the same message.
fn log(bytes: &[u8]) {
    let Ok((StoredHead::Message(stored), body)) = decode_record(bytes) else { return };
    let (direction, at_ms) = (stored.direction, stored.at_ms);
    let Ok(envelope) = stored.into_envelope(body) else { return };
    let written = encode_record(Record::Message { direction, at_ms, envelope: &envelope }).unwrap_or_default();
    let again = match decode_record(&written) {
        Ok((StoredHead::Message(stored), body)) => stored.into_envelope(body).ok(),
        _ => None,
    };
    assert_eq!(again, Some(envelope), "an entry does not come back");
}

/// Rows that decode come back the same.
fn rows(bytes: &[u8]) {
    comes_back::<WaitingRow>(bytes);
    comes_back::<MulticastRow>(bytes);
    comes_back::<ReceivedRow>(bytes);
    comes_back::<PendingRow>(bytes);
    comes_back::<SentRow>(bytes);
    comes_back::<Status>(bytes);
}

fn comes_back<T: Serialize + DeserializeOwned + PartialEq>(bytes: &[u8]) {
    let Ok(row) = decode::<T>("rows", bytes) else { return };
    let written = encode("rows", &row).unwrap_or_default();
    assert!(decode::<T>("rows", &written).is_ok_and(|again| again == row), "a row does not come back");
}

fn envelope() -> Option<Envelope> {
    let message = Message {
        id: MessageId([1; 16]),
        kind: "chat".parse().ok()?,
        session: Some(SessionId([2; 16])),
        sent_ms: 1_700_000_000_000,
        expires_ms: 1_700_000_600_000,
        from: Sender { agent: AgentId([3; 32]), user: "Ana".parse().ok(), session: None },
        to: Recipient::Group("lab".parse().ok()?),
        in_reply_to: None,
        replay_of: Some(MessageId([4; 16])),
        body: Body::of_xml("<a b='c'>text &amp; more</a>".into()).ok()?,
    };
    Some(Envelope { message, ttl: 9, signature: [5; 64] })
}

fn log_seeds() -> Vec<Vec<u8>> {
    let message = envelope().and_then(|envelope| {
        encode_record(Record::Message { direction: Direction::Received, at_ms: 7, envelope: &envelope }).ok()
    });
    let relayed = encode_record(Record::Relayed { at_ms: 9, of: Place(3), attempt: 2 }).ok();
    message.into_iter().chain(relayed).collect()
}

fn row_seeds() -> Vec<Vec<u8>> {
    let (id, session) = (MessageId([1; 16]), Some(SessionId([2; 16])));
    let dropped = Some((AgentId([6; 32]), 9, "no hops left".to_owned()));
    let waiting = WaitingRow { id, session, expires_ms: 8, since_ms: 7, attempts: 3, dropped };
    let multicast = MulticastRow { id, to: Recipient::All, session, expires_ms: 8, attempts: 1 };
    let received = ReceivedRow { place: Place(4), expires_ms: 8, state: ReceiptState::Handled { exit_status: -1 } };
    let pending = PendingRow { id, sender: AgentId([3; 32]), many: true, attempts: 1 };
    let sent = SentRow { place: Place(4), many: false };
    let status = Status { state: State::Refused { reason: "no".into() }, since_ms: 7, attempts: 1 };
    let rows = [
        encode("waiting", &waiting),
        encode("multicasts", &multicast),
        encode("received", &received),
        encode("pending", &pending),
        encode("sent", &sent),
        encode("ended", &status),
    ];
    rows.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::TARGETS;

    proptest! {
        #[test]
        fn the_laws_hold_for_damaged_rows(which in 0usize..8, at in 0usize..400, bytes in prop::collection::vec(any::<u8>(), 0..12), cut in 0usize..400) {
            for (_, law, seeds) in TARGETS {
                let seeds = seeds();
                let mut damaged = seeds[which % seeds.len()].clone();
                let at = at % damaged.len();
                let end = damaged.len().min(at + bytes.len());
                damaged[at..end].copy_from_slice(&bytes[..end - at]);
                law(&damaged);
                damaged.truncate(cut);
                law(&damaged);
                law(&bytes);
            }
        }
    }

    /// Rows as the first version wrote them, kept in the corpus: whoever changes a row sees it here and raises the version.
    #[test]
    fn rows_of_version_1_are_written_as_ever() {
        for (name, _, seeds) in TARGETS {
            for (number, seed) in seeds().into_iter().enumerate() {
                let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
                let path = format!("{folder}/{name}/seed-{number:02}");
                assert_eq!(std::fs::read(&path).ok(), Some(seed), "{path}");
            }
        }
    }
}
