//! What time it is for messages: this computer's, unless the ledger, where this agent holds one, says that it cannot be. So
//! agents agree on it well enough, whatever their own clocks say.

use std::sync::Arc;

use shoal_ledger::LedgerClient;
use shoal_mailbox::{Clock, Now, SystemClock};

/// How far this computer's clock may be ahead of the ledger's time: where nothing changes, that passes a little slower, by a
/// minute and a half a day.
pub(super) const AHEAD_LIMIT_MS: u64 = 24 * 60 * 60 * 1_000;

/// The system's time, within what the ledger's time allows.
pub(crate) struct PoolClock {
    ledger: Option<Arc<dyn LedgerClient>>,
    system: SystemClock,
}

impl PoolClock {
    pub(crate) fn new(ledger: Option<Arc<dyn LedgerClient>>) -> Self {
        Self { ledger, system: SystemClock::default() }
    }

    /// ms since 1970.
    pub(crate) fn wall_ms(&self) -> u64 {
        self.now().wall_ms
    }
}

impl Clock for PoolClock {
    fn now(&self) -> Now {
        let system = self.system.now();
        // A ledger that has not begun has no time.
        let agreed = self.ledger.as_ref().and_then(|ledger| ledger.time_ms().ok()).filter(|time_ms| *time_ms > 0);
        let within = |time_ms: u64| system.wall_ms.clamp(time_ms, time_ms.saturating_add(AHEAD_LIMIT_MS));
        Now { wall_ms: agreed.map_or(system.wall_ms, within), ..system }
    }
}
