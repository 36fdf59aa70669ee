//! One process to a directory: a locked file in it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// How often a lock held by another is tried anew.
const ATTEMPTS: u32 = 50;
const WAIT_BETWEEN: Duration = Duration::from_millis(10);

/// Locks a file, which is made if need be, until it is dropped; nothing if another process has it.
///
/// A lock that was just let go may seem held for a moment: a program being started has a copy of each descriptor of
/// its parent until it is executed. So a lock that is held is waited for, up to half a second; the thread waits.
///
/// # Errors
/// What the system says about opening or locking.
pub fn lock(path: &Path) -> io::Result<Option<File>> {
    lock_waiting(path, || sleep(WAIT_BETWEEN))
}

fn lock_waiting(path: &Path, mut wait: impl FnMut()) -> io::Result<Option<File>> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    for attempt in 1..=ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(TryLockError::Error(error)) => return Err(error),
            Err(TryLockError::WouldBlock) if attempt < ATTEMPTS => wait(),
            Err(TryLockError::WouldBlock) => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_one_processes_until_it_is_dropped() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("lock");
        let first = lock(&path).expect("opens").expect("free");
        assert!(lock_waiting(&path, || ()).expect("opens").is_none());
        drop(first);
        assert!(lock(&path).expect("opens").is_some());
    }

    #[test]
    fn a_copy_that_a_program_being_started_has_for_a_moment_is_waited_for() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("lock");
        let first = lock(&path).expect("opens").expect("free");
        let mut copy = Some(first.try_clone().expect("a copy"));
        drop(first);
        assert!(lock_waiting(&path, || drop(copy.take())).expect("opens").is_some());
    }
}
