//! What every [`ShardStore`] must do, as tests: run by memory, disk, several disks and the faulty one.
//!
//! Each check panics with what it found. `make` gives a fresh, empty store with room for at least 64 MiB.

#![allow(clippy::expect_used, reason = "a failing check is a panic that says what failed")]

use std::sync::Arc;

use bytes::Bytes;
use dci_proto::{BLOCK_BYTES, ShardKey, StripeId, shard_hash};

use crate::{SHARD_LIMIT_BYTES, ShardStore, StoreError};

/// A key of its own for each number.
#[must_use]
pub fn key(number: u8) -> ShardKey {
    ShardKey { stripe: StripeId([number; 16]), index: number % 7 }
}

/// Bytes that look random and differ by seed.
#[must_use]
pub fn bytes(seed: u64, length: usize) -> Bytes {
    let mut out = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    Bytes::from(out)
}

/// Lengths at which something changes: none, one byte, edges of blocks, the edge between segments and files.
#[must_use]
pub fn telling_lengths() -> Vec<usize> {
    let file_from = crate::FILE_FROM_BYTES as usize;
    let mut lengths = vec![0, 1, 4096, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1];
    lengths.extend([file_from - 1, file_from, file_from + 1, 1024 * 1024 + 17, SHARD_LIMIT_BYTES as usize]);
    lengths
}

/// Runs all checks, with shards of this length where length does not matter.
pub async fn check_all<S: ShardStore + 'static>(length: usize, mut make: impl FnMut() -> S) {
    gives_back_what_was_put(&make()).await;
    serves_ranges(&make(), length).await;
    refuses_what_is_no_shard(&make(), length).await;
    same_again_is_fine_and_other_bytes_conflict(&make(), length).await;
    says_not_found(&make(), length).await;
    deletes(&make(), length).await;
    lists_in_pages(&make(), length).await;
    counts_space(&make(), length).await;
    concurrent_puts_of_one_key_agree(make(), length).await;
}

async fn gives_back_what_was_put(store: &dyn ShardStore) {
    for (number, length) in telling_lengths().into_iter().enumerate() {
        let key = key(u8::try_from(number).expect("few lengths"));
        let data = bytes(number as u64, length);
        let hash = store.put(key, data.clone(), Some(shard_hash(&data))).await.expect("put");
        assert_eq!(hash, shard_hash(&data), "hash of {length} bytes");
        assert!(store.get(key, None).await.expect("get") == data, "{length} bytes come back");
        let info = store.info(key).await.expect("info").expect("is there");
        assert_eq!((info.key, info.bytes as usize, info.hash), (key, length, hash));
        assert_eq!(store.verify(key).await.expect("verify"), info);
    }
}

async fn serves_ranges(store: &dyn ShardStore, length: usize) {
    let data = bytes(1, length);
    store.put(key(1), data.clone(), None).await.expect("put");
    let edge = BLOCK_BYTES.min(length - 1);
    for (start, end) in [(0, 1), (0, length), (length - 1, length), (edge - 1, edge + 1), (edge, length), (1, edge)] {
        let range = u32::try_from(start).expect("short")..u32::try_from(end).expect("short");
        let got = store.get(key(1), Some(range)).await.expect("get a range");
        assert!(got == data.slice(start..end), "range {start}..{end} of {length}");
    }
    let end = u32::try_from(length).expect("short");
    #[expect(clippy::reversed_empty_ranges, reason = "it is to be refused")]
    for range in [0..0, 3..3, 3..2, end..end + 1, 0..end + 1, u32::MAX - 1..u32::MAX] {
        let got = store.get(key(1), Some(range.clone())).await;
        assert!(matches!(got, Err(StoreError::Invalid(_))), "range {range:?}: {got:?}");
    }
}

async fn refuses_what_is_no_shard(store: &dyn ShardStore, length: usize) {
    let large = Bytes::from(vec![0; SHARD_LIMIT_BYTES as usize + 1]);
    assert!(matches!(store.put(key(1), large, None).await, Err(StoreError::Invalid(_))));
    let wrong = store.put(key(1), bytes(1, length), Some(shard_hash(b"other"))).await;
    assert!(matches!(wrong, Err(StoreError::Invalid(_))), "{wrong:?}");
    assert_eq!(store.info(key(1)).await.expect("info"), None, "nothing is left of a refused put");
}

async fn same_again_is_fine_and_other_bytes_conflict(store: &dyn ShardStore, length: usize) {
    let data = bytes(1, length);
    let hash = store.put(key(1), data.clone(), None).await.expect("put");
    assert_eq!(store.put(key(1), data.clone(), None).await.expect("the same again"), hash);
    for other in [bytes(2, length), bytes(3, 100), bytes(4, 512 * 1024)] {
        let put = store.put(key(1), other, None).await;
        assert!(matches!(put, Err(StoreError::Conflict(found)) if found == key(1)), "{put:?}");
    }
    assert!(store.get(key(1), None).await.expect("get") == data);
    assert_eq!(store.space().shards, 1);
}

async fn says_not_found(store: &dyn ShardStore, length: usize) {
    store.put(key(2), bytes(2, length), None).await.expect("put");
    assert!(matches!(store.get(key(1), None).await, Err(StoreError::NotFound(found)) if found == key(1)));
    assert!(matches!(store.get(key(1), Some(0..1)).await, Err(StoreError::NotFound(_))));
    assert!(matches!(store.verify(key(1)).await, Err(StoreError::NotFound(_))));
    assert_eq!(store.info(key(1)).await.expect("info"), None);
    store.delete(key(1)).await.expect("deleting nothing is no error");
}

async fn deletes(store: &dyn ShardStore, length: usize) {
    for number in 1..=3 {
        store.put(key(number), bytes(number.into(), length), None).await.expect("put");
    }
    store.delete(key(2)).await.expect("delete");
    assert!(matches!(store.get(key(2), None).await, Err(StoreError::NotFound(_))));
    assert!(store.get(key(1), None).await.expect("others stay") == bytes(1, length));
    assert_eq!(store.space().shards, 2);
    store.put(key(2), bytes(9, length), None).await.expect("a key set free takes other bytes");
    assert!(store.get(key(2), None).await.expect("get") == bytes(9, length));
}

async fn lists_in_pages(store: &dyn ShardStore, length: usize) {
    assert_eq!(store.list(None, 10).await.expect("list"), []);
    let mut expected = Vec::new();
    for number in [9, 3, 200, 7, 100, 5] {
        // Both kinds of place, and two shards of one stripe.
        let data = bytes(number.into(), if number % 2 == 0 { 300 * 1024 } else { length });
        store.put(key(number), data, None).await.expect("put");
        expected.push(store.info(key(number)).await.expect("info").expect("is there"));
    }
    let sibling = ShardKey { index: 6, ..key(3) };
    store.put(sibling, bytes(77, length), None).await.expect("put");
    expected.push(store.info(sibling).await.expect("info").expect("is there"));
    expected.sort_by_key(|info| info.key);
    for limit in [1, 2, 3, 7, 100] {
        let (mut listed, mut after) = (Vec::new(), None);
        loop {
            let page = store.list(after, limit).await.expect("list");
            assert!(page.len() <= limit);
            let Some(last) = page.last() else { break };
            after = Some(last.key);
            listed.extend(page);
        }
        assert_eq!(listed, expected, "in pages of {limit}");
    }
    assert_eq!(store.list(None, 0).await.expect("list"), []);
}

async fn counts_space(store: &dyn ShardStore, length: usize) {
    let before = store.space();
    store.put(key(1), bytes(1, length), None).await.expect("put");
    let after = store.space();
    assert_eq!((before.shards, after.shards), (0, 1));
    assert!(after.used_bytes >= before.used_bytes + length as u64, "{before:?} {after:?}");
    assert!(after.capacity_bytes >= after.used_bytes + after.free_bytes, "{after:?}");
    store.delete(key(1)).await.expect("delete");
    assert_eq!(store.space().shards, 0);
}

async fn concurrent_puts_of_one_key_agree<S: ShardStore + 'static>(store: S, length: usize) {
    let store = Arc::new(store);
    let puts: Vec<_> = (0..8u64)
        .map(|writer| {
            let store = Arc::clone(&store);
            // Half of them write one content, half another.
            tokio::spawn(async move { store.put(key(1), bytes(writer % 2, length), None).await })
        })
        .collect();
    let mut accepted = Vec::new();
    for put in puts {
        match put.await.expect("no panic") {
            Ok(hash) => accepted.push(hash),
            Err(StoreError::Conflict(_)) => {}
            Err(other) => panic!("neither accepted nor in conflict: {other}"),
        }
    }
    assert_eq!(accepted.len(), 4, "one content wins, for all who wrote it");
    let stored = store.get(key(1), None).await.expect("get");
    assert!(accepted.iter().all(|hash| *hash == shard_hash(&stored)));
    assert_eq!(store.space().shards, 1);
}
