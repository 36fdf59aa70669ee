//! What time it is for messages: the ledger's time where this agent holds the ledger, so that agents agree on it whatever
//! their own clocks say.

use std::sync::Arc;

use shoal_ledger::LedgerClient;
use shoal_mailbox::{Clock, Now, SystemClock};

/// The ledger's time, else the system's.
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
        Now { wall_ms: agreed.unwrap_or(system.wall_ms), ..system }
    }
}
