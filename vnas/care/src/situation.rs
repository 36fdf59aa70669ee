//! The pool as it is while its stripes are looked after: who can do what, and how safe content is to be.

use std::collections::BTreeMap;

use dci_proto::{AgentId, ContentId};
use shoal_ledger::StripeRecord;
use shoal_placement::{Candidate, Geometry, geometry, small_file_geometry};

use crate::{AgentFacts, Duty};

/// Chunks of at most so many plain bytes are kept as whole copies.
pub const COPIES_LIMIT_BYTES: u32 = 64 * 1024;

/// How many agents may be lost without losing a content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// What the pool asks.
    pub pool: u8,
    /// Contents of volumes that ask otherwise: the most any of them asks.
    pub special: BTreeMap<ContentId, u8>,
}

impl Wanted {
    /// What is asked for a content.
    #[must_use]
    pub fn of(&self, content: ContentId) -> u8 {
        self.special.get(&content).copied().unwrap_or(self.pool)
    }
}

/// Who can do what, and how safe content is to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Situation {
    agents: BTreeMap<AgentId, AgentFacts>,
    wanted: Wanted,
}

impl Situation {
    /// Of these members.
    #[must_use]
    pub fn new(agents: &[AgentFacts], wanted: Wanted) -> Self {
        let agents = &spared(agents, usize::from(wanted.pool.max(1)));
        Self { agents: agents.iter().map(|agent| (agent.id, agent.clone())).collect(), wanted }
    }

    /// All members, by id.
    pub fn agents(&self) -> impl Iterator<Item = &AgentFacts> {
        self.agents.values()
    }

    /// One member.
    #[must_use]
    pub fn agent(&self, id: AgentId) -> Option<&AgentFacts> {
        self.agents.get(&id)
    }

    /// What can be asked of an agent's shards; those of one who is no member are lost.
    #[must_use]
    pub fn duty(&self, id: AgentId) -> Duty {
        self.agents.get(&id).map_or(Duty::Gone, AgentFacts::duty)
    }

    /// Whether an agent has been silent for a good part of the patience.
    #[must_use]
    pub fn is_doubtful(&self, id: AgentId) -> bool {
        self.agents.get(&id).is_some_and(|agent| agent.doubtful)
    }

    /// Whether an agent answers now.
    #[must_use]
    pub fn answers(&self, id: AgentId) -> bool {
        self.agents.get(&id).is_some_and(|agent| agent.answers)
    }

    /// Agents that take shards now.
    #[must_use]
    pub fn takers(&self) -> usize {
        self.agents.values().filter(|agent| agent.duty() == Duty::Takes).count()
    }

    /// How a stripe of this content would be cut for the agents there are.
    #[must_use]
    pub fn geometry_for(&self, record: &StripeRecord) -> Geometry {
        let survive = self.wanted.of(record.content);
        let settled = self.places(record, &[Duty::Takes, Duty::Keeps]);
        if record.plain_bytes <= COPIES_LIMIT_BYTES {
            small_file_geometry(survive, settled)
        } else {
            geometry(survive, settled)
        }
    }

    /// Agents of these duties that hold a shard of a stripe, or have room for one however it is cut.
    #[must_use]
    pub fn places(&self, record: &StripeRecord, duties: &[Duty]) -> usize {
        let holds = |id: AgentId| record.shards.iter().any(|place| place.agent == Some(id));
        // One that is silent tells nothing of its room: it had some, or it would not have been asked to join.
        let room = |agent: &AgentFacts| {
            !agent.answers || (agent.free_bytes >= u64::from(record.stored_bytes) && agent.owed_bytes == 0)
        };
        self.agents.values().filter(|a| duties.contains(&a.duty()) && (room(a) || holds(a.id))).count()
    }

    /// How safe a stripe's content is to be.
    #[must_use]
    pub fn survive(&self, record: &StripeRecord) -> u8 {
        self.wanted.of(record.content)
    }

    /// Agents that could take a shard, for the choice among them.
    #[must_use]
    pub fn candidates(&self) -> Vec<Candidate> {
        let takes = self.agents.values().filter(|agent| agent.duty() == Duty::Takes && agent.owed_bytes == 0);
        let candidate = |agent: &AgentFacts| Candidate {
            agent: agent.id,
            local: false,
            site: agent.site.clone(),
            free_bytes: agent.free_bytes,
            capacity_bytes: agent.capacity_bytes,
            suspect: false,
            latency_us: 0,
            in_flight: 0,
            standing: agent.standing,
        };
        takes.map(candidate).collect()
    }

    /// Whether stripes would be looked after in the same way in both: how full disks are does not matter.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let key = |agent: &AgentFacts| (agent.id, agent.duty(), agent.doubtful, agent.owed_bytes > 0, agent.mounts);
        self.wanted == other.wanted && self.agents.values().map(key).eq(other.agents.values().map(key))
    }
}

/// The agents, of those likely to fail only so many, the worst, called so: where most of them fare badly at once there would be
/// nowhere to bring their shards.
fn spared(agents: &[AgentFacts], limit: usize) -> Vec<AgentFacts> {
    let mut agents = agents.to_vec();
    let mut failing: Vec<&mut AgentFacts> = agents.iter_mut().filter(|agent| agent.failing).collect();
    failing.sort_by_key(|agent| (agent.standing, agent.id));
    failing.into_iter().skip(limit).for_each(|agent| agent.failing = false);
    agents
}
