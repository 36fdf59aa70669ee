//! Looking through all stripes, a bounded number at a time, for those that need something.

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::{AgentId, StripeId};
use shoal_ledger::{KvError, KvRead, StripeRecord, query};

use crate::balance::Budgets;
use crate::need::{bad_places, recut_bytes};
use crate::{Need, Reason, Situation, need};

/// Stripes that wait to be worked on, at most; more are found by the next sweep.
pub const QUEUE_LIMIT: usize = 4_096;

/// How much of something there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Tally {
    /// Stripes.
    pub stripes: u64,
    /// Bytes that have to be written for them.
    pub bytes: u64,
}

impl Tally {
    /// Counts one more stripe.
    pub fn add(&mut self, bytes: u64) {
        self.stripes += 1;
        self.bytes += bytes;
    }
}

/// What a sweep found.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Findings {
    /// Stripes looked at.
    pub seen: u64,
    /// What is to be done, by reason.
    pub waiting: BTreeMap<Reason, Tally>,
    /// What should be done and cannot be now, for want of agents that could take a shard.
    pub stuck: Tally,
    /// Stripes that cannot be read with the agents that count.
    pub lost: Tally,
}

/// A sweep under way.
#[derive(Debug, Clone)]
pub(crate) struct Sweep {
    after: Option<StripeId>,
    pub(crate) position: u64,
    pub(crate) findings: Findings,
    budgets: Budgets,
}

impl Sweep {
    pub(crate) fn new(position: u64, budgets: Budgets) -> Self {
        Self { after: None, position, findings: Findings::default(), budgets }
    }

    /// Looks at up to `limit` further stripes and queues what needs something; `true` when there are no more.
    pub(crate) fn go_on(
        &mut self,
        view: &dyn KvRead,
        situation: &Situation,
        limit: usize,
        queue: &mut Queue,
        busy: &dyn Fn(StripeId) -> bool,
    ) -> Result<bool, KvError> {
        let mut left = limit;
        let mut last = None;
        let bad = query::bad_shards_of_all(view)?;
        query::stripes(view, self.after, &mut |stripe, record| {
            left -= 1;
            last = Some(stripe);
            self.findings.seen += 1;
            // What is under way is counted until it is done, and not begun again.
            let busy = busy(stripe);
            let bad = bad_places(&bad, stripe, &record);
            if let Some(reason) = self.look(&record, situation, &bad, busy)
                && !busy
            {
                queue.push(reason, stripe);
            }
            left > 0
        })?;
        self.after = last.or(self.after);
        Ok(left > 0)
    }

    /// Notes what a stripe needs; answers why it is to be worked on, if it is.
    fn look(&mut self, record: &StripeRecord, situation: &Situation, bad: &[u8], busy: bool) -> Option<Reason> {
        let (reason, bytes) = match need(record, situation, bad) {
            // The budgets are less what is under way already.
            Need::Nothing if busy => return None,
            Need::Nothing => {
                let reason = self.uneven(record)?;
                (reason, u64::from(record.shard_bytes))
            }
            Need::Move { reason, shards } => (reason, shards.len() as u64 * u64::from(record.shard_bytes)),
            Need::Recut { reason, geometry } => (reason, recut_bytes(record, geometry)),
            Need::Stuck { .. } => {
                self.findings.stuck.add(u64::from(record.shard_bytes));
                return None;
            }
            Need::Lost => {
                self.findings.lost.add(u64::from(record.shard_bytes));
                return None;
            }
        };
        self.findings.waiting.entry(reason).or_default().add(bytes);
        Some(reason)
    }

    /// Whether an agent that should give something holds a shard of a stripe that needs nothing.
    fn uneven(&mut self, record: &StripeRecord) -> Option<Reason> {
        if self.budgets.is_empty() {
            return None;
        }
        let bytes = u64::from(record.shard_bytes);
        let holds: Vec<AgentId> = record.shards.iter().filter_map(|place| place.agent).collect();
        for holder in &holds {
            let owes = self.budgets.owed.get(holder).is_some_and(|left| *left > 0);
            if !owes {
                let to = self.budgets.deficit.iter().find(|(to, left)| **left >= bytes && !holds.contains(to));
                let Some((to, _)) = to.map(|(to, left)| (*to, *left)) else { continue };
                if self.budgets.surplus.get(holder).is_none_or(|left| *left < bytes) {
                    continue;
                }
                self.budgets.take(to, bytes);
            }
            if let Some(owes) = self.budgets.give(*holder, bytes) {
                return Some(if owes { Reason::Owed } else { Reason::Balance });
            }
        }
        None
    }
}

/// Stripes that wait to be worked on, the most pressing first; bounded, the least pressing go.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queue {
    waiting: BTreeSet<(Reason, StripeId)>,
    /// Something was left out since it was last emptied.
    pub(crate) overflowed: bool,
}

impl Queue {
    pub(crate) fn push(&mut self, reason: Reason, stripe: StripeId) {
        self.waiting.insert((reason, stripe));
        if self.waiting.len() > QUEUE_LIMIT {
            self.waiting.pop_last();
            self.overflowed = true;
        }
    }

    pub(crate) fn pop(&mut self) -> Option<(Reason, StripeId)> {
        self.waiting.pop_first()
    }

    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
        self.overflowed = false;
    }
}
