//! What this agent has to tell the ledger of its own shards: which are bad and cannot be mended in place, and which of those
//! are whole again. A repair that succeeds at once is never told.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::ShardKey;
use shoal_ledger::limits::MOVES_PER_COMMAND_LIMIT;
use tokio::sync::Notify;

use crate::AgentError;
use crate::holdings::Holdings;
use crate::wire::ShardsFound;

/// What the agent's own copy of the ledger has is looked at this often, and what could not be told is told again.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// An agent without a ledger asks another this often.
const ASK_INTERVAL: Duration = Duration::from_secs(60);

/// What waits to be told.
#[derive(Debug, Default)]
struct Waiting {
    bad: BTreeSet<ShardKey>,
    sound: BTreeSet<ShardKey>,
}

/// Tells the ledger.
pub(super) struct Reports {
    holdings: Arc<Holdings>,
    waiting: Mutex<Waiting>,
    news: Notify,
}

impl Reports {
    pub(super) fn new(holdings: Arc<Holdings>) -> Self {
        Self { holdings, waiting: Mutex::default(), news: Notify::new() }
    }

    /// A shard is bad.
    pub(super) fn bad(&self, key: ShardKey) {
        let mut waiting = self.lock();
        waiting.sound.remove(&key);
        waiting.bad.insert(key);
        drop(waiting);
        self.news.notify_one();
    }

    /// A shard that may have been told of is whole again.
    pub(super) fn sound(&self, key: ShardKey) {
        let mut waiting = self.lock();
        waiting.bad.remove(&key);
        waiting.sound.insert(key);
        drop(waiting);
        self.news.notify_one();
    }

    /// Tells what waits, as much as goes at once; answers which of this agent's shards the ledger has as bad.
    pub(super) async fn tell(&self) -> Result<BTreeSet<ShardKey>, AgentError> {
        let some = |keys: &BTreeSet<ShardKey>| keys.iter().take(MOVES_PER_COMMAND_LIMIT).copied().collect::<Vec<_>>();
        let found = {
            let waiting = self.lock();
            ShardsFound { bad: some(&waiting.bad), sound: some(&waiting.sound) }
        };
        let noted = self.holdings.tell(&found).await?;
        let mut waiting = self.lock();
        waiting.bad.retain(|key| !found.bad.contains(key));
        waiting.sound.retain(|key| !found.sound.contains(key));
        Ok(noted)
    }

    /// Waits until there is something to tell, or it is time to look again; `well`: what was to be told was told.
    pub(super) async fn pause(&self, well: bool) {
        let more = {
            let waiting = self.lock();
            well && !(waiting.bad.is_empty() && waiting.sound.is_empty())
        };
        let pause = if self.holdings.ledger.is_none() && well { ASK_INTERVAL } else { LOOK_INTERVAL };
        if !more {
            let _ = tokio::time::timeout(pause, self.news.notified()).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
