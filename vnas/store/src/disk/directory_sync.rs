//! Group commit of names: concurrent writers into one directory share one fsync of it.

use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use super::system;

#[derive(Default)]
pub(crate) struct DirectorySync {
    state: Mutex<State>,
    finished: Condvar,
}

#[derive(Default)]
struct State {
    running: bool,
    /// Syncs begun so far.
    begun: u64,
    /// The latest that succeeded.
    succeeded: u64,
    /// The latest failed: what it should have made durable still waits.
    failed: bool,
}

impl DirectorySync {
    /// Syncs only if the last sync failed: for who finds already done what was not answered as durable.
    pub(crate) fn sync_if_failed(&self, directory: &Path) -> io::Result<()> {
        let failed = self.state.lock().unwrap_or_else(PoisonError::into_inner).failed;
        if failed { self.sync(directory) } else { Ok(()) }
    }

    /// Answers when a sync that began after this call has succeeded. Blocks.
    pub(crate) fn sync(&self, directory: &Path) -> io::Result<()> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let needed = state.begun + 1;
        loop {
            if state.succeeded >= needed {
                return Ok(());
            }
            if state.running {
                state = self.finished.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.running = true;
            state.begun += 1;
            let own = state.begun;
            drop(state);
            let result = system::sync_directory(directory);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = false;
            state.failed = result.is_err();
            if result.is_ok() {
                state.succeeded = own;
            }
            self.finished.notify_all();
            result?;
        }
    }
}
