//! A disk that fails to make a name durable once.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]
#![cfg(unix)]

use std::fs;

use shoal_files::testing::{Recording, scratch_directory};
use shoal_store::contract::{bytes, key};
use shoal_store::{DiskStore, DiskStoreConfig, ShardStore};

const SMALL: usize = 5_000;

#[tokio::test]
async fn a_segment_whose_name_could_not_be_made_durable_is_taken_up_by_the_next_shard() {
    let root = scratch_directory().expect("a directory");
    let directory = root.path().join("store");
    let config = DiskStoreConfig { create_if_new: true, ..DiskStoreConfig::new(directory.clone()) };
    let store = DiskStore::open(config.clone()).expect("opens");
    let recording = Recording::start(root.path()).expect("records");
    recording.fail_next_directory_sync();
    let refused = store.put(key(1), bytes(1, SMALL), None).await.expect_err("its name is not durable");
    assert!(refused.to_string().contains("has this sync fail"), "{refused}");
    store.put(key(1), bytes(1, SMALL), None).await.expect("the disk is well again");
    drop((recording, store));
    let store = DiskStore::open(config).expect("opens again");
    assert_eq!(store.get(key(1), None).await.expect("reads"), bytes(1, SMALL));
}

#[tokio::test]
async fn a_file_in_a_new_segments_place_that_holds_something_is_not_touched() {
    let root = scratch_directory().expect("a directory");
    let directory = root.path().join("store");
    let config = DiskStoreConfig { create_if_new: true, ..DiskStoreConfig::new(directory.clone()) };
    let store = DiskStore::open(config).expect("opens");
    let strange = directory.join("segments").join("00000001.seg");
    fs::write(&strange, b"whose is this").expect("writes");
    store.put(key(1), bytes(1, SMALL), None).await.expect_err("its place is taken");
    assert_eq!(fs::read(&strange).expect("reads"), b"whose is this");
}
