//! Proof that a shard may be dropped: the ledger, at a committed position, does not count on it. That a shard was not
//! found, or not asked for, is never proof.

use std::sync::Arc;
use std::time::Duration;

use dci_proto::{AgentId, ShardKey};
use shoal_ledger::{LedgerClient, ShardStanding, query};
use shoal_net::{Lane, Network};

use crate::wire::{self, Method, ShardDelete, ShardNeed};

/// How long an agent without a ledger waits for the word of one that has it.
const WITNESS_TIMEOUT: Duration = Duration::from_secs(8);

/// Why a shard is kept.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum KeepReason {
    /// A stripe counts on it.
    #[error("the ledger counts on it, or does not want it dropped")]
    Needed,
    /// The proof cannot be checked now.
    #[error("the proof cannot be checked: {0}")]
    Unproved(String),
}

/// Why a holder wants a shard gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Because {
    /// Somebody asked for it: the ledger must want it dropped, or never have heard of its stripe.
    Asked,
    /// Nobody has named it for longer than any commit may be on its way.
    Unnamed,
}

/// Whether that is enough, as the ledger stands to the shard.
pub(crate) fn may_drop(standing: ShardStanding, because: Because) -> bool {
    match standing {
        ShardStanding::Counted | ShardStanding::Coming => false,
        ShardStanding::Surplus | ShardStanding::Garbage | ShardStanding::Unknown => true,
        ShardStanding::Elsewhere => because == Because::Unnamed,
    }
}

/// Checks in this agent's own copy of the ledger, which must be as new as the question: what is copied to an agent again
/// after it was dropped there is not hit by an order that comes late.
pub(crate) async fn check(
    ledger: &Arc<dyn LedgerClient>,
    key: ShardKey,
    holder: AgentId,
    because: Because,
) -> Result<(), KeepReason> {
    ledger.barrier().await.map_err(|error| KeepReason::Unproved(error.to_string()))?;
    let standing = ledger.view().and_then(|view| query::standing(&*view, key, holder));
    let standing = standing.map_err(|error| KeepReason::Unproved(error.to_string()))?;
    if may_drop(standing, because) { Ok(()) } else { Err(KeepReason::Needed) }
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
