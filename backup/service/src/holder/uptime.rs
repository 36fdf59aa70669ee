//! How much of the last month this computer ran: owners choose by it. Counted in days of the machine's clock; a clock that
//! leaps makes the figure wrong for a month and nothing else.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use shoal_backup::Now;

use crate::files::replace;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
const DAYS: u64 = 30;
/// Running time between two looks counts for so much at most: who was suspended did not run.
const STEP_LIMIT_MS: u64 = 2 * 60 * 60 * 1_000;

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Ran {
    /// The day on which counting began.
    since: u64,
    /// ms of each day.
    by_day: BTreeMap<u64, u64>,
}

/// Counts.
#[derive(Debug)]
pub(super) struct Uptime {
    path: PathBuf,
    state: Mutex<(Ran, Option<u64>)>,
}

impl Uptime {
    /// As it was counted so far; what cannot be read is counted anew.
    pub(super) fn open(path: &Path) -> Self {
        let ran = std::fs::read(path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        Self { path: path.to_owned(), state: Mutex::new((ran, None)) }
    }

    /// Looks at the clocks, about every hour.
    pub(super) fn tick(&self, now: Now) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let today = now.wall_ms / DAY_MS;
        let ran_ms = state.1.map_or(0, |before_ms| now.steady_ms.saturating_sub(before_ms).min(STEP_LIMIT_MS));
        state.1 = Some(now.steady_ms);
        let ran = &mut state.0;
        if ran.by_day.is_empty() || today < ran.since {
            ran.since = today;
        }
        *ran.by_day.entry(today).or_default() += ran_ms;
        ran.by_day.retain(|day, _| *day <= today && *day + DAYS > today);
        let bytes = serde_json::to_vec(ran);
        if let Err(error) = bytes
            .map_err(|error| error.to_string())
            .and_then(|bytes| replace(&self.path, &bytes).map_err(|error| error.to_string()))
        {
            tracing::debug!(error, "the uptime could not be noted");
        }
    }

    /// In thousandths of the last month, or of the time since counting began if that is less: a day at least.
    pub(super) fn permille(&self, wall_ms: u64) -> u16 {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.0.by_day.is_empty() {
            return 1_000;
        }
        let today = wall_ms / DAY_MS;
        let from = state.0.since.max(today.saturating_sub(DAYS - 1)).min(today);
        let could_ms = wall_ms.saturating_sub(from * DAY_MS);
        let ran_ms: u64 = state.0.by_day.range(from..=today).map(|(_, ms)| *ms).sum();
        if could_ms < DAY_MS {
            // Too early to say anything bad.
            return 1_000;
        }
        u16::try_from((ran_ms.saturating_mul(1_000) / could_ms).min(1_000)).unwrap_or(1_000)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use super::*;

    #[test]
    fn a_pc_that_runs_a_third_of_the_day_says_so_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("uptime");
        const START_MS: u64 = 20_000 * DAY_MS;
        assert_eq!(Uptime::open(&path).permille(START_MS), 1_000, "nothing is known yet");
        for day in 0..40 {
            let uptime = Uptime::open(&path);
            for hour in 0..=8 {
                let steady_ms = hour * 60 * 60 * 1_000;
                uptime.tick(Now { steady_ms, wall_ms: START_MS + day * DAY_MS + steady_ms });
            }
        }
        let permille = Uptime::open(&path).permille(START_MS + 40 * DAY_MS - 1);
        assert!((320..=334).contains(&permille), "{permille}");
    }
}
