//! Stripes cut anew, each by one agent that can read and write files.

use std::time::Duration;

use dci_proto::{AgentId, StripeId};
use shoal_ledger::StripeRecord;

use super::{Effect, Keeper, RecutJob, Work};
use crate::Reason;
use crate::need::recut_bytes;

#[derive(Debug, Clone)]
pub(super) struct RecutState {
    executor: AgentId,
    bytes: u64,
    reason: Reason,
    since: Duration,
}

impl Keeper {
    /// Has an agent with a hand free cut a stripe anew; `false`: not now.
    pub(super) fn begin_recut(
        &mut self,
        now: Duration,
        stripe: StripeId,
        record: &StripeRecord,
        reason: Reason,
        effects: &mut Vec<Effect>,
    ) -> bool {
        self.recuts.retain(|_, one| now.saturating_sub(one.since) < self.config.job_patience);
        let busy = |agent: AgentId| self.recuts.values().filter(|one| one.executor == agent).count();
        let able = self.situation.agents().filter(|agent| agent.mounts && agent.answers);
        let free = able.map(|agent| (busy(agent.id), agent.id)).min();
        let Some((_, executor)) = free.filter(|(jobs, _)| *jobs < self.config.recuts_per_agent) else { return false };
        let survive = self.situation.survive(record);
        let bytes = recut_bytes(record, self.situation.geometry_for(record));
        self.recuts.insert(stripe, RecutState { executor, bytes, reason, since: now });
        let ticket = self.ticket(Work::Recut(stripe));
        effects.push(Effect::Recut(ticket, RecutJob { executor, stripe, survive, reason }));
        true
    }

    pub(super) fn recut_done(&mut self, now: Duration, stripe: StripeId, well: bool) {
        let Some(one) = self.recuts.remove(&stripe) else { return };
        if well {
            self.backoffs.remove(&stripe);
            self.progress.worked(now, one.reason, one.bytes);
        } else {
            self.back_off(now, stripe);
        }
    }
}
