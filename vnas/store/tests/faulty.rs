//! The faulty store does what it is told, and the same for the same seed.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

use std::sync::Arc;
use std::time::Duration;

use shoal_store::contract::{bytes, key};
use shoal_store::{FaultRates, FaultyStore, MemoryStore, ShardStore, StoreError};

fn faulty(seed: u64, rates: FaultRates) -> FaultyStore<MemoryStore> {
    FaultyStore::new(MemoryStore::default(), seed, rates)
}

/// How a run of puts and gets ended, call by call.
async fn history(seed: u64) -> Vec<String> {
    let store = faulty(seed, FaultRates { io_error: 0.2, full: 0.2, bit_flip: 0.2, ..FaultRates::default() });
    let mut history = Vec::new();
    for number in 0..100 {
        history.push(format!("{:?}", store.put(key(number), bytes(number.into(), 100), None).await));
        history.push(format!("{:?}", store.get(key(number), None).await.map(|data| data.len())));
    }
    history
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    assert_eq!(history(7).await, history(7).await);
    assert_ne!(history(7).await, history(8).await);
}

#[tokio::test]
async fn whatever_is_read_in_a_storm_of_faults_is_what_was_acknowledged() {
    for seed in 0..20 {
        let store = faulty(seed, FaultRates { io_error: 0.3, full: 0.3, bit_flip: 0.1, ..FaultRates::default() });
        let mut acknowledged = Vec::new();
        for number in 0..100 {
            if store.put(key(number), bytes(number.into(), 100), None).await.is_ok() {
                acknowledged.push(number);
            }
        }
        assert!(store.injected() > 0 && !acknowledged.is_empty());
        for number in 0..100 {
            match store.get(key(number), None).await {
                Ok(data) => assert!(acknowledged.contains(&number) && data == bytes(number.into(), 100)),
                Err(StoreError::NotFound(_)) => assert!(!acknowledged.contains(&number), "seed {seed}"),
                Err(StoreError::Io { .. } | StoreError::Damaged { .. }) => {}
                Err(other) => panic!("seed {seed}: {other}"),
            }
        }
    }
}

/// Starts a put that is written but not answered, cuts the power, and says what is there afterwards.
async fn after_crash(seed: u64, torn_write: f64) -> &'static str {
    let rates = FaultRates { slow: 1.0, slow_time: Duration::from_secs(1), torn_write, ..FaultRates::default() };
    let store = Arc::new(faulty(seed, rates));
    let put = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.put(key(1), bytes(1, 100), None).await }
    });
    // The first second passes before it is written, the second before it is answered.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    store.crash();
    assert!(store.get(key(1), None).await.is_err(), "nothing works while it is down");
    assert!(matches!(put.await.expect("no panic"), Err(StoreError::Io { .. })), "the put is not answered");
    store.restart();
    let outcome = match store.get(key(1), None).await {
        Ok(_) => "kept",
        Err(StoreError::NotFound(_)) => "lost",
        Err(StoreError::Damaged { .. }) => "torn",
        Err(other) => panic!("{other}"),
    };
    store.put(key(1), bytes(1, 100), None).await.expect("put again");
    assert!(store.get(key(1), None).await.expect("whatever it was, it is mended") == bytes(1, 100));
    outcome
}

#[tokio::test(start_paused = true)]
async fn a_crash_keeps_loses_or_tears_what_was_not_answered() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..20 {
        outcomes.insert(after_crash(seed, 0.3).await);
    }
    assert_eq!(outcomes.into_iter().collect::<Vec<_>>(), ["kept", "lost", "torn"]);
    assert_eq!(after_crash(1, 1.0).await, "torn");
}

#[tokio::test]
async fn a_crash_keeps_what_was_answered_unless_the_disk_lies() {
    for (lost_rename, kept) in [(0.0, true), (1.0, false)] {
        let store = faulty(3, FaultRates { lost_rename, torn_write: 1.0, ..FaultRates::default() });
        store.put(key(1), bytes(1, 100), None).await.expect("put");
        store.crash();
        store.restart();
        assert_eq!(store.get(key(1), None).await.is_ok(), kept);
        assert_eq!(store.info(key(1)).await.expect("info").is_some(), kept);
        assert_eq!(store.list(None, 10).await.expect("list").len(), usize::from(kept));
    }
}

#[tokio::test]
async fn damage_stays_until_the_shard_is_put_again() {
    let store = faulty(1, FaultRates::default());
    store.put(key(1), bytes(1, 100), None).await.expect("put");
    store.damage(key(1));
    for _ in 0..2 {
        assert!(matches!(store.get(key(1), None).await, Err(StoreError::Damaged { .. })));
        assert!(matches!(store.verify(key(1)).await, Err(StoreError::Damaged { .. })));
    }
    store.put(key(1), bytes(1, 100), None).await.expect("put again");
    assert!(store.get(key(1), None).await.is_ok());
}
