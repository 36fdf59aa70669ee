//! Notes operations as they begin and end, from many threads, on one clock that never goes back.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::{Action, Operation, Outcome};

/// An operation that has begun.
#[derive(Debug)]
#[must_use = "an operation that is not finished is not recorded"]
pub struct Pending {
    group: u32,
    client: u32,
    door: u32,
    invoked_us: u64,
    action: Action,
}

/// The histories of all groups.
#[derive(Debug)]
pub struct Recorder {
    begin: Instant,
    groups: Mutex<BTreeMap<u32, Vec<Operation>>>,
}

impl Default for Recorder {
    fn default() -> Self {
        Self { begin: Instant::now(), groups: Mutex::default() }
    }
}

impl Recorder {
    /// Microseconds since the recording began.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Notes that a client begins an operation. To be called before anything is sent.
    pub fn invoke(&self, group: u32, client: u32, door: u32, action: Action) -> Pending {
        Pending { group, client, door, invoked_us: self.now_us(), action }
    }

    /// Notes how it ended. To be called after the whole answer was read. Returns what was recorded.
    pub fn finish(&self, pending: Pending, outcome: Outcome) -> Operation {
        let Pending { group, client, door, invoked_us, action } = pending;
        let operation = Operation { client, door, invoked_us, finished_us: self.now_us(), action, outcome };
        self.lock().entry(group).or_default().push(operation);
        operation
    }

    /// What was recorded so far, by group.
    #[must_use]
    pub fn groups(&self) -> BTreeMap<u32, Vec<Operation>> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, Vec<Operation>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
