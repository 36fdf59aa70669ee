//! Getting the shards of one stripe durable: all at once, each on its own agent, with another agent for each one
//! that fails, is full or does not answer.

use std::collections::BTreeSet;
use std::time::Duration;

use dci_proto::{AgentId, ShardKey, StripeId};
use futures::stream::{FuturesUnordered, StreamExt};
use shoal_placement::{Candidate, spare};
use tokio::time::{Instant, MissedTickBehavior};

use crate::latency::Request;
use crate::litter::Litter;
use crate::shared::Shared;
use crate::stats::add;
use crate::stripe::SealedStripe;
use crate::{PeerError, Urgency};

/// An agent is waited for at least this long before its shard goes to another one: a busy disk syncs that slowly.
const PUT_PATIENCE_MIN: Duration = Duration::from_millis(700);
/// And at most this long once any other agent has answered.
const PUT_PATIENCE_MAX: Duration = Duration::from_secs(4);
/// And this long if no agent answers at all: then it is the way to all of them that is slow.
const PUT_PATIENCE_ALONE: Duration = Duration::from_secs(15);
/// How often waiting is thought over.
const PUT_TICK: Duration = Duration::from_millis(50);

/// What became of the shards of a stripe.
#[derive(Debug, Default)]
pub(crate) struct Placed {
    /// By shard index: the agent that has it durable.
    pub(crate) places: Vec<Option<AgentId>>,
    /// Agents that had no room.
    pub(crate) full: usize,
    /// Agents that failed or did not answer.
    pub(crate) failed: usize,
}

impl Placed {
    fn lacks(&self, index: u8) -> bool {
        self.places.get(usize::from(index)).is_none_or(Option::is_none)
    }

    /// Shards that are durable.
    pub(crate) fn durable(&self) -> usize {
        self.places.iter().flatten().count()
    }
}

/// A shard on its way to an agent.
struct Sending {
    index: u8,
    agent: AgentId,
    since: Instant,
    /// It was known to be in trouble and is tried all the same.
    suspect: bool,
    abandoned: bool,
}

/// Sends the shards of one stripe out.
pub(crate) struct Placing<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) stripe: StripeId,
    pub(crate) sealed: &'a SealedStripe,
    pub(crate) candidates: &'a [Candidate],
    pub(crate) seed: u64,
    pub(crate) urgency: Urgency,
}

impl Placing<'_> {
    /// Sends shard `i` to `chosen[i]` and waits until each is durable somewhere or cannot be. Agents that failed are
    /// added to `excluded`; shards sent are noted in `litter`.
    pub(crate) async fn run(
        &self,
        chosen: &[AgentId],
        excluded: &mut BTreeSet<AgentId>,
        litter: &mut Litter,
    ) -> Placed {
        let mut placed = Placed { places: vec![None; self.sealed.shards.len()], ..Placed::default() };
        let mut sending: Vec<Sending> = Vec::with_capacity(chosen.len());
        let mut answers = FuturesUnordered::new();
        let mut slowest = Duration::ZERO;
        let mut used: BTreeSet<AgentId> = chosen.iter().copied().collect();
        let mut tick = tokio::time::interval_at(Instant::now() + PUT_TICK, PUT_TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for (index, agent) in (0u8..).zip(chosen) {
            answers.push(self.send(index, *agent, &mut sending, litter));
        }
        loop {
            if !sending.iter().any(|one| !one.abandoned && placed.lacks(one.index)) {
                return placed;
            }
            let mut lost: Vec<u8> = Vec::new();
            tokio::select! {
                Some((index, agent, result)) = answers.next() => {
                    let Some(at) = sending.iter().position(|one| one.index == index && one.agent == agent) else { continue };
                    let one = sending.swap_remove(at);
                    match result {
                        Ok(()) => {
                            slowest = slowest.max(one.since.elapsed());
                            self.shared.latencies.record(agent, Request::Put, self.shard_bytes(), one.since.elapsed());
                            placed.places[usize::from(index)].get_or_insert(agent);
                        }
                        Err(error) => {
                            self.note_failure(agent, &error, &mut placed);
                            excluded.insert(agent);
                            if !one.abandoned && placed.lacks(index) {
                                lost.push(index);
                            }
                        }
                    }
                }
                _ = tick.tick() => {
                    let answered = placed.durable();
                    for one in &mut sending {
                        if !one.abandoned && self.overdue(one, answered, chosen.len(), slowest) {
                            one.abandoned = true;
                            placed.failed += 1;
                            excluded.insert(one.agent);
                            self.shared.peers.suspect(one.agent, "it did not keep a shard in time");
                            lost.push(one.index);
                        }
                    }
                }
            }
            for index in lost {
                let avoid: Vec<AgentId> = used.iter().chain(excluded.iter()).copied().collect();
                let Some(agent) = spare(self.candidates, self.shard_bytes() as u64, self.seed, &avoid) else {
                    continue;
                };
                used.insert(agent);
                add(&self.shared.counters.replaced_shards, 1);
                answers.push(self.send(index, agent, &mut sending, litter));
            }
        }
    }

    fn shard_bytes(&self) -> usize {
        self.sealed.shard_bytes as usize
    }

    fn send(
        &self,
        index: u8,
        agent: AgentId,
        sending: &mut Vec<Sending>,
        litter: &mut Litter,
    ) -> impl Future<Output = (u8, AgentId, Result<(), PeerError>)> + use<'_> {
        litter.sent(agent, self.stripe, index);
        let suspect = self.candidates.iter().any(|candidate| candidate.agent == agent && candidate.suspect);
        sending.push(Sending { index, agent, since: Instant::now(), suspect, abandoned: false });
        let (data, hash) = (self.sealed.shards[usize::from(index)].clone(), self.sealed.hashes[usize::from(index)]);
        let key = ShardKey { stripe: self.stripe, index };
        async move { (index, agent, self.shared.peers.put(agent, key, hash, data, self.urgency).await) }
    }

    /// Whether an agent has been waited for long enough: by how long the others took, how long it takes usually, and
    /// whether somebody has found it silent meanwhile.
    fn overdue(&self, one: &Sending, answered: usize, sent: usize, slowest: Duration) -> bool {
        let waited = one.since.elapsed();
        if answered == 0 {
            return waited >= PUT_PATIENCE_ALONE;
        }
        if answered * 2 < sent {
            return waited >= PUT_PATIENCE_MAX;
        }
        let usual = self.shared.latencies.p95(one.agent, Request::Put, self.shard_bytes()).unwrap_or_default();
        let patience = (2 * slowest.max(usual)).clamp(PUT_PATIENCE_MIN, PUT_PATIENCE_MAX);
        if waited >= patience {
            return true;
        }
        waited >= 2 * slowest.max(PUT_TICK) && !one.suspect && self.is_suspect(one.agent)
    }

    fn is_suspect(&self, agent: AgentId) -> bool {
        self.shared.peers.candidates().iter().any(|candidate| candidate.agent == agent && candidate.suspect)
    }

    fn note_failure(&self, agent: AgentId, error: &PeerError, placed: &mut Placed) {
        tracing::debug!(%error, stripe = %self.stripe, "a shard goes to another agent");
        match error {
            PeerError::Full(_) => self.shared.note_full(agent),
            PeerError::Unreachable { .. } => self.shared.peers.suspect(agent, "it did not keep a shard"),
            // It is there and busy, or its disk fails: it says so at once, and the next stripe asks it again.
            _ => {}
        }
        let count = if matches!(error, PeerError::Full(_)) { &mut placed.full } else { &mut placed.failed };
        *count += 1;
    }
}
