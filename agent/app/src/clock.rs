//! Whether this computer's clock can be believed.
//!
//! No clock orders or deletes anything, but locks and tickets end by what the agents' clocks agree on, and time in the ledger
//! never goes back: an agent on its own that is years ahead would leave its stamp on the pool for years. So an agent whose
//! clock is years off does not take part.

use std::time::Duration;

use crate::AgentError;
use crate::cli::print::time;

/// No Shoal is older than this (2026-11-01): a clock before it was never set.
const FIRST_RELEASE_MS: u64 = 1_793_491_200_000;
/// A clock this far behind what the pool has seen is wrong.
const BEHIND_LIMIT: Duration = Duration::from_secs(365 * 24 * 3600);
/// A clock this far ahead of what the pool has last seen is wrong, however long the pool lay idle.
const AHEAD_LIMIT: Duration = Duration::from_secs(5 * 365 * 24 * 3600);

/// A time in ms since 1970 UTC, for people.
pub(crate) fn shown(ms: u64) -> String {
    time(ms)
}

/// Fails if the clock is years off. `seen_ms`: a time the pool is known to have passed, in ms since 1970 UTC; 0 for none.
pub(crate) fn check(now_ms: u64, seen_ms: u64) -> Result<(), AgentError> {
    let ms = |limit: Duration| u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
    let fault = |reason: String| Err(AgentError::Clock { now: time(now_ms), reason });
    if now_ms < FIRST_RELEASE_MS {
        return fault("which is before Shoal was made".to_owned());
    }
    if seen_ms > 0 && now_ms.saturating_add(ms(BEHIND_LIMIT)) < seen_ms {
        return fault(format!("but the pool has seen {} already", time(seen_ms)));
    }
    if seen_ms > 0 && now_ms > seen_ms.saturating_add(ms(AHEAD_LIMIT)) {
        return fault(format!("but the pool was last at {}", time(seen_ms)));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_years_off_is_refused_and_a_pool_that_slept_is_not() {
        const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;
        let now = FIRST_RELEASE_MS + 10 * YEAR_MS;
        for (clock, seen, believed) in [
            (now, 0, true),
            (now, now, true),
            (now, now - 2 * YEAR_MS, true),
            (now, now + YEAR_MS / 2, true),
            (0, 0, false),
            (FIRST_RELEASE_MS - 1, 0, false),
            (now, now + 2 * YEAR_MS, false),
            (now, now - 6 * YEAR_MS, false),
        ] {
            assert_eq!(check(clock, seen).is_ok(), believed, "at {clock} having seen {seen}");
        }
        let error = check(0, 0).expect_err("refused");
        assert_eq!(error.exit_code(), 11);
        assert!(error.to_string().contains("1970-01-01 00:00 UTC"), "{error}");
    }
}
