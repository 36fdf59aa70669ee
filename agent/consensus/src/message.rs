//! What members say to each other: a version byte, the sender's group, the message, in postcard.

use bytes::{BufMut, Bytes, BytesMut};
use dci_proto::AgentId;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_ledger::{Outcome, Rejection};

use crate::Group;
use crate::types::{LogId, Raft, SnapshotMeta, Vote};

/// The version of the messages below; others are refused.
const VERSION: u8 = 2;
/// Bytes of a message or an answer, at most; what the control network carries.
pub(crate) const MESSAGE_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// Raft: entries, or a heartbeat. `quorum`: the leader has heard from a quorum lately.
    Append { quorum: bool, request: AppendEntriesRequest<Raft> },
    /// Raft: asks for a vote.
    Vote(VoteRequest<AgentId>),
    /// A piece of a state for a newcomer.
    StatePiece(StatePiece),
    /// Commands for the leader to propose, each a [`shoal_ledger::Submission`] in postcard.
    Submit { submissions: Vec<Bytes> },
    /// Up to where must be read to see all that was acknowledged before this? `vote` is the sender's: it counts as a
    /// confirmation.
    ReadIndex { vote: Option<Vote> },
    /// Have you given a greater vote than this one?
    Confirm { vote: Vote },
    /// Do you miss a leader, and would you vote for one whose log ends here?
    MayStand { last_log: Option<LogId> },
    /// What does your wall clock show?
    Clock,
}

/// A piece of a state for a newcomer; pieces come in order, from 0.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StatePiece {
    pub(crate) vote: Vote,
    pub(crate) meta: SnapshotMeta,
    pub(crate) sequence: u64,
    pub(crate) rows: Bytes,
    /// On the last piece: how many rows there were in all.
    pub(crate) total_rows: Option<u64>,
}

/// What is answered.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// To `Append`.
    Append(AppendEntriesResponse<AgentId>),
    /// To `Vote`.
    Vote(VoteResponse<AgentId>),
    /// To `StatePiece`: the vote of the receiver and the piece it wants next.
    StatePiece { vote: Vote, next_sequence: u64 },
    /// To `Submit`: one result each, in order.
    Submitted(Vec<Result<Outcome, Rejection>>),
    /// To `ReadIndex`: one past the last entry that must have been applied.
    ReadIndex { next: u64 },
    /// To `Confirm`.
    Confirmed(bool),
    /// This agent does not lead; maybe this one does.
    NotLeader { leader: Option<AgentId> },
    /// This agent leads, but too few follow.
    NoQuorum(String),
    /// The message could not be read or carried out.
    Refused(String),
    /// To `MayStand`.
    MayStand(bool),
    /// To `Clock`: ms since 1970 UTC.
    Clock { wall_ms: u64 },
}

pub(crate) fn encode<T: Serialize>(group: Group, message: &T) -> Result<Bytes, String> {
    let mut bytes = BytesMut::new();
    bytes.put_u8(VERSION);
    let writer = postcard::to_extend(&(group, message), Extend(bytes)).map_err(|error| error.to_string())?;
    Ok(writer.0.freeze())
}

/// The sender's group, and the message.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<(Group, T), String> {
    if bytes.len() > MESSAGE_LIMIT_BYTES {
        return Err(format!("a message of {} bytes is over the limit", bytes.len()));
    }
    match bytes.split_first() {
        Some((&VERSION, content)) => postcard::from_bytes(content).map_err(|error| format!("unreadable: {error}")),
        Some((version, _)) => Err(format!("message version {version} is not known here, only {VERSION}")),
        None => Err("empty message".to_owned()),
    }
}

/// Lets postcard append to `BytesMut`.
struct Extend(BytesMut);

impl std::iter::Extend<u8> for Extend {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}
