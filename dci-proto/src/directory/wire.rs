//! What neighbours tell each other.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::signed::Stamp;
use crate::AgentId;
use crate::message::Envelope;

/// Parts the agents are divided into by the first four bits of their ids, so that a difference is looked for where it is.
pub const BUCKETS: usize = 16;

/// Which offer of which agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// The agent.
    pub agent: AgentId,
    /// Which of its offers.
    pub stamp: Stamp,
}

/// What an agent tells a neighbour. None is acknowledged: what is lost is made up for by the next comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum DirectoryMessage {
    /// A hash of each bucket's versions ([`BUCKETS`] of them): is yours the same?
    Digest(Vec<[u8; 8]>),
    /// All versions of a bucket after an agent, in order of their agents; answered with [`Self::Have`] where the other has
    /// newer ones, and [`Self::Want`].
    Versions {
        /// Which bucket.
        bucket: u8,
        /// After whom; `None`: from its beginning.
        after: Option<AgentId>,
        /// The versions.
        versions: Vec<Version>,
        /// Whether there are none after them.
        whole: bool,
    },
    /// The versions of a bucket after an agent, please.
    Next {
        /// Which bucket.
        bucket: u8,
        /// After whom; `None`: from its beginning.
        after: Option<AgentId>,
    },
    /// There are these versions here.
    Have(Vec<Version>),
    /// The offers of these agents, please.
    Want(Vec<AgentId>),
    /// Offers. Their signatures are to be checked before they go on as [`super::Event::Received`].
    Offers {
        /// The offers; none, if what was wanted is not here.
        offers: Vec<Arc<Envelope>>,
        /// Whether they are what was wanted; otherwise it is the sender's own, which has changed.
        answer: bool,
    },
}
