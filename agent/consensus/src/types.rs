//! The types openraft is used with.

use std::fmt;

use bytes::Bytes;
use dci_proto::AgentId;
use openraft::EmptyNode;
use serde::{Deserialize, Serialize};
use shoal_ledger::{Outcome, Rejection};

use crate::state::StateTransfer;

openraft::declare_raft_types!(
    /// openraft as this crate uses it.
    pub(crate) Raft:
        D = EncodedBatch,
        R = Vec<Result<Outcome, Rejection>>,
        NodeId = AgentId,
        Node = EmptyNode,
        Entry = openraft::Entry<Raft>,
        SnapshotData = StateTransfer,
        Responder = openraft::impls::OneshotResponder<Raft>,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(crate) type Entry = openraft::Entry<Raft>;
pub(crate) type LogId = openraft::LogId<AgentId>;
pub(crate) type Vote = openraft::Vote<AgentId>;
pub(crate) type Membership = openraft::Membership<AgentId, EmptyNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<AgentId, EmptyNode>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<AgentId, EmptyNode>;
pub(crate) type Snapshot = openraft::Snapshot<Raft>;
pub(crate) type StorageError = openraft::StorageError<AgentId>;
pub(crate) type RaftNode = openraft::Raft<Raft>;
pub(crate) type Metrics = openraft::RaftMetrics<AgentId, EmptyNode>;

/// A [`shoal_ledger::Batch`] in postcard. It is encoded once, by the leader; the log, replication and the caches of
/// every member pass the same bytes along, and only applying decodes them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct EncodedBatch(pub(crate) Bytes);

impl fmt::Debug for EncodedBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncodedBatch({} bytes)", self.0.len())
    }
}

/// Bytes an entry takes in memory and in messages, roughly.
pub(crate) fn entry_bytes(entry: &Entry) -> usize {
    /// Log id, tags, lengths.
    const OVERHEAD_BYTES: usize = 64;
    /// A member's id, twice (as voter and as node).
    const MEMBER_BYTES: usize = 80;
    OVERHEAD_BYTES
        + match &entry.payload {
            openraft::EntryPayload::Blank => 0,
            openraft::EntryPayload::Normal(batch) => batch.0.len(),
            openraft::EntryPayload::Membership(members) => members.nodes().count() * MEMBER_BYTES,
        }
}
