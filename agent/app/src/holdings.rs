//! What an agent is expected to hold, and what it takes to make one of those shards anew: from its own copy of the
//! ledger, or, on an agent that holds none, from a member that does.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use dci_proto::{AgentId, ShardKey, StripeId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_ledger::query::{ExpectedPage, expected};
use shoal_ledger::{Command, KvError, KvRead, LedgerClient, ShardStanding, query};
use shoal_net::{Lane, Network, Request};
use shoal_volume::BadShard;

use crate::AgentError;
use crate::members::MemberBook;
use crate::wire::{self, Method, ShardRebuild, ShardsExpected, ShardsFound};

/// Shards of one page: its answer fits a head.
const PAGE_SHARDS: usize = 500;
/// How long an agent without a ledger waits for one that has it.
const ASK_TIMEOUT: Duration = Duration::from_secs(15);

/// Some of what an agent is expected to hold, and how much it is in all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Share {
    pub(crate) page: ExpectedPage,
    /// Bytes of all its shards.
    pub(crate) bytes: u64,
    /// Seconds in which it shall read them all again.
    pub(crate) period_s: u64,
}

/// Where an agent learns what it is expected to hold.
pub(crate) struct Holdings {
    pub(crate) agent: AgentId,
    /// `None` on an agent that holds none.
    pub(crate) ledger: Option<Arc<dyn LedgerClient>>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) members: Arc<MemberBook>,
}

/// What a holder is expected to have, of stripes after `after`. Reads a view; blocks for a moment.
pub(crate) fn share_of(view: &dyn KvRead, holder: AgentId, after: Option<StripeId>) -> Result<Share, KvError> {
    let page = expected(view, holder, after, PAGE_SHARDS)?;
    let bytes = query::agent_usage(view, holder)?.bytes;
    Ok(Share { page, bytes, period_s: query::care_policy(view)?.scrub_period_s })
}

/// What it takes to make a holder's shard anew; `None` if nothing counts on it there.
pub(crate) fn others_of(view: &dyn KvRead, key: ShardKey, holder: AgentId) -> Result<Option<ShardRebuild>, KvError> {
    if query::standing(view, key, holder)? != ShardStanding::Counted {
        return Ok(None);
    }
    Ok(query::stripe(view, key.stripe)?.map(|record| ShardRebuild::of(key, &record)))
}

/// Has the ledger take in what a holder has found of its own shards; answers which of them the ledger has as bad.
pub(crate) async fn take_found(
    ledger: &Arc<dyn LedgerClient>,
    holder: AgentId,
    ShardsFound { bad, sound }: ShardsFound,
) -> Result<BTreeSet<ShardKey>, AgentError> {
    if !bad.is_empty() {
        ledger.submit(Command::ReportBad { agent: holder, keys: bad }).await?;
    }
    if !sound.is_empty() {
        ledger.submit(Command::ReportSound { agent: holder, keys: sound }).await?;
    }
    Ok(query::bad_shards(&*ledger.view()?, holder)?.into_iter().map(|(_, key)| key).collect())
}

impl Holdings {
    /// What this agent is expected to hold, of stripes after `after`.
    pub(crate) async fn share(&self, after: Option<StripeId>) -> Result<Share, AgentError> {
        let Some(ledger) = &self.ledger else {
            return self.ask(Method::ShardsExpected, &ShardsExpected { after }).await;
        };
        let (view, agent) = (ledger.view()?, self.agent);
        let looked = tokio::task::spawn_blocking(move || share_of(&*view, agent, after)).await;
        Ok(looked.map_err(|error| AgentError::Internal(error.to_string()))??)
    }

    /// What it takes to make a shard anew on the agent that holds it; `None` if nothing counts on it there. An agent
    /// without a ledger can ask for shards of its own only.
    pub(crate) async fn others(&self, key: ShardKey, holder: AgentId) -> Result<Option<ShardRebuild>, AgentError> {
        match &self.ledger {
            Some(ledger) => Ok(others_of(&*ledger.view()?, key, holder)?),
            None if holder == self.agent => self.ask(Method::ShardOthers, &key).await,
            None => Ok(None),
        }
    }

    /// Whether a bad shard needs no more looking after by this agent: nothing counts on it there, or it is another's and the
    /// ledger has it as bad, so that its holder is at it. `false` without a ledger.
    pub(crate) fn is_settled(&self, shard: BadShard) -> Result<bool, AgentError> {
        let Some(ledger) = &self.ledger else { return Ok(false) };
        let view = ledger.view()?;
        let counted = query::standing(&*view, shard.key, shard.agent)? == ShardStanding::Counted;
        Ok(!counted || (shard.agent != self.agent && query::is_bad(&*view, shard.agent, shard.key)?))
    }

    /// Has the ledger take in what this agent has found of its own shards; answers which of them the ledger has as bad.
    pub(crate) async fn tell(&self, found: &ShardsFound) -> Result<BTreeSet<ShardKey>, AgentError> {
        match &self.ledger {
            Some(ledger) => take_found(ledger, self.agent, found.clone()).await,
            None => self.ask(Method::ShardsFound, found).await,
        }
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, head: &impl Serialize) -> Result<T, AgentError> {
        let mut last = "no member with a ledger is known".to_owned();
        for member in self.members.ledger_holders(self.agent) {
            let request: Request = wire::request(method, head).map_err(|e| AgentError::Internal(e.to_string()))?;
            match self.network.call(member, Lane::Background, request, ASK_TIMEOUT).await {
                Ok(response) => match wire::done(&response) {
                    Ok(answer) => return Ok(answer),
                    Err(error) => last = error.to_string(),
                },
                Err(error) => last = error.to_string(),
            }
        }
        Err(AgentError::Internal(format!("nobody could say what this agent is expected to hold: {last}")))
    }
}
