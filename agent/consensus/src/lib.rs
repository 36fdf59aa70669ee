//! The ledger replicated by Raft (openraft): the log in an append-only file, the state in redb, many commands to an
//! entry, linearizable reads anywhere, voters changed one at a time.
//!
//! ```text
//!  submit ──► propose (leader) / forward (others) ──► openraft ──► log (one fsync an entry) ──► state (redb)
//!  barrier ─► read index: what the leader had applied, once a quorum says it still follows it
//!  view ────► the newest read transaction of the state
//! ```
//!
//! It reaches other agents only through [`ConsensusTransport`], and knows no addresses. It never reads a clock to
//! order anything: reads are confirmed by a quorum, not by a lease.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;

mod barrier;
mod client;
mod clock;
mod consensus;
mod elections;
mod error;
mod files;
mod forward;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod group;
mod handle;
mod headroom;
mod log;
mod membership;
mod message;
mod network;
mod peers;
mod propose;
mod restore;
mod state;
mod status;
mod types;
mod upkeep;

pub use clock::WallClock;
pub use consensus::Consensus;
pub use error::ConsensusError;
pub use group::Group;
pub use headroom::Headroom;
pub use restore::{RestoreSource, Survey, with_state};
pub use state::StateDump;
pub use status::ConsensusStatus;

/// How messages of consensus travel; what they mean is this crate's own matter.
#[async_trait]
pub trait ConsensusTransport: Send + Sync {
    /// Sends a message to another member's [`Consensus::handle`] and returns its answer. Errors are text for the log;
    /// all of them are "unreachable" to Raft.
    async fn call(&self, to: AgentId, message: Bytes, timeout: Duration) -> Result<Bytes, String>;

    /// Whether another member is not known to be away. Asked again and again while a quorum is missed, so it should see to
    /// it that it finds out; only used to tell sooner that waiting is in vain.
    fn may_answer(&self, agent: AgentId) -> bool {
        let _ = agent;
        true
    }
}

/// How consensus behaves.
#[derive(Debug, Clone)]
pub struct ConsensusConfig {
    /// This agent.
    pub agent: AgentId,
    /// Where log and state lie (`DATA/ledger`).
    pub directory: PathBuf,
    /// Bytes of memory redb may use as cache.
    pub cache_bytes: usize,
    /// Time between heartbeats of the leader.
    pub heartbeat: Duration,
    /// An election is called after a silence between these two.
    pub election_timeout: (Duration, Duration),
    /// Room kept for the ledger on its disk.
    pub headroom: Arc<Headroom>,
    /// The time of day. It orders nothing; together with the others' it tells how much time has passed.
    pub wall: WallClock,
}

impl ConsensusConfig {
    /// The settings for agents on one LAN: heartbeats every 300 ms, an election after 1.5 to 2.2 s of silence; no room
    /// is kept on the disk.
    #[must_use]
    pub fn new(agent: AgentId, directory: PathBuf) -> Self {
        Self {
            agent,
            headroom: Headroom::new(&directory, 0),
            directory,
            cache_bytes: 32 * 1024 * 1024,
            heartbeat: Duration::from_millis(300),
            election_timeout: (Duration::from_millis(1500), Duration::from_millis(2200)),
            wall: WallClock::of_this_computer(),
        }
    }
}

/// Whether a ledger's directory has all it must have once it has begun: a vote, a state, a place for the log (which may
/// be empty after a snapshot).
#[must_use]
pub fn is_whole(directory: &std::path::Path) -> bool {
    let has = |end: &str| {
        let mut entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.any(|entry| entry.file_name().to_string_lossy().ends_with(end))
    };
    has(".vote") && has(".redb") && directory.join("log").is_dir()
}
