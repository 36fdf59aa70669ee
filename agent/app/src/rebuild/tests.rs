//! Into a store on a real disk, over what is damaged there; the others of the stripe are in memory.

use std::path::{Path, PathBuf};

use dci_proto::{ContentId, StripeId, shard_hash};
use shoal_ledger::{ChunkRef, Command, FileContent, Guard, LocalLedger, NewStripe, NodePath, ShardPlace, StripeRecord};
use shoal_store::{DiskStore, DiskStoreConfig, FILE_FROM_BYTES};
use shoal_volume::testing::MemoryPeers;

use super::*;
use crate::machine::SystemLoad;
use crate::no_ledger::NoLedger;

const LARGE: usize = FILE_FROM_BYTES as usize;
const SMALL: usize = 1000;

fn background() -> Arc<Background> {
    Background::new(SystemLoad::new(Arc::default()))
}

fn agent(number: u8) -> AgentId {
    AgentId([number; 32])
}

/// Shards that are whole copies: the first on agent 2, the second expected here, on agent 1.
fn record(bytes: &Bytes) -> StripeRecord {
    let size = u32::try_from(bytes.len()).expect("small");
    let place = |number| ShardPlace { agent: Some(agent(number)), hash: shard_hash(bytes) };
    StripeRecord {
        content: ContentId([9; 32]),
        codec: 0,
        k: 1,
        m: 1,
        plain_bytes: size,
        stored_bytes: size,
        shard_bytes: size,
        compression: 0,
        key_epoch: 1,
        shards: vec![place(2), place(1)],
    }
}

fn key(number: u8, index: u8) -> ShardKey {
    ShardKey { stripe: StripeId([number; 16]), index }
}

fn noise(number: u8, length: usize) -> Bytes {
    (0..length).map(|at| (at * 31 + usize::from(number)) as u8).collect()
}

fn store(folder: &Path, cap_bytes: u64) -> Arc<DiskStore> {
    let config = DiskStoreConfig { cap_bytes, create_if_new: true, ..DiskStoreConfig::new(folder) };
    Arc::new(DiskStore::open(config).expect("opens"))
}

/// Peers where agent 2 has the other copy.
async fn others(key: ShardKey, bytes: &Bytes) -> MemoryPeers {
    let peers = MemoryPeers::new(2, 1 << 30);
    let other = ShardKey { index: 0, ..key };
    peers.put(agent(2), other, shard_hash(bytes), bytes.clone(), Urgency::Background).await.expect("kept");
    peers
}

fn file_of(folder: &Path, key: ShardKey) -> PathBuf {
    folder.join("shards").join(format!("{:02x}", key.stripe.0[0])).join(key.to_string())
}

fn flip_bit(path: &Path, at_byte: usize) {
    let mut bytes = std::fs::read(path).expect("reads");
    bytes[at_byte] ^= 4;
    std::fs::write(path, bytes).expect("writes");
}

#[tokio::test]
async fn whatever_happened_to_a_shard_on_disk_it_is_whole_after_a_rebuild_and_a_restart() {
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 5] = [
        ("a bit of its bytes", |path| flip_bit(path, LARGE / 2)),
        ("a bit of its header", |path| flip_bit(path, 20)),
        ("cut short", |path| std::fs::write(path, &std::fs::read(path).expect("reads")[..LARGE / 3]).expect("writes")),
        ("empty", |path| std::fs::write(path, b"").expect("writes")),
        ("gone", |path| std::fs::remove_file(path).expect("removed")),
    ];
    for (harm, damage) in harms {
        let folder = tempfile::tempdir().expect("folder");
        let (key, bytes) = (key(5, 1), noise(5, LARGE));
        let disk = store(folder.path(), 0);
        disk.put(key, bytes.clone(), None).await.expect("kept");
        let used = disk.space();
        damage(&file_of(folder.path(), key));
        assert!(disk.verify(key).await.is_err(), "{harm}");
        let rebuilder = Rebuilder::new(agent(1), disk.clone(), Arc::new(NoLedger::store_only()), background());
        let asked = ShardRebuild::of(key, &record(&bytes));
        let rebuilt = rebuilder.run(&others(key, &bytes).await, &asked).await.expect("made anew");
        assert_eq!(rebuilt.written_bytes, LARGE as u64, "{harm}");
        drop(rebuilder);
        drop(disk);
        let disk = store(folder.path(), 0);
        assert_eq!(disk.get(key, None).await.expect("whole"), bytes, "{harm}");
        assert_eq!(disk.space().used_bytes, used.used_bytes, "{harm}");
        assert_eq!(disk.space().shards, 1, "{harm}");
    }
}

#[tokio::test]
async fn a_damaged_record_in_a_segment_is_made_anew() {
    let folder = tempfile::tempdir().expect("folder");
    let (key, bytes) = (key(6, 1), noise(6, SMALL));
    let disk = store(folder.path(), 0);
    disk.put(key, bytes.clone(), None).await.expect("kept");
    let segment = folder.path().join("segments").join("00000001.seg");
    let length = std::fs::metadata(&segment).expect("there").len();
    flip_bit(&segment, usize::try_from(length).expect("small") - SMALL / 2);
    assert!(matches!(disk.verify(key).await, Err(StoreError::Damaged { .. })));
    let rebuilder = Rebuilder::new(agent(1), disk.clone(), Arc::new(NoLedger::store_only()), background());
    rebuilder.run(&others(key, &bytes).await, &ShardRebuild::of(key, &record(&bytes))).await.expect("made anew");
    assert_eq!(disk.get(key, None).await.expect("whole"), bytes);
    drop(rebuilder);
    drop(disk);
    assert_eq!(store(folder.path(), 0).get(key, None).await.expect("whole after a restart"), bytes);
}

#[tokio::test]
async fn a_damaged_shard_is_replaced_even_where_the_store_is_full_to_its_cap_and_a_new_one_refused() {
    let folder = tempfile::tempdir().expect("folder");
    let disk = store(folder.path(), 4 * 1024 * 1024);
    let mut kept = Vec::new();
    for number in 1..=u8::MAX {
        match disk.put(key(number, 1), noise(number, LARGE), None).await {
            Ok(_) => kept.push(number),
            Err(error) => {
                assert!(matches!(error, StoreError::Full(_)), "{error}");
                break;
            }
        }
    }
    let full = *kept.last().expect("some");
    flip_bit(&file_of(folder.path(), key(full, 1)), LARGE / 2);
    let rebuilder = Rebuilder::new(agent(1), disk.clone(), Arc::new(NoLedger::store_only()), background());
    let bytes = noise(full, LARGE);
    let (peers, asked) = (others(key(full, 1), &bytes).await, ShardRebuild::of(key(full, 1), &record(&bytes)));
    rebuilder.run(&peers, &asked).await.expect("made anew in the place of the damaged one");
    assert_eq!(disk.get(key(full, 1), None).await.expect("whole"), bytes);

    let new = noise(0, LARGE);
    let asked = ShardRebuild::of(key(0, 1), &record(&new));
    let refused = rebuilder.run(&others(key(0, 1), &new).await, &asked).await;
    assert!(matches!(refused, Err(RebuildRefusal::Store(StoreError::Full(_)))), "{refused:?}");
}

#[tokio::test]
async fn an_intact_shard_with_another_hash_goes_only_if_the_own_ledger_says_so() {
    let (key, bytes, other) = (key(7, 1), noise(7, LARGE), noise(8, LARGE));
    let ledger = Arc::new(LocalLedger::with_pool(&[agent(1), agent(2)], "pool").expect("a pool"));
    let volume = query::volumes(&*ledger.view().expect("a view")).expect("volumes")[0].id;
    let new_stripe = Some(NewStripe { id: key.stripe, record: record(&bytes), replaces: None });
    let size = u32::try_from(bytes.len()).expect("small");
    let chunk = ChunkRef { content: ContentId([9; 32]), plain_bytes: size, new_stripe };
    let commit = Command::CommitFile {
        path: NodePath::new(volume, vec!["file".into()]).expect("a path"),
        guard: Guard::default(),
        content: FileContent::Chunks(vec![chunk]),
        size_bytes: u64::from(size),
        modified_ms: None,
        sha1: None,
        media_type: None,
    };
    ledger.submit(commit).await.expect("committed");
    let known: [(Arc<dyn LedgerClient>, bool); 2] = [(ledger, true), (Arc::new(NoLedger::store_only()), false)];
    for (ledger, mended) in known {
        let folder = tempfile::tempdir().expect("folder");
        let disk = store(folder.path(), 0);
        disk.put(key, other.clone(), None).await.expect("kept");
        let rebuilder = Rebuilder::new(agent(1), disk.clone(), ledger, background());
        let done = rebuilder.run(&others(key, &bytes).await, &ShardRebuild::of(key, &record(&bytes))).await;
        assert_eq!(done.is_ok(), mended, "{done:?}");
        assert_eq!(disk.get(key, None).await.expect("there"), if mended { bytes.clone() } else { other.clone() });
    }
}
