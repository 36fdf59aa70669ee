//! Shards that reading or a scrub found missing or damaged, made anew where the ledger counts on them.
//!
//! The holder does the work and looks first: what is whole by now stays. What cannot be mended is tried again, ever more
//! seldom, and stays counted until it is mended or nothing counts on it there any more.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::{AgentId, ShardKey};
use shoal_volume::{BadShard, Drive};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::holdings::Holdings;
use crate::peers::Peers;

/// Shards remembered at once; others are found again by the next read or scrub.
const REMEMBERED: usize = 1024;
/// Pauses after a vain try; the last one goes on.
const PAUSES: [Duration; 5] = [
    Duration::from_secs(2),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(10 * 60),
    Duration::from_secs(60 * 60),
];
/// How often is looked what reads have found.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How it stands with a bad shard.
#[derive(Debug, Clone)]
struct Trial {
    tries: usize,
    due: Instant,
    reason: String,
}

/// Has bad shards made anew.
pub(crate) struct Mender {
    agent: AgentId,
    peers: Arc<Peers>,
    holdings: Arc<Holdings>,
    bad: Mutex<BTreeMap<BadShard, Trial>>,
    news: Notify,
}

impl Mender {
    pub(crate) fn new(agent: AgentId, peers: Arc<Peers>, holdings: Arc<Holdings>) -> Self {
        Self { agent, peers, holdings, bad: Mutex::default(), news: Notify::new() }
    }

    /// Takes a bad shard up; `false` if too many wait.
    pub(crate) fn add(&self, shard: BadShard) -> bool {
        let mut bad = self.lock();
        if bad.len() >= REMEMBERED && !bad.contains_key(&shard) {
            return false;
        }
        bad.entry(shard).or_insert_with(|| Trial { tries: 0, due: Instant::now(), reason: String::new() });
        drop(bad);
        self.news.notify_one();
        true
    }

    /// Takes up a shard of this agent's own.
    pub(crate) fn add_own(&self, key: ShardKey) -> bool {
        self.add(BadShard { key, agent: self.agent })
    }

    /// Shards that are not mended yet.
    pub(crate) fn pending(&self) -> usize {
        self.lock().len()
    }

    /// Shards that were not even tried yet.
    pub(crate) fn untried(&self) -> usize {
        self.lock().values().filter(|trial| trial.tries == 0).count()
    }

    /// Why a shard of this agent's own is not mended yet; `None` if it is, or nothing counts on it any more.
    pub(crate) fn pending_reason(&self, key: ShardKey) -> Option<String> {
        self.lock().get(&BadShard { key, agent: self.agent }).map(|trial| trial.reason.clone())
    }

    /// Mends until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, drive: Option<Drive>, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.work(drive)).await;
    }

    async fn work(&self, drive: Option<Drive>) {
        loop {
            if let Some(drive) = &drive
                && drive.bad_shards_known() > 0
            {
                for shard in drive.take_bad_shards() {
                    self.add(shard);
                }
            }
            match self.next_due() {
                Some((shard, due)) if due <= Instant::now() => self.mend(shard).await,
                next => {
                    let look = Instant::now() + LOOK_INTERVAL;
                    let until = next.map_or(look, |(_, due)| due.min(look));
                    let _ = tokio::time::timeout_at(until, self.news.notified()).await;
                }
            }
        }
    }

    fn next_due(&self) -> Option<(BadShard, Instant)> {
        self.lock().iter().map(|(shard, trial)| (*shard, trial.due)).min_by_key(|(_, due)| *due)
    }

    async fn mend(&self, shard: BadShard) {
        match self.attempt(shard).await {
            Ok(mended) => {
                self.lock().remove(&shard);
                if mended {
                    tracing::info!(key = %shard.key, agent = %shard.agent, "mended a shard");
                }
            }
            Err(reason) => {
                tracing::debug!(key = %shard.key, agent = %shard.agent, reason, "a shard cannot be mended yet");
                if let Some(trial) = self.lock().get_mut(&shard) {
                    let pause = PAUSES.get(trial.tries).or(PAUSES.last()).copied().unwrap_or_default();
                    trial.tries += 1;
                    trial.due = Instant::now() + pause;
                    trial.reason = reason;
                }
            }
        }
    }

    /// Whether it is mended now; `false` if nothing counts on it there.
    async fn attempt(&self, BadShard { key, agent }: BadShard) -> Result<bool, String> {
        let asked = self.holdings.others(key, agent).await.map_err(|error| error.to_string())?;
        let Some(asked) = asked else { return Ok(false) };
        let rebuilt = self.peers.rebuild(agent, &asked).await.map_err(|error| error.to_string())?;
        for (index, agent) in rebuilt.bad {
            self.add(BadShard { key: ShardKey { stripe: key.stripe, index }, agent });
        }
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BadShard, Trial>> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
