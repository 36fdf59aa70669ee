//! How far an agent can be relied on, by its own account: what its disks report, what its store meets, how slow it has
//! become, how often it is away.
//!
//! With hysteresis: an agent that is failing stays so until nothing spoke for it for [`WELL_AFTER`], so that its shards do
//! not travel back and forth. What is merely slow or often away lowers the score and never makes it failing. Times are
//! since the start of the agent on a clock that only goes forward: an agent started again looks anew.

mod day;
mod disk;
mod trend;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use day::Day;
pub use disk::{DiskHealth, Smart};
pub use trend::Trend;

/// Reasons told of one agent, at most.
pub const REASONS_LIMIT: usize = 8;
/// Characters of one reason, at most.
pub const REASON_CHARACTERS_LIMIT: usize = 200;
/// Failed reads and writes within a day that make an agent failing. One or two are a loose cable.
pub const FAILED_OPERATIONS_TO_FAIL: u64 = 10;
/// Damaged shards found within a day that make an agent failing. A few are what disks do, and they are rebuilt in place.
pub const DAMAGED_SHARDS_TO_FAIL: u64 = 100;
/// A failing agent counts as well again after this time without cause.
pub const WELL_AFTER: Duration = Duration::from_secs(24 * 60 * 60);
/// Absences within a day that are nothing special: a lunch break, a night.
const USUAL_ABSENCES: u64 = 3;
/// A store that has become so many times slower than it was counts as slow,
const SLOW_FACTOR: u64 = 4;
/// if it takes at least this long; what is quick enough may vary.
const SLOW_FROM_US: u64 = 100_000;
/// The score of a failing agent, at best.
const FAILING_SCORE: u8 = 10;

/// How far an agent can be relied on, by its own account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// 100 where nothing speaks against it, 0 at worst. New shards rather go where it is high.
    pub score: u8,
    /// Whether it is likely to fail soon: it is emptied while it can be read.
    pub failing: bool,
    /// What speaks against it, as sentences for people.
    pub reasons: Vec<String>,
}

impl Default for Standing {
    fn default() -> Self {
        Self { score: 100, failing: false, reasons: Vec::new() }
    }
}

impl Standing {
    /// The same within the limits: what comes from another agent may be of any length.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        self.score = self.score.min(100);
        self.reasons.truncate(REASONS_LIMIT);
        for reason in &mut self.reasons {
            *reason =
                reason.chars().filter(|character| !character.is_control()).take(REASON_CHARACTERS_LIMIT).collect();
        }
        self
    }
}

/// What is known of the agent when its standing is looked at. Totals are since its start.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Observed {
    /// What the disks under its stores say of themselves.
    pub disks: Vec<DiskHealth>,
    /// Reads and writes of its stores that failed.
    pub failed_operations: u64,
    /// Shards found damaged, each counted once.
    pub damaged_shards: u64,
    /// Times it was away: slept, hung.
    pub absences: u64,
    /// Mean time of a read of late, in µs; 0 when unknown.
    pub latency_us: u64,
    /// Mean time of a read over the long run, in µs; 0 when unknown.
    pub usual_latency_us: u64,
}

/// Judges what is observed.
#[derive(Debug, Default)]
pub struct StandingCore {
    failed_operations: Day,
    damaged_shards: Day,
    absences: Day,
    /// What made it failing, and when that last held.
    failing: Option<(Duration, Vec<String>)>,
}

impl StandingCore {
    /// The standing now.
    pub fn look(&mut self, now: Duration, observed: &Observed) -> Standing {
        let failed = self.failed_operations.take(now, observed.failed_operations);
        let damaged = self.damaged_shards.take(now, observed.damaged_shards);
        let absences = self.absences.take(now, observed.absences);
        let mut causes: Vec<String> = observed.disks.iter().filter_map(DiskHealth::failing).collect();
        if failed >= FAILED_OPERATIONS_TO_FAIL {
            causes.push(format!("{failed} reads and writes of its disks failed within a day"));
        }
        if damaged >= DAMAGED_SHARDS_TO_FAIL {
            causes.push(format!("{damaged} damaged shards were found within a day"));
        }
        let (mut score, mut reasons) = (100u64, Vec::new());
        let mut blame = |points: u64, reason: String| {
            score = score.saturating_sub(points);
            reasons.push(reason);
        };
        observed.disks.iter().flat_map(DiskHealth::warnings).for_each(|(points, reason)| blame(points, reason));
        if (1..FAILED_OPERATIONS_TO_FAIL).contains(&failed) {
            blame(3 * failed, format!("{failed} reads or writes of its disks failed within a day"));
        }
        if (1..DAMAGED_SHARDS_TO_FAIL).contains(&damaged) {
            blame(damaged.min(50), format!("{damaged} damaged shards were found within a day"));
        }
        if observed.latency_us >= SLOW_FROM_US && observed.latency_us / SLOW_FACTOR >= observed.usual_latency_us.max(1)
        {
            let (now_ms, usual_ms) = (observed.latency_us / 1000, observed.usual_latency_us / 1000);
            blame(20, format!("its disks have become slow: {now_ms} ms for a read, {usual_ms} ms before"));
        }
        if absences > USUAL_ABSENCES {
            blame(
                (absences - USUAL_ABSENCES).saturating_mul(5).min(30),
                format!("it was away {absences} times within a day"),
            );
        }
        self.judge(now, causes, u8::try_from(score).unwrap_or(0), reasons)
    }

    fn judge(&mut self, now: Duration, causes: Vec<String>, score: u8, mut reasons: Vec<String>) -> Standing {
        if !causes.is_empty() {
            self.failing = Some((now, causes));
        }
        let still = self.failing.as_ref().filter(|(last, _)| now.saturating_sub(*last) < WELL_AFTER);
        let Some((last, causes)) = still else {
            self.failing = None;
            return Standing { score, failing: false, reasons }.bounded();
        };
        let past = if *last == now { "" } else { " (not any more; watched for a day)" };
        let causes: Vec<String> = causes.iter().map(|cause| format!("{cause}{past}")).collect();
        reasons.retain(|reason| !causes.contains(reason));
        Standing { score: score.min(FAILING_SCORE), failing: true, reasons: [causes, reasons].concat() }.bounded()
    }
}

#[cfg(test)]
mod tests;
