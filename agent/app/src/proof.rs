//! Proof that a shard may be dropped: the ledger, at a committed position, does not count on it. That a shard was not
//! found, or not asked for, is never proof.

use std::sync::Arc;
use std::time::Duration;

use dci_proto::{AgentId, ShardKey};
use shoal_ledger::{KvError, KvRead, LedgerClient, query};
use shoal_net::{Lane, Network};

use crate::wire::{self, Method, ShardDelete, ShardNeed};

/// How long an agent waits for its copy of the ledger to reach the position a request names.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(5);
/// How long an agent without a ledger waits for the word of one that has it.
const WITNESS_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a shard is kept.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum KeepReason {
    /// A stripe counts on it.
    #[error("the ledger counts on it")]
    Needed,
    /// The proof cannot be checked now.
    #[error("the proof cannot be checked: {0}")]
    Unproved(String),
}

/// Whether a stripe of the view counts on this agent for this shard.
pub(crate) fn counts_on(view: &dyn KvRead, key: ShardKey, holder: AgentId) -> Result<bool, KvError> {
    let record = query::stripe(view, key.stripe)?;
    let place = record.as_ref().and_then(|record| record.shards.get(usize::from(key.index)));
    Ok(place.is_some_and(|place| place.agent == Some(holder)))
}

/// Checks in this agent's own copy of the ledger.
pub(crate) async fn check(
    ledger: &Arc<dyn LedgerClient>,
    asked: ShardDelete,
    holder: AgentId,
) -> Result<(), KeepReason> {
    let unproved = |error: KvError| KeepReason::Unproved(error.to_string());
    if let Some(before) = asked.position.checked_sub(1) {
        let reached = tokio::time::timeout(CATCH_UP_LIMIT, ledger.changed(before)).await;
        reached.map_err(|_| KeepReason::Unproved("this copy of the ledger is behind".into()))?;
    }
    let view = ledger.view().map_err(unproved)?;
    match counts_on(&*view, asked.key, holder).map_err(unproved)? {
        true => Err(KeepReason::Needed),
        false => Ok(()),
    }
}

/// Checks with an agent that has a ledger, for a holder that has none. The asker is not taken at its word while another
/// can be asked.
pub(crate) async fn check_with_witnesses(
    network: &Arc<dyn Network>,
    witnesses: &[AgentId],
    asker: AgentId,
    asked: ShardDelete,
) -> Result<(), KeepReason> {
    let unproved = |reason: String| KeepReason::Unproved(reason);
    let (others, asker_itself): (Vec<AgentId>, Vec<AgentId>) = witnesses.iter().partition(|agent| **agent != asker);
    for witness in others.into_iter().chain(asker_itself) {
        let request = wire::request(Method::ShardNeeded, &asked).map_err(|error| unproved(error.to_string()))?;
        let Ok(response) = network.call(witness, Lane::Background, request, WITNESS_TIMEOUT).await else { continue };
        return match wire::done::<ShardNeed>(&response) {
            Ok(ShardNeed { needed: false }) => Ok(()),
            Ok(ShardNeed { needed: true }) => Err(KeepReason::Needed),
            Err(error) => Err(unproved(error.to_string())),
        };
    }
    Err(unproved("no agent with a ledger can be reached".into()))
}
