//! The shards one agent says it has, in the order of their keys.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use dci_proto::{AgentId, ShardKey, StripeId};
use shoal_ledger::{ShardStanding, query};
use shoal_net::Lane;

use crate::AgentError;
use crate::context::AgentContext;
use crate::wire::{self, Method, SHARD_LIST_LIMIT, ShardList, ShardPage};

/// How long an agent may take for a page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(30);
/// Tries of one page before an agent counts as one that does not answer.
const PAGE_TRIES: u32 = 3;

/// The shards one agent says it has.
pub(super) struct Shelf {
    agent: AgentId,
    local: bool,
    after: Option<ShardKey>,
    page: VecDeque<ShardKey>,
    ended: bool,
    failed: bool,
    unnamed: u64,
}

impl Shelf {
    pub(super) fn new(agent: AgentId, context: &AgentContext) -> Self {
        let local = agent == context.agent;
        Self { agent, local, after: None, page: VecDeque::new(), ended: false, failed: false, unnamed: 0 }
    }

    pub(super) fn agent(&self) -> AgentId {
        self.agent
    }

    /// Whether it stopped answering.
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    /// Shards no stripe names, so far.
    pub(super) fn unnamed(&self) -> u64 {
        self.unnamed
    }

    /// Goes on up to a key (`None`: to the end): answers those of `named` that are there, and counts what no stripe names.
    pub(super) async fn take_upto(
        &mut self,
        context: &AgentContext,
        upto: Option<ShardKey>,
        named: &BTreeSet<ShardKey>,
    ) -> Result<BTreeSet<ShardKey>, AgentError> {
        let mut found = BTreeSet::new();
        let mut view = None;
        while let Some(key) = self.next_upto(context, upto).await {
            if named.contains(&key) {
                found.insert(key);
                continue;
            }
            // Its stripe may have been committed since the ledger was read.
            let now = match &view {
                Some(now) => now,
                None => view.insert(context.ledger.view()?),
            };
            let standing = query::standing(&**now, key, self.agent)?;
            self.unnamed += u64::from(matches!(standing, ShardStanding::Unknown | ShardStanding::Elsewhere));
        }
        Ok(found)
    }

    async fn next_upto(&mut self, context: &AgentContext, upto: Option<ShardKey>) -> Option<ShardKey> {
        if self.page.is_empty() && !self.ended {
            self.turn(context).await;
        }
        let first = *self.page.front()?;
        if upto.is_some_and(|upto| first > upto) {
            return None;
        }
        self.page.pop_front()
    }

    async fn turn(&mut self, context: &AgentContext) {
        for _ in 0..PAGE_TRIES {
            match self.list(context, self.after, SHARD_LIST_LIMIT).await {
                Ok(keys) => {
                    self.after = keys.last().copied().or(self.after);
                    self.ended = keys.is_empty();
                    self.page = keys.into();
                    return;
                }
                Err(reason) => tracing::debug!(agent = %self.agent, reason, "a page of shards did not come"),
            }
        }
        (self.ended, self.failed) = (true, true);
    }

    /// Whether it has a shard now.
    pub(super) async fn has(&self, context: &AgentContext, key: ShardKey) -> bool {
        let before = match key.index.checked_sub(1) {
            Some(index) => Some(ShardKey { stripe: key.stripe, index }),
            None => u128::from_be_bytes(key.stripe.0)
                .checked_sub(1)
                .map(|stripe| ShardKey { stripe: StripeId(stripe.to_be_bytes()), index: u8::MAX }),
        };
        self.list(context, before, 1).await.is_ok_and(|keys| keys.first() == Some(&key))
    }

    async fn list(
        &self,
        context: &AgentContext,
        after: Option<ShardKey>,
        limit: usize,
    ) -> Result<Vec<ShardKey>, String> {
        if self.local {
            let listed = context.store.list(after, limit).await.map_err(|error| error.to_string())?;
            return Ok(listed.into_iter().map(|shard| shard.key).collect());
        }
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let request =
            wire::request(Method::ShardList, &ShardList { after, limit }).map_err(|error| error.to_string())?;
        let answer = context.network.call(self.agent, Lane::Background, request, PAGE_TIMEOUT).await;
        let page: ShardPage =
            wire::done(&answer.map_err(|error| error.to_string())?).map_err(|error| error.to_string())?;
        // In order and beyond what was asked for, or going on would never end.
        let sound = page.keys.is_sorted() && page.keys.first().is_none_or(|first| Some(*first) > after);
        if sound { Ok(page.keys) } else { Err("its list is not in order".to_owned()) }
    }
}
