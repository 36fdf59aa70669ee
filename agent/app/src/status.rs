//! How the pool stands, in numbers and in one honest sentence ([`crate::verdict`]).
//!
//! Pure: takes what the ledger, health and consensus know, returns a report. Serialised it is what
//! `shoal status --json` prints; its keys are stable.

use std::collections::BTreeSet;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};
use shoal_ledger::{AgentRecord, AgentState, PoolRecord};

use crate::census::{CensusVerdict, StripeCounts};
use crate::health::{HealthView, Presence};
use crate::verdict;

/// How the pool stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// One sentence or two for people.
    pub verdict: String,
    /// How many more agents may be lost, any of them, without losing what can be read now.
    pub survives: u32,
    /// How many more agents may be lost, any of them, before changes stop.
    pub survives_writing: u32,
    /// Whether changes can be agreed on now.
    pub quorum: bool,
    /// The members, by name.
    pub nodes: Vec<NodeStatus>,
    /// Stripes by how safe they are.
    pub stripes: StripeCounts,
    /// What waits to be rebuilt.
    pub repair: RepairStatus,
}

/// One member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    pub name: String,
    /// What it is up to.
    pub state: NodeState,
    /// Bytes it gives to the pool.
    pub capacity_bytes: u64,
    /// Bytes its shards use, as it last said.
    pub used_bytes: u64,
}

/// What a member is up to. What cannot be reached is said before what an admin decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NodeState {
    /// Answers.
    Up,
    /// Has not answered for seconds.
    Suspect,
    /// Has not answered for longer than the grace time.
    Absent,
    /// Answers, is given nothing new.
    Paused,
    /// Answers, is being emptied.
    Draining,
    /// Is a member, has not been heard yet.
    Joining,
}

impl NodeState {
    /// As people and JSON see it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Suspect => "suspect",
            Self::Absent => "absent",
            Self::Paused => "paused",
            Self::Draining => "draining",
            Self::Joining => "joining",
        }
    }

    /// Whether it answers.
    #[must_use]
    pub fn answers(self) -> bool {
        matches!(self, Self::Up | Self::Paused | Self::Draining)
    }
}

impl std::fmt::Display for NodeState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What waits to be rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RepairStatus {
    /// Bytes of shards that are missing.
    pub queued_bytes: u64,
    /// Seconds until they are rebuilt; null while that cannot be told.
    pub eta_s: Option<u64>,
}

/// Who decides about changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuorumView {
    /// Who leads, as far as this agent knows.
    pub leader: Option<AgentId>,
    /// Whose votes count.
    pub voters: BTreeSet<AgentId>,
    /// Whether changes can be agreed on now.
    pub agrees: bool,
}

impl QuorumView {
    /// Voters needed to agree.
    #[must_use]
    pub fn majority(&self) -> usize {
        self.voters.len() / 2 + 1
    }
}

/// All a report is made of.
pub struct StatusInput<'a> {
    /// The agent that reports; it answers itself.
    pub agent: AgentId,
    /// The pool.
    pub pool: &'a PoolRecord,
    /// Its members.
    pub members: &'a [AgentRecord],
    /// Who answers.
    pub health: &'a HealthView,
    /// Who decides.
    pub quorum: &'a QuorumView,
    /// The stripes, judged by who answers.
    pub census: CensusVerdict,
}

/// Everything the sentence is made of.
pub(crate) struct Findings<'a> {
    pub(crate) nodes: &'a [NodeStatus],
    pub(crate) stripes: StripeCounts,
    pub(crate) survives: u32,
    pub(crate) survives_writing: u32,
    pub(crate) quorum: bool,
    pub(crate) voters: usize,
    pub(crate) voters_up: usize,
    pub(crate) survive_wanted: u32,
}

/// Builds the report.
#[must_use]
pub fn report(input: &StatusInput<'_>) -> StatusReport {
    let nodes = nodes(input);
    let up: BTreeSet<AgentId> = nodes.iter().filter(|node| node.state.answers()).map(|node| node.id).collect();
    let voters_up = input.quorum.voters.intersection(&up).count();
    let quorum = input.quorum.agrees;
    let survives = survives(input, &up);
    let survives_writing = if quorum { count(voters_up.saturating_sub(input.quorum.majority())) } else { 0 };
    let findings = Findings {
        nodes: &nodes,
        stripes: input.census.counts,
        survives,
        survives_writing,
        quorum,
        voters: input.quorum.voters.len(),
        voters_up,
        survive_wanted: u32::from(input.pool.survive),
    };
    StatusReport {
        verdict: verdict::sentence(&findings),
        survives,
        survives_writing,
        quorum,
        stripes: input.census.counts,
        repair: RepairStatus { queued_bytes: input.census.missing_bytes, eta_s: eta_s(input.census) },
        nodes,
    }
}

fn nodes(input: &StatusInput<'_>) -> Vec<NodeStatus> {
    let mut nodes: Vec<NodeStatus> = input
        .members
        .iter()
        .map(|member| {
            let health = input.health.of(member.id);
            NodeStatus {
                id: member.id,
                name: member.name.clone(),
                state: state(member, if member.id == input.agent { Presence::Up } else { health.presence }),
                capacity_bytes: health.space.map_or(member.capacity_bytes, |space| space.capacity_bytes),
                used_bytes: health.space.map_or(0, |space| space.used_bytes),
            }
        })
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name).then(a.id.cmp(&b.id)));
    nodes
}

fn state(member: &AgentRecord, presence: Presence) -> NodeState {
    match (presence, member.state) {
        (Presence::Unheard, _) => NodeState::Joining,
        (Presence::Suspect, _) => NodeState::Suspect,
        (Presence::Absent, _) => NodeState::Absent,
        (Presence::Up, AgentState::Active) => NodeState::Up,
        (Presence::Up, AgentState::Paused) => NodeState::Paused,
        (Presence::Up, AgentState::Draining) => NodeState::Draining,
    }
}

/// What data survives: its least safe stripe, and the copies of the ledger, which holds names and the smallest files.
fn survives(input: &StatusInput<'_>, up: &BTreeSet<AgentId>) -> u32 {
    let on_up = |wanted: fn(&AgentRecord) -> bool| {
        input.members.iter().filter(|member| wanted(member) && up.contains(&member.id)).count()
    };
    let ledger_copies = on_up(|member| member.roles.mount || member.roles.vote);
    let stores = on_up(|member| member.roles.store);
    let by_geometry = stores.saturating_sub(1).min(usize::from(input.pool.survive));
    let by_stripes = match input.census.least_margin {
        _ if input.census.counts.lost > 0 => 0,
        Some(margin) => usize::from(margin),
        None => by_geometry,
    };
    count(by_stripes.min(ledger_copies.saturating_sub(1)))
}

/// Nothing to rebuild is done now; how fast the rest goes is not known here.
fn eta_s(census: CensusVerdict) -> Option<u64> {
    (census.missing_bytes == 0).then_some(0)
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
