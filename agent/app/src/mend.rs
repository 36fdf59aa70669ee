//! Shards that reading or a scrub found missing or damaged, made anew where the ledger counts on them.
//!
//! The holder does the work and looks first: what is whole by now stays. What cannot be mended is tried again, ever more
//! seldom, and stays counted until it is mended or nothing counts on it there any more. A shard of this agent's own that two
//! tries did not mend is reported to the ledger: it counts as lost then, and is rebuilt elsewhere. One of a stripe that lost
//! too many shards is reported after the first: no second can mend it.

mod reports;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use dci_proto::{AgentId, ShardKey};
use shoal_volume::{BadShard, Drive, RebuildError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::holdings::Holdings;
use crate::machine::StoreMeter;
use crate::peers::Peers;
use crate::rebuild::RebuildRefusal;
use crate::wire::ShardRebuild;
use reports::Reports;

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
/// Vain tries after which a shard of this agent's own is reported: what passes is mended by then.
const TRIES_BEFORE_REPORT: usize = 2;
/// How often is looked what reads have found.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// How often is looked what the ledger counts on no more, however long the pause before the next try.
const FORGET_INTERVAL: Duration = Duration::from_secs(5);

/// How it stands with a bad shard.
#[derive(Debug, Clone)]
struct Trial {
    tries: usize,
    due: Instant,
    reason: String,
    /// The ledger has it as bad.
    noted: bool,
}

impl Trial {
    fn new(noted: bool) -> Self {
        Self { tries: 0, due: Instant::now(), reason: String::new(), noted }
    }
}

/// Why a shard was not mended.
struct Vain {
    reason: String,
    /// It is one of this agent's own, and looked at again it is bad.
    proven: bool,
    /// Trying again does not help: too many others of its stripe are bad.
    hopeless: bool,
}

/// Has bad shards made anew.
pub(crate) struct Mender {
    agent: AgentId,
    peers: Arc<Peers>,
    holdings: Arc<Holdings>,
    /// Where this agent's own store tells what it could not read.
    meter: Option<Arc<StoreMeter>>,
    /// Where reads tell what they met.
    drive: OnceLock<Drive>,
    reports: Reports,
    bad: Mutex<BTreeMap<BadShard, Trial>>,
    news: Notify,
}

impl Mender {
    pub(crate) fn new(
        agent: AgentId,
        peers: Arc<Peers>,
        holdings: Arc<Holdings>,
        meter: Option<Arc<StoreMeter>>,
    ) -> Self {
        let reports = Reports::new(holdings.clone());
        let (drive, bad) = (OnceLock::new(), Mutex::default());
        Self { agent, peers, holdings, meter, drive, reports, bad, news: Notify::new() }
    }

    /// Takes a bad shard up; `false` if too many wait.
    pub(crate) fn add(&self, shard: BadShard) -> bool {
        let mut bad = self.lock();
        if bad.len() >= REMEMBERED && !bad.contains_key(&shard) {
            return false;
        }
        bad.entry(shard).or_insert_with(|| Trial::new(false));
        drop(bad);
        self.news.notify_one();
        true
    }

    /// Takes up a shard of this agent's own.
    pub(crate) fn add_own(&self, key: ShardKey) -> bool {
        self.add(BadShard { key, agent: self.agent })
    }

    /// Shards that are not mended yet, this agent's own and others it met.
    pub(crate) fn pending(&self) -> Vec<BadShard> {
        self.take_met();
        self.lock().keys().copied().collect()
    }

    /// Shards of this agent's own that are not mended yet, and why.
    pub(crate) fn pending_here(&self) -> Vec<(ShardKey, String)> {
        let here = |(shard, _): &(&BadShard, &Trial)| shard.agent == self.agent;
        self.lock().iter().filter(here).map(|(shard, trial)| (shard.key, trial.reason.clone())).collect()
    }

    /// Shards that are not mended yet and of which the ledger does not know.
    pub(crate) fn unreported(&self) -> Vec<BadShard> {
        self.take_met();
        self.lock().iter().filter(|(_, trial)| !trial.noted).map(|(shard, _)| *shard).collect()
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
        if let Some(drive) = drive {
            let _ = self.drive.set(drive);
        }
        shutdown.run_until_cancelled(async { tokio::join!(self.work(), self.report()) }).await;
    }

    /// Tells the ledger what cannot be mended here, and takes up what it has of that.
    async fn report(&self) {
        while self.peers.holds_shards() {
            let told = self.reports.tell().await;
            if let Err(error) = &told {
                tracing::debug!(%error, "the ledger could not be told of bad shards yet");
            }
            let well = told.is_ok();
            if let Ok(noted) = told {
                self.settle(&noted);
            }
            self.reports.pause(well).await;
        }
    }

    /// Takes in which shards of this agent's own the ledger has as bad.
    fn settle(&self, noted: &BTreeSet<ShardKey>) {
        let agent = self.agent;
        let mut bad = self.lock();
        for (shard, trial) in bad.iter_mut().filter(|(shard, _)| shard.agent == agent) {
            let before = std::mem::replace(&mut trial.noted, noted.contains(&shard.key));
            if before && !trial.noted {
                // Most likely nothing counts on it here any more.
                trial.due = Instant::now();
            }
        }
        for key in noted {
            if bad.len() < REMEMBERED {
                bad.entry(BadShard { key: *key, agent }).or_insert_with(|| Trial::new(true));
            }
        }
        drop(bad);
        self.news.notify_one();
    }

    /// Forgets what the ledger counts on no more, and what it has as bad on other agents.
    fn forget_settled(&self) {
        for shard in self.pending() {
            match self.holdings.is_settled(shard) {
                Ok(true) => drop(self.lock().remove(&shard)),
                Ok(false) => {}
                Err(error) => return tracing::debug!(%error, "what counts on bad shards is not known"),
            }
        }
    }

    /// Takes up what reads met.
    fn take_met(&self) {
        let Some(drive) = self.drive.get().filter(|drive| drive.bad_shards_known() > 0) else { return };
        for shard in drive.take_bad_shards() {
            self.add(shard);
        }
    }

    async fn work(&self) {
        let mut forgotten = Instant::now();
        loop {
            if forgotten.elapsed() >= FORGET_INTERVAL {
                self.forget_settled();
                forgotten = Instant::now();
            }
            self.take_met();
            for key in self.meter.iter().flat_map(|meter| meter.take_unreadable()) {
                self.add_own(key);
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
                let trial = self.lock().remove(&shard);
                if mended {
                    tracing::info!(key = %shard.key, agent = %shard.agent, "mended a shard");
                }
                let told = trial.is_some_and(|trial| trial.noted || trial.tries >= TRIES_BEFORE_REPORT);
                if mended && told && shard.agent == self.agent {
                    self.reports.sound(shard.key);
                }
            }
            Err(Vain { reason, proven, hopeless }) => {
                tracing::debug!(key = %shard.key, agent = %shard.agent, reason, "a shard cannot be mended yet");
                let mut bad = self.lock();
                let Some(trial) = bad.get_mut(&shard) else { return };
                let pause = PAUSES.get(trial.tries).or(PAUSES.last()).copied().unwrap_or_default();
                trial.tries += 1;
                trial.due = Instant::now() + pause;
                trial.reason = reason;
                let tell = proven && !trial.noted && (hopeless || trial.tries >= TRIES_BEFORE_REPORT);
                drop(bad);
                if tell {
                    tracing::warn!(key = %shard.key, "a shard is bad and cannot be mended here");
                    self.reports.bad(shard.key);
                }
            }
        }
    }

    /// Whether it is mended now; `false` if nothing counts on it there.
    async fn attempt(&self, BadShard { key, agent }: BadShard) -> Result<bool, Vain> {
        let vain = |error: &dyn std::fmt::Display| Vain { reason: error.to_string(), proven: false, hopeless: false };
        let asked = self.holdings.others(key, agent).await.map_err(|error| vain(&error))?;
        let Some(asked) = asked else { return Ok(false) };
        if agent != self.agent {
            let rebuilt = self.peers.rebuild(agent, &asked).await.map_err(|error| vain(&error))?;
            self.add_met(key, &rebuilt.bad);
            return Ok(true);
        }
        match self.peers.rebuild_here(&asked).await {
            Ok(rebuilt) => {
                self.add_met(key, &rebuilt.bad);
                Ok(true)
            }
            Err(error) => {
                let mut hopeless = false;
                if let RebuildRefusal::Rebuild(RebuildError::TooFew { bad, .. }) = &error {
                    hopeless = is_hopeless(&asked, bad.len());
                    self.add_met(key, bad);
                }
                let hash = asked.places.get(usize::from(key.index)).map(|(_, hash)| *hash).unwrap_or_default();
                let proven = self.peers.is_bad_here(key, hash).await;
                Err(Vain { reason: error.to_string(), proven, hopeless })
            }
        }
    }

    /// Takes up others of a stripe that were met, unless they are known where they are.
    fn add_met(&self, key: ShardKey, bad: &[(u8, AgentId)]) {
        for (index, agent) in bad {
            let shard = BadShard { key: ShardKey { index: *index, ..key }, agent: *agent };
            if !self.holdings.is_settled(shard).unwrap_or(false) {
                self.add(shard);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<BadShard, Trial>> {
        self.bad.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether too few of the others of a stripe are left to make a shard anew, were all agents to answer.
fn is_hopeless(asked: &ShardRebuild, bad: usize) -> bool {
    let others = (0u8..).zip(&asked.places).filter(|(index, (agent, _))| *index != asked.key.index && agent.is_some());
    others.count().saturating_sub(bad) < usize::from(asked.k)
}
