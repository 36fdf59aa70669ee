//! Group commit of names: concurrent writers into one directory share one fsync of it.

use std::io;
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

pub(crate) struct DirectorySync {
    state: Mutex<State>,
    finished: Condvar,
}

impl Default for DirectorySync {
    fn default() -> Self {
        // Of what is found at the start, the process before may have died before it was synced.
        let state = State { running: false, begun: 0, succeeded: 0, unsure: true };
        Self { state: Mutex::new(state), finished: Condvar::new() }
    }
}

struct State {
    running: bool,
    /// Syncs begun so far.
    begun: u64,
    /// The latest that succeeded.
    succeeded: u64,
    /// None has succeeded yet, or the latest failed: some names may not be durable.
    unsure: bool,
}

impl DirectorySync {
    /// Syncs only if names may not be durable: for who finds already done what was not answered as durable.
    pub(crate) fn sync_if_unsure(&self, directory: &Path) -> io::Result<()> {
        let unsure = self.state.lock().unwrap_or_else(PoisonError::into_inner).unsure;
        if unsure { self.sync(directory) } else { Ok(()) }
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
            let result = shoal_files::sync_directory(directory);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.running = false;
            state.unsure = result.is_err();
            if result.is_ok() {
                state.succeeded = own;
            }
            self.finished.notify_all();
            result?;
        }
    }
}
