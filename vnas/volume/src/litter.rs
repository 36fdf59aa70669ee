//! Shards that no ledger entry names yet: dropped again if nothing comes of them.

use std::sync::Arc;

use dci_proto::{AgentId, ShardKey, StripeId};

use crate::shared::Shared;

/// The shards of a stripe that was sent out and not yet submitted to the ledger. Dropped as it is, it has their
/// agents drop them: nobody else knows the stripe's id. What cannot be reached now is asked for by its store later.
pub(crate) struct Litter {
    shared: Arc<Shared>,
    shards: Vec<(AgentId, ShardKey)>,
    /// Whether the stripe may be known to the ledger: then its shards are the ledger's to drop.
    submitted: bool,
}

impl Litter {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), shards: Vec::new(), submitted: false }
    }

    /// A shard is about to go to an agent.
    pub(crate) fn sent(&mut self, agent: AgentId, stripe: StripeId, index: u8) {
        self.shards.push((agent, ShardKey { stripe, index }));
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
            let deletes = shards.into_iter().map(|(agent, key)| shared.peers.delete(agent, key));
            for error in futures::future::join_all(deletes).await.into_iter().filter_map(Result::err) {
                tracing::debug!(%error, "a shard of an upload that was given up stays until its store asks for it");
            }
        });
    }
}
