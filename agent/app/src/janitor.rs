//! Drops the shards of stripes nothing refers to any more, and those that are on another agent now. Run by the ledger's leader.
//!
//! Each holder checks the proof for itself; a stripe is forgotten when all its holders have dropped their shards, so
//! it can be stopped at any point and goes on where it was.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dci_proto::{AgentId, ShardKey, StripeId};
use futures::StreamExt as _;
use futures::stream;
use shoal_care::{CleaningGrace, Droppable, droppable};
use shoal_consensus::Consensus;
use shoal_ledger::{Command, GarbageStripe, LedgerClient, SurplusShard, query};
use shoal_volume::ShardPeers;
use tokio_util::sync::CancellationToken;

use crate::config::Timing;
use crate::health::Health;
use crate::membership::is_leader;

/// Garbage stripes, and surplus shards, dropped in one round.
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

    /// One look at what may go; returns how many stripes and shards are gone for good.
    async fn round(&self) -> Result<usize, crate::AgentError> {
        let (due, members) = self.due().await?;
        let mut gone = 0;
        for batch in due.garbage.chunks(BATCH) {
            let drops = stream::iter(batch.to_vec()).map(|garbage| self.drop_stripe(garbage, &members));
            let dropped: Vec<Option<StripeId>> = drops.buffered(DROPS_AT_ONCE).collect().await;
            let stripes: Vec<StripeId> = dropped.into_iter().flatten().collect();
            if stripes.is_empty() {
                continue;
            }
            gone += stripes.len();
            self.ledger.submit(Command::ForgetGarbage { stripes }).await?;
        }
        for stripes in due.split.chunks(BATCH) {
            self.ledger.submit(Command::SplitGarbage { stripes: stripes.to_vec() }).await?;
        }
        for shards in due.forgotten.chunks(BATCH) {
            self.ledger.submit(Command::ForgetSurplus { shards: shards.to_vec() }).await?;
        }
        for batch in due.surplus.chunks(BATCH) {
            let drops = stream::iter(batch.to_vec()).map(|shard| self.drop_shard(shard));
            let dropped: Vec<Option<SurplusShard>> = drops.buffered(DROPS_AT_ONCE).collect().await;
            let shards: Vec<SurplusShard> = dropped.into_iter().flatten().collect();
            if shards.is_empty() {
                continue;
            }
            gone += shards.len();
            self.ledger.submit(Command::ForgetSurplus { shards }).await?;
        }
        Ok(gone)
    }

    /// What is past its grace. Time is the ledger's own, which the leader stamps.
    async fn due(&self) -> Result<(Droppable, BTreeSet<AgentId>), crate::AgentError> {
        let (view, health) = (self.ledger.view()?, self.health.clone());
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let grace =
            CleaningGrace { garbage_ms: ms(self.timing.garbage_grace), surplus_ms: ms(self.timing.surplus_grace) };
        let look = move || {
            let members: BTreeSet<AgentId> = query::agents(&*view)?.into_iter().map(|member| member.id).collect();
            Ok((droppable(&*view, grace, &|agent| health.answers(agent), LOOKED_AT)?, members))
        };
        let looked = tokio::task::spawn_blocking(look).await;
        looked.map_err(|error| crate::AgentError::Internal(error.to_string()))?
    }

    /// Has an agent drop a shard nobody counts on; the shard if it did.
    async fn drop_shard(&self, shard: SurplusShard) -> Option<SurplusShard> {
        match self.peers.delete(shard.agent, shard.key).await {
            Ok(()) => Some(shard),
            Err(error) => {
                tracing::debug!(key = %shard.key, agent = %shard.agent, %error, "a surplus shard could not be dropped yet");
                None
            }
        }
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
