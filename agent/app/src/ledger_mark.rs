//! A mark that this agent's ledger has begun, kept beside the ledger.
//!
//! An agent that votes must not forget: one whose log or vote is gone and that starts as if it never had any could
//! agree to undo what it helped to acknowledge. So an agent that has the mark and not the ledger does not start.

use std::path::Path;

use crate::AgentError;
use crate::secret_file;

const MARK_FILE: &str = "ledger.begun";

/// Fails if the agent had a ledger and parts of it are gone.
pub(crate) fn check(data: &Path) -> Result<(), AgentError> {
    let ledger = data.join("ledger");
    if secret_file::read(&data.join(MARK_FILE))?.is_none() || shoal_consensus::is_whole(&ledger) {
        return Ok(());
    }
    Err(AgentError::Damaged {
        path: ledger,
        reason:
            "parts of it are gone, and an agent that votes must not forget; put them back, or remove this agent from \
                 the pool (`shoal node remove` on another) and join anew with an empty --data directory"
                .into(),
    })
}

/// Notes that the ledger has begun. Durable when it returns.
pub(crate) fn set(data: &Path) -> Result<(), AgentError> {
    let path = data.join(MARK_FILE);
    if path.exists() || !shoal_consensus::is_whole(&data.join("ledger")) {
        return Ok(());
    }
    secret_file::create(&path, b"")
}

/// Forgets that: another ledger takes over. Durable when it returns.
pub(crate) fn clear(data: &Path) -> Result<(), AgentError> {
    let path = data.join(MARK_FILE);
    match std::fs::remove_file(&path).and_then(|()| secret_file::sync_folder(&path)) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(AgentError::directory("remove", &path, &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn an_agent_that_had_a_ledger_does_not_start_without_all_of_it() {
        let data = tempfile::tempdir().expect("folder");
        check(data.path()).expect("a new agent has none yet");
        set(data.path()).expect("nothing to note");
        check(data.path()).expect("still none");
        let ledger = data.path().join("ledger");
        fs::create_dir_all(ledger.join("log")).expect("folder");
        for file in ["raft.vote", "state-0000000001.redb"] {
            fs::write(ledger.join(file), b"").expect("written");
        }
        set(data.path()).expect("noted");
        check(data.path()).expect("all there");
        for file in ["raft.vote", "log", "state-0000000001.redb"] {
            fs::rename(ledger.join(file), data.path().join("aside")).expect("moved");
            let error = check(data.path()).expect_err(file);
            assert_eq!(error.exit_code(), 6, "{error}");
            fs::rename(data.path().join("aside"), ledger.join(file)).expect("moved back");
        }
        fs::remove_dir_all(&ledger).expect("removed");
        check(data.path()).expect_err("all of it is gone");
    }
}
