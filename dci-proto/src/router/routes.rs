//! Ways to agents that are no neighbours, learnt from the ways their messages came.

use std::collections::BTreeMap;

use crate::AgentId;

#[derive(Debug, Clone, Copy)]
struct Route {
    way: AgentId,
    learnt_ms: u64,
}

/// What was learnt, bounded in number and time.
#[derive(Debug, Clone)]
pub(super) struct Routes {
    limit: usize,
    life_ms: u64,
    routes: BTreeMap<AgentId, Route>,
}

impl Routes {
    pub(super) fn new(limit: usize, life_ms: u64) -> Self {
        Self { limit, life_ms, routes: BTreeMap::new() }
    }

    /// Something from an agent came first over a neighbour.
    pub(super) fn learn(&mut self, now_ms: u64, agent: AgentId, way: AgentId) {
        if self.limit == 0 {
            return;
        }
        if self.routes.len() >= self.limit && !self.routes.contains_key(&agent) {
            let life_ms = self.life_ms;
            self.routes.retain(|_, route| now_ms.saturating_sub(route.learnt_ms) <= life_ms);
            if self.routes.len() >= self.limit
                && let Some(oldest) =
                    self.routes.iter().min_by_key(|(_, route)| route.learnt_ms).map(|(agent, _)| *agent)
            {
                self.routes.remove(&oldest);
            }
        }
        self.routes.insert(agent, Route { way, learnt_ms: now_ms });
    }

    pub(super) fn way(&self, now_ms: u64, to: AgentId) -> Option<AgentId> {
        let fresh = |route: &&Route| now_ms.saturating_sub(route.learnt_ms) <= self.life_ms;
        self.routes.get(&to).filter(fresh).map(|route| route.way)
    }

    pub(super) fn forget_way(&mut self, way: AgentId) {
        self.routes.retain(|_, route| route.way != way);
    }

    pub(super) fn len(&self) -> usize {
        self.routes.len()
    }
}
