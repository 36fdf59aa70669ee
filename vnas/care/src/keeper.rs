//! The keeper: has lost shards rebuilt, shards moved off agents that are to be empty, and stripes cut anew, the most pressing
//! first.
//!
//! Run by the ledger's leader. It keeps nothing that matters: what is under way stands in the ledger, so a new leader's
//! keeper takes it up, and one that believes in itself for too long only has its commands refused. A shard changes its agent in
//! steps, each durable before the next:
//!
//! ```text
//! announce (BeginMoves) → the new agent copies or rebuilds it → FinishMoves → the old one drops it (see `cleaning`)
//!                              └ it fails: AbortMoves, and later another agent
//! ```

mod moves;
mod progress;
mod recuts;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dci_proto::{AgentId, ShardKey, StripeId};
use shoal_ledger::query::BadShards;
use shoal_ledger::{Command, KvError, KvRead, MoveId, Outcome, StripeRecord, query};

use crate::balance::Budgets;
use crate::sweep::{Findings, Queue, Sweep};
use crate::{AgentFacts, Need, Reason, Situation, Wanted, bad_places, need};
use moves::MoveState;
pub use progress::Progress;
use recuts::RecutState;

/// How much a keeper does at a time, and how long it waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeeperConfig {
    /// Stripes looked at in one step.
    pub sweep_stripes: usize,
    /// Shards on their way to one agent at a time.
    pub moves_per_agent: usize,
    /// Stripes one agent cuts anew at a time.
    pub recuts_per_agent: usize,
    /// A job that takes longer is given up.
    pub job_patience: Duration,
    /// A stripe whose job failed is left alone for this long, and longer each time.
    pub retry_after: Duration,
    /// The time between two sweeps, at least.
    pub sweep_pause: Duration,
    /// Agents must have come or gone unchanged for so long before stripes are cut anew only to take less room.
    pub recut_after: Duration,
}

impl Default for KeeperConfig {
    fn default() -> Self {
        Self {
            sweep_stripes: 2_000,
            moves_per_agent: 4,
            recuts_per_agent: 2,
            job_patience: Duration::from_secs(5 * 60),
            retry_after: Duration::from_secs(5),
            sweep_pause: Duration::from_secs(5),
            recut_after: Duration::from_secs(10 * 60),
        }
    }
}

/// Stripes seen by a sweep that make the pause after it a second longer: large pools are looked through less often.
const STRIPES_PER_PAUSE_SECOND: u64 = 1_000;
/// Stripes left alone for a while after a failure, at most; the oldest are forgotten.
const BACKOFFS_LIMIT: usize = 4_096;
/// A stripe that fails again and again is left alone for at most so many times the first pause.
const BACKOFF_LIMIT: u32 = 64;

/// Names a piece of work that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// A shard to be made durable on an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebuildJob {
    /// The shard.
    pub key: ShardKey,
    /// Its stripe.
    pub record: StripeRecord,
    /// The agent that makes it durable on its own disk.
    pub to: AgentId,
    /// An agent that has it whole and answers.
    pub copy_from: Option<AgentId>,
    /// Why.
    pub reason: Reason,
}

/// A stripe to be cut anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecutJob {
    /// The agent that does it.
    pub executor: AgentId,
    /// The stripe.
    pub stripe: StripeId,
    /// How many agents may be lost without losing it.
    pub survive: u8,
    /// Why.
    pub reason: Reason,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Have the ledger carry a command out; answer with [`Done::Submitted`].
    Submit(Ticket, Command),
    /// Have an agent make a shard durable; answer with [`Done::Worked`].
    Rebuild(Ticket, RebuildJob),
    /// Have an agent cut a stripe anew and tell the ledger; answer with [`Done::Worked`].
    Recut(Ticket, RecutJob),
}

/// What came of an effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Done {
    /// What the ledger answered; `None`: it is not known whether it did anything.
    Submitted(Ticket, Option<Outcome>),
    /// Whether the work is done and durable.
    Worked(Ticket, bool),
}

#[derive(Debug, Clone)]
enum Work {
    Begin(Vec<ShardKey>),
    Copy(MoveId),
    Finish(Vec<ShardKey>),
    Abort(Vec<ShardKey>),
    Recut(StripeId),
}

#[derive(Debug, Clone, Copy)]
struct Backoff {
    until: Duration,
    failures: u32,
}

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    config: KeeperConfig,
    next_ticket: u64,
    work: BTreeMap<Ticket, Work>,
    moves: BTreeMap<ShardKey, MoveState>,
    recuts: BTreeMap<StripeId, RecutState>,
    backoffs: BTreeMap<StripeId, Backoff>,
    queue: Queue,
    sweep: Option<Sweep>,
    last: Findings,
    swept_position: Option<u64>,
    next_sweep: Duration,
    /// Something failed or did not fit: sweep again even if nothing changes.
    again: bool,
    situation: Situation,
    /// Shards that their holders have found bad, as the ledger had them last.
    bad: BadShards,
    /// Since when agents have come or gone unchanged.
    settled_since: Duration,
    /// When the last round was.
    now: Duration,
    progress: progress::Meter,
}

impl Keeper {
    /// One that knows nothing yet.
    #[must_use]
    pub fn new(config: KeeperConfig) -> Self {
        Self {
            config,
            next_ticket: 0,
            work: BTreeMap::new(),
            moves: BTreeMap::new(),
            recuts: BTreeMap::new(),
            backoffs: BTreeMap::new(),
            queue: Queue::default(),
            sweep: None,
            last: Findings::default(),
            swept_position: None,
            next_sweep: Duration::ZERO,
            again: false,
            situation: Situation::default(),
            bad: BadShards::new(),
            settled_since: Duration::ZERO,
            now: Duration::ZERO,
            progress: progress::Meter::default(),
        }
    }

    /// Sets how long agents must have come or gone unchanged before stripes are cut anew only to take less room.
    pub fn set_recut_after(&mut self, recut_after: Duration) {
        self.config.recut_after = recut_after;
    }

    /// One round: what is to be done as things stand in the leader's own copy of the ledger. `now` only ever grows.
    ///
    /// # Errors
    /// If the view cannot be read.
    pub fn step(
        &mut self,
        now: Duration,
        view: &dyn KvRead,
        agents: &[AgentFacts],
        wanted: &Wanted,
    ) -> Result<Vec<Effect>, KvError> {
        self.now = now;
        self.progress.tick(now);
        self.look_around(now, agents, wanted);
        let mut effects = Vec::new();
        self.hear_reports(now, view)?;
        self.reconcile_moves(now, view)?;
        self.give_up_late(now);
        self.start_copies(now, view, &mut effects)?;
        self.sweep_on(now, view)?;
        self.dispatch(now, view, &mut effects)?;
        self.close_moves(now, &mut effects);
        Ok(effects)
    }

    /// Takes in what came of an effect.
    pub fn done(&mut self, now: Duration, done: Done) {
        match done {
            Done::Submitted(ticket, outcome) => {
                let accepted = match outcome {
                    Some(Outcome::Accepted(parts)) => Some(parts),
                    _ => None,
                };
                match self.work.remove(&ticket) {
                    Some(Work::Begin(keys)) => self.announced(now, &keys, accepted.as_deref()),
                    Some(Work::Finish(keys)) => self.finished(now, &keys, accepted.as_deref()),
                    Some(Work::Abort(keys)) => self.aborted(&keys, accepted.as_deref()),
                    Some(Work::Copy(_) | Work::Recut(_)) | None => {}
                }
            }
            Done::Worked(ticket, well) => match self.work.remove(&ticket) {
                Some(Work::Copy(id)) => self.copied(now, id, well),
                Some(Work::Recut(stripe)) => self.recut_done(now, stripe, well),
                _ => {}
            },
        }
    }

    /// How far it is.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let under_way = self.moves.len() + self.recuts.len();
        let settled_in = (self.settled_since + self.config.recut_after).saturating_sub(self.now);
        self.progress.report(&self.last, under_way, settled_in)
    }

    fn look_around(&mut self, now: Duration, agents: &[AgentFacts], wanted: &Wanted) {
        let situation = Situation::new(agents, wanted.clone());
        if !situation.is_like(&self.situation) {
            self.settled_since = now;
            self.next_sweep = now;
            self.again = true;
            self.sweep = None;
            self.queue.clear();
            self.backoffs.clear();
        }
        self.situation = situation;
    }

    /// Whether agents have come or gone unchanged for long enough to cut stripes anew only for their sake.
    fn is_settled(&self, now: Duration) -> bool {
        now.saturating_sub(self.settled_since) >= self.config.recut_after
    }

    fn sweep_on(&mut self, now: Duration, view: &dyn KvRead) -> Result<(), KvError> {
        let position = query::position(view)?;
        if self.sweep.is_none() {
            let due = self.again || self.swept_position != Some(position);
            if !due || now < self.next_sweep {
                return Ok(());
            }
            self.again = false;
            self.queue.overflowed = false;
            self.sweep = Some(Sweep::new(position, self.budgets()));
        }
        let Some(mut sweep) = self.sweep.take() else { return Ok(()) };
        let mut queue = std::mem::take(&mut self.queue);
        let looked =
            sweep.go_on(view, &self.situation, self.config.sweep_stripes, &mut queue, &|s| self.is_busy(now, s));
        self.queue = queue;
        if looked? {
            let seconds = sweep.findings.seen / STRIPES_PER_PAUSE_SECOND;
            self.next_sweep = now + self.config.sweep_pause.max(Duration::from_secs(seconds));
            self.swept_position = Some(sweep.position);
            self.again |= self.queue.overflowed || !self.backoffs.is_empty() || !sweep.findings.waiting.is_empty();
            self.progress.swept(now, &sweep.findings);
            self.last = sweep.findings;
        } else {
            self.sweep = Some(sweep);
        }
        Ok(())
    }

    /// Queues stripes whose shards were found bad since the last look, at once: a sweep of many stripes takes its time.
    fn hear_reports(&mut self, now: Duration, view: &dyn KvRead) -> Result<(), KvError> {
        let bad = query::bad_shards_of_all(view)?;
        let before = std::mem::replace(&mut self.bad, bad);
        let news: BTreeSet<StripeId> = self.bad.difference(&before).map(|(_, key)| key.stripe).collect();
        for stripe in news {
            let Some(record) = query::stripe(view, stripe)? else { continue };
            let reason = match need(&record, &self.situation, &bad_places(&self.bad, stripe, &record)) {
                Need::Move { reason, .. } | Need::Recut { reason, .. } => reason,
                Need::Nothing | Need::Stuck { .. } | Need::Lost => continue,
            };
            if self.is_busy(now, stripe) {
                self.again = true;
            } else {
                self.queue.push(reason, stripe);
            }
        }
        Ok(())
    }

    /// Whether something is under way with a stripe, or it is left alone for a while.
    fn is_busy(&self, now: Duration, stripe: StripeId) -> bool {
        let moving = self.moves.range(ShardKey { stripe, index: 0 }..=ShardKey { stripe, index: u8::MAX });
        moving.count() > 0
            || self.recuts.contains_key(&stripe)
            || self.backoffs.get(&stripe).is_some_and(|backoff| now < backoff.until)
    }

    /// What agents should give and take, with what is on its way counted as done.
    fn budgets(&self) -> Budgets {
        let (mut coming, mut going) = (BTreeMap::new(), BTreeMap::new());
        for one in self.moves.values() {
            *coming.entry(one.to).or_insert(0) += one.bytes;
            if let Some(from) = one.from {
                *going.entry(from).or_insert(0) += one.bytes;
            }
        }
        Budgets::new(&self.situation, &coming, &going)
    }

    fn ticket(&mut self, work: Work) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        self.work.insert(ticket, work);
        ticket
    }

    /// Leaves a stripe alone for a while.
    fn back_off(&mut self, now: Duration, stripe: StripeId) {
        let failures = self.backoffs.get(&stripe).map_or(0, |backoff| backoff.failures).saturating_add(1);
        let times = 1u32.checked_shl(failures - 1).unwrap_or(BACKOFF_LIMIT).min(BACKOFF_LIMIT);
        self.backoffs.insert(stripe, Backoff { until: now + self.config.retry_after * times, failures });
        self.again = true;
        while self.backoffs.len() > BACKOFFS_LIMIT {
            let oldest = self.backoffs.iter().min_by_key(|(_, backoff)| backoff.until).map(|(stripe, _)| *stripe);
            let Some(oldest) = oldest else { break };
            self.backoffs.remove(&oldest);
        }
    }
}
