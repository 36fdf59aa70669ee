//! What newcomers and members say to each other.

use std::fmt;

use dci_proto::PoolId;
use serde::{Deserialize, Serialize};
use shoal_ledger::{AgentRecord, AgentRoles};

use crate::wire::Member;

/// Members told to a newcomer, at most: enough to hear of the others.
pub(super) const MEMBERS_TOLD: usize = 128;

/// What a newcomer asks.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// To be let in with a ticket.
    Ticket {
        /// The pool the ticket is for.
        pool: PoolId,
        /// The ticket's secret.
        secret: [u8; 32],
        /// Who asks.
        agent: AgentRecord,
    },
    /// To be let in by an admin; asked again until answered otherwise than with [`Answer::Waiting`].
    Approval {
        /// Who asks.
        agent: AgentRecord,
    },
    /// Whether the asker is a member.
    Standing {
        /// The pool it was one of.
        pool: PoolId,
    },
    /// Who the agent is that is asked, and of which pool; it tells the local network as much unasked.
    Who,
}

/// What a member answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// You are a member.
    Welcome(Box<Welcome>),
    /// An admin has to approve you.
    Waiting,
    /// No.
    Refused,
    /// You are looking for another pool.
    OtherPool,
    /// Not now; ask again, or ask another.
    Later(String),
    /// Whether you are a member now.
    Standing {
        /// Whether you are.
        member: bool,
    },
    /// Who I am.
    Here(About),
}

/// What an agent tells whoever asks: no more than it announces by mDNS. Who it is, is proved by the connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    /// Its pool.
    pub(crate) pool: PoolId,
    /// The pool's name, for people.
    pub(crate) pool_name: String,
    /// The agent's name, for people.
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
}

/// What a new member needs to know.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Welcome {
    pub(crate) pool: PoolId,
    pub(crate) pool_name: String,
    /// What the pool lets it do.
    pub(crate) roles: AgentRoles,
    pub(crate) members: Vec<Member>,
    /// The pool's data key, for agents that serve the drive.
    pub(crate) pool_key: Option<[u8; 32]>,
}

impl fmt::Debug for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ticket { pool, agent, .. } => {
                f.debug_struct("Ticket").field("pool", pool).field("agent", agent).finish_non_exhaustive()
            }
            Self::Standing { pool } => f.debug_struct("Standing").field("pool", pool).finish(),
            Self::Who => f.write_str("Who"),
            Self::Approval { agent } => f.debug_struct("Approval").field("agent", agent).finish(),
        }
    }
}

impl fmt::Debug for Welcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Welcome");
        shown.field("pool", &self.pool).field("roles", &self.roles).field("members", &self.members);
        shown.finish_non_exhaustive()
    }
}
