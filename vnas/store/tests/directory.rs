//! The directory: made once, locked, never taken for empty when it is gone; its cap is kept.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::fs;
use std::sync::Arc;

use common::{Home, bytes_under};
use shoal_store::contract::{bytes, key};
use shoal_store::{DiskStore, DiskStoreConfig, MultiStore, ShardStore, StoreError};

const SMALL: usize = 10_000;
const LARGE: usize = 300_000;

#[test]
fn a_directory_without_its_id_file_is_unplugged() {
    let home = Home::new();
    let existing_only = DiskStoreConfig { create_if_new: false, ..home.config() };
    for prepare in [|_: &Home| {}, |home: &Home| fs::create_dir_all(home.path()).expect("creates")] {
        prepare(&home);
        let opened = DiskStore::open(existing_only.clone()).err();
        assert!(matches!(opened, Some(StoreError::Unplugged(_))), "{opened:?}");
        assert!(!home.path().join("store.json").exists(), "nothing is touched");
    }
}

#[tokio::test]
async fn a_store_that_lost_its_id_file_is_not_made_anew() {
    let home = Home::new();
    let store = home.open();
    store.put(key(1), bytes(1, LARGE), None).await.expect("put");
    drop(store);
    fs::remove_file(home.path().join("store.json")).expect("removes");
    let refused = DiskStore::open(home.config()).err().expect("refused").to_string();
    assert!(refused.contains("not empty"), "{refused}");
}

#[test]
fn a_second_user_of_the_directory_is_refused() {
    let home = Home::new();
    let first = home.open();
    let refused = DiskStore::open(home.config()).err().expect("refused").to_string();
    assert!(refused.contains("in use by another agent"), "{refused}");
    drop(first);
    drop(home.open());
}

#[test]
fn a_store_of_a_newer_version_is_refused_untouched() {
    let home = Home::new();
    drop(home.open());
    let newer = r#"{"version":2,"id":"what a newer version makes of it"}"#;
    fs::write(home.path().join("store.json"), newer).expect("writes");
    let refused = DiskStore::open(home.config()).err().expect("refused").to_string();
    assert!(refused.contains("newer version"), "{refused}");
    assert_eq!(fs::read_to_string(home.path().join("store.json")).expect("reads"), newer);
}

#[tokio::test]
async fn a_directory_moved_away_while_open_never_looks_empty() {
    let home = Home::new();
    let store = home.open();
    store.put(key(1), bytes(1, SMALL), None).await.expect("put");
    store.put(key(2), bytes(2, LARGE), None).await.expect("put");
    let away = home.path().with_extension("away");
    fs::rename(home.path(), &away).expect("renames");
    fs::create_dir(home.path()).expect("the bare mount point");
    for number in 1..=3 {
        let results = [
            store.get(key(number), None).await.map(drop),
            store.verify(key(number)).await.map(drop),
            store.put(key(number), bytes(5, SMALL), None).await.map(drop),
            store.put(key(number), bytes(5, LARGE), None).await.map(drop),
            store.delete(key(number)).await,
            store.list(None, 10).await.map(drop),
        ];
        for (call, result) in results.into_iter().enumerate() {
            assert!(matches!(result, Err(StoreError::Unplugged(_))), "shard {number}, call {call}: {result:?}");
        }
    }
    assert!(matches!(store.info(key(3)).await, Err(StoreError::Unplugged(_))));
    assert!(fs::read_dir(home.path()).expect("lists").next().is_none(), "nothing is written to the mount point");
    fs::remove_dir(home.path()).expect("removes");
    fs::rename(&away, home.path()).expect("plugged in again");
    assert!(store.get(key(1), None).await.expect("get") == bytes(1, SMALL));
    assert!(store.get(key(2), None).await.expect("get") == bytes(2, LARGE));
    store.put(key(3), bytes(3, SMALL), None).await.expect("put");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cap_holds_under_concurrent_puts_of_both_kinds() {
    const CAP_BYTES: u64 = 12 * 1024 * 1024;
    let home = Home::new();
    let config = DiskStoreConfig { cap_bytes: CAP_BYTES, ..home.config() };
    let store = Arc::new(DiskStore::open(config).expect("opens"));
    let puts: Vec<_> = (0..100u8)
        .map(|number| {
            let store = Arc::clone(&store);
            let length = if number % 2 == 0 { LARGE } else { 20 * SMALL };
            tokio::spawn(async move { store.put(key(number), bytes(number.into(), length), None).await })
        })
        .collect();
    let mut accepted = 0u64;
    for put in puts {
        match put.await.expect("no panic") {
            Ok(_) => accepted += 1,
            Err(StoreError::Full(_)) => {}
            Err(other) => panic!("neither accepted nor full: {other}"),
        }
    }
    let space = store.space();
    assert!(accepted > 20, "it was filled: {accepted}");
    assert!(accepted < 100, "it was full");
    assert_eq!(space.shards, accepted);
    assert!(space.used_bytes <= space.capacity_bytes && space.capacity_bytes <= CAP_BYTES, "{space:?}");
    assert!(bytes_under(&home.path()) <= CAP_BYTES, "{} bytes on the disk", bytes_under(&home.path()));
    for number in 0..100 {
        store.delete(key(number)).await.expect("deleting works in a full store");
    }
    store.put(key(200), bytes(200, LARGE), None).await.expect("there is room again");
}

#[tokio::test]
async fn a_full_store_still_says_yes_to_what_it_has() {
    let home = Home::new();
    for length in [SMALL, LARGE] {
        let store = home.open();
        let number = u8::try_from(length % 251).expect("small");
        store.put(key(number), bytes(1, length), None).await.expect("put");
        drop(store);
        let full = DiskStore::open(DiskStoreConfig { reserve_bytes: u64::MAX, ..home.config() }).expect("opens");
        full.put(key(number), bytes(1, length), None).await.expect("it is there");
        assert!(matches!(full.put(key(99), bytes(9, length), None).await, Err(StoreError::Full(_))));
        assert!(matches!(full.put(key(number), bytes(9, length), None).await, Err(StoreError::Conflict(_))));
        assert_eq!(full.info(key(99)).await.expect("info"), None);
        assert_eq!(full.space().free_bytes, 0);
    }
}

#[tokio::test]
async fn one_unplugged_directory_takes_no_other_down() {
    let (here, gone) = (Home::new(), Home::new());
    let missing = DiskStoreConfig { create_if_new: false, ..gone.config() };
    let store = MultiStore::open(vec![missing, here.config()]).expect("one is enough");
    store.put(key(1), bytes(1, SMALL), None).await.expect("put");
    assert!(store.get(key(1), None).await.expect("get") == bytes(1, SMALL));
    let unknown = store.get(key(2), None).await;
    assert!(matches!(unknown, Err(StoreError::Unplugged(_))), "not here is not known: {unknown:?}");
    assert!(matches!(store.info(key(2)).await, Err(StoreError::Unplugged(_))));
    assert!(matches!(store.delete(key(2)).await, Err(StoreError::Unplugged(_))));
    store.delete(key(1)).await.expect("what is found is deleted");
    let problems: Vec<_> = store.states().into_iter().map(|state| state.problem.is_some()).collect();
    assert_eq!(problems, [true, false]);
}

#[tokio::test]
async fn puts_go_where_most_room_is_and_on_when_that_is_full() {
    let (small, large) = (Home::new(), Home::new());
    let cap = |home: &Home, mebibytes: u64| {
        let cap_bytes = mebibytes * 1024 * 1024;
        Arc::new(DiskStore::open(DiskStoreConfig { cap_bytes, ..home.config() }).expect("opens"))
    };
    let (small, large) = (cap(&small, 8), cap(&large, 12));
    let store = MultiStore::new(vec![("small".into(), small.clone() as _), ("large".into(), large.clone() as _)]);
    store.put(key(1), bytes(1, LARGE), None).await.expect("put");
    assert_eq!((small.space().shards, large.space().shards), (0, 1));
    let mut accepted = 1;
    for number in 2..200 {
        match store.put(key(number), bytes(number.into(), LARGE), None).await {
            Ok(_) => accepted += 1,
            Err(StoreError::Full(_)) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert_eq!(small.space().shards + large.space().shards, accepted);
    assert!(small.space().free_bytes < 400_000 && large.space().free_bytes < 400_000, "both were filled");
}
