//! How fast background work may go: few turns at once, and after each a rest that grows with what else goes on.
//!
//! A turn is one small step, such as one shard rebuilt. After a turn that took `d`, the next of its class waits
//! `d` × [`factor`]: with a factor of 4 that class works a fifth of the time. No wait is longer than [`WAIT_LIMIT`], so
//! every class goes on, however slowly; only [`Class::Idle`] stands still on battery.

mod machine;

use std::time::Duration;

pub use machine::{Busyness, CpuTimes, Supply, on_battery};

/// Turns at once, at most.
pub const TURNS_AT_ONCE: usize = 2;
/// No turn is waited for longer than this, but on battery.
pub const WAIT_LIMIT: Duration = Duration::from_secs(30);
/// Share of the machine's processors in use from which it counts as busy. Background work itself is part of that share:
/// then it slows down a little for nobody, which does no harm.
const BUSY_FROM_PERCENT: u8 = 80;

/// What background work is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// One more loss would lose data.
    Endangered,
    /// Shards are missing or have to leave.
    Repair,
    /// Nothing is wrong: scrub, rebalance.
    Idle,
}

impl Class {
    /// All of them, the most pressing first.
    pub const ALL: [Self; 3] = [Self::Endangered, Self::Repair, Self::Idle];

    /// Its name in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Endangered => "endangered",
            Self::Repair => "repair",
            Self::Idle => "idle",
        }
    }
}

/// What else goes on at this machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Load {
    /// Requests of people served in the last second, here or for a door elsewhere.
    pub foreground_per_s: u32,
    /// Share of all processors in use, in percent.
    pub cpu_busy_percent: u8,
    /// Whether it runs on battery.
    pub on_battery: bool,
}

/// How many times as long as a turn took the next of its class waits; `None`: until this changes.
#[must_use]
pub fn factor(class: Class, load: Load) -> Option<u32> {
    if class == Class::Idle && load.on_battery {
        return None;
    }
    let (people, cpu, battery) = match class {
        Class::Endangered => (1, 0, 1),
        Class::Repair => (4, 1, 9),
        Class::Idle => (9, 4, 0),
    };
    let causes = [
        (load.foreground_per_s > 0, people),
        (load.cpu_busy_percent >= BUSY_FROM_PERCENT, cpu),
        (load.on_battery, battery),
    ];
    causes.into_iter().filter(|(applies, _)| *applies).map(|(_, factor)| factor).max().or(Some(0))
}

/// Turns of a class at once: while people wait, one, but for what is endangered.
fn turns_at_once(class: Class, load: Load) -> usize {
    if class != Class::Endangered && load.foreground_per_s > 0 { 1 } else { TURNS_AT_ONCE }
}

/// A turn that was asked for; its number tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TurnId(u64);

#[derive(Debug, Clone, Copy)]
struct Waiter {
    id: TurnId,
    class: Class,
    since: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Rest {
    ended: Duration,
    took: Duration,
}

/// What one class has had so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClassStats {
    /// Turns begun.
    pub turns: u64,
    /// Time in turns that have ended.
    pub worked: Duration,
    /// Time waited for turns that have begun.
    pub waited: Duration,
}

/// Who has a turn and who waits for one. All times are since one start, on a clock that only goes forward.
#[derive(Debug, Default)]
pub struct PaceCore {
    next_id: u64,
    waiting: Vec<Waiter>,
    running: Vec<Waiter>,
    rests: [Rest; Class::ALL.len()],
    stats: [ClassStats; Class::ALL.len()],
}

impl PaceCore {
    /// Asks for a turn. It has begun once [`PaceCore::begin_next`] names it, and lasts until [`PaceCore::end`].
    pub fn ask(&mut self, now: Duration, class: Class) -> TurnId {
        let id = TurnId(self.next_id);
        self.next_id += 1;
        self.waiting.push(Waiter { id, class, since: now });
        id
    }

    /// Begins the turn that is next, if one may begin: who waited too long first, then the most pressing, then who came
    /// first.
    pub fn begin_next(&mut self, now: Duration, load: Load) -> Option<TurnId> {
        let may = |waiter: &&Waiter| self.may_begin(waiter, now, load);
        let order = |waiter: &&Waiter| (!is_overdue(waiter, now), waiter.class, waiter.id);
        let next = *self.waiting.iter().filter(may).min_by_key(order)?;
        self.waiting.retain(|waiter| waiter.id != next.id);
        self.running.push(Waiter { since: now, ..next });
        let stats = of(&mut self.stats, next.class);
        stats.turns += 1;
        stats.waited += now.saturating_sub(next.since);
        Some(next.id)
    }

    /// Whether a turn has begun.
    #[must_use]
    pub fn has_begun(&self, id: TurnId) -> bool {
        self.running.iter().any(|turn| turn.id == id)
    }

    /// Ends a turn, or takes back that it was asked for.
    pub fn end(&mut self, now: Duration, id: TurnId) {
        self.waiting.retain(|waiter| waiter.id != id);
        let Some(turn) = self.running.iter().find(|turn| turn.id == id).copied() else { return };
        self.running.retain(|turn| turn.id != id);
        let took = now.saturating_sub(turn.since);
        *of(&mut self.rests, turn.class) = Rest { ended: now, took };
        of(&mut self.stats, turn.class).worked += took;
    }

    /// What each class has had, in the order of [`Class::ALL`].
    #[must_use]
    pub fn stats(&self) -> [ClassStats; Class::ALL.len()] {
        self.stats
    }

    fn may_begin(&self, waiter: &Waiter, now: Duration, load: Load) -> bool {
        if self.running.len() >= TURNS_AT_ONCE {
            return false;
        }
        let Some(factor) = factor(waiter.class, load) else { return false };
        if is_overdue(waiter, now) {
            return true;
        }
        let [endangered, repair, idle] = self.rests;
        let rest = match waiter.class {
            Class::Endangered => endangered,
            Class::Repair => repair,
            Class::Idle => idle,
        };
        let rested = now.saturating_sub(rest.ended) >= rest.took.saturating_mul(factor);
        rested && self.running.len() < turns_at_once(waiter.class, load)
    }
}

fn is_overdue(waiter: &Waiter, now: Duration) -> bool {
    now.saturating_sub(waiter.since) >= WAIT_LIMIT
}

fn of<T>(each: &mut [T; Class::ALL.len()], class: Class) -> &mut T {
    let [endangered, repair, idle] = each;
    match class {
        Class::Endangered => endangered,
        Class::Repair => repair,
        Class::Idle => idle,
    }
}

#[cfg(test)]
mod tests;
