//! Waiting for room on the disk: an agent whose ledger found none stops its parts and goes on when there is some again,
//! in the same process.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use shoal_consensus::Headroom;
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::config::AgentConfig;

/// Bytes set aside for the ledger.
const BALLAST_BYTES: u64 = 32 * 1024 * 1024;
/// Time between two looks at the disk.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// After a ledger failed, its agent is started again no sooner than this.
const RESTART_PAUSE: Duration = Duration::from_secs(2);
/// What a write that found no room says, in numbers of the system: ENOSPC, EDQUOT.
const NO_ROOM: [&str; 2] = ["(os error 28)", "(os error 122)"];

/// The room kept for an agent's ledger.
pub(crate) fn headroom(config: &AgentConfig) -> Arc<Headroom> {
    Headroom::new(config.data.join("ledger"), BALLAST_BYTES)
}

/// What people are told while nothing new is taken.
pub(crate) fn refusal(headroom: &Headroom) -> Option<String> {
    headroom.is_low().then(|| {
        format!(
            "the disk under this agent's ledger is full: it takes nothing new until {} MiB are free; go to another agent, \
             or make room",
            headroom.wanted_bytes() >> 20
        )
    })
}

/// Waits until an agent that has a ledger has room to start; at once where there is room.
pub(crate) async fn to_start(config: &AgentConfig, shutdown: &CancellationToken) {
    let headroom = headroom(config);
    if config.data.join("ledger").is_dir() && !headroom.make_way() {
        wait(&headroom, &config.data, shutdown).await;
    }
}

/// Whether an agent ended for want of room on the disk; waits until there is some, if so.
pub(crate) async fn after(error: &AgentError, config: &AgentConfig, shutdown: &CancellationToken) -> bool {
    let headroom = headroom(config);
    let full = headroom.free_bytes().is_ok_and(|free| free < headroom.wanted_bytes());
    let reason = error.to_string();
    let told = NO_ROOM.iter().any(|code| reason.contains(code));
    let is_of_the_disk = matches!(error, AgentError::LedgerFailed { .. } | AgentError::Directory { .. });
    if !config.data.join("ledger").is_dir() || !(told || full && is_of_the_disk) {
        return false;
    }
    tracing::warn!(%error, "the agent stopped for want of room");
    headroom.make_way();
    if shutdown.run_until_cancelled(tokio::time::sleep(RESTART_PAUSE)).await.is_some() {
        wait(&headroom, &config.data, shutdown).await;
    }
    true
}

async fn wait(headroom: &Headroom, data: &Path, shutdown: &CancellationToken) {
    let enough = || headroom.free_bytes().is_ok_and(|free| free >= headroom.wanted_bytes());
    if enough() {
        return;
    }
    let wanted = headroom.wanted_bytes() >> 20;
    tracing::warn!(
        "the disk under {} is full: this agent waits until {wanted} MiB are free and then goes on by itself; nothing \
         acknowledged is lost",
        data.display()
    );
    while !enough() {
        if shutdown.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await.is_none() {
            return;
        }
    }
}
