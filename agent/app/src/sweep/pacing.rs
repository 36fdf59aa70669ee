//! When each address is asked: so many a second, so many at once, each once.

use std::net::SocketAddr;

use super::Plan;

/// How late a wake-up may be made up for: what was missed by more than this is not asked in one go.
const CATCH_UP_MS: u64 = 50;

/// How politely.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Addresses asked in a second.
    pub(crate) per_second: u32,
    /// Addresses asked and not heard of yet, at most.
    pub(crate) at_once: usize,
    /// How long one is waited for; only to tell how long it all takes.
    pub(crate) answer_ms: u64,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It begins, or the time asked for has come.
    Woken,
    /// One that was asked has answered, or will not.
    Ended {
        /// Whether it is an agent that says who it is.
        found: bool,
    },
    /// Nobody shall be asked any more.
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Ask this address; tell when that has ended.
    Ask(SocketAddr),
    /// Wake it at this time.
    WakeAt(u64),
    /// All is asked and heard of, or it was stopped.
    Done,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Addresses there are.
    pub(crate) all: usize,
    /// Addresses asked so far.
    pub(crate) asked: usize,
    /// Agents found so far.
    pub(crate) found: usize,
    /// Milliseconds left, about.
    pub(crate) left_ms: u64,
}

/// A walk through a plan.
#[derive(Debug, Clone)]
pub(crate) struct Sweep {
    addresses: Vec<SocketAddr>,
    pace: Pace,
    asked: usize,
    under_way: usize,
    found: usize,
    begun_ms: Option<u64>,
    /// When the next may be asked, in µs: a millisecond is too coarse for a rate.
    next_us: u64,
    stopped: bool,
}

impl Sweep {
    pub(crate) fn new(plan: &Plan, pace: Pace) -> Self {
        let pace = Pace { per_second: pace.per_second.max(1), at_once: pace.at_once.max(1), ..pace };
        let addresses = plan.addresses().to_vec();
        Self { addresses, pace, asked: 0, under_way: 0, found: 0, begun_ms: None, next_us: 0, stopped: false }
    }

    /// Time never goes back.
    pub(crate) fn handle(&mut self, now_ms: u64, event: Event) -> Vec<Effect> {
        if self.begun_ms.is_none() {
            (self.begun_ms, self.next_us) = (Some(now_ms), now_ms * 1000);
        }
        match event {
            Event::Woken => {}
            Event::Ended { found } => {
                self.under_way = self.under_way.saturating_sub(1);
                self.found += usize::from(found);
            }
            Event::Stop => self.stopped = true,
        }
        let mut effects = Vec::new();
        let now_us = now_ms * 1000;
        self.next_us = self.next_us.max(now_us.saturating_sub(CATCH_UP_MS * 1000));
        while let Some(address) = self.next().filter(|_| self.under_way < self.pace.at_once && self.next_us <= now_us) {
            self.asked += 1;
            self.under_way += 1;
            self.next_us += self.interval_us();
            effects.push(Effect::Ask(address));
        }
        match self.next() {
            None if self.under_way == 0 || self.stopped => effects.push(Effect::Done),
            Some(_) if self.under_way < self.pace.at_once => effects.push(Effect::WakeAt(self.next_us.div_ceil(1000))),
            _ => {}
        }
        effects
    }

    /// How far it is.
    pub(crate) fn progress(&self, now_ms: u64) -> Progress {
        let (all, asked) = (self.addresses.len(), self.asked);
        let rest = (all - asked) as u64;
        let elapsed_us = self.begun_ms.map_or(0, |begun_ms| now_ms.saturating_sub(begun_ms) * 1000);
        // Where answers come slowly it is they that hold it up.
        let each_us = self.interval_us().max(elapsed_us.checked_div(asked as u64).unwrap_or(0));
        let last_ms = if rest > 0 || self.under_way > 0 { self.pace.answer_ms } else { 0 };
        Progress { all, asked, found: self.found, left_ms: rest * each_us / 1000 + last_ms }
    }

    fn next(&self) -> Option<SocketAddr> {
        self.addresses.get(self.asked).copied().filter(|_| !self.stopped)
    }

    fn interval_us(&self) -> u64 {
        1_000_000 / u64::from(self.pace.per_second)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::super::{Places, Target};
    use super::*;

    fn plan(count: u32) -> Plan {
        let one = |number: u32| Target::Address(Ipv4Addr::from_bits(0x0A00_0000 + number).into(), None);
        let targets: Vec<Target> = (0..count).map(one).collect();
        Plan::new(&targets, 4921, &Places { own: vec![], anywhere: true }).expect("a plan")
    }

    /// What came of a sweep: when each was asked, how many were at most under way, when it was over.
    struct Run {
        asked: Vec<(u64, SocketAddr)>,
        most_under_way: usize,
        over_ms: u64,
    }

    /// Runs a sweep in which the n-th answers after `answer_ms(n)` and wake-ups come late by `late_ms(n)`.
    fn run(count: u32, pace: Pace, answer_ms: impl Fn(usize) -> u64, late_ms: impl Fn(usize) -> u64) -> Run {
        let mut sweep = Sweep::new(&plan(count), pace);
        let mut coming = BTreeMap::from([((1000, 0), Event::Woken)]);
        let mut run = Run { asked: vec![], most_under_way: 0, over_ms: 0 };
        let mut number = 0;
        while let Some(((now_ms, _), event)) = coming.pop_first() {
            for effect in sweep.handle(now_ms, event) {
                number += 1;
                match effect {
                    Effect::Ask(address) => {
                        let ended_ms = now_ms + answer_ms(run.asked.len());
                        coming.insert((ended_ms, number), Event::Ended { found: false });
                        run.asked.push((now_ms, address));
                    }
                    Effect::WakeAt(at_ms) => {
                        coming.insert((at_ms.max(now_ms) + late_ms(number), number), Event::Woken);
                    }
                    Effect::Done => run.over_ms = now_ms,
                }
            }
            run.most_under_way = run.most_under_way.max(sweep.under_way);
        }
        run
    }

    #[test]
    fn a_network_of_254_that_stays_silent_takes_its_pace_and_one_wait() {
        let pace = Pace { per_second: 200, at_once: 512, answer_ms: 1500 };
        let run = run(254, pace, |_| 1500, |_| 0);
        assert_eq!(run.asked.len(), 254);
        assert_eq!(run.over_ms - 1000, 253 * 5 + 1500);
    }

    #[test]
    fn the_time_left_is_told_from_the_pace() {
        let mut sweep = Sweep::new(&plan(400), Pace { per_second: 200, at_once: 512, answer_ms: 1500 });
        sweep.handle(0, Event::Woken);
        for now_ms in 1..=1000 {
            sweep.handle(now_ms, Event::Woken);
        }
        let progress = sweep.progress(1000);
        assert_eq!((progress.all, progress.asked), (400, 201));
        assert!((2400..2600).contains(&progress.left_ms), "{progress:?}");
    }

    #[test]
    fn stopped_nobody_is_asked_any_more() {
        let mut sweep = Sweep::new(&plan(10), Pace { per_second: 1000, at_once: 2, answer_ms: 1 });
        assert_eq!(sweep.handle(0, Event::Woken).len(), 2);
        assert_eq!(sweep.handle(1, Event::Stop), [Effect::Done]);
    }

    #[test]
    fn nothing_to_ask_is_done_at_once() {
        let mut sweep = Sweep::new(&plan(0), Pace { per_second: 1, at_once: 1, answer_ms: 1 });
        assert_eq!(sweep.handle(0, Event::Woken), [Effect::Done]);
    }

    proptest! {
        #[test]
        fn each_is_asked_once_and_never_more_than_the_pace(
            count in 0u32..400, per_second in 1u32..1000, at_once in 1usize..64,
            answers_ms in proptest::collection::vec(0u64..3000, 1..20), late_ms in proptest::collection::vec(0u64..300, 1..20),
        ) {
            let pace = Pace { per_second, at_once, answer_ms: 1500 };
            let run = run(count, pace, |n| answers_ms[n % answers_ms.len()], |n| late_ms[n % late_ms.len()]);
            let addresses: Vec<SocketAddr> = run.asked.iter().map(|(_, address)| *address).collect();
            let planned = plan(count);
            prop_assert_eq!(addresses, planned.addresses());
            prop_assert!(run.most_under_way <= at_once);
            prop_assert!(run.over_ms > 0);
            // In any second no more than the pace, and what may be caught up on.
            let most = per_second as usize * (1000 + CATCH_UP_MS as usize) / 1000 + 2;
            for (index, (from_ms, _)) in run.asked.iter().enumerate() {
                let within = run.asked[index..].iter().take_while(|(at_ms, _)| *at_ms < from_ms + 1000).count();
                prop_assert!(within <= most, "{} in a second, at {} a second", within, per_second);
            }
        }
    }
}
