//! Damage is found, wherever it is, and told apart from absence.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use bytes::Bytes;
use common::{Home, flip};
use dci_proto::ShardKey;
use proptest::prelude::*;
use shoal_store::contract::{bytes, key};
use shoal_store::{DiskStore, ShardStore, StoreError};
use tokio::runtime::Runtime;

const LARGE: usize = 300_000;
const SMALL: usize = 70_000;
/// Header of a shard of two blocks, and its bytes.
const SMALL_RECORD: usize = 64 + 2 * 16 + SMALL;
const LARGE_RECORD: usize = 64 + 5 * 16 + LARGE;

async fn assert_damaged(store: &DiskStore, key: ShardKey) {
    let got = store.get(key, None).await.map(|data| data.len());
    assert!(matches!(got, Err(StoreError::Damaged { key: found, .. }) if found == key), "get: {got:?}");
    let verified = store.verify(key).await;
    assert!(matches!(verified, Err(StoreError::Damaged { .. })), "verify: {verified:?}");
}

async fn store_with(home: &Home, length: usize) -> (DiskStore, Bytes) {
    let store = home.open();
    let data = bytes(1, length);
    store.put(key(1), data.clone(), None).await.expect("put");
    (store, data)
}

#[test]
fn every_flipped_bit_of_a_file_is_found() {
    let home = Home::new();
    let runtime = Runtime::new().expect("a runtime");
    let (store, data) = runtime.block_on(store_with(&home, LARGE));
    proptest!(ProptestConfig::with_cases(64), |(bit in prop_oneof![0..144 * 8usize, 0..LARGE_RECORD * 8])| {
        flip(&home.shard_file(key(1)), bit);
        runtime.block_on(assert_damaged(&store, key(1)));
        flip(&home.shard_file(key(1)), bit);
        prop_assert!(runtime.block_on(store.get(key(1), None)).expect("mended") == data);
    });
}

#[test]
fn every_flipped_bit_of_a_record_in_a_segment_is_found() {
    let home = Home::new();
    let runtime = Runtime::new().expect("a runtime");
    let (store, data) = runtime.block_on(store_with(&home, SMALL));
    proptest!(ProptestConfig::with_cases(64), |(bit in prop_oneof![0..96 * 8usize, 0..SMALL_RECORD * 8])| {
        flip(&home.segment(1), bit);
        runtime.block_on(assert_damaged(&store, key(1)));
        flip(&home.segment(1), bit);
        prop_assert!(runtime.block_on(store.get(key(1), None)).expect("mended") == data);
    });
}

#[tokio::test]
async fn a_range_is_served_if_its_own_blocks_are_good() {
    let home = Home::new();
    let (store, data) = store_with(&home, LARGE).await;
    flip(&home.shard_file(key(1)), (LARGE_RECORD - 1) * 8);
    assert!(store.get(key(1), Some(0..100_000)).await.expect("good blocks") == data.slice(0..100_000));
    let bad = store.get(key(1), Some(299_000..299_001)).await;
    assert!(matches!(bad, Err(StoreError::Damaged { .. })), "{bad:?}");
}

#[tokio::test]
async fn a_file_cut_short_or_grown_is_damaged() {
    let home = Home::new();
    let (store, _) = store_with(&home, LARGE).await;
    let whole = std::fs::read(home.shard_file(key(1))).expect("reads");
    for length in [0, 1, 63, 64, 100, LARGE, LARGE_RECORD - 1, LARGE_RECORD + 1, 20_000_000] {
        let mut changed = whole.clone();
        changed.resize(length, 0);
        std::fs::write(home.shard_file(key(1)), changed).expect("writes");
        assert_damaged(&store, key(1)).await;
        let info = store.info(key(1)).await;
        assert!(matches!(info, Err(StoreError::Damaged { .. })), "at {length} bytes: {info:?}");
    }
}

#[tokio::test]
async fn a_file_under_the_name_of_another_shard_is_damaged() {
    let home = Home::new();
    let (store, _) = store_with(&home, LARGE).await;
    store.put(key(2), bytes(2, LARGE), None).await.expect("put");
    std::fs::rename(home.shard_file(key(1)), home.shard_file(key(2))).expect("renames");
    assert_damaged(&store, key(2)).await;
    let listed = store.list(None, 10).await.expect("list");
    assert_eq!(listed.iter().map(|info| info.key).collect::<Vec<_>>(), [key(2)], "a scrub comes upon it");
}

#[tokio::test]
async fn putting_a_damaged_shard_again_mends_it() {
    for (length, damaged_bit) in [(LARGE, 0), (LARGE, 200_000), (SMALL, 0), (SMALL, 200_000)] {
        let home = Home::new();
        let (store, data) = store_with(&home, length).await;
        flip(&if length == LARGE { home.shard_file(key(1)) } else { home.segment(1) }, damaged_bit);
        assert_damaged(&store, key(1)).await;
        store.put(key(1), data.clone(), None).await.expect("put again");
        assert!(store.get(key(1), None).await.expect("mended") == data);
        assert_eq!(store.space().shards, 1);
    }
}

#[tokio::test]
async fn an_acknowledged_shard_that_rots_is_damaged_not_missing_even_when_the_index_is_lost() {
    let home = Home::new();
    let (store, _) = store_with(&home, SMALL).await;
    store.put(key(2), bytes(2, SMALL), None).await.expect("put");
    store.put(key(3), bytes(3, SMALL), None).await.expect("put");
    drop(store);
    std::fs::remove_file(home.index()).expect("removes");
    flip(&home.segment(1), 5000 * 8);
    let store = home.open();
    assert_damaged(&store, key(1)).await;
    assert!(store.get(key(2), None).await.expect("get") == bytes(2, SMALL));
    assert!(store.get(key(3), None).await.expect("get") == bytes(3, SMALL));
}

#[tokio::test]
async fn a_broken_header_hides_no_record_behind_it() {
    let home = Home::new();
    let (store, _) = store_with(&home, SMALL).await;
    store.put(key(2), bytes(2, SMALL), None).await.expect("put");
    drop(store);
    std::fs::remove_file(home.index()).expect("removes");
    flip(&home.segment(1), 0);
    let store = home.open();
    assert!(store.get(key(2), None).await.expect("get") == bytes(2, SMALL));
}

/// A directory in its place stands for a sector that cannot be read.
#[tokio::test]
async fn a_shard_that_cannot_be_read_hides_no_other_from_a_listing() {
    let home = Home::new();
    let (store, _) = store_with(&home, LARGE).await;
    store.put(key(9), bytes(9, LARGE), None).await.expect("put");
    let file = home.shard_file(key(1));
    std::fs::remove_file(&file).expect("removes");
    std::fs::create_dir(&file).expect("makes a directory");
    let listed = store.list(None, 10).await.expect("lists");
    assert_eq!(listed.iter().map(|info| info.key).collect::<Vec<_>>(), [key(1), key(9)]);
    assert!(matches!(store.verify(key(1)).await, Err(StoreError::Io { .. })));
}
