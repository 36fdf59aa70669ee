//! Which geometry a stripe takes, which agents its shards go to, which agents vote.
//!
//! Pure: takes what is known of the agents and a seed, returns a decision; the same input gives the same decision.

mod choose;
mod geometry;
mod read;
mod room;
pub mod voters;

use dci_proto::AgentId;

pub use choose::{choose, spare};
pub use geometry::{geometry, small_file_geometry, survives};
pub use read::read_order;
pub use room::room_bytes;

/// What is known of an agent that could take a shard, or give one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Which.
    pub agent: AgentId,
    /// Whether it is this very agent.
    pub local: bool,
    /// Its site; empty when unknown.
    pub site: String,
    /// Bytes it still takes.
    pub free_bytes: u64,
    /// Bytes it gives in all.
    pub capacity_bytes: u64,
    /// Whether it answered lately. Suspects are read from and written to last.
    pub suspect: bool,
    /// Smoothed time a small read takes, in µs; 0 when unknown.
    pub latency_us: u32,
    /// Requests under way to it from here.
    pub in_flight: u32,
    /// How far it can be relied on, 0 to 100: its share of new shards shrinks with it.
    pub standing: u8,
}

/// How a stripe is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Geometry {
    /// Data shards; at least 1.
    pub k: u8,
    /// Parity shards: how many may be lost. Where `k` is 1 they are whole copies.
    pub m: u8,
}

/// Data shards of one stripe, at most.
pub const DATA_SHARDS_LIMIT: u8 = 8;
