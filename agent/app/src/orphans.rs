//! Shards of this agent's own store that the ledger does not count on: left by uploads whose commit never came, or by
//! a time when this agent was away and its shards were rebuilt elsewhere.
//!
//! That the ledger does not name a shard now is no reason to drop it: its commit may be on the way. It is dropped when
//! the ledger still does not name it a day later, by the ledger's own time, in a copy known to be fresh. What was seen
//! is kept over restarts, since few PCs run for a whole day.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dci_proto::{AgentId, ShardKey};
use serde::{Deserialize, Serialize};
use shoal_care::{OrphanBook, OrphanLook, OrphanRules, Unnamed, drop_orphan};
use shoal_ledger::{KvRead, LedgerClient, ShardStanding, query};
use shoal_store::ShardStore;
use tokio_util::sync::CancellationToken;

use crate::proof;
use crate::store_gate::GuardedStore;
use crate::{AgentError, secret_file};

/// Time between two looks: each goes through all shards.
const LOOK_INTERVAL: Duration = Duration::from_secs(4 * 60 * 60);
/// The first look comes this long after the start, when people have their files.
const FIRST_LOOK_AFTER: Duration = Duration::from_secs(10 * 60);
/// How long the ledger must not have named a shard, by its own time: a day, twice what a writer has to name it in.
const GRACE_MS: u64 = 24 * 60 * 60 * 1000;
/// Shards looked at in one step.
const PAGE: usize = 1000;
/// Pause between two steps: people go first.
const PAGE_PAUSE: Duration = Duration::from_millis(50);
/// Shards remembered as unnamed, at most; others wait for a later look.
const REMEMBERED: usize = 10_000;
/// Format of the file. Another one is not read: the day begins anew.
const FILE_VERSION: u32 = 2;

/// What was seen before, as it is kept.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    version: u32,
    /// Shards the ledger does not name.
    unnamed: BTreeMap<String, Unnamed>,
}

/// Looks for orphans.
pub(crate) struct Orphans {
    pub(crate) agent: AgentId,
    pub(crate) store: Arc<GuardedStore>,
    pub(crate) ledger: Arc<dyn LedgerClient>,
    /// Where what was seen is kept.
    pub(crate) file: PathBuf,
}

impl Orphans {
    /// Looks until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut wait = FIRST_LOOK_AFTER;
        while shutdown.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
            wait = LOOK_INTERVAL;
            match shutdown.run_until_cancelled(self.look()).await {
                Some(Ok(0)) => {}
                Some(Ok(dropped)) => tracing::info!(dropped, "dropped shards no file ever counted on"),
                Some(Err(error)) => tracing::debug!(%error, "shards without a file were not looked for"),
                None => return,
            }
        }
    }

    /// Goes through all shards; returns how many were dropped.
    async fn look(&self) -> Result<usize, AgentError> {
        self.ledger.barrier().await?;
        let view = self.ledger.view()?;
        let before = self.read();
        let rules = OrphanRules { grace_ms: GRACE_MS, remembered: REMEMBERED };
        let mut look = OrphanLook::begin(&before, rules, query::time_ms(&*view)?);
        let (mut after, mut dropped) = (None, 0);
        loop {
            let shards = self.store.list(after, PAGE).await.map_err(|error| AgentError::Internal(error.to_string()))?;
            let Some(last) = shards.last() else { break };
            after = Some(last.key);
            for (key, standing) in self.standings(&view, shards.iter().map(|shard| shard.key).collect()).await? {
                if !look.see(key, standing) {
                    continue;
                }
                let proof = proof::check(&self.ledger, key, self.agent, drop_orphan);
                if self.store.delete_proved(key, proof).await.is_ok() {
                    look.dropped(key);
                    dropped += 1;
                }
            }
            tokio::time::sleep(PAGE_PAUSE).await;
        }
        let seen = look.end();
        if seen != before {
            self.keep(&seen)?;
        }
        Ok(dropped)
    }

    /// How the ledger stands to these.
    async fn standings(
        &self,
        view: &Arc<dyn KvRead + Send + Sync>,
        keys: Vec<ShardKey>,
    ) -> Result<Vec<(ShardKey, ShardStanding)>, AgentError> {
        let (view, agent) = (view.clone(), self.agent);
        let look_up = move || keys.into_iter().map(|key| Ok((key, query::standing(&*view, key, agent)?))).collect();
        tokio::task::spawn_blocking(look_up).await.map_err(|error| AgentError::Internal(error.to_string()))?
    }

    /// A file that cannot be read only makes the day begin anew.
    fn read(&self) -> OrphanBook {
        let bytes = secret_file::read(&self.file).ok().flatten().unwrap_or_default();
        let kept: Kept = serde_json::from_slice(&bytes).unwrap_or_default();
        let unnamed = if kept.version == FILE_VERSION { kept.unnamed } else { BTreeMap::new() };
        OrphanBook::of(unnamed.into_iter().filter_map(|(key, unnamed)| Some((key.parse().ok()?, unnamed))))
    }

    fn keep(&self, seen: &OrphanBook) -> Result<(), AgentError> {
        let unnamed = seen.iter().map(|(key, unnamed)| (key.to_string(), unnamed)).collect();
        let kept = Kept { version: FILE_VERSION, unnamed };
        let text = serde_json::to_vec(&kept).map_err(|error| AgentError::Internal(error.to_string()))?;
        secret_file::replace(&self.file, &text)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytes::Bytes;
    use dci_proto::{ContentId, PoolId, StripeId, shard_hash};
    use shoal_ledger::{
        AgentRecord, AgentRoles, AgentState, ChunkRef, Command, FileContent, Guard, LocalLedger, NewStripe, NodePath,
        ShardPlace, StripeRecord, VolumePolicy,
    };
    use shoal_store::MemoryStore;

    use super::*;

    const AGENT: AgentId = AgentId([1; 32]);

    async fn submit(ledger: &LocalLedger, command: Command) {
        ledger.submit(command).await.expect("taken");
    }

    /// A ledger with a file of one stripe, whose only shard is on the agent.
    async fn ledger_with_file(clock: Arc<AtomicU64>, stripe: StripeId, bytes: &Bytes) -> Arc<LocalLedger> {
        let ledger = Arc::new(LocalLedger::with_clock(move || clock.load(Ordering::Relaxed)));
        let first = AgentRecord {
            id: AGENT,
            name: "one".into(),
            control_addresses: Vec::new(),
            data_addresses: Vec::new(),
            roles: AgentRoles::default(),
            state: AgentState::Active,
            site: String::new(),
            capacity_bytes: 0,
            version: "0".into(),
            joined_ms: 0,
        };
        submit(&ledger, Command::CreatePool { id: PoolId::default(), name: "pool".into(), survive: 0, first }).await;
        submit(&ledger, Command::CreateVolume { name: "pool".into(), policy: VolumePolicy::default() }).await;
        let size = u32::try_from(bytes.len()).expect("small");
        let record = StripeRecord {
            content: ContentId([9; 32]),
            codec: 1,
            k: 1,
            m: 0,
            plain_bytes: size,
            stored_bytes: size,
            shard_bytes: size,
            compression: 0,
            key_epoch: 1,
            shards: vec![ShardPlace { agent: Some(AGENT), hash: shard_hash(bytes) }],
        };
        let new_stripe = Some(NewStripe { id: stripe, record, replaces: None });
        let volume = query::volumes(&*ledger.view().expect("a view")).expect("volumes")[0].id;
        let commit = Command::CommitFile {
            path: NodePath::new(volume, vec!["file".into()]).expect("a path"),
            guard: Guard::default(),
            content: FileContent::Chunks(vec![ChunkRef { content: ContentId([9; 32]), plain_bytes: size, new_stripe }]),
            size_bytes: u64::from(size),
            modified_ms: None,
            sha1: None,
            media_type: None,
        };
        submit(&ledger, commit).await;
        ledger
    }

    #[tokio::test(start_paused = true)]
    async fn a_shard_no_file_counts_on_goes_after_a_day_and_no_other_ever_does() {
        let clock = Arc::new(AtomicU64::new(1_800_000_000_000));
        let bytes = Bytes::from_static(b"bytes");
        let (named, orphan) = (StripeId([1; 16]), StripeId([2; 16]));
        let ledger = ledger_with_file(clock.clone(), named, &bytes).await;
        let headroom = shoal_consensus::Headroom::new("/", 0);
        let store = Arc::new(GuardedStore::new(Arc::new(MemoryStore::new(1 << 20)), headroom));
        for stripe in [named, orphan] {
            store.put(ShardKey { stripe, index: 0 }, bytes.clone(), None).await.expect("kept");
        }
        let folder = tempfile::tempdir().expect("folder");
        let orphans = || Orphans {
            agent: AGENT,
            store: store.clone(),
            ledger: ledger.clone(),
            file: folder.path().join("orphans.json"),
        };
        assert_eq!(orphans().look().await.expect("looks"), 0, "seen for the first time");
        assert_eq!(orphans().look().await.expect("looks"), 0, "seen again, in the file");
        clock.fetch_add(GRACE_MS - 1, Ordering::Relaxed);
        submit(&ledger, Command::Tick).await;
        assert_eq!(orphans().look().await.expect("looks"), 0, "not a day yet, over a restart");
        clock.fetch_add(1, Ordering::Relaxed);
        assert_eq!(orphans().look().await.expect("looks"), 0, "the ledger's time counts, not the clock");
        submit(&ledger, Command::Tick).await;
        ledger.set_quorum(false);
        assert!(orphans().look().await.is_err(), "a copy that may be stale proves nothing");
        ledger.set_quorum(true);
        assert_eq!(orphans().look().await.expect("looks"), 1);
        let left = store.list(None, 10).await.expect("listed");
        assert_eq!(left.iter().map(|shard| shard.key.stripe).collect::<Vec<_>>(), [named]);
    }
}
