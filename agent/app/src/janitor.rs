//! Drops the shards of stripes nothing refers to any more. Run by the ledger's leader.
//!
//! Each holder checks the proof for itself; a stripe is forgotten when all its holders have dropped their shards, so
//! it can be stopped at any point and goes on where it was.

use std::collections::BTreeSet;
use std::sync::Arc;

use dci_proto::{AgentId, ShardKey, StripeId};
use futures::StreamExt as _;
use futures::stream;
use shoal_consensus::Consensus;
use shoal_ledger::{Command, GarbageStripe, KvError, LedgerClient, query};
use shoal_volume::ShardPeers;
use tokio_util::sync::CancellationToken;

use crate::config::Timing;
use crate::health::Health;
use crate::membership::is_leader;

/// Garbage stripes looked at in one round.
const LOOKED_AT: usize = 20_000;
/// Stripes dropped and then forgotten in one command.
const BATCH: usize = 128;
/// Shards asked to be dropped at once.
const DROPS_AT_ONCE: usize = 16;

pub(crate) struct Janitor {
    pub(crate) agent: AgentId,
    pub(crate) consensus: Consensus,
    pub(crate) ledger: Arc<dyn LedgerClient>,
    pub(crate) peers: Arc<dyn ShardPeers>,
    pub(crate) health: Arc<Health>,
    pub(crate) timing: Timing,
}

impl Janitor {
    /// Cleans until `shutdown`, whenever this agent leads.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        while shutdown.run_until_cancelled(tokio::time::sleep(self.timing.janitor_interval)).await.is_some() {
            if !is_leader(&self.consensus, self.agent) {
                continue;
            }
            match shutdown.run_until_cancelled(self.round()).await {
                Some(Ok(0)) => {}
                Some(Ok(stripes)) => tracing::info!(stripes, "dropped stripes nothing refers to"),
                Some(Err(error)) => tracing::debug!(%error, "cleaning stopped early"),
                None => return,
            }
        }
    }

    /// One look at the garbage; returns how many stripes are gone for good.
    async fn round(&self) -> Result<usize, crate::AgentError> {
        let (due, members) = self.due()?;
        let mut gone = 0;
        for batch in due.chunks(BATCH) {
            let drops = stream::iter(batch.to_vec()).map(|garbage| self.drop_stripe(garbage, &members));
            let dropped: Vec<Option<StripeId>> = drops.buffered(DROPS_AT_ONCE).collect().await;
            let stripes: Vec<StripeId> = dropped.into_iter().flatten().collect();
            if stripes.is_empty() {
                continue;
            }
            gone += stripes.len();
            self.ledger.submit(Command::ForgetGarbage { stripes }).await?;
        }
        Ok(gone)
    }

    /// Garbage past its grace all of whose holders answer. Time is the ledger's own, which the leader stamps.
    fn due(&self) -> Result<(Vec<GarbageStripe>, BTreeSet<AgentId>), KvError> {
        let view = self.ledger.view()?;
        let now_ms = query::time_ms(&*view)?;
        let grace_ms = u64::try_from(self.timing.garbage_grace.as_millis()).unwrap_or(u64::MAX);
        let members: BTreeSet<AgentId> = query::agents(&*view)?.into_iter().map(|member| member.id).collect();
        let can_drop = |agent: AgentId| !members.contains(&agent) || self.health.answers(agent);
        let is_due = |garbage: &GarbageStripe| {
            garbage.since_ms.saturating_add(grace_ms) <= now_ms
                && garbage.record.shards.iter().filter_map(|place| place.agent).all(can_drop)
        };
        let due = query::garbage(&*view, LOOKED_AT)?.into_iter().filter(is_due).collect();
        Ok((due, members))
    }

    /// Has all holders drop their shards; the stripe's id if they all did. What an agent holds that was struck off is no
    /// concern of the pool any more.
    async fn drop_stripe(&self, garbage: GarbageStripe, members: &BTreeSet<AgentId>) -> Option<StripeId> {
        let stripe = garbage.stripe;
        for (index, place) in garbage.record.shards.iter().enumerate() {
            let (Some(agent), Ok(index)) = (place.agent, u8::try_from(index)) else { continue };
            if !members.contains(&agent) {
                continue;
            }
            if let Err(error) = self.peers.delete(agent, ShardKey { stripe, index }).await {
                tracing::debug!(%stripe, %error, "a shard could not be dropped yet");
                return None;
            }
        }
        Some(stripe)
    }
}
