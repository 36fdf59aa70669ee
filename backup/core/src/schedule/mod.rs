//! When a backup is made: snapshots of everything, and deltas of what changed since, each at times of its own.
//!
//! A [`Scheduler`] is told what happened and asked what to do; it knows no clock. It promises:
//!
//! - A run that was missed, however many times, is made up once.
//! - A machine's clock that leaps ahead, back, or to and fro causes neither a storm of runs nor an end of them: between two
//!   runs lies half of a schedule's period by the steady clock, and twice its period never passes without one.
//! - Owners with the same schedule start at different times, the same for each owner every time, so that a peer that many
//!   of them use is not hit by all at once.
//! - A run that failed is tried again, sooner first and then later; one cut short by a crash or a sleep goes on. That its owner
//!   tries in between makes nothing later.

mod when;

use std::fmt;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};

use crate::civil::Zone;
use crate::now::{HOUR_MS, MINUTE_MS, Now, backoff_ms, mix_ids};
use crate::plan::Pause;

pub use when::{RuleError, TIMES_LIMIT, TimeOfDay, Weekday, When};

/// Owners are spread over this time at most, and over a quarter of the period.
pub const STAGGER_LIMIT_MS: u64 = 30 * MINUTE_MS;
/// However long nothing is due, it is asked again after this time: the machine's clock may have leapt.
pub const ASK_AGAIN_MS: u64 = 15 * MINUTE_MS;
/// A run cut short goes on after this time from the start of the agent: starting has enough to do.
const RESUME_AFTER_MS: u64 = 2 * MINUTE_MS;
/// Waits after a failed run.
const RETRY_FIRST_MS: u64 = 5 * MINUTE_MS;
const RETRY_LIMIT_MS: u64 = 2 * HOUR_MS;
/// A last run that lies this far in the future says that the clock went back.
const FUTURE_TOLERANCE_MS: u64 = MINUTE_MS;

/// What a run keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// What changed since the last archive.
    Delta,
    /// All of it.
    Snapshot,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Delta => "delta",
            Self::Snapshot => "snapshot",
        })
    }
}

/// A schedule: what is made when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// What is made.
    pub mode: Mode,
    /// When.
    pub when: When,
}

impl Rule {
    /// Whether it can be meant.
    ///
    /// # Errors
    /// In a sentence that says what to do.
    pub fn validate(&self) -> Result<(), RuleError> {
        self.when.validate()
    }
}

/// What is kept over restarts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct History {
    /// When the last run of each mode began, by the machine's clock: of deltas, of snapshots. A snapshot is a delta too.
    pub began_ms: [Option<u64>; 2],
    /// A run that began and has not ended.
    pub unfinished: Option<Mode>,
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Begin a run, and say so with [`Scheduler::began`].
    Run {
        /// What it makes.
        mode: Mode,
        /// Since when it was due, by the machine's clock.
        due_ms: u64,
    },
    /// A run is due but waits.
    Paused {
        /// What would be made.
        mode: Mode,
        /// Why it waits.
        pause: Pause,
    },
    /// Ask again after this time, at most [`ASK_AGAIN_MS`].
    Wait {
        /// How long.
        for_ms: u64,
    },
    /// A run is on.
    Running,
}

/// Decides when a run begins. `Mode` is its index everywhere: deltas, then snapshots.
#[derive(Debug, Clone)]
pub struct Scheduler {
    rules: Vec<Rule>,
    owner: AgentId,
    history: History,
    /// On the steady clock: when the last run of each mode began, or this scheduler did.
    began_steady_ms: [u64; 2],
    /// Whether `began_steady_ms` is of a run.
    ran: [bool; 2],
    running: Option<Mode>,
    /// The owner asked for the run that is on.
    is_asked: bool,
    asked: Option<Mode>,
    retry: Option<Retry>,
}

#[derive(Debug, Clone, Copy)]
struct Retry {
    mode: Mode,
    failures: u32,
    at_steady_ms: u64,
}

impl Scheduler {
    /// Begins with what was kept. Without any history a run is due at once.
    #[must_use]
    pub fn new(rules: Vec<Rule>, owner: AgentId, history: History, now: Now) -> Self {
        let at_steady_ms = now.steady_ms.saturating_add(RESUME_AFTER_MS);
        let retry = history.unfinished.map(|mode| Retry { mode, failures: 0, at_steady_ms });
        let began_steady_ms = [now.steady_ms; 2];
        Self {
            rules,
            owner,
            history,
            began_steady_ms,
            ran: [false; 2],
            running: None,
            is_asked: false,
            asked: None,
            retry,
        }
    }

    /// What is to be kept over restarts. It changes with [`Self::began`], [`Self::ended`] and, when the machine's clock
    /// went back, [`Self::decide`].
    #[must_use]
    pub fn history(&self) -> History {
        self.history
    }

    /// Other schedules from now on.
    pub fn set_rules(&mut self, rules: Vec<Rule>) {
        self.rules = rules;
    }

    /// The owner wants a run now. It waits for nothing but a peer.
    pub fn ask(&mut self, mode: Mode) {
        self.asked = self.asked.max(Some(mode));
    }

    /// The run that the owner wanted is not made: it was told why.
    pub fn refuse(&mut self) {
        self.asked = None;
    }

    /// What to do now. `pause`: why a run that nobody asked for, and one that the owner asked for, would wait.
    pub fn decide(&mut self, now: Now, zone: &Zone, pause: impl Fn(bool) -> Option<Pause>) -> Decision {
        if self.running.is_some() {
            return Decision::Running;
        }
        for began_ms in self.history.began_ms.iter_mut().flatten() {
            if *began_ms > now.wall_ms.saturating_add(FUTURE_TOLERANCE_MS) {
                *began_ms = now.wall_ms;
            }
        }
        if let Some(mode) = self.asked {
            return Self::unless(pause(true), mode, now.wall_ms);
        }
        let due = self.rules.iter().filter_map(|rule| Some((rule.mode, self.due(rule, now, zone)?)));
        let due = due.chain(self.retry.map(|retry| (retry.mode, self.retry_due(retry, now)))).collect::<Vec<_>>();
        let ready =
            due.iter().filter(|(_, due)| due.in_ms == 0).max_by_key(|(mode, due)| (*mode, u64::MAX - due.since_ms));
        match ready {
            Some((mode, due)) => Self::unless(pause(false), *mode, due.since_ms),
            None => {
                let soonest = due.iter().map(|(_, due)| due.in_ms).min().unwrap_or(ASK_AGAIN_MS);
                Decision::Wait { for_ms: soonest.clamp(1, ASK_AGAIN_MS) }
            }
        }
    }

    fn unless(pause: Option<Pause>, mode: Mode, due_ms: u64) -> Decision {
        match pause {
            Some(pause) => Decision::Paused { mode, pause },
            None => Decision::Run { mode, due_ms },
        }
    }

    /// When the next run begins that nobody need ask for, by the machine's clock, for people to see.
    #[must_use]
    pub fn next_ms(&self, now: Now, zone: &Zone) -> Option<(Mode, u64)> {
        let due = self.rules.iter().filter_map(|rule| Some((self.due(rule, now, zone)?, rule.mode)));
        let due = due.map(|(due, mode)| (mode, now.wall_ms.saturating_add(due.in_ms)));
        let retry = self.retry.zip(self.retry_ms(now)).map(|(retry, at_ms)| (retry.mode, at_ms));
        due.chain(retry).min_by_key(|(_, at_ms)| *at_ms)
    }

    /// When a run that failed or was cut short is tried again, by the machine's clock.
    #[must_use]
    pub fn retry_ms(&self, now: Now) -> Option<u64> {
        self.retry.map(|retry| now.wall_ms.saturating_add(self.retry_due(retry, now).in_ms))
    }

    /// A run began. Its history is to be kept before it does anything.
    pub fn began(&mut self, mode: Mode, now: Now) {
        for index in 0..=mode as usize {
            self.history.began_ms[index] = Some(now.wall_ms);
            self.began_steady_ms[index] = now.steady_ms;
            self.ran[index] = true;
        }
        self.history.unfinished = Some(mode);
        self.running = Some(mode);
        self.is_asked = self.asked.is_some_and(|asked| asked <= mode);
        self.asked = self.asked.filter(|asked| *asked > mode);
    }

    /// The run ended, well or not.
    pub fn ended(&mut self, well: bool, now: Now) {
        let Some(mode) = self.running.take() else {
            return;
        };
        if well {
            // A snapshot that failed is not made good by a delta.
            self.retry = self.retry.filter(|retry| retry.mode > mode);
            self.history.unfinished = self.retry.map(|retry| retry.mode);
            return;
        }
        let by_itself = !std::mem::take(&mut self.is_asked);
        self.try_again(mode, by_itself, now);
    }

    /// A run that is none of the schedule's failed (the continuous mode began it): it is tried again as one of the schedule's.
    pub fn failed_beside(&mut self, mode: Mode, now: Now) {
        self.try_again(mode, true, now);
    }

    fn try_again(&mut self, mode: Mode, by_itself: bool, now: Now) {
        let before = self.retry.map_or(0, |retry| retry.failures);
        let failures = if by_itself { before.saturating_add(1) } else { before.max(1) };
        let at_steady_ms = now.steady_ms.saturating_add(backoff_ms(failures, RETRY_FIRST_MS, RETRY_LIMIT_MS));
        let mode = self.retry.map_or(mode, |retry| retry.mode.max(mode));
        self.retry = Some(Retry { mode, failures, at_steady_ms });
    }

    fn retry_due(&self, retry: Retry, now: Now) -> Due {
        Due { since_ms: now.wall_ms, in_ms: retry.at_steady_ms.saturating_sub(now.steady_ms) }
    }

    fn due(&self, rule: &Rule, now: Now, zone: &Zone) -> Option<Due> {
        let period = rule.when.period()?;
        let index = rule.mode as usize;
        let Some(began_ms) = self.history.began_ms[index] else {
            return Some(Due { since_ms: now.wall_ms, in_ms: 0 });
        };
        let stagger_ms = stagger_ms(self.owner, period.shortest_ms);
        let next_ms = rule.when.next_after_ms(began_ms.saturating_sub(stagger_ms), zone)?.saturating_add(stagger_ms);
        let by_wall_ms = next_ms.saturating_sub(now.wall_ms);
        let passed_ms = now.steady_ms.saturating_sub(self.began_steady_ms[index]);
        let held_ms = if self.ran[index] { (period.shortest_ms / 2).saturating_sub(passed_ms) } else { 0 };
        // Whatever the machine's clock says: twice the period is too long.
        let overdue_in_ms = (period.longest_ms * 2).saturating_sub(passed_ms);
        let in_ms = by_wall_ms.max(held_ms).min(overdue_in_ms);
        Some(Due { since_ms: next_ms.min(now.wall_ms), in_ms })
    }
}

/// When something is due: since when, and how long until then.
#[derive(Debug, Clone, Copy)]
struct Due {
    since_ms: u64,
    in_ms: u64,
}

/// By how much an owner starts later than its schedule says.
#[must_use]
pub fn stagger_ms(owner: AgentId, shortest_period_ms: u64) -> u64 {
    let window_ms = (shortest_period_ms / 4).clamp(1, STAGGER_LIMIT_MS);
    mix_ids(0x57a6, &[&owner.0]) % window_ms
}

#[cfg(test)]
mod tests;
