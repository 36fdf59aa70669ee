//! One agent to a data directory.

use std::fs::File;
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
    let file = shoal_files::lock(&path).map_err(|error| AgentError::directory("lock", &path, &error))?;
    file.map(|file| DirectoryLock { _file: file }).ok_or_else(|| AgentError::DirectoryInUse(directory.to_owned()))
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
