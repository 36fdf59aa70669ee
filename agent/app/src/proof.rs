//! Proof that a shard may be dropped: the ledger, at a committed position, does not count on it. That a shard was not
//! found, or not asked for, is never proof.

use std::sync::Arc;
use std::time::Duration;

use dci_proto::{AgentId, ShardKey};
use shoal_care::Kept;
use shoal_ledger::{LedgerClient, ShardStanding, query};
use shoal_net::{Lane, Network};

use crate::wire::{self, Method, ShardDelete, ShardNeed};

/// How long an agent without a ledger waits for the word of one that has it.
const WITNESS_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a shard is kept.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum KeepReason {
    /// As the ledger stands to it.
    #[error(transparent)]
    Kept(#[from] Kept),
    /// An agent that has a ledger says that it stays.
    #[error("the ledger counts on it, or has not said that it is to go")]
    Needed,
    /// The proof cannot be checked now.
    #[error("the proof cannot be checked: {0}")]
    Unproved(String),
}

/// Checks in this agent's own copy of the ledger, which must be as new as the question: what is copied to an agent again
/// after it was dropped there is not hit by an order that comes late. `rule`: [`shoal_care::drop_on_order`] or
/// [`shoal_care::drop_orphan`].
pub(crate) async fn check(
    ledger: &Arc<dyn LedgerClient>,
    key: ShardKey,
    holder: AgentId,
    rule: fn(ShardStanding) -> Result<(), Kept>,
) -> Result<(), KeepReason> {
    ledger.barrier().await.map_err(|error| KeepReason::Unproved(error.to_string()))?;
    let standing = ledger.view().and_then(|view| query::standing(&*view, key, holder));
    let standing = standing.map_err(|error| KeepReason::Unproved(error.to_string()))?;
    Ok(rule(standing)?)
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
