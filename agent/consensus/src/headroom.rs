//! Room for the ledger on a disk that others fill.
//!
//! A ledger that cannot be written stops its agent's part in the pool. So some room is set aside for it: a ballast file
//! of real blocks, given up when a write meets a full disk or the disk is about to be full, and made anew when there is
//! room again. While it is given up the agent should take nothing that can go elsewhere ([`Headroom::is_low`]).
//!
//! It is looked at when the ledger writes, not all the time: a ballast given up early would only feed whoever fills
//! the disk.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::ConsensusError;

/// With fewer bytes free than this the ballast is given up before a write: the state's database does not get over a
/// write that failed, the log does.
const LOW_BYTES: u64 = 8 * 1024 * 1024;
/// Time between two looks whether there is room for the ballast again.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const FILE_NAME: &str = "ballast";

/// Room set aside for one ledger.
#[derive(Debug)]
pub struct Headroom {
    directory: PathBuf,
    ballast_bytes: u64,
    low: AtomicBool,
    /// When it was last tried to make the ballast; held while the file is made or removed.
    tried: Mutex<Option<Instant>>,
}

impl Headroom {
    /// For the ledger in a directory; `ballast_bytes` 0: none is set aside. Nothing is written before the ledger opens.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, ballast_bytes: u64) -> Arc<Self> {
        let directory = directory.into();
        Arc::new(Self { directory, ballast_bytes, low: AtomicBool::new(false), tried: Mutex::default() })
    }

    /// Whether the ballast is given up: the disk is full, or was a moment ago.
    #[must_use]
    pub fn is_low(&self) -> bool {
        self.low.load(Ordering::Relaxed)
    }

    /// Bytes that must be free on the disk for the ballast to be made anew, and for an agent that stopped for want of
    /// room to go on.
    #[must_use]
    pub fn wanted_bytes(&self) -> u64 {
        self.ballast_bytes + 2 * LOW_BYTES
    }

    /// Bytes free on the disk.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn free_bytes(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.directory)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Gives the ballast up if there is little room without it. True if there is enough room to start now.
    pub fn make_way(&self) -> bool {
        let enough = |free: io::Result<u64>| free.is_ok_and(|free| free >= LOW_BYTES);
        if !enough(self.free_bytes()) {
            self.give_up();
        }
        enough(self.free_bytes())
    }

    /// Makes the ballast if there is room for it and it is not there. Seldom does anything: call it often.
    pub(crate) fn tend(&self) {
        let path = self.directory.join(FILE_NAME);
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        let look = self.ballast_bytes > 0 && (tried.is_none() || self.is_low());
        if !look || tried.is_some_and(|at| at.elapsed() < LOOK_AGAIN) {
            return;
        }
        *tried = Some(Instant::now());
        let there = fs::metadata(&path).is_ok_and(|metadata| metadata.len() == self.ballast_bytes);
        let room = self.free_bytes().is_ok_and(|free| free >= self.wanted_bytes());
        let made = there || (room && allocate(&path, self.ballast_bytes));
        if !made {
            self.set_low(true);
            return;
        }
        self.set_low(false);
    }

    /// Writes; what meets a full disk is tried once more without the ballast. `work` must bear being done again.
    pub(crate) fn write<T>(&self, mut work: impl FnMut() -> Result<T, ConsensusError>) -> Result<T, ConsensusError> {
        self.before_write();
        match work() {
            Err(error) if is_for_want_of_room(&error) && self.give_up() => work(),
            done => done,
        }
    }

    /// For what cannot be tried again: there shall be room beforehand.
    pub(crate) fn before_write(&self) {
        if self.ballast_bytes > 0 && !self.is_low() && self.free_bytes().is_ok_and(|free| free < LOW_BYTES) {
            self.give_up();
        }
    }

    /// True if there was something to give up.
    fn give_up(&self) -> bool {
        if self.ballast_bytes == 0 {
            return false;
        }
        let mut tried = self.tried.lock().unwrap_or_else(PoisonError::into_inner);
        *tried = Some(Instant::now());
        let given_up = fs::remove_file(self.directory.join(FILE_NAME)).is_ok();
        self.set_low(true);
        given_up
    }

    fn set_low(&self, low: bool) {
        if self.low.swap(low, Ordering::Relaxed) == low {
            return;
        }
        let directory = self.directory.display();
        match low {
            true => tracing::warn!(%directory, "the disk under the ledger is full; this agent takes nothing new"),
            false => tracing::info!(%directory, "there is room under the ledger again"),
        }
    }
}

/// Makes a file whose bytes are really there; durable, so that they are there after a crash too.
fn allocate(path: &Path, bytes: u64) -> bool {
    let make = || {
        let mut file = File::create(path)?;
        if rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).is_err() {
            let block = [0xa5; 64 * 1024];
            let mut left = bytes;
            while left > 0 {
                let piece = block.get(..left.min(block.len() as u64) as usize).unwrap_or(&block);
                file.write_all(piece)?;
                left -= piece.len() as u64;
            }
        }
        file.sync_all()
    };
    let made = make();
    if made.is_err() {
        let _ = fs::remove_file(path);
    }
    made.is_ok()
}

fn is_for_want_of_room(error: &ConsensusError) -> bool {
    let full = |kind| matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    matches!(error, ConsensusError::Io { source, .. } if full(source.kind()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BALLAST: u64 = 1024 * 1024;

    fn full() -> ConsensusError {
        ConsensusError::io("write", "somewhere")(ErrorKind::StorageFull.into())
    }

    #[test]
    fn a_write_that_meets_a_full_disk_is_done_again_without_the_ballast_once() {
        let folder = tempfile::tempdir().expect("folder");
        let headroom = Headroom::new(folder.path(), BALLAST);
        let ballast = folder.path().join(FILE_NAME);
        headroom.tend();
        assert!(!headroom.is_low());
        assert_eq!(fs::metadata(&ballast).expect("made").len(), BALLAST);
        let written = headroom.write(|| if ballast.exists() { Err(full()) } else { Ok(7) });
        assert_eq!(written.expect("there is room without it"), 7);
        assert!(headroom.is_low() && !ballast.exists());
        let mut tries = 0;
        let refused = headroom.write(|| {
            tries += 1;
            Err::<(), _>(full())
        });
        assert!(refused.is_err() && tries == 1, "nothing is left to give up");
        *headroom.tried.lock().expect("not poisoned") = None;
        headroom.tend();
        assert!(!headroom.is_low() && ballast.exists(), "there is room again");
    }

    #[test]
    fn other_failures_leave_the_ballast_where_it_is() {
        let folder = tempfile::tempdir().expect("folder");
        let headroom = Headroom::new(folder.path(), BALLAST);
        headroom.tend();
        let denied = || ConsensusError::io("write", "somewhere")(ErrorKind::PermissionDenied.into());
        assert!(headroom.write(|| Err::<(), _>(denied())).is_err());
        assert!(!headroom.is_low());
        let none = Headroom::new(folder.path(), 0);
        assert!(none.write(|| Err::<(), _>(full())).is_err());
        assert!(!none.is_low() && folder.path().join(FILE_NAME).exists());
    }
}
