//! What happens by itself: the status is kept true, the state is made durable, the log is shortened.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::consensus::Shared;

/// How often the status is drawn anew when Raft reports nothing.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// The state is made durable after this many entries: what a restart after a crash applies again.
const CHECKPOINT_ENTRIES: u64 = 50_000;
/// Or after this many bytes of log.
const CHECKPOINT_BYTES: u64 = 32 * 1024 * 1024;
/// The log is shortened when it is longer than this,
const LOG_LIMIT_BYTES: u64 = 128 * 1024 * 1024;
/// to this: what a member may be behind without needing the whole state.
const LOG_KEPT_BYTES: u64 = 64 * 1024 * 1024;

/// Runs until the task is ended.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut leadership = shared.raft.server_metrics();
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            changed = leadership.changed() => if changed.is_err() { return },
            _ = ticks.tick() => {}
        }
        shared.refresh_status();
        // Seen soon after it was applied: from then on it passes by this agent's steady clock.
        if let Err(error) = shared.time_ms() {
            tracing::debug!(%error, "the ledger's time cannot be read");
        }
        shared.tend_headroom().await;
        if let Err(error) = shared.keep_log_short().await {
            tracing::warn!(%error, "the ledger's log could not be shortened");
        }
    }
}

impl Shared {
    /// Draws the status anew and tells who watches it.
    pub(crate) fn refresh_status(&self) {
        let now = self.hearing.status(&self.raft_metrics.borrow());
        self.peers.set_quorum(now.is_leader && now.quorum);
        self.status.send_if_modified(|status| {
            let differs = status.differs_from(&now);
            *status = now;
            differs
        });
    }

    /// Making the ballast writes to the disk, so it is done where that holds nobody up.
    async fn tend_headroom(&self) {
        let headroom = Arc::clone(&self.headroom);
        if headroom.is_low()
            && let Err(error) = tokio::task::spawn_blocking(move || headroom.tend()).await
        {
            tracing::warn!(%error, "the ledger's ballast was not looked after");
        }
    }

    async fn keep_log_short(&self) -> Result<(), openraft::error::Fatal<dci_proto::AgentId>> {
        let durable = *self.state.durable().borrow();
        let applied = *self.state.applied_next().borrow();
        let extent = self.log_store.extent();
        if applied > durable.next
            && (applied - durable.next >= CHECKPOINT_ENTRIES || self.bytes_since_checkpoint() >= CHECKPOINT_BYTES)
        {
            self.note_checkpoint();
            self.raft.trigger().snapshot().await?;
        }
        if extent.total_bytes > LOG_LIMIT_BYTES
            && let Some(upto) = self.log_store.purge_point(LOG_KEPT_BYTES, durable.next)
        {
            self.raft.trigger().purge_log(upto).await?;
        }
        Ok(())
    }

    fn bytes_since_checkpoint(&self) -> u64 {
        let at = self.checkpoint_bytes.load(std::sync::atomic::Ordering::Relaxed);
        self.log_store.extent().appended_bytes.saturating_sub(at)
    }

    fn note_checkpoint(&self) {
        let now = self.log_store.extent().appended_bytes;
        self.checkpoint_bytes.store(now, std::sync::atomic::Ordering::Relaxed);
    }
}
