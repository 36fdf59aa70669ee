//! What the ledger keeps for the care of the volume: shards on their way to another agent, surplus ones to be dropped,
//! agents that are emptied, and the pool's patience.

use dci_proto::{AgentId, ShardKey};
use serde::{Deserialize, Serialize};

/// How patient the pool is, and how long it keeps what nobody needs any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CarePolicy {
    /// Seconds an agent may be silent before its shards are rebuilt elsewhere: laptops sleep.
    pub absent_after_s: u64,
    /// Seconds agents must have come or gone unchanged before stripes are cut anew to use more of them.
    pub restripe_after_s: u64,
    /// Seconds in which every agent reads all its shards again.
    pub scrub_period_s: u64,
    /// Seconds deleted and overwritten files are kept; 0: not at all.
    pub trash_keep_s: u64,
}

impl Default for CarePolicy {
    fn default() -> Self {
        const DAY_S: u64 = 24 * 60 * 60;
        Self {
            absent_after_s: 30 * 60,
            restripe_after_s: 10 * 60,
            scrub_period_s: 30 * DAY_S,
            trash_keep_s: 14 * DAY_S,
        }
    }
}

/// A shard that is to be on another agent (or on the first one that takes it).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ShardMove {
    /// The shard.
    pub key: ShardKey,
    /// The agent the ledger has it on when the move begins; `None`: on none.
    pub from: Option<AgentId>,
    /// Where it is to be.
    pub to: AgentId,
}

/// A move that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BegunMove {
    /// What moves where.
    pub what: ShardMove,
    /// The position of the log at which it was announced: no other move of this shard has it.
    pub begun: u64,
}

impl BegunMove {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> MoveId {
        MoveId { key: self.what.key, begun: self.begun }
    }
}

/// Names one move of a shard, and none that came before or after it: what a leader that was deposed says late of its own
/// move is not taken for something about a later one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MoveId {
    /// The shard.
    pub key: ShardKey,
    /// The position of the log at which it was announced.
    pub begun: u64,
}

/// A shard on an agent that no stripe counts on any more; its holder is to drop it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SurplusShard {
    /// The shard.
    pub key: ShardKey,
    /// Who may still hold it.
    pub agent: AgentId,
    /// Since when nobody counts on it, in ms since 1970 UTC by the leader's clock.
    pub since_ms: u64,
}

/// How the ledger stands to a shard that an agent holds. Only what it says is to go may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShardStanding {
    /// A stripe in use counts on it.
    Counted,
    /// It is on its way here: a move to this agent has begun.
    Coming,
    /// Nobody counts on it; the ledger wants it dropped.
    Surplus,
    /// Its stripe is garbage; the ledger wants it dropped.
    Garbage,
    /// The stripe has this shard on another agent, and nothing says that this one is to go.
    Elsewhere,
    /// The ledger knows no such stripe: its commit is on the way, or will never come.
    Unknown,
}

/// What an agent held when its emptying began, to tell how far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainRecord {
    /// When, in ms since 1970 UTC by the leader's clock.
    pub since_ms: u64,
    /// Shards it held then.
    pub shards: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Proof that the ledger counts on nothing an agent holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DrainCertificate {
    /// Who was emptied.
    pub agent: AgentId,
    /// Position of the ledger at which nothing counted on it.
    pub position: u64,
    /// When it was issued, in ms since 1970 UTC by the signer's clock.
    pub issued_ms: u64,
    /// The agent that signed: the ledger's leader then.
    pub signer: AgentId,
    /// Its ed25519 signature over the statement (`shoal node certificate --json` shows it).
    pub signature: Vec<u8>,
}

/// What became of each part of a command, in order: `true` where it took effect.
pub type Accepted = Vec<bool>;
