//! The contract, run on every kind of store, with small shards (segments) and large ones (files).

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

use std::sync::Arc;
use std::time::Duration;

use shoal_store::contract::check_all;
use shoal_store::{DiskStore, DiskStoreConfig, FaultRates, FaultyStore, MemoryStore, MultiStore, ShardStore};
use tempfile::TempDir;

const SMALL: usize = 150_000;
const LARGE: usize = 400_000;

/// New stores, each in a directory of its own that lives as long as this.
#[derive(Default)]
struct Disks(Vec<TempDir>);

impl Disks {
    fn next(&mut self) -> DiskStore {
        let directory = TempDir::new().expect("a temporary directory");
        let config = DiskStoreConfig { create_if_new: true, ..DiskStoreConfig::new(directory.path().join("store")) };
        self.0.push(directory);
        DiskStore::open(config).expect("opens")
    }
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    check_all(SMALL, MemoryStore::default).await;
}

#[tokio::test]
async fn disk_keeps_the_contract_with_small_shards() {
    let mut disks = Disks::default();
    check_all(SMALL, || disks.next()).await;
}

#[tokio::test]
async fn disk_keeps_the_contract_with_large_shards() {
    let mut disks = Disks::default();
    check_all(LARGE, || disks.next()).await;
}

#[tokio::test]
async fn several_disks_keep_the_contract_as_one() {
    let mut disks = Disks::default();
    let three = || {
        let member = |number: u8| (format!("disk {number}"), Arc::new(disks.next()) as Arc<dyn ShardStore>);
        MultiStore::new((0..3).map(member).collect())
    };
    check_all(SMALL, three).await;
}

#[tokio::test(start_paused = true)]
async fn a_faulty_store_without_faults_but_slow_keeps_the_contract() {
    let slow = FaultRates { slow: 0.5, slow_time: Duration::from_secs(30), ..FaultRates::default() };
    check_all(LARGE, || FaultyStore::new(MemoryStore::default(), 1, slow)).await;
}
