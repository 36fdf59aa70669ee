//! Laws of the ledger's log, messages and copies, for any bytes: run by the fuzz targets in `fuzz/` and, mutated from
//! their seeds, by every test run.

use std::path::Path;

use bytes::Bytes;
use dci_proto::AgentId;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use openraft::{EntryPayload, LeaderId};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::files::{seal, unseal};
use crate::log::Remembered;
use crate::log::fuzzing::{segment, segment_seeds};
use crate::message::{self, Message, Reply, StatePiece};
use crate::state::{PieceWriter, read_rows};
use crate::types::{EncodedBatch, Entry, LogId, SnapshotMeta, StoredMembership, Vote};

/// A name, the law, and inputs to begin with.
pub type Target = (&'static str, fn(&[u8]), fn() -> Vec<Vec<u8>>);

/// All targets of this crate.
pub const TARGETS: &[Target] = &[
    ("consensus_log_segment", segment, segment_seeds),
    ("consensus_messages", messages, message_seeds),
    ("consensus_rows", rows, row_seeds),
    ("consensus_vote", vote, vote_seeds),
];

/// What decodes is, encoded, the same again.
fn comes_back<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok((group, found)) = message::decode::<T>(bytes) else { return };
    let encoded = message::encode(group, &found).ok();
    let again = encoded.as_ref().and_then(|bytes| message::decode::<T>(bytes).ok());
    let same = again.and_then(|(group, again)| message::encode(group, &again).ok());
    assert!(encoded.is_some() && same == encoded, "a message does not come back");
}

fn messages(bytes: &[u8]) {
    comes_back::<Message>(bytes);
    comes_back::<Reply>(bytes);
}

/// Rows of a copied state: those of a piece that is whole make the same piece.
fn rows(bytes: &[u8]) {
    let mut piece = PieceWriter::default();
    let mut read_bytes = 0;
    for row in read_rows(bytes) {
        let Some((key, value)) = row else { return };
        read_bytes += key.len() + value.len();
        assert!(read_bytes <= bytes.len());
        piece.push(key, value);
    }
    assert_eq!(piece.bytes(), bytes);
}

/// The file of the vote; its checksum is put right, else it keeps almost everything out.
fn vote(bytes: &[u8]) {
    let path = Path::new("vote");
    let sealed = seal(bytes.to_vec());
    assert_eq!(unseal(&sealed), Some(bytes));
    for bytes in [bytes, &sealed] {
        if let Ok(remembered) = Remembered::decode(path, bytes) {
            let again = remembered.encode().ok().and_then(|bytes| Remembered::decode(path, &bytes).ok());
            assert_eq!(again, Some(remembered));
        }
    }
}

fn log_id(index: u64) -> LogId {
    LogId::new(LeaderId::new(2, AgentId([1; 32])), index)
}

fn message_seeds() -> Vec<Vec<u8>> {
    let vote = Vote::new_committed(2, AgentId([1; 32]));
    let payload = EntryPayload::Normal(EncodedBatch(vec![3; 20].into()));
    let request = AppendEntriesRequest {
        vote,
        prev_log_id: Some(log_id(4)),
        entries: vec![Entry { log_id: log_id(5), payload }, Entry { log_id: log_id(6), payload: EntryPayload::Blank }],
        leader_commit: Some(log_id(3)),
    };
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(9)),
        last_membership: StoredMembership::default(),
        snapshot_id: "one".to_owned(),
    };
    let rows = Bytes::from(row_seeds().concat());
    let messages = [
        Message::Append { quorum: true, request },
        Message::Vote(VoteRequest { vote, last_log_id: Some(log_id(1)) }),
        Message::StatePiece(StatePiece { vote, meta, sequence: 3, rows, total_rows: Some(2) }),
        Message::Submit { submissions: vec![Bytes::from_static(b"one"), Bytes::new()] },
        Message::ReadIndex { vote: Some(vote) },
        Message::MayStand { last_log: None },
        Message::Clock,
    ];
    let replies = [
        Reply::StatePiece { vote, next_sequence: 4 },
        Reply::Submitted(vec![Ok(shoal_ledger::Outcome::Done)]),
        Reply::NotLeader { leader: Some(AgentId([2; 32])) },
        Reply::Refused("no".to_owned()),
        Reply::Clock { wall_ms: 1_800_000_000_000 },
    ];
    let group = crate::Group { generation: 1, id: [4; 16], position: 9 };
    let messages = messages.iter().filter_map(|message| message::encode(group, message).ok());
    messages
        .chain(replies.iter().filter_map(|reply| message::encode(group, reply).ok()))
        .map(|bytes| bytes.to_vec())
        .collect()
}

fn row_seeds() -> Vec<Vec<u8>> {
    let mut piece = PieceWriter::default();
    piece.push(b"key", b"value");
    piece.push(b"another", &[7; 40]);
    vec![piece.bytes().to_vec()]
}

fn vote_seeds() -> Vec<Vec<u8>> {
    let vote = Some(Vote::new_committed(2, AgentId([1; 32])));
    let remembered = Remembered { agent: AgentId([1; 32]), vote, purged: Some(log_id(5)) };
    let sealed = remembered.encode().unwrap_or_default();
    let content = unseal(&sealed).map(<[u8]>::to_vec);
    content.into_iter().chain([sealed]).collect()
}
