//! What the log drops: what is too old, then the oldest while it is too large; never what still waits.

use super::rows::Rows;
use super::{Core, Now, Place};

/// How long and how much the log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Entries older than this are dropped, in ms.
    pub age_ms: u64,
    /// While all entries have more bytes than this, the oldest are dropped. The file has some more, and does not shrink.
    pub bytes: u64,
}

impl Default for Retention {
    /// 30 days, 1 GiB.
    fn default() -> Self {
        Self { age_ms: 30 * 24 * 60 * 60 * 1_000, bytes: 1024 * 1024 * 1024 }
    }
}

/// Entries, ids and messages to many that are looked at in one step.
const SWEEP_STEP: usize = 1_024;
/// How long after all was looked at it is looked at again, in ms.
const SWEEP_EVERY_MS: u64 = 10_000;

/// How far a look through the log for what is to be dropped has come.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sweep {
    log: Place,
    multicasts: Place,
    /// Nothing is to be done before, by the steady clock.
    rests_until_ms: u64,
}

impl Sweep {
    /// Whether there may be something to do.
    pub(crate) fn is_due(&self, now: Now) -> bool {
        self.rests_until_ms <= now.steady_ms
    }

    /// How long it has nothing to do, in ms.
    pub(crate) fn idle_ms(&self, now: Now) -> u64 {
        self.rests_until_ms.saturating_sub(now.steady_ms)
    }

    /// The same, to begin anew after a while.
    pub(crate) fn rest(now: Now) -> Self {
        Self { rests_until_ms: now.steady_ms + SWEEP_EVERY_MS, ..Self::default() }
    }

    /// Drops what is to be dropped, a bounded number of rows; answers how far it has come, for when that is durable.
    pub(crate) fn step<R: Rows>(
        mut self,
        core: &Core,
        rows: &mut R,
        now: Now,
        retention: Retention,
    ) -> Result<Self, R::Error> {
        let log_done = self.sweep_log(core, rows, now, retention)?;
        let ids_done =
            rows.forget_received(now.wall_ms.saturating_sub(core.limits.remember_ms), SWEEP_STEP)? < SWEEP_STEP;
        let multicasts = rows.multicasts(self.multicasts, SWEEP_STEP)?;
        for (place, row) in &multicasts {
            if row.expires_ms <= now.wall_ms {
                rows.remove_multicast(*place)?;
            }
            self.multicasts = place.next();
        }
        if log_done && ids_done && multicasts.len() < SWEEP_STEP {
            self = Self::rest(now);
        }
        Ok(self)
    }

    /// Whether the end of what is to be dropped is reached.
    fn sweep_log<R: Rows>(
        &mut self,
        core: &Core,
        rows: &mut R,
        now: Now,
        retention: Retention,
    ) -> Result<bool, R::Error> {
        let keep_from_ms = now.wall_ms.saturating_sub(retention.age_ms);
        let heads = rows.heads(self.log, SWEEP_STEP)?;
        // The newest entry stays: the next place follows from it.
        let last = rows.last_place()?;
        for head in &heads {
            let fits = head.at_ms >= keep_from_ms && rows.log_bytes() <= retention.bytes;
            // What this very transaction wrote is not known to the core yet.
            if fits || last == Some(head.place) || head.place >= core.next_place() {
                return Ok(true);
            }
            self.log = head.place.next();
            if !core.outbox.has(head.place) && !core.inbox.has(head.place) {
                rows.remove(head)?;
            }
        }
        Ok(heads.len() < SWEEP_STEP)
    }
}
