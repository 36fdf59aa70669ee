//! Killed at any instant, a store opens again with all that was answered and nothing torn.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use common::{Home, copy_as_crashed, wait_until};
use dci_proto::ShardKey;
use shoal_store::contract::{bytes, key};
use shoal_store::{DiskStore, DiskStoreConfig, ShardStore};

/// Segments so short that tests fill many.
const SEGMENT_BYTES: u32 = 64 * 1024;

fn config(home: &Home) -> DiskStoreConfig {
    DiskStoreConfig { segment_bytes: SEGMENT_BYTES, ..home.config() }
}

async fn contents(store: &DiskStore) -> BTreeMap<ShardKey, Bytes> {
    let mut contents = BTreeMap::new();
    for info in store.list(None, usize::MAX).await.expect("list") {
        contents.insert(info.key, store.get(info.key, None).await.expect("all that is there is whole"));
    }
    contents
}

#[tokio::test]
async fn what_was_answered_survives_a_restart_and_what_was_deleted_stays_so() {
    for lose_index in [false, true] {
        let home = Home::new();
        let store = DiskStore::open(config(&home)).expect("opens");
        let mut expected = BTreeMap::new();
        for number in 0..40 {
            let data = bytes(number.into(), if number % 5 == 0 { 300_000 } else { 9_000 });
            store.put(key(number), data.clone(), None).await.expect("put");
            expected.insert(key(number), data);
        }
        for number in (0..40).filter(|number| number % 3 != 0) {
            store.delete(key(number)).await.expect("delete");
            expected.remove(&key(number));
        }
        drop(store);
        if lose_index {
            fs::remove_file(home.index()).expect("removes");
        }
        let store = DiskStore::open(config(&home)).expect("opens again");
        assert!(contents(&store).await == expected, "index lost: {lose_index}");
        assert_eq!(store.space().shards, expected.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_taken_at_any_moment_hold_all_that_was_answered() {
    let home = Home::new();
    let store = Arc::new(DiskStore::open(config(&home)).expect("opens"));
    // Keys answered as put, and keys whose deletion was begun.
    let put = Arc::new(Mutex::new(BTreeSet::new()));
    let deleting = Arc::new(Mutex::new(BTreeSet::new()));
    let writers: Vec<_> = (0..4u8)
        .map(|writer| {
            let (store, put, deleting) = (Arc::clone(&store), Arc::clone(&put), Arc::clone(&deleting));
            tokio::spawn(async move {
                for number in (0..60).map(|round| round * 4 + writer) {
                    let length = if number % 16 == 0 { 280_000 } else { 6_000 };
                    store.put(key(number), bytes(number.into(), length), None).await.expect("put");
                    put.lock().expect("lock").insert(number);
                    // Most go again, so that compaction is at work.
                    if number % 5 != 0 {
                        deleting.lock().expect("lock").insert(number);
                        store.delete(key(number)).await.expect("delete");
                    }
                }
            })
        })
        .collect();
    let copied = Home::new();
    let mut copies = 0;
    while copies < 3 || writers.iter().any(|writer| !writer.is_finished()) {
        let must_be_there = put.lock().expect("lock").clone();
        let (from, to) = (home.path(), copied.path());
        tokio::task::spawn_blocking(move || copy_as_crashed(&from, &to)).await.expect("copies");
        let may_be_gone = deleting.lock().expect("lock").clone();
        let copy =
            DiskStore::open(DiskStoreConfig { create_if_new: false, ..config(&copied) }).expect("the copy opens");
        let found = contents(&copy).await;
        for number in must_be_there.difference(&may_be_gone) {
            assert!(found.contains_key(&key(*number)), "shard {number} was answered, then lost (copy {copies})");
        }
        for (key, data) in found {
            let number = u64::from(key.stripe.0[0]);
            assert!(data == bytes(number, data.len()), "{key} has bytes nobody wrote");
        }
        copies += 1;
    }
    for writer in writers {
        writer.await.expect("no panic");
    }
}

#[tokio::test]
async fn a_tail_cut_anywhere_loses_only_what_was_not_answered() {
    const RECORD: usize = 64 + 16 + 5_000;
    let home = Home::new();
    let store = home.open();
    for number in 1..=3 {
        store.put(key(number), bytes(number.into(), 5_000), None).await.expect("put");
    }
    drop(store);
    let segment = fs::read(home.segment(1)).expect("reads");
    assert_eq!(segment.len(), 3 * RECORD);
    let two: BTreeMap<_, _> = (1..=2).map(|number| (key(number), bytes(number.into(), 5_000))).collect();
    for cut in [2 * RECORD, 2 * RECORD + 1, 2 * RECORD + 63, 2 * RECORD + 80, 3 * RECORD - 1] {
        for garbage in [0, 10, 7_000] {
            let mut torn = segment[..cut].to_vec();
            torn.resize(cut + garbage, 0xa5);
            fs::write(home.segment(1), torn).expect("writes");
            fs::remove_file(home.index()).expect("removes");
            let store = home.open();
            assert!(contents(&store).await == two, "cut at {cut}, {garbage} bytes of garbage");
            store.put(key(9), bytes(9, 5_000), None).await.expect("writing goes on");
            drop(store);
            fs::remove_file(home.index()).expect("removes");
            let store = home.open();
            assert!(store.get(key(9), None).await.expect("get") == bytes(9, 5_000));
            drop(store);
        }
    }
}

#[tokio::test]
async fn an_index_older_than_the_segments_or_full_of_rubbish_is_brought_up() {
    let home = Home::new();
    let store = home.open();
    store.put(key(1), bytes(1, 5_000), None).await.expect("put");
    store.put(key(2), bytes(2, 5_000), None).await.expect("put");
    drop(store);
    let old_index = fs::read(home.index()).expect("reads");
    let store = home.open();
    store.delete(key(1)).await.expect("delete");
    store.put(key(3), bytes(3, 5_000), None).await.expect("put");
    drop(store);
    let expected: BTreeMap<_, _> = (2..=3).map(|number| (key(number), bytes(number.into(), 5_000))).collect();
    for index in [old_index, b"rubbish".repeat(3000)] {
        fs::write(home.index(), index).expect("writes");
        assert!(contents(&home.open()).await == expected);
    }
}

#[tokio::test]
async fn half_written_files_are_removed_at_the_next_start() {
    let home = Home::new();
    drop(home.open());
    let temporary = home.shard_file(key(1)).with_extension("1.tmp");
    fs::write(&temporary, b"half").expect("writes");
    let store = home.open();
    assert!(!temporary.exists());
    assert_eq!(store.info(key(1)).await.expect("info"), None);
    assert_eq!(store.space().shards, 0);
}

#[tokio::test]
async fn the_space_of_deleted_small_shards_comes_back() {
    let home = Home::new();
    let store = DiskStore::open(config(&home)).expect("opens");
    for number in 0..200 {
        store.put(key(number), bytes(number.into(), 10_000), None).await.expect("put");
    }
    let full = store.space().used_bytes;
    assert!(full >= 200 * 10_000);
    for number in (0..200).filter(|number| number % 10 != 0) {
        store.delete(key(number)).await.expect("delete");
    }
    // A tenth is in use; a segment may be half empty, and the last one is never compacted.
    wait_until("the space comes back", || store.space().used_bytes < full / 4).await;
    let expected: BTreeMap<_, _> = (0..200u8)
        .filter(|number| number % 10 == 0)
        .map(|number| (key(number), bytes(number.into(), 10_000)))
        .collect();
    assert!(contents(&store).await == expected);
    drop(store);
    fs::remove_file(home.index()).expect("removes");
    let store = DiskStore::open(config(&home)).expect("opens again");
    assert!(contents(&store).await == expected, "and nothing deleted comes back with a new index");
}
