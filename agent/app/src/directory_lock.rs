//! One agent to a data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;

use crate::AgentError;

/// The file that is locked; it stays when the agent ends, the lock does not.
pub const LOCK_FILE: &str = "agent.lock";

/// Holds a directory for this process until dropped.
#[derive(Debug)]
pub struct DirectoryLock {
    _file: File,
}

/// Takes a directory, which must be there.
///
/// # Errors
/// If another process has it, or it cannot be written to.
pub fn acquire(directory: &Path) -> Result<DirectoryLock, AgentError> {
    let path = directory.join(LOCK_FILE);
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(|error| AgentError::directory("write", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(DirectoryLock { _file: file }),
        Err(TryLockError::WouldBlock) => Err(AgentError::DirectoryInUse(directory.to_owned())),
        Err(TryLockError::Error(error)) => Err(AgentError::directory("lock", &path, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_serves_one_agent_at_a_time() {
        let folder = tempfile::tempdir().expect("folder");
        let first = acquire(folder.path()).expect("free");
        let second = acquire(folder.path());
        assert!(matches!(second, Err(AgentError::DirectoryInUse(_))), "{second:?}");
        drop(first);
        acquire(folder.path()).expect("free again");
    }
}
