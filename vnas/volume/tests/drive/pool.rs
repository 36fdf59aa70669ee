//! A pool in memory.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::{AgentId, ShardKey, StripeId, VolumeId};
use futures::TryStreamExt;
use shoal_ledger::{Guard, LedgerClient, LocalLedger, Node, NodePath, StripeRecord, query};
use shoal_volume::testing::{MemoryPeers, Mood};
use shoal_volume::{Drive, DriveConfig, DriveError, NewFile, ShardPeers};

/// Bytes of a full chunk.
pub(crate) const CHUNK: usize = shoal_ledger::CHUNK_BYTES as usize;
/// Room on each agent, unless a test says otherwise.
pub(crate) const ROOM_BYTES: u64 = 1 << 32;

pub(crate) struct Pool {
    pub(crate) drive: Drive,
    pub(crate) peers: Arc<MemoryPeers>,
    pub(crate) ledger: Arc<LocalLedger>,
}

/// Six agents with plenty of room.
pub(crate) fn pool() -> Pool {
    pool_of(6, ROOM_BYTES, |_| {})
}

pub(crate) fn pool_of(agents: u8, room_bytes: u64, configure: impl FnOnce(&mut DriveConfig)) -> Pool {
    let peers = Arc::new(MemoryPeers::new(agents, room_bytes));
    let ledger = Arc::new(LocalLedger::with_pool(&peers.agents(), "pool").expect("a pool"));
    let drive = drive_over(Arc::clone(&ledger) as Arc<dyn LedgerClient>, &peers, configure);
    Pool { drive, peers, ledger }
}

/// Another mount point of the same pool: its memory is its own.
pub(crate) fn drive_over(
    ledger: Arc<dyn LedgerClient>,
    peers: &Arc<MemoryPeers>,
    configure: impl FnOnce(&mut DriveConfig),
) -> Drive {
    let mut config = DriveConfig::new(peers.agents()[0], 1, [9; 32]);
    configure(&mut config);
    Drive::new(ledger, Arc::clone(peers) as Arc<dyn ShardPeers>, config)
}

impl Pool {
    /// A drive that has read nothing yet.
    pub(crate) fn fresh(&self) -> Drive {
        drive_over(Arc::clone(&self.ledger) as Arc<dyn LedgerClient>, &self.peers, |_| {})
    }

    pub(crate) fn agent(&self, number: usize) -> AgentId {
        self.peers.agents()[number]
    }

    pub(crate) fn set_moods(&self, numbers: Range<usize>, mood: Mood) {
        for number in numbers {
            self.peers.set_mood(self.agent(number), mood);
        }
    }

    pub(crate) fn stripes(&self) -> Vec<(StripeId, StripeRecord)> {
        let mut stripes = Vec::new();
        query::stripes(&*self.ledger.snapshot(), None, &mut |id, record| {
            stripes.push((id, record));
            true
        })
        .expect("a ledger in memory");
        stripes
    }

    /// The agent that has a shard of the only stripe, and its key.
    pub(crate) fn shard(&self, index: u8) -> (AgentId, ShardKey) {
        let stripes = self.stripes();
        let [(stripe, record)] = &stripes[..] else { panic!("{} stripes", stripes.len()) };
        let agent = record.shards[usize::from(index)].agent.expect("placed");
        (agent, ShardKey { stripe: *stripe, index })
    }

    /// Shards that stripes count on.
    pub(crate) fn known_shards(&self) -> usize {
        self.stripes().iter().map(|(_, record)| record.shards.iter().flat_map(|shard| shard.agent).count()).sum()
    }

    /// No shard is stored that no stripe counts on.
    pub(crate) fn assert_nothing_else_is_stored(&self) {
        assert_eq!(self.peers.shard_count(), self.known_shards());
        assert!(query::garbage(&*self.ledger.snapshot(), 1).expect("a ledger in memory").is_empty());
    }
}

pub(crate) fn path(name: &str) -> NodePath {
    NodePath::new(VolumeId(1), vec![name.to_owned()]).expect("a name")
}

/// Bytes that do not compress and differ by seed.
pub(crate) fn noise(seed: u64, bytes: usize) -> Bytes {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut noise);
    noise.into()
}

pub(crate) async fn write(drive: &Drive, name: &str, bytes: &Bytes) -> Result<(Node, bool), DriveError> {
    let mut writer = drive.create(&path(name), NewFile::default(), Guard::default()).await?;
    writer.write(bytes.clone()).await?;
    writer.commit().await
}

pub(crate) async fn read(drive: &Drive, name: &str) -> Result<Vec<u8>, DriveError> {
    read_range(drive, name, 0..u64::MAX).await
}

pub(crate) async fn read_range(drive: &Drive, name: &str, range: Range<u64>) -> Result<Vec<u8>, DriveError> {
    let node = drive.node(&path(name))?.expect("there");
    collect(drive.open(&node)?.read(range)).await
}

pub(crate) async fn collect(stream: shoal_volume::ByteStream) -> Result<Vec<u8>, DriveError> {
    stream
        .try_fold(Vec::new(), |mut all, item| async move {
            assert!(!item.is_empty() && item.len() <= 1024 * 1024, "an item of {} bytes", item.len());
            all.extend_from_slice(&item);
            Ok(all)
        })
        .await
}

/// Compares without printing megabytes.
pub(crate) fn assert_same(read: &[u8], written: &[u8]) {
    assert_eq!(read.len(), written.len());
    let first = read.iter().zip(written).position(|(left, right)| left != right);
    assert_eq!(first, None, "the first byte that differs");
}

/// Waits for what happens in the background.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
