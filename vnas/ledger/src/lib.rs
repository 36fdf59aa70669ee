//! The pool's one consistent truth: members, the namespace, stripes and where their shards are, locks, users.
//!
//! Pure: a state machine over an ordered key-value trait ([`KvWrite`]). [`apply`] takes a batch of commands that
//! consensus has ordered and the time its leader stamped on it, and changes the state; [`query`] reads it. It knows no
//! clock, no disk, no network, and draws no random number, so every copy that applies the same batches is the same
//! to the byte.

mod apply;
mod care;
mod client;
mod clock;
mod command;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod kv;
mod leap;
mod local;
mod model;
pub mod query;
mod rights;
mod tables;
mod trash;
mod validate;

pub use apply::apply;
pub use care::{
    Accepted, BegunMove, CarePolicy, DrainCertificate, DrainRecord, MoveId, ShardMove, ShardStanding, SurplusShard,
};
/// How much of anything the ledger keeps or takes at once.
pub mod limits {
    pub use crate::apply::{
        BAD_SHARDS_LIMIT, BAD_SHARDS_PER_AGENT, CHUNKS_PER_COMMAND_LIMIT, COPY_LIMIT_NODES, GROUPS_LIMIT,
        JOIN_REQUEST_KEPT_MS, JOIN_REQUESTS_LIMIT, LOCK_TIMEOUT_LIMIT_S, LOCKS_LIMIT, LOCKS_PER_PATH_LIMIT,
        MEMBERS_LIMIT, MOVES_LIMIT, MOVES_PER_COMMAND_LIMIT, OUTCOMES_KEPT, PROPERTIES_PER_NODE_LIMIT,
        PROPERTY_LIMIT_BYTES, RIGHTS_LIMIT, SURVIVE_LIMIT, TICKETS_LIMIT, TRASH_PURGE_LIMIT, TRASH_ROWS_LIMIT,
        TRASH_VERSIONS_LIMIT, TYPE_POLICIES_LIMIT, UPLOADS_LIMIT, USERS_LIMIT, VOLUMES_LIMIT,
    };
}

pub use client::{LedgerClient, SubmitError};
pub use clock::{LedgerClock, agreed_ms};
pub use command::{
    Batch, ChunkRef, Command, Expect, FileContent, Guard, LockRequest, NewStripe, Outcome, PropertyPatch, Rejection,
    Submission,
};
pub use kv::{KvError, KvRead, KvWrite, MemoryKv, RowVisitor};
pub use leap::leap;
pub use local::LocalLedger;
pub use model::{
    AgentRecord, AgentRoles, AgentState, GarbageStripe, JoinRequest, Lock, LockScope, Node, NodeContent, NodeKind,
    NodePath, NodePathError, PoolRecord, Property, PropertyName, ShardPlace, StripeRecord, TicketRecord, UserRecord,
    UserRole, VolumePolicy, VolumeRecord,
};
pub use rights::{GroupRecord, RightRecord, SendRefusal, TypePolicy};
pub use trash::{TrashChild, TrashEntry, TrashReason, TrashTotals};
pub use validate::validate;

/// Bytes of a file kept in the ledger itself instead of in shards, at most.
pub const INLINE_LIMIT_BYTES: usize = 2 * 1024;
/// Bytes of a file in one chunk, and so in one stripe.
pub const CHUNK_BYTES: u32 = 4 * 1024 * 1024;
/// Version of everything this crate stores. A newer one is refused, an older one migrated.
pub const FORMAT_VERSION: u32 = 1;
