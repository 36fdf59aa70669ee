//! Stores in temporary directories, and what may happen to a directory.

#![allow(dead_code, reason = "each test file uses its part")]

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use shoal_store::{DiskStore, DiskStoreConfig};
use tempfile::TempDir;

/// The directory of a store, gone at the end of the test.
pub(crate) struct Home(TempDir);

impl Home {
    pub(crate) fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("store")
    }

    pub(crate) fn config(&self) -> DiskStoreConfig {
        DiskStoreConfig { create_if_new: true, ..DiskStoreConfig::new(self.path()) }
    }

    pub(crate) fn open(&self) -> DiskStore {
        DiskStore::open(self.config()).expect("opens")
    }

    pub(crate) fn index(&self) -> PathBuf {
        self.path().join("segments/index.redb")
    }

    pub(crate) fn segment(&self, number: u32) -> PathBuf {
        self.path().join(format!("segments/{number:08}.seg"))
    }

    pub(crate) fn shard_file(&self, key: dci_proto::ShardKey) -> PathBuf {
        self.path().join(format!("shards/{:02x}/{key}", key.stripe.0[0]))
    }
}

/// Flips one bit of a file; flipping it again mends it.
pub(crate) fn flip(path: &Path, bit: usize) {
    let mut bytes = fs::read(path).expect("reads");
    bytes[bit / 8] ^= 1 << (bit % 8);
    fs::write(path, bytes).expect("writes");
}

/// Copies what a crash at this moment would leave, but for the index, which another moment may have.
pub(crate) fn copy_as_crashed(from: &Path, to: &Path) {
    loop {
        let _ = fs::remove_dir_all(to);
        let before = segment_names(from);
        let whole = copy_tree(from, to);
        // A segment removed or begun meanwhile: the copy mixes two moments.
        if whole && segment_names(from) == before {
            return;
        }
    }
}

fn segment_names(store: &Path) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(store.join("segments")).expect("lists");
    let mut names: Vec<_> = entries.map(|entry| entry.expect("lists").file_name()).collect();
    names.sort();
    names
}

/// Answers whether all segments were still there when their turn came.
fn copy_tree(from: &Path, to: &Path) -> bool {
    fs::create_dir_all(to).expect("creates");
    let mut entries: Vec<_> = fs::read_dir(from).expect("lists").map(|entry| entry.expect("lists").path()).collect();
    entries.sort();
    entries.into_iter().all(|path| {
        let name = path.file_name().expect("has a name");
        if path.is_dir() {
            return copy_tree(&path, &to.join(name));
        }
        if name == "lock" || name == "index.redb" {
            return true;
        }
        // A shard file may go by being renamed or deleted; a segment may not.
        fs::copy(&path, to.join(name)).is_ok() || path.extension().is_none_or(|extension| extension != "seg")
    })
}

/// Waits until `condition` holds, yielding to others; panics with `what` after half a minute.
pub(crate) async fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    const DEADLINE: Duration = Duration::from_secs(30);
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "not within {DEADLINE:?}: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Bytes of all files under a directory.
pub(crate) fn bytes_under(path: &Path) -> u64 {
    let entries = fs::read_dir(path).expect("lists");
    entries
        .map(|entry| {
            let path = entry.expect("lists").path();
            if path.is_dir() { bytes_under(&path) } else { fs::metadata(&path).map_or(0, |metadata| metadata.len()) }
        })
        .sum()
}
