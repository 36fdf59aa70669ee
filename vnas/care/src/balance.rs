//! How much each agent should give to others, and take from them: what it owes its owner, and its fair share.

use std::collections::BTreeMap;

use dci_proto::AgentId;

use crate::{Duty, Situation};

/// An agent this much below its fair share, in per cent of it, sets moving off; what is nearer is left alone.
const TOO_LITTLE_PERCENT: u64 = 10;
/// And by at least this many bytes: a few chunks are not worth a move.
const TOO_LITTLE_BYTES: u64 = 16 * 1024 * 1024;

/// What agents should give and take, in bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Budgets {
    /// Bytes each owes its owner.
    pub(crate) owed: BTreeMap<AgentId, u64>,
    /// Bytes each has beyond its fair share.
    pub(crate) surplus: BTreeMap<AgentId, u64>,
    /// Bytes each lacks of its fair share.
    pub(crate) deficit: BTreeMap<AgentId, u64>,
}

impl Budgets {
    /// For the agents as they are. `coming`, `going`: bytes on their way to and from each.
    #[must_use]
    pub(crate) fn new(situation: &Situation, coming: &BTreeMap<AgentId, u64>, going: &BTreeMap<AgentId, u64>) -> Self {
        let mut budgets = Self::default();
        let of = |map: &BTreeMap<AgentId, u64>, id: AgentId| map.get(&id).copied().unwrap_or(0);
        for agent in situation.agents().filter(|agent| agent.owed_bytes > 0 && agent.duty() <= Duty::Keeps) {
            let owed = agent.owed_bytes.saturating_sub(of(going, agent.id)).min(agent.used_bytes);
            budgets.owed.insert(agent.id, owed);
        }
        let sharing: Vec<_> = situation.agents().filter(|a| a.duty() == Duty::Takes && a.owed_bytes == 0).collect();
        let used = |id: AgentId, used: u64| (used + of(coming, id)).saturating_sub(of(going, id));
        let total_used: u128 = sharing.iter().map(|agent| u128::from(used(agent.id, agent.used_bytes))).sum();
        let total_capacity: u128 = sharing.iter().map(|agent| u128::from(agent.capacity_bytes)).sum();
        if total_capacity == 0 {
            return budgets;
        }
        let mut unfair = false;
        for agent in sharing {
            let fair = total_used * u128::from(agent.capacity_bytes) / total_capacity;
            let fair = u64::try_from(fair).unwrap_or(u64::MAX);
            let has = used(agent.id, agent.used_bytes);
            if has > fair {
                budgets.surplus.insert(agent.id, has - fair);
            } else {
                let lacks = (fair - has).min(agent.free_bytes);
                unfair |= lacks > TOO_LITTLE_BYTES.max(fair * TOO_LITTLE_PERCENT / 100);
                budgets.deficit.insert(agent.id, lacks);
            }
        }
        if !unfair {
            budgets.surplus.clear();
            budgets.deficit.clear();
        }
        budgets
    }

    /// Whether anybody should give anything.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.owed.values().all(|bytes| *bytes == 0) && self.surplus.is_empty()
    }

    /// Takes one shard of `bytes` from what `from` should give, if it should; `true`: because it owes it.
    pub(crate) fn give(&mut self, from: AgentId, bytes: u64) -> Option<bool> {
        for (budget, owes) in [(&mut self.owed, true), (&mut self.surplus, false)] {
            if let Some(left) = budget.get_mut(&from).filter(|left| **left > 0) {
                if !owes && *left < bytes {
                    continue;
                }
                *left = left.saturating_sub(bytes);
                return Some(owes);
            }
        }
        None
    }

    /// Takes one shard of `bytes` from what `to` should get, if it should get so much.
    pub(crate) fn take(&mut self, to: AgentId, bytes: u64) -> bool {
        match self.deficit.get_mut(&to) {
            Some(left) if *left >= bytes => {
                *left -= bytes;
                true
            }
            _ => false,
        }
    }
}
