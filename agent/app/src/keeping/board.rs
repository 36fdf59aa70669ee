//! How far the keeper is, for people: kept by the agent that leads, asked for by the others.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use shoal_care::Progress;
use shoal_net::{Lane, Network};

use crate::wire::{self, Method};

/// How long an agent waits for the leader to say how far it is.
const ASK_TIMEOUT: Duration = Duration::from_millis(800);

/// What was done to keep the volume whole, counted since this agent started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct KeepingStats {
    /// Shards made anew or given on.
    pub shards: u64,
    /// Stripes cut anew.
    pub recuts: u64,
    /// Bytes read for both.
    pub read_bytes: u64,
    /// Bytes written for both.
    pub written_bytes: u64,
    /// Jobs that failed and are tried again.
    pub failures: u64,
}

/// How far the keeper of this agent is.
#[derive(Default)]
pub(crate) struct KeepingBoard {
    progress: Mutex<Option<Progress>>,
    shards: AtomicU64,
    recuts: AtomicU64,
    read_bytes: AtomicU64,
    written_bytes: AtomicU64,
    failures: AtomicU64,
}

impl KeepingBoard {
    pub(super) fn set(&self, progress: Progress) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress);
    }

    pub(super) fn clear(&self) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    pub(super) fn rebuilt(&self, read_bytes: u64, written_bytes: u64) {
        self.shards.fetch_add(1, Ordering::Relaxed);
        self.count(read_bytes, written_bytes);
    }

    pub(super) fn recut(&self, read_bytes: u64, written_bytes: u64) {
        self.recuts.fetch_add(1, Ordering::Relaxed);
        self.count(read_bytes, written_bytes);
    }

    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    fn count(&self, read_bytes: u64, written_bytes: u64) {
        self.read_bytes.fetch_add(read_bytes, Ordering::Relaxed);
        self.written_bytes.fetch_add(written_bytes, Ordering::Relaxed);
    }

    /// How far it is; `None` unless this agent leads.
    pub(crate) fn progress(&self) -> Option<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was done on this agent's word.
    pub(crate) fn stats(&self) -> KeepingStats {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KeepingStats {
            shards: get(&self.shards),
            recuts: get(&self.recuts),
            read_bytes: get(&self.read_bytes),
            written_bytes: get(&self.written_bytes),
            failures: get(&self.failures),
        }
    }
}

/// Asks the agent that leads how far its keeper is; `None` if it does not say so in time.
pub(crate) async fn ask_leader(network: &Arc<dyn Network>, leader: AgentId) -> Option<Progress> {
    let request = wire::request(Method::Progress, &()).ok()?;
    let response = network.call(leader, Lane::Control, request, ASK_TIMEOUT).await.ok()?;
    wire::done::<Option<Progress>>(&response).ok().flatten()
}
