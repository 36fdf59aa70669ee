//! What is written comes back, and nothing else stays.

use bytes::Bytes;
use shoal_ledger::{Guard, query};
use shoal_volume::{DriveError, NewFile};

use crate::pool::*;

#[tokio::test]
async fn every_size_comes_back() {
    let pool = pool();
    for bytes in [0, 1, 2047, 2048, 2049, 65_535, 65_536, 65_537, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 12_345] {
        let (name, written) = (format!("{bytes} bytes"), noise(bytes as u64, bytes));
        let (node, created) = write(&pool.drive, &name, &written).await.expect(&name);
        assert!(created);
        assert_eq!(node.size_bytes, bytes as u64);
        assert_same(&read(&pool.fresh(), &name).await.expect(&name), &written);
    }
}

#[tokio::test]
async fn it_does_not_matter_in_which_pieces_bytes_arrive() {
    let pool = pool();
    let written = noise(1, CHUNK + 100_000);
    for piece in [1_000, 65_536, 300_001, CHUNK, CHUNK + 1] {
        let name = format!("by {piece}");
        let mut writer = pool.drive.create(&path(&name), NewFile::default(), Guard::default()).await.expect("created");
        for start in (0..written.len()).step_by(piece) {
            writer.write(written.slice(start..written.len().min(start + piece))).await.expect("taken");
        }
        assert_eq!(writer.written_bytes(), written.len() as u64);
        writer.commit().await.expect("committed");
        assert_same(&read(&pool.fresh(), &name).await.expect("read"), &written);
    }
}

#[tokio::test]
async fn small_files_are_copies_and_tiny_ones_in_the_ledger() {
    let pool = pool();
    write(&pool.drive, "tiny", &noise(1, 2048)).await.expect("written");
    assert_eq!(pool.peers.shard_count(), 0);
    write(&pool.drive, "small", &noise(2, 65_536)).await.expect("written");
    let (_, record) = &pool.stripes()[0];
    assert_eq!((record.k, record.m), (1, 2));
    assert_eq!(pool.peers.shard_count(), 3);
}

#[tokio::test]
async fn larger_files_survive_what_the_policy_says() {
    let pool = pool();
    write(&pool.drive, "large", &noise(2, 65_537)).await.expect("written");
    let (_, record) = &pool.stripes()[0];
    assert_eq!((record.k, record.m), (4, 2));
    pool.assert_nothing_else_is_stored();
}

#[tokio::test]
async fn long_files_are_staged_bit_by_bit() {
    let pool = pool_of(6, ROOM_BYTES, |config| config.stage_after_chunks = 2);
    let written = noise(1, 5 * CHUNK + 7);
    write(&pool.drive, "long", &written).await.expect("written");
    assert_same(&read(&pool.fresh(), "long").await.expect("read"), &written);
    pool.assert_nothing_else_is_stored();
}

#[tokio::test]
async fn an_upload_that_is_dropped_leaves_nothing() {
    for (stage_after_chunks, bytes) in [(64, 3 * CHUNK), (1, 3 * CHUNK), (64, 1000)] {
        let pool = pool_of(6, ROOM_BYTES, |config| config.stage_after_chunks = stage_after_chunks);
        let mut writer = pool.drive.create(&path("half"), NewFile::default(), Guard::default()).await.expect("created");
        writer.write(noise(1, bytes)).await.expect("taken");
        if bytes > CHUNK {
            let staged = stage_after_chunks == 1;
            let out = || if staged { !pool.stripes().is_empty() } else { pool.peers.shard_count() > 0 };
            eventually("shards are out", out).await;
        }
        drop(writer);
        if stage_after_chunks == 1 {
            // What the ledger knew of becomes garbage, for its holders to drop.
            eventually("the upload is forgotten", || pool.stripes().is_empty()).await;
            continue;
        }
        eventually("the shards are gone", || pool.peers.shard_count() == 0).await;
        assert_eq!(named(&pool), (0, 0, 0));
    }
}

/// How many files the ledger has, and stripes, in use and garbage.
fn named(pool: &Pool) -> (usize, usize, usize) {
    let view = pool.ledger.snapshot();
    let mut nodes = 0;
    let volume = query::volume_by_name(&*view, "pool").expect("read").expect("there");
    query::children(&*view, volume.root, None, &mut |_| {
        nodes += 1;
        true
    })
    .expect("read");
    (nodes, pool.stripes().len(), query::garbage(&*view, 10).expect("read").len())
}

#[tokio::test]
async fn an_announced_size_must_be_met() {
    let pool = pool();
    for (announced, arrived) in [(10u64, 9usize), (0, 1), (CHUNK as u64 + 5, CHUNK + 4)] {
        let file = NewFile { size_bytes: Some(announced), ..NewFile::default() };
        let mut writer = pool.drive.create(&path("cut"), file, Guard::default()).await.expect("created");
        let result = match writer.write(noise(1, arrived)).await {
            Ok(()) => writer.commit().await.map(drop),
            Err(error) => Err(error),
        };
        let error = result.expect_err("refused");
        let DriveError::Incomplete { announced_bytes, received_bytes } = error else { panic!("{error}") };
        assert_eq!((announced_bytes, received_bytes), (announced, arrived as u64));
        assert!(pool.drive.node(&path("cut")).expect("read").is_none());
    }
}

#[tokio::test]
async fn an_announced_checksum_must_be_met_and_is_kept() {
    let pool = pool();
    // FIPS 180: SHA-1 of "abc".
    let abc = *b"\xa9\x99\x3e\x36\x47\x06\x81\x6a\xba\x3e\x25\x71\x78\x50\xc2\x6c\x9c\xd0\xd8\x9d";
    let file = NewFile { expected_sha1: Some(abc), ..NewFile::default() };
    let mut writer = pool.drive.create(&path("abc"), file.clone(), Guard::default()).await.expect("created");
    writer.write(Bytes::from_static(b"abc")).await.expect("taken");
    let (node, _) = writer.commit().await.expect("committed");
    assert_eq!(node.sha1, Some(abc));

    let mut writer = pool.drive.create(&path("abd"), file, Guard::default()).await.expect("created");
    writer.write(Bytes::from_static(b"abd")).await.expect("taken");
    let error = writer.commit().await.expect_err("refused");
    assert!(matches!(error, DriveError::ChecksumMismatch { announced, .. } if announced == abc), "{error}");
    assert!(pool.drive.node(&path("abd")).expect("read").is_none());
}

#[tokio::test]
async fn a_checksum_spans_chunks() {
    let pool = pool();
    let written = noise(1, 2 * CHUNK + 5);
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, &written);
    let file = NewFile { want_sha1: true, ..NewFile::default() };
    let mut writer = pool.drive.create(&path("sum"), file, Guard::default()).await.expect("created");
    for start in (0..written.len()).step_by(100_000) {
        writer.write(written.slice(start..written.len().min(start + 100_000))).await.expect("taken");
    }
    let (node, _) = writer.commit().await.expect("committed");
    assert_eq!(node.sha1.as_ref().map(<[u8; 20]>::as_slice), Some(digest.as_ref()));
}

#[tokio::test]
async fn equal_contents_are_stored_once() {
    let pool = pool();
    for (name, bytes) in [("small", 10_000), ("one chunk", CHUNK), ("chunks", 3 * CHUNK + 1)] {
        let written = noise(bytes as u64, bytes);
        write(&pool.drive, &format!("{name} 1"), &written).await.expect("written");
        let (stripes, _) = (pool.stripes().len(), pool.peers.take_asked());
        write(&pool.drive, &format!("{name} 2"), &written).await.expect("written");
        assert_eq!(pool.stripes().len(), stripes, "{name}");
        assert_eq!(pool.peers.take_asked().puts, 0, "{name}");
        assert_same(&read(&pool.fresh(), &format!("{name} 2")).await.expect("read"), &written);
    }
    pool.assert_nothing_else_is_stored();
}

#[tokio::test]
async fn uploads_at_once_share_few_chunks_of_memory_and_all_end() {
    let pool = pool_of(6, ROOM_BYTES, |config| {
        config.chunks_in_flight = 2;
        config.chunks_in_flight_total = 2;
        config.cache_bytes = 0;
    });
    let shared = noise(0, 2 * CHUNK + 1);
    let uploads = (0..6).map(|number| {
        let (drive, shared) = (pool.drive.clone(), shared.clone());
        async move {
            let written = if number % 2 == 0 { shared } else { noise(number, 2 * CHUNK + 1) };
            write(&drive, &format!("file {number}"), &written).await.expect("written");
            assert_same(&read(&drive, &format!("file {number}")).await.expect("read"), &written);
        }
    });
    futures::future::join_all(uploads).await;
}
