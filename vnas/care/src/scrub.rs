//! When a store reads which of its shards again: evenly over the scrub's period, on from where it was after a restart,
//! or at once when somebody asks.
//!
//! The clock is the machine's: a wrong one makes a scrub early or late, never wrong.

use dci_proto::StripeId;
use serde::{Deserialize, Serialize};

/// A machine that was off catches up at so many times the even pace, at most.
const CATCH_UP: u64 = 8;
/// Time since the last step that counts for catching up, at most: an hour asleep is no reason to read for an hour.
const STEP_LIMIT_MS: u64 = 10 * 60 * 1000;
/// The longest wait until the next look.
const WAIT_LIMIT_MS: u64 = 10 * 60 * 1000;
/// The shortest, so that a small store is not woken for every shard.
const WAIT_LEAST_MS: u64 = 1000;
/// The shortest period; a policy that names a shorter one means this.
const PERIOD_LEAST_S: u64 = 60;

/// One time round all shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Round {
    /// Its number, the first being 1.
    pub number: u64,
    /// When it began, in ms since 1970 UTC.
    pub begun_ms: u64,
    /// When it ended; `None` while it goes on.
    pub ended_ms: Option<u64>,
    /// The last stripe whose shard was read; `None` at the beginning.
    pub cursor: Option<StripeId>,
    /// Somebody asked for it: it goes on without pauses.
    pub asked: bool,
    /// Shards read.
    pub shards: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Shards found bad.
    pub found: u64,
    /// How often it went on after a restart.
    pub resumed: u32,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read on, about so many bytes (one shard at least).
    Read {
        /// Bytes.
        bytes: u64,
    },
    /// Nothing for so long.
    Wait {
        /// Milliseconds.
        ms: u64,
    },
}

/// The scrub of one store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Scrub {
    round: Round,
    /// The last one that went to its end.
    done: Option<Round>,
    stepped_ms: u64,
}

impl Scrub {
    /// The round that is under way, or else the last one.
    #[must_use]
    pub fn round(&self) -> Round {
        self.round
    }

    /// The last round that went to its end.
    #[must_use]
    pub fn done(&self) -> Option<Round> {
        self.done
    }

    /// Whether shards are being read again now or would be, in the pace of the period.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.round.number > 0 && self.round.ended_ms.is_none()
    }

    /// The agent started: a round that was under way goes on.
    pub fn resume(&mut self) {
        if self.is_under_way() && self.round.shards > 0 {
            self.round.resumed = self.round.resumed.saturating_add(1);
        }
    }

    /// Somebody wants all shards read now. One that was asked for already and goes on is not begun again.
    pub fn ask(&mut self, now_ms: u64) {
        if !(self.is_under_way() && self.round.asked) {
            self.begin(now_ms, true);
        }
    }

    fn begin(&mut self, now_ms: u64, asked: bool) {
        let number = self.round.number.saturating_add(1);
        self.round = Round { number, begun_ms: now_ms, asked, ..Round::default() };
        self.stepped_ms = now_ms;
    }

    /// What to do now, with so many bytes in all and a period of so many seconds.
    pub fn step(&mut self, now_ms: u64, total_bytes: u64, period_s: u64) -> Step {
        let period_ms = period_s.max(PERIOD_LEAST_S).saturating_mul(1000);
        if !self.is_under_way() {
            let next_ms = self.round.begun_ms.saturating_add(period_ms);
            if self.round.number > 0 && (self.round.begun_ms..next_ms).contains(&now_ms) {
                return wait(next_ms - now_ms);
            }
            self.begin(now_ms, false);
        }
        self.stepped_ms = self.stepped_ms.min(now_ms);
        let since_ms = (now_ms - self.stepped_ms).min(STEP_LIMIT_MS);
        if self.round.asked {
            self.stepped_ms = now_ms;
            return Step::Read { bytes: u64::MAX };
        }
        // A clock that was set back: as if it had been read at the even pace until now.
        if now_ms < self.round.begun_ms {
            self.round.begun_ms = now_ms.saturating_sub(share(period_ms, self.round.bytes, total_bytes));
        }
        let elapsed_ms = now_ms.saturating_sub(self.round.begun_ms);
        let due = share(total_bytes, elapsed_ms, period_ms).min(total_bytes).saturating_sub(self.round.bytes);
        let grant = due.min(share(total_bytes, since_ms.saturating_mul(CATCH_UP), period_ms));
        // What is so little that it is never granted is read all the same when its time is over.
        if grant > 0 || (elapsed_ms >= period_ms && since_ms == STEP_LIMIT_MS) {
            self.stepped_ms = now_ms;
            return Step::Read { bytes: grant };
        }
        if due > 0 {
            return wait(period_ms / total_bytes.saturating_mul(CATCH_UP).max(1));
        }
        let due_ms = share(period_ms, self.round.bytes.saturating_add(1), total_bytes);
        wait(due_ms.saturating_sub(elapsed_ms))
    }

    /// A shard was read, or found not to be readable.
    pub fn read(&mut self, stripe: StripeId, bytes: u64, bad: bool) {
        self.round.cursor = Some(stripe);
        self.round.shards = self.round.shards.saturating_add(1);
        self.round.bytes = self.round.bytes.saturating_add(bytes);
        self.round.found = self.round.found.saturating_add(u64::from(bad));
    }

    /// No shard of this agent lies between the cursor and that stripe.
    pub fn passed(&mut self, stripe: StripeId) {
        self.round.cursor = Some(stripe);
    }

    /// All shards were read.
    pub fn end(&mut self, now_ms: u64) {
        self.round.ended_ms = Some(now_ms);
        self.done = Some(self.round);
    }

    /// Thousandths of the round that are done.
    #[must_use]
    pub fn permille(&self, total_bytes: u64) -> u16 {
        if !self.is_under_way() {
            return 1000;
        }
        u16::try_from(share(1000, self.round.bytes, total_bytes).min(999)).unwrap_or(999)
    }

    /// Seconds until the round ends: as fast as it went so far where it was asked for, else at the end of the period.
    /// `None` while nothing can be said.
    #[must_use]
    pub fn eta_s(&self, now_ms: u64, total_bytes: u64, period_s: u64) -> Option<u64> {
        if !self.is_under_way() {
            return None;
        }
        let elapsed_ms = now_ms.saturating_sub(self.round.begun_ms);
        if !self.round.asked {
            return Some(period_s.max(PERIOD_LEAST_S).saturating_sub(elapsed_ms / 1000));
        }
        let left = total_bytes.saturating_sub(self.round.bytes);
        (self.round.bytes > 0).then(|| share(elapsed_ms, left, self.round.bytes) / 1000)
    }
}

fn wait(ms: u64) -> Step {
    Step::Wait { ms: ms.clamp(WAIT_LEAST_MS, WAIT_LIMIT_MS) }
}

/// `whole * part / of`, without overflow; `whole` where there is nothing to divide by.
fn share(whole: u64, part: u64, of: u64) -> u64 {
    match u128::from(of) {
        0 => whole,
        of => u64::try_from(u128::from(whole) * u128::from(part) / of).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 3_600_000;
    const PERIOD_S: u64 = 100 * 3600;
    const TOTAL: u64 = 1000 * 1000;
    const START_MS: u64 = 1_800_000_000_000;

    fn stripe(number: u64) -> StripeId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        StripeId(id)
    }

    /// Reads what is granted in shards of 1000 bytes, looking every `every_ms`, until `until_ms`.
    fn run(scrub: &mut Scrub, from_ms: u64, until_ms: u64, every_ms: u64) {
        let mut now_ms = from_ms;
        while now_ms < until_ms {
            if let Step::Read { bytes } = scrub.step(now_ms, TOTAL, PERIOD_S) {
                for _ in 0..(bytes / 1000).max(1) {
                    if scrub.round().bytes < TOTAL {
                        let number = scrub.round().shards;
                        scrub.read(stripe(number), 1000, false);
                    }
                }
                if scrub.round().bytes >= TOTAL {
                    scrub.end(now_ms);
                }
            }
            now_ms += every_ms;
        }
    }

    #[test]
    fn it_reads_evenly_over_the_period_and_begins_again_when_that_is_over() {
        let mut scrub = Scrub::default();
        for (hours, at_least, at_most) in [(10, 99_000, 102_000), (50, 499_000, 502_000), (90, 899_000, 902_000)] {
            let from = START_MS + scrub.stepped_ms.saturating_sub(START_MS);
            run(&mut scrub, from.max(START_MS), START_MS + hours * HOUR_MS, 60_000);
            let bytes = scrub.round().bytes;
            assert!((at_least..=at_most).contains(&bytes), "{bytes} bytes after {hours} hours");
        }
        run(&mut scrub, START_MS + 90 * HOUR_MS, START_MS + 101 * HOUR_MS, 60_000);
        assert_eq!(scrub.done().map(|round| (round.number, round.bytes)), Some((1, TOTAL)));
        assert_eq!(scrub.round().number, 2, "the next round has begun");
    }

    #[test]
    fn after_days_off_it_catches_up_at_a_bounded_pace_from_where_it_was() {
        let mut scrub = Scrub::default();
        run(&mut scrub, START_MS, START_MS + 10 * HOUR_MS, 60_000);
        let (before, cursor) = (scrub.round().bytes, scrub.round().cursor);
        scrub.resume();
        assert_eq!((scrub.round().cursor, scrub.round().resumed), (cursor, 1));
        let back_ms = START_MS + 60 * HOUR_MS;
        run(&mut scrub, back_ms, back_ms + HOUR_MS, 60_000);
        let caught_up = scrub.round().bytes - before;
        let even = TOTAL / 100;
        assert!((6 * even..=11 * even).contains(&caught_up), "{caught_up} bytes in the first hour");
    }

    #[test]
    fn asked_for_it_begins_anew_reads_without_pause_and_is_not_begun_twice() {
        let mut scrub = Scrub::default();
        run(&mut scrub, START_MS, START_MS + 10 * HOUR_MS, 60_000);
        let now_ms = START_MS + 10 * HOUR_MS;
        scrub.ask(now_ms);
        assert_eq!((scrub.round().number, scrub.round().cursor, scrub.round().bytes), (2, None, 0));
        assert_eq!(scrub.step(now_ms, TOTAL, PERIOD_S), Step::Read { bytes: u64::MAX });
        assert_eq!(scrub.eta_s(now_ms, TOTAL, PERIOD_S), None);
        scrub.read(stripe(1), TOTAL / 4, true);
        scrub.ask(now_ms + 1000);
        assert_eq!((scrub.round().number, scrub.round().found, scrub.permille(TOTAL)), (2, 1, 250));
        assert_eq!(scrub.eta_s(now_ms + 10_000, TOTAL, PERIOD_S), Some(30));
        scrub.end(now_ms + 20_000);
        assert!(!scrub.is_under_way());
        assert_eq!(scrub.permille(TOTAL), 1000);
        assert!(matches!(scrub.step(now_ms + 21_000, TOTAL, PERIOD_S), Step::Wait { .. }), "not again for a period");
    }

    #[test]
    fn a_clock_that_jumps_neither_stops_it_nor_makes_it_read_all_at_once() {
        for (jump, now_ms) in [("back", START_MS - 1000 * HOUR_MS), ("ahead", START_MS + 10_000 * HOUR_MS)] {
            let mut scrub = Scrub::default();
            run(&mut scrub, START_MS, START_MS + 50 * HOUR_MS, 60_000);
            let before = scrub.round().bytes;
            run(&mut scrub, now_ms, now_ms + HOUR_MS, 60_000);
            let read = scrub.round().bytes - before;
            assert!((TOTAL / 200..=TOTAL / 10).contains(&read), "{read} bytes in the hour after a jump {jump}");
        }
    }

    #[test]
    fn an_empty_store_waits_for_its_period_to_end() {
        let mut scrub = Scrub::default();
        let first = scrub.step(START_MS, 0, PERIOD_S);
        assert!(matches!(first, Step::Wait { .. } | Step::Read { .. }));
        scrub.end(START_MS);
        assert_eq!(scrub.step(START_MS + 1, 0, PERIOD_S), Step::Wait { ms: WAIT_LIMIT_MS });
    }
}
