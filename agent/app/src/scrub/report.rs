//! How the scrub of an agent stands, as it says itself.

use serde::{Deserialize, Serialize};

use super::record::Finding;

/// How the scrub of an agent stands.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ScrubReport {
    /// Which time round it is; 0 before the first.
    pub round: u64,
    /// Whether it goes on.
    pub under_way: bool,
    /// Whether somebody asked for it: it goes on without pauses.
    pub asked: bool,
    /// Thousandths that are done.
    pub permille: u16,
    /// Seconds until it ends, where that can be told.
    pub eta_s: Option<u64>,
    /// When it began, in ms since 1970 UTC by the agent's clock.
    pub begun_ms: u64,
    /// Shards read.
    pub shards: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Bytes there are to read, as far as is known.
    pub total_bytes: u64,
    /// Shards found bad.
    pub found: u64,
    /// How often it went on after a restart.
    pub resumed: u32,
    /// When the last round ended, in ms since 1970 UTC by the agent's clock.
    pub last_ended_ms: Option<u64>,
    /// Shards the last round read.
    pub last_shards: u64,
    /// Bad shards that wait to be mended, those that reading came upon included.
    pub unmended: u64,
    /// Of these, how many nobody has tried to mend yet.
    pub untried: u64,
    /// Why it does not go on now, if it does not.
    pub problem: Option<String>,
    /// What this round and the last one found.
    pub findings: Vec<Finding>,
    /// Findings too many to be kept.
    pub findings_beyond: u64,
}
