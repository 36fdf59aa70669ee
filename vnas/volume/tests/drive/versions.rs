//! A file is seen wholly old or wholly new.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use shoal_ledger::{Command, Guard, KvError, KvRead, LedgerClient, LocalLedger, Outcome, SubmitError};
use shoal_volume::{DriveError, NewFile};

use crate::pool::*;

#[tokio::test]
async fn an_open_file_stays_the_version_it_was() {
    let pool = pool();
    for bytes in [100, 10_000, 3 * CHUNK] {
        let (old, new) = (noise(1, bytes), noise(2, bytes + 1));
        write(&pool.drive, "file", &old).await.expect("written");
        let node = pool.drive.node(&path("file")).expect("read").expect("there");
        let reader = pool.fresh().open(&node).expect("opened");
        let (_, created) = write(&pool.drive, "file", &new).await.expect("replaced");
        assert!(!created);
        assert_same(&collect(reader.read(0..u64::MAX)).await.expect("read"), &old);
        assert_same(&read(&pool.fresh(), "file").await.expect("read"), &new);
        pool.drive.remove(&path("file"), Guard::default()).await.expect("removed");
    }
}

#[tokio::test]
async fn of_writers_at_once_the_last_to_commit_wins_whole() {
    let pool = pool();
    let mut writers = Vec::new();
    for seed in 0..4 {
        let mut writer = pool.drive.create(&path("file"), NewFile::default(), Guard::default()).await.expect("created");
        writer.write(noise(seed, CHUNK + 1000)).await.expect("taken");
        writers.push((seed, writer));
    }
    for (seed, writer) in writers.into_iter().rev() {
        let (_, created) = writer.commit().await.expect("committed");
        assert_eq!(created, seed == 3);
        assert_same(&read(&pool.fresh(), "file").await.expect("read"), &noise(seed, CHUNK + 1000));
    }
}

#[tokio::test]
async fn without_a_quorum_nothing_changes_and_reading_goes_on() {
    let pool = pool();
    let written = noise(1, 100_000);
    write(&pool.drive, "file", &written).await.expect("written");
    pool.ledger.set_quorum(false);
    assert!(!pool.drive.refresh().await);
    let error = write(&pool.drive, "file", &noise(2, 100_000)).await.expect_err("refused");
    assert!(matches!(error, DriveError::NoQuorum(_)), "{error}");
    assert_same(&read(&pool.fresh(), "file").await.expect("read"), &written);
    pool.ledger.set_quorum(true);
    assert!(pool.drive.refresh().await);
}

#[tokio::test]
async fn a_reader_finds_the_content_where_it_is_now() {
    let pool = pool();
    let written = noise(1, CHUNK);
    write(&pool.drive, "before", &written).await.expect("written");
    let node = pool.drive.node(&path("before")).expect("read").expect("there");
    let reader = pool.fresh().open(&node).expect("opened");
    let old: Vec<_> = (0..6).map(|index| pool.shard(index)).collect();
    pool.drive.remove(&path("before"), Guard::default()).await.expect("removed");
    old.into_iter().for_each(|(agent, key)| pool.peers.lose(agent, key));
    let error = collect(reader.read(0..u64::MAX)).await.expect_err("nowhere");
    assert!(matches!(error, DriveError::Damaged(_)), "{error}");
    write(&pool.drive, "after", &written).await.expect("written");
    assert_same(&collect(reader.read(0..u64::MAX)).await.expect("read"), &written);
}

/// Removes the file `first` just before the next command that counts on its contents is applied, once.
struct Vanishing {
    ledger: Arc<LocalLedger>,
    left: AtomicUsize,
}

#[async_trait]
impl LedgerClient for Vanishing {
    async fn submit(&self, command: Command) -> Result<Outcome, SubmitError> {
        let inner = if let Command::Fresh { command, .. } = &command { command } else { &command };
        let counts = matches!(inner, Command::CommitFile { .. } | Command::StageChunks { .. });
        if counts && self.left.load(Ordering::SeqCst) > 0 {
            self.left.fetch_sub(1, Ordering::SeqCst);
            self.ledger.submit_now(Command::Remove { path: path("first"), guard: Guard::default() })?;
        }
        self.ledger.submit(command).await
    }
    async fn barrier(&self) -> Result<(), SubmitError> {
        self.ledger.barrier().await
    }
    fn view(&self) -> Result<Arc<dyn KvRead + Send + Sync>, KvError> {
        self.ledger.view()
    }
    fn time_ms(&self) -> Result<u64, KvError> {
        self.ledger.time_ms()
    }
    async fn changed(&self, after: u64) -> u64 {
        self.ledger.changed(after).await
    }
}

#[tokio::test]
async fn contents_that_vanish_before_the_commit_are_written_anew() {
    for bytes in [10_000, CHUNK, 3 * CHUNK] {
        let pool = pool();
        let written: Bytes = noise(1, bytes);
        write(&pool.drive, "first", &written).await.expect("written");
        let ledger = Vanishing { ledger: Arc::clone(&pool.ledger), left: AtomicUsize::new(1) };
        let drive = drive_over(Arc::new(ledger), &pool.peers, |_| {});
        write(&drive, "second", &written).await.expect("written");
        assert!(drive.stats().known_chunks > 0);
        assert!(pool.drive.node(&path("first")).expect("read").is_none());
        assert_same(&read(&pool.fresh(), "second").await.expect("read"), &written);
    }
}
