//! How much may be kept: under the owner's cap, and never into the disk's reserve.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_file_exchange::TransferId;

use super::FilesError;
use crate::cli::print::bytes;
use crate::config::{FilesConfig, free_bytes};

/// One transfer, one way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Out(TransferId),
    In(TransferId),
}

/// What a transfer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    /// When it is all there.
    pub(super) total_bytes: u64,
    /// Now.
    pub(super) written_bytes: u64,
}

/// What all transfers take.
pub(super) struct Room {
    folder: PathBuf,
    config: FilesConfig,
    held: Mutex<BTreeMap<Key, Held>>,
}

impl Room {
    pub(super) fn new(folder: PathBuf, config: FilesConfig) -> Self {
        Self { folder, config, held: Mutex::default() }
    }

    /// After how long without a byte something that is handed in is given up.
    pub(super) fn upload_patience(&self) -> Duration {
        self.config.upload_patience
    }

    /// Takes up what is there from before, whether it fits or not.
    pub(super) fn keep(&self, key: Key, held: Held) {
        if held.total_bytes > 0 {
            self.held().insert(key, held);
        }
    }

    /// Sets room aside for a whole transfer, or says why there is none.
    pub(super) fn take(&self, key: Key, total_bytes: u64) -> Result<(), FilesError> {
        let free = free_bytes(&self.folder)?;
        let mut held = self.held();
        decide(&self.config, free, held.iter().filter(|(other, _)| **other != key).map(|(_, held)| *held), total_bytes)
            .map_err(FilesError::NoRoom)?;
        held.insert(key, Held { total_bytes, written_bytes: 0 });
        Ok(())
    }

    /// So many bytes of a transfer are there now. Fails where the disk has run into its reserve meanwhile.
    pub(super) fn wrote(&self, key: Key, written_bytes: u64) -> Result<(), FilesError> {
        if let Some(held) = self.held().get_mut(&key) {
            held.written_bytes = written_bytes;
        }
        self.check()
    }

    /// Fails where the disk has run into its reserve.
    pub(super) fn check(&self) -> Result<(), FilesError> {
        self.check_for(0)
    }

    /// Fails where the disk has no room for so much more beyond its reserve.
    pub(super) fn check_for(&self, more_bytes: u64) -> Result<(), FilesError> {
        let free = free_bytes(&self.folder)?;
        if free < self.config.reserve_bytes.saturating_add(more_bytes) {
            return Err(FilesError::NoRoom(format!(
                "the disk has run full: {} are free, and {} of it are its owner's",
                bytes(free),
                bytes(self.config.reserve_bytes)
            )));
        }
        Ok(())
    }

    /// A transfer takes nothing any more.
    pub(super) fn free(&self, key: Key) {
        self.held().remove(&key);
    }

    /// Bytes kept, those set aside too, and how many may be.
    pub(super) fn used_and_cap(&self) -> (u64, u64) {
        (self.held().values().map(|held| held.total_bytes).sum(), self.config.cap_bytes)
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<Key, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether so much more fits, beside what is there and what was promised to others.
fn decide(
    config: &FilesConfig,
    free_bytes: u64,
    others: impl Iterator<Item = Held>,
    total_bytes: u64,
) -> Result<(), String> {
    let (mut used, mut promised) = (0u64, 0u64);
    for held in others {
        used = used.saturating_add(held.total_bytes);
        promised = promised.saturating_add(held.total_bytes.saturating_sub(held.written_bytes));
    }
    if config.cap_bytes == 0 {
        return Err("the owner of that computer has it keep no files of others".to_owned());
    }
    let left = config.cap_bytes.saturating_sub(used);
    if total_bytes > left {
        return Err(format!(
            "it takes {}, and of the {} that may be kept of files {} are left",
            bytes(total_bytes),
            bytes(config.cap_bytes),
            bytes(left)
        ));
    }
    let left = free_bytes.saturating_sub(config.reserve_bytes).saturating_sub(promised);
    if total_bytes > left {
        return Err(format!(
            "it takes {}, and the disk has {} left for it ({} are free, {} its owner's, {} promised to other files)",
            bytes(total_bytes),
            bytes(left),
            bytes(free_bytes),
            bytes(config.reserve_bytes),
            bytes(promised)
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cap_and_the_reserve_are_kept() {
        let config = FilesConfig { cap_bytes: 100, reserve_bytes: 50, ..FilesConfig::default() };
        let held = |total_bytes, written_bytes| Held { total_bytes, written_bytes };
        let cases = [
            (1000, vec![], 100, true),
            (1000, vec![], 101, false),
            (1000, vec![held(60, 60)], 40, true),
            (1000, vec![held(60, 0)], 41, false),
            // 40 are free beyond the reserve, 20 of them promised.
            (90, vec![held(60, 40)], 20, true),
            (90, vec![held(60, 40)], 21, false),
            (30, vec![], 1, false),
            (1000, vec![held(u64::MAX, 0), held(u64::MAX, 0)], 1, false),
        ];
        for (free, others, total, expected) in cases {
            let decided = decide(&config, free, others.clone().into_iter(), total);
            assert_eq!(decided.is_ok(), expected, "{free} {others:?} {total}: {decided:?}");
        }
        assert!(
            decide(&FilesConfig { cap_bytes: 0, reserve_bytes: 0, ..FilesConfig::default() }, 1000, [].into_iter(), 0)
                .is_err()
        );
    }
}
