//! What is known of an agent when its shards are looked after.

use dci_proto::AgentId;
use shoal_ledger::AgentState;

/// What is known of a member that may hold shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentFacts {
    /// Which.
    pub id: AgentId,
    /// Whether it holds shards at all.
    pub stores: bool,
    /// Whether it can read and write files itself: it holds the ledger and the pool's key.
    pub mounts: bool,
    /// Where it stands by decision of an admin.
    pub state: AgentState,
    /// Whether it answers now.
    pub answers: bool,
    /// Whether it has been silent for a good part of the pool's patience: stripes that could lose nothing more do not wait
    /// for the rest of it.
    pub doubtful: bool,
    /// Whether it has been silent for longer than the pool's patience: its shards count as lost.
    pub absent: bool,
    /// Whether it is likely to fail soon: it is emptied while it can be read.
    pub failing: bool,
    /// How far it can be relied on, 0 to 100: it takes less where it is low.
    pub standing: u8,
    /// Its site; empty when unknown.
    pub site: String,
    /// Bytes it gives to the pool.
    pub capacity_bytes: u64,
    /// Bytes it would still take.
    pub free_bytes: u64,
    /// Bytes of shards that stripes count on it for.
    pub used_bytes: u64,
    /// Bytes it must give back to its owner.
    pub owed_bytes: u64,
}

/// What can be asked of an agent's shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Duty {
    /// Holds shards and takes more.
    Takes,
    /// Holds shards, takes none: paused, or silent for not long yet.
    Keeps,
    /// Holds shards that are to go elsewhere.
    Leaves,
    /// What it held counts as lost.
    Gone,
}

impl AgentFacts {
    /// What can be asked of its shards now.
    #[must_use]
    pub fn duty(&self) -> Duty {
        if !self.stores || self.absent {
            return Duty::Gone;
        }
        match self.state {
            AgentState::Draining => Duty::Leaves,
            _ if self.failing => Duty::Leaves,
            AgentState::Active if self.answers => Duty::Takes,
            AgentState::Active | AgentState::Paused => Duty::Keeps,
        }
    }
}
