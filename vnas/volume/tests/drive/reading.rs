//! Reading fetches what is needed and little more.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use proptest::collection::vec;
use proptest::prelude::*;
use shoal_volume::DriveConfig;

use crate::pool::*;

#[tokio::test]
async fn any_range_is_the_same_as_of_the_bytes() {
    let pool = pool();
    let written = noise(1, 2 * CHUNK + 100_000);
    write(&pool.drive, "file", &written).await.expect("written");
    let drive = pool.fresh();
    let size = written.len();
    for (start, end) in [
        (0, 1),
        (0, size),
        (1, 65_537),
        (65_536, 131_072),
        (CHUNK - 1, CHUNK + 1),
        (CHUNK - 300_000, 2 * CHUNK + 1),
        (1_000_000, 1_500_000),
        (2 * CHUNK + 99_999, size),
        (size - 1, size + 100),
        (size, size),
        (size + 5, size + 10),
        (7, 7),
    ] {
        let read = read_range(&drive, "file", start as u64..end as u64).await.expect("read");
        assert_same(&read, &written[start.min(size)..end.min(size)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever is read in whatever order, through one memory, is what was written.
    #[test]
    fn every_range_is_the_same_as_of_the_bytes(
        bytes in 1usize..2 * CHUNK,
        compressible in any::<bool>(),
        ranges in vec((0.0..1.0f64, 0.0..1.0f64), 1..6),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let pool = pool();
            let written = if compressible { Bytes::from(noise(1, 1000).repeat(bytes / 1000 + 1)) } else { noise(1, bytes) };
            write(&pool.drive, "file", &written).await.expect("written");
            let drive = pool.fresh();
            for (start, length) in ranges {
                let start = (written.len() as f64 * start) as usize;
                let end = start + ((written.len() - start) as f64 * length * length) as usize;
                let read = read_range(&drive, "file", start as u64..end as u64).await.expect("read");
                assert_same(&read, &written[start..end]);
            }
        });
    }
}

#[tokio::test]
async fn a_small_range_of_a_large_file_asks_for_a_few_frames() {
    let pool = pool();
    write(&pool.drive, "file", &noise(1, 3 * CHUNK)).await.expect("written");
    for start in [0u64, 5_000_000, 65_000, 12_000_000] {
        let drive = pool.fresh();
        pool.peers.take_asked();
        assert_eq!(read_range(&drive, "file", start..start + 5000).await.expect("read").len(), 5000);
        let asked = pool.peers.take_asked();
        assert!(asked.gets <= 2, "{asked:?}");
        assert!(asked.given_bytes <= 2 * (65_536 + 100), "{asked:?}");
    }
}

#[tokio::test]
async fn small_ranges_one_after_the_other_fetch_their_chunk_once() {
    let pool = pool();
    let written = noise(1, CHUNK);
    write(&pool.drive, "file", &written).await.expect("written");
    let drive = pool.fresh();
    pool.peers.take_asked();
    for start in (0..CHUNK).step_by(131_072) {
        let range = start as u64..start as u64 + 131_072;
        assert_same(&read_range(&drive, "file", range).await.expect("read"), &written[start..start + 131_072]);
    }
    let asked = pool.peers.take_asked();
    assert!(asked.given_bytes < CHUNK as u64 + 400_000, "{asked:?}");
}

#[tokio::test]
async fn what_was_read_is_read_from_memory() {
    let pool = pool();
    for (name, bytes) in [("small", 10_000), ("large", 2 * CHUNK)] {
        let written = noise(1, bytes);
        write(&pool.drive, name, &written).await.expect("written");
        read(&pool.drive, name).await.expect("read");
        pool.peers.take_asked();
        assert_same(&read(&pool.drive, name).await.expect("read"), &written);
        assert_eq!(pool.peers.take_asked().gets, 0, "{name}");
    }
    assert!(pool.drive.stats().cache_hits >= 3);
}

#[tokio::test]
async fn readers_at_once_share_one_fetch_of_a_chunk() {
    let pool = pool();
    write(&pool.drive, "file", &noise(1, CHUNK)).await.expect("written");
    let drive = pool.fresh();
    pool.set_moods(0..6, shoal_volume::testing::Mood::Slow(Duration::from_millis(10)));
    pool.peers.take_asked();
    let reads = (0..8).map(|_| read(&drive, "file"));
    for read in futures::future::join_all(reads).await {
        assert_eq!(read.expect("read").len(), CHUNK);
    }
    assert_eq!(pool.peers.take_asked().gets, 4);
}

#[tokio::test]
async fn reading_ahead_begins_when_the_reader_goes_on() {
    let pool = pool();
    write(&pool.drive, "file", &noise(1, 6 * CHUNK)).await.expect("written");
    let drive = pool.fresh();
    let node = drive.node(&path("file")).expect("read").expect("there");
    pool.peers.take_asked();
    let mut stream = drive.open(&node).expect("opened").read(0..u64::MAX);
    stream.next().await.expect("an item").expect("read");
    assert_eq!(pool.peers.take_asked().gets, 4, "the first chunk alone");
    stream.next().await.expect("an item").expect("read");
    let mut gets = 0;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
        gets += pool.peers.take_asked().gets;
    }
    assert_eq!(gets, 3 * 4, "three chunks ahead");
}

#[tokio::test]
async fn a_reader_who_goes_away_stops_reading_ahead() {
    let pool = pool();
    write(&pool.drive, "file", &noise(1, 6 * CHUNK)).await.expect("written");
    let drive = pool.fresh();
    let node = drive.node(&path("file")).expect("read").expect("there");
    let mut stream = drive.open(&node).expect("opened").read(0..u64::MAX);
    for _ in 0..2 {
        stream.next().await.expect("an item").expect("read");
    }
    drop(stream);
    tokio::task::yield_now().await;
    pool.peers.take_asked();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(pool.peers.take_asked().gets, 0);
}

#[tokio::test]
async fn many_slow_readers_are_served_in_small_steps() {
    let pool = pool();
    let written = noise(1, 3 * CHUNK);
    write(&pool.drive, "file", &written).await.expect("written");
    let few = |config: &mut DriveConfig| {
        config.chunks_in_flight_total = 2;
        config.cache_bytes = 0;
    };
    let drive = drive_over(pool.ledger.clone(), &pool.peers, few);
    let node = drive.node(&path("file")).expect("read").expect("there");
    let reader = drive.open(&node).expect("opened");
    let mut streams: Vec<_> = (0..5).map(|_| reader.read(0..u64::MAX)).collect();
    let mut first = Vec::new();
    for stream in &mut streams {
        first.push(stream.next().await.expect("an item").expect("read").len());
    }
    assert_eq!(first, [1 << 20, 1 << 20, 256 << 10, 256 << 10, 256 << 10]);
    for (stream, skip) in streams.into_iter().zip(first) {
        assert_same(&collect(stream).await.expect("read"), &written[skip..]);
    }
}
