//! What is known of the health of agents.

use std::collections::BTreeMap;
use std::time::Duration;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};

use crate::Standing;

/// Whether an agent answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Presence {
    /// It does.
    Up,
    /// It has not for seconds.
    Suspect,
    /// It has not for longer than the grace time.
    Absent,
    /// It has not been heard since this agent started or it became a member.
    #[default]
    Unheard,
}

/// What an agent's store has room for; zeros without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Room {
    /// Bytes it may use in all.
    pub capacity_bytes: u64,
    /// Bytes its shards use now.
    pub used_bytes: u64,
    /// Bytes it would still accept.
    pub free_bytes: u64,
    /// Shards it holds.
    pub shards: u64,
    /// Whether a directory of it is not where it was: shards cannot be had from there.
    pub unplugged: bool,
}

/// What an agent says of itself with every ping.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SelfReport {
    /// How far its copy of the ledger is; 0 without one.
    pub position: u64,
    /// What its store has room for; zeros without one.
    pub room: Room,
    /// Bytes it must give back to its owner.
    pub owed_bytes: u64,
    /// How far it can be relied on, by its own account.
    pub standing: Standing,
    /// How busy its processors are, 0 to 1000; `None` where it does not tell. Not part of what earlier versions read: whoever
    /// sends a report puts it after.
    #[serde(skip)]
    pub busy_permille: Option<u16>,
}

/// What is known of one agent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AgentHealth {
    /// Whether it answers.
    pub presence: Presence,
    /// What its store has room for, once it said so.
    pub room: Option<Room>,
    /// How far its copy of the ledger is, as it last said.
    pub position: u64,
    /// Bytes it must give back to its owner, as it last said.
    pub owed_bytes: u64,
    /// How far it can be relied on, as it last said.
    pub standing: Standing,
    /// How busy its processors are, 0 to 1000, as it last said.
    pub busy_permille: Option<u16>,
    /// Since when its presence is what it is, from the start of this agent.
    pub since: Duration,
    /// Since when its store, or a part of it, is not there; `None` if it is, as far as it has said.
    pub unplugged_since: Option<Duration>,
}

impl AgentHealth {
    /// Whether it answers.
    #[must_use]
    pub fn answers(&self) -> bool {
        self.presence == Presence::Up
    }

    /// Whether its shards can be had: it answers, and its store is there.
    #[must_use]
    pub fn gives(&self) -> bool {
        self.answers() && self.unplugged_since.is_none()
    }

    /// Whether its store has been away for so long.
    #[must_use]
    pub fn unplugged_for(&self, now: Duration, time: Duration) -> bool {
        self.unplugged_since.is_some_and(|since| now.saturating_sub(since) >= time)
    }
}

/// What is known of all members but this agent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HealthView {
    agents: BTreeMap<AgentId, AgentHealth>,
}

impl HealthView {
    /// What is known of an agent; [`Presence::Unheard`] of strangers.
    #[must_use]
    pub fn of(&self, agent: AgentId) -> AgentHealth {
        self.agents.get(&agent).cloned().unwrap_or_default()
    }

    /// The same with what is known of one more.
    #[must_use]
    pub fn with(mut self, agent: AgentId, health: AgentHealth) -> Self {
        self.agents.insert(agent, health);
        self
    }

    /// All that are known of.
    pub fn iter(&self) -> impl Iterator<Item = (AgentId, &AgentHealth)> {
        self.agents.iter().map(|(agent, health)| (*agent, health))
    }
}

impl FromIterator<(AgentId, AgentHealth)> for HealthView {
    fn from_iter<I: IntoIterator<Item = (AgentId, AgentHealth)>>(agents: I) -> Self {
        Self { agents: agents.into_iter().collect() }
    }
}
