//! Shards that no ledger entry names yet: dropped again if nothing comes of them.

use std::sync::Arc;

use dci_proto::{AgentId, ShardKey, StripeId};
use shoal_ledger::{Command, limits, query};

use crate::shared::Shared;

/// How long after its first shard was sent a stripe may be named, by the ledger's time: half of what holders wait before they drop
/// what nobody names. A computer may sleep for days between the two.
const NAMED_WITHIN_MS: u64 = 12 * 60 * 60 * 1000;

/// The command, refused where the shards it names may have been dropped: those sent out since `begun_ms`.
pub(crate) fn fresh(begun_ms: Option<u64>, command: Command) -> Command {
    match begun_ms {
        Some(begun_ms) => Command::Fresh { begun_ms, within_ms: NAMED_WITHIN_MS, command: Box::new(command) },
        None => command,
    }
}

/// The shards of a stripe that was sent out and not yet submitted to the ledger. Dropped as it is, it tells the ledger that the
/// stripe is given up, which then refuses it for good, and has its agents drop the shards. What cannot be told or reached now
/// is seen to by the ledger's leader, or asked for by its store after its grace time.
pub(crate) struct Litter {
    shared: Arc<Shared>,
    shards: Vec<(AgentId, ShardKey)>,
    /// The ledger's time before the first of them was sent.
    begun_ms: u64,
    /// Whether the stripe may be known to the ledger: then its shards are the ledger's to drop.
    submitted: bool,
}

impl Litter {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        let begun_ms = shared.view().and_then(|view| Ok(query::time_ms(&*view)?)).unwrap_or(0);
        Self { shared: Arc::clone(shared), shards: Vec::new(), begun_ms, submitted: false }
    }

    /// A shard is about to go to an agent.
    pub(crate) fn sent(&mut self, agent: AgentId, stripe: StripeId, index: u8) {
        self.shards.push((agent, ShardKey { stripe, index }));
    }

    /// The ledger's time before the first shard was sent; `None` where none was.
    pub(crate) fn begun_ms(&self) -> Option<u64> {
        (!self.shards.is_empty()).then_some(self.begun_ms)
    }

    /// The stripe is about to be submitted, or was refused (`false`).
    pub(crate) fn set_submitted(&mut self, submitted: bool) {
        self.submitted = submitted;
    }
}

impl Drop for Litter {
    fn drop(&mut self) {
        if self.submitted || self.shards.is_empty() {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, shards) = (Arc::clone(&self.shared), std::mem::take(&mut self.shards));
        runtime.spawn(async move {
            for shards in shards.chunks(limits::MOVES_PER_COMMAND_LIMIT) {
                if let Err(error) = shared.ledger.submit(Command::GiveUp { shards: shards.to_vec() }).await {
                    tracing::debug!(%error, "the shards of an upload that was given up stay until their stores ask for them");
                    return;
                }
            }
            let deletes = shards.into_iter().map(|(agent, key)| shared.peers.delete(agent, key));
            for error in futures::future::join_all(deletes).await.into_iter().filter_map(Result::err) {
                tracing::debug!(%error, "a shard of an upload that was given up is dropped later");
            }
        });
    }
}
