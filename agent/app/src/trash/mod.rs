//! Lets go of trash for good: of what is older than the pool keeps it, and, where the pool runs short of room, of the
//! oldest until there is room again.
//!
//! The leader does both for all; every agent also does the second for writes it had to refuse. The room comes when
//! the holders have dropped the shards, after the grace that garbage has.

mod room;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dci_proto::{AgentId, VolumeId};
use shoal_consensus::Consensus;
use shoal_ledger::{Command, KvError, KvRead, LedgerClient, Outcome, TrashEntry, TrashTotals, query};
use shoal_placement::Candidate;
use shoal_volume::{Drive, ShardPeers, WantedRoom, room_for_files};
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::membership::is_leader;
use room::{Room, to_purge};

/// Versions let go of in one step.
const STEP_VERSIONS: usize = 256;
/// Steps of one look, at most: the ledger has other things to do.
const STEPS_LIMIT: usize = 64;
/// Garbage stripes counted as room to come, at most.
const GARBAGE_LOOKED_AT: usize = 20_000;

pub(crate) struct TrashKeeper {
    pub(crate) agent: AgentId,
    pub(crate) consensus: Consensus,
    pub(crate) ledger: Arc<dyn LedgerClient>,
    pub(crate) peers: Arc<dyn ShardPeers>,
    /// What was refused here; `None` on an agent without a drive.
    pub(crate) drive: Option<Drive>,
    /// Time between two looks.
    pub(crate) interval: Duration,
}

impl TrashKeeper {
    /// Keeps the trash until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut was_short = false;
        while shutdown.run_until_cancelled(tokio::time::sleep(self.interval)).await.is_some() {
            match shutdown.run_until_cancelled(self.look(&mut was_short)).await {
                Some(Ok(gone)) if gone.files == 0 => {}
                Some(Ok(gone)) => tracing::info!(files = gone.files, bytes = gone.bytes, "let go of trash"),
                Some(Err(error)) => tracing::debug!(%error, "keeping the trash stopped early"),
                None => return,
            }
        }
    }

    /// One look; answers what went. Reports of free space come a little later than the room itself, so the pool must
    /// be short twice in a row before the leader acts on them.
    async fn look(&self, was_short: &mut bool) -> Result<TrashTotals, AgentError> {
        let wanted = self.drive.as_ref().and_then(Drive::take_wanted_room);
        let leads = is_leader(&self.consensus, self.agent);
        let mut gone = TrashTotals::default();
        if leads {
            add(&mut gone, self.purge_expired().await?);
        }
        let short = leads && to_purge(&self.room(None)?) > 0;
        if wanted.is_some() || (short && *was_short) {
            add(&mut gone, self.make_room(wanted).await?);
        }
        *was_short = short;
        Ok(gone)
    }

    async fn purge_expired(&self) -> Result<TrashTotals, AgentError> {
        let mut gone = TrashTotals::default();
        for _ in 0..STEPS_LIMIT {
            let expired = expired(&*self.ledger.view()?)?;
            if expired.is_empty() {
                break;
            }
            add(&mut gone, self.purge(&expired).await?);
        }
        Ok(gone)
    }

    async fn make_room(&self, wanted: Option<WantedRoom>) -> Result<TrashTotals, AgentError> {
        let mut gone = TrashTotals::default();
        for _ in 0..STEPS_LIMIT {
            let bytes = to_purge(&self.room(wanted)?);
            let mut oldest = query::trash_oldest(&*self.ledger.view()?, 0, STEP_VERSIONS)?;
            oldest.truncate(enough(&oldest, bytes));
            if oldest.is_empty() {
                break;
            }
            add(&mut gone, self.purge(&oldest).await?);
        }
        Ok(gone)
    }

    async fn purge(&self, entries: &[TrashEntry]) -> Result<TrashTotals, AgentError> {
        let mut of_volumes: BTreeMap<VolumeId, Vec<u64>> = BTreeMap::new();
        entries.iter().for_each(|entry| of_volumes.entry(entry.path.volume).or_default().push(entry.id));
        let mut gone = TrashTotals::default();
        for (volume, ids) in of_volumes {
            if let Outcome::Purged(purged) = self.ledger.submit(Command::PurgeTrash { volume, ids }).await? {
                add(&mut gone, purged);
            }
        }
        self.ledger.barrier().await?;
        Ok(gone)
    }

    /// The pool's room; garbage counts as free, as it will be soon.
    fn room(&self, wanted: Option<WantedRoom>) -> Result<Room, AgentError> {
        let view = self.ledger.view()?;
        let trash_bytes = query::trash_totals(&*view)?.bytes;
        let survive = wanted.map(|wanted| wanted.survive);
        let survive = survive.unwrap_or(query::pool(&*view)?.map_or(0, |pool| pool.survive));
        let agents = self.peers.candidates();
        let empty = agents.iter().map(|agent| Candidate { free_bytes: agent.capacity_bytes, ..agent.clone() });
        let mut room = Room {
            capacity_bytes: room_for_files(survive, empty.collect()),
            free_bytes: room_for_files(survive, agents.clone()),
            trash_bytes,
            wanted_bytes: wanted.map_or(0, |wanted| wanted.bytes),
        };
        if to_purge(&room) > 0 {
            room.free_bytes = room_for_files(survive, with_garbage(&*view, agents)?);
        }
        Ok(room)
    }
}

/// The oldest versions whose time is over, by the ledger's clock.
fn expired(view: &dyn KvRead) -> Result<Vec<TrashEntry>, KvError> {
    let keep_ms = query::care_policy(view)?.trash_keep_s.saturating_mul(1_000);
    let now_ms = query::time_ms(view)?;
    let mut oldest = query::trash_oldest(view, 0, STEP_VERSIONS)?;
    oldest.retain(|entry| entry.since_ms.saturating_add(keep_ms) <= now_ms);
    Ok(oldest)
}

/// How many of these hold so many bytes, the last one counted in.
fn enough(oldest: &[TrashEntry], bytes: u64) -> usize {
    let mut sum: u64 = 0;
    let still_short = |entry: &&TrashEntry| {
        let short = sum < bytes;
        sum = sum.saturating_add(entry.node.size_bytes);
        short
    };
    oldest.iter().take_while(still_short).count()
}

/// The agents as they will be when garbage has left their disks.
fn with_garbage(view: &dyn KvRead, mut agents: Vec<Candidate>) -> Result<Vec<Candidate>, KvError> {
    let mut garbage: BTreeMap<AgentId, u64> = BTreeMap::new();
    for stripe in query::garbage(view, GARBAGE_LOOKED_AT)? {
        for agent in stripe.record.shards.iter().filter_map(|place| place.agent) {
            *garbage.entry(agent).or_default() += u64::from(stripe.record.shard_bytes);
        }
    }
    for agent in &mut agents {
        let coming = garbage.get(&agent.agent).copied().unwrap_or(0);
        agent.free_bytes = agent.free_bytes.saturating_add(coming).min(agent.capacity_bytes);
    }
    Ok(agents)
}

fn add(sum: &mut TrashTotals, more: TrashTotals) {
    sum.files = sum.files.saturating_add(more.files);
    sum.bytes = sum.bytes.saturating_add(more.bytes);
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use shoal_ledger::{CarePolicy, FileContent, Guard, LocalLedger, NodePath};

    use super::*;

    fn deleted(count: u64) -> LocalLedger {
        let ledger = LocalLedger::with_pool(&[AgentId([1; 32])], "pool").expect("a pool");
        for number in 0..count {
            let path = NodePath::new(VolumeId(1), vec![format!("file-{number}")]).expect("a path");
            let content = FileContent::Inline(Bytes::from_static(b"0123456789"));
            let guard = Guard { user: "ana".into(), ..Guard::default() };
            let file = Command::CommitFile {
                path: path.clone(),
                guard: guard.clone(),
                content,
                size_bytes: 10,
                modified_ms: None,
                sha1: None,
                media_type: None,
            };
            ledger.submit_now(file).expect("written");
            ledger.submit_now(Command::Remove { path, guard }).expect("removed");
        }
        ledger
    }

    #[test]
    fn what_is_older_than_it_is_kept_expires_by_the_ledgers_clock() {
        let ledger = deleted(3);
        let expired_now = || expired(&*ledger.view().expect("a view")).expect("reads").len();
        assert_eq!(expired_now(), 0, "kept for 14 days");
        let policy = CarePolicy { trash_keep_s: 0, ..CarePolicy::default() };
        ledger.submit_now(Command::SetCarePolicy { policy }).expect("set");
        assert_eq!(expired_now(), 3, "kept no longer");
    }

    #[test]
    fn as_many_of_the_oldest_go_as_hold_the_bytes() {
        let oldest = query::trash_oldest(&*deleted(3).view().expect("a view"), 0, 9).expect("reads");
        for (bytes, expected) in [(0, 0), (1, 1), (10, 1), (11, 2), (30, 3), (1_000, 3)] {
            assert_eq!(enough(&oldest, bytes), expected, "{bytes}");
        }
    }
}
