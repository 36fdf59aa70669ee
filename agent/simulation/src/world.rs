//! Everything there is in a run, and the way tasks reach it.

use std::cell::RefCell;
use std::collections::{BTreeMap, BinaryHeap};
use std::rc::Rc;

use dci_proto::AgentId;

use crate::agent::Agent;
use crate::atlas::Atlas;
use crate::bugs::Bug;
use crate::exec::{Action, Entry, Task};
use crate::ledger::Log;
use crate::net::Net;
use crate::record::Record;
use crate::rng::Rng;
use crate::trace::Trace;

/// Agents of a run, at most.
pub(crate) const AGENTS_LIMIT: usize = 9;
/// What a right wall clock shows when a run begins, in ms since 1970 UTC.
pub(crate) const EPOCH_MS: u64 = 1_800_000_000_000;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The checker that found it.
    pub checker: &'static str,
    /// What it found.
    pub what: String,
}

/// How much happened in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events that took place.
    pub events: u64,
    /// Entries of the ledger's log.
    pub entries: u64,
    /// Messages sent.
    pub messages: u64,
    /// Things clients asked for, by what came of it.
    pub operations: BTreeMap<&'static str, u64>,
    /// Faults injected, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// What the care for the volume did, by kind.
    pub care: BTreeMap<&'static str, u64>,
}

impl Counters {
    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.entries += other.entries;
        self.messages += other.messages;
        for (mine, theirs) in [
            (&mut self.operations, &other.operations),
            (&mut self.faults, &other.faults),
            (&mut self.care, &other.care),
        ] {
            for (kind, count) in theirs {
                *mine.entry(kind).or_default() += count;
            }
        }
    }
}

/// Everything there is.
pub(crate) struct World {
    pub(crate) now_us: u64,
    pub(crate) queue: BinaryHeap<Entry>,
    pub(crate) sequence: u64,
    pub(crate) tasks: Vec<Option<Task>>,
    /// Whether the run is over: its end is reached, or a checker has found something.
    pub(crate) over: bool,
    pub(crate) rng: Rng,
    pub(crate) bug: Option<Bug>,
    pub(crate) trace: Trace,
    pub(crate) counters: Counters,
    pub(crate) net: Net,
    pub(crate) log: Log,
    pub(crate) agents: Vec<Agent>,
    pub(crate) atlas: Atlas,
    pub(crate) record: Record,
    pub(crate) violation: Option<Violation>,
    /// Whether faults are over and everything is to come right.
    pub(crate) healed: bool,
    /// When the first entry was committed after that, and what it was stamped with.
    pub(crate) first_healed: Option<(u64, u64)>,
    /// Whether clients have stopped.
    pub(crate) clients_done: bool,
    next_id: u64,
}

impl World {
    pub(crate) fn new(seed: u64, bug: Option<Bug>, trace: bool) -> Self {
        Self {
            now_us: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            tasks: Vec::new(),
            over: false,
            rng: Rng::new(seed),
            bug,
            trace: Trace::new(trace),
            counters: Counters::default(),
            net: Net::default(),
            log: Log::default(),
            agents: Vec::new(),
            atlas: Atlas::default(),
            record: Record::default(),
            violation: None,
            healed: false,
            first_healed: None,
            clients_done: false,
            next_id: 0,
        }
    }

    /// Whether this fault of Shoal itself is planted in this run.
    pub(crate) fn planted(&self, bug: Bug) -> bool {
        cfg!(feature = "planted-bugs") && self.bug == Some(bug)
    }

    /// A number not used before in this run.
    pub(crate) fn fresh(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// What an agent's steady clock shows: it stands still while the agent sleeps.
    pub(crate) fn steady_us(&self, agent: usize) -> u64 {
        let agent = &self.agents[agent];
        let until = if agent.asleep { agent.asleep_since_us } else { self.now_us };
        until.saturating_sub(agent.slept_us)
    }

    /// What an agent's wall clock shows, in ms since 1970 UTC.
    pub(crate) fn wall_ms(&self, agent: usize) -> u64 {
        (EPOCH_MS + self.now_us / 1_000).saturating_add_signed(self.agents[agent].wall_offset_ms)
    }

    /// Notes an event: into the hash always, as a line where lines are asked for.
    pub(crate) fn note(&mut self, who: Option<usize>, what: &'static str, detail: u64, text: impl FnOnce() -> String) {
        self.trace.note(self.now_us, who, what, detail, text);
    }

    /// Ends the run: a checker has found something. The first finding counts.
    pub(crate) fn fail(&mut self, checker: &'static str, what: String) {
        if self.violation.is_none() {
            self.note(None, "violation", 0, || format!("{checker}: {what}"));
            self.violation = Some(Violation { checker, what });
        }
        self.over = true;
    }

    /// Whether an agent can do anything now.
    pub(crate) fn runs(&self, agent: usize) -> bool {
        self.agents[agent].up && !self.agents[agent].asleep
    }

    pub(crate) fn count_fault(&mut self, kind: &'static str) {
        *self.counters.faults.entry(kind).or_default() += 1;
    }

    pub(crate) fn count_care(&mut self, kind: &'static str) {
        *self.counters.care.entry(kind).or_default() += 1;
    }
}

/// The id of an agent by its number.
pub(crate) fn agent_id(agent: usize) -> AgentId {
    AgentId([u8::try_from(agent + 1).unwrap_or(u8::MAX); 32])
}

/// The number of an agent by its id.
pub(crate) fn agent_number(id: AgentId) -> usize {
    usize::from(id.0[0]).saturating_sub(1)
}

/// The world, shared by all tasks of a run. Borrowed for a moment at a time, never over a wait.
#[derive(Clone)]
pub(crate) struct Sim(Rc<RefCell<World>>);

impl Sim {
    pub(crate) fn new(world: World) -> Self {
        Self(Rc::new(RefCell::new(world)))
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        look(&mut self.0.borrow_mut())
    }

    /// Has something happen later.
    pub(crate) fn at(&self, after_us: u64, action: impl FnOnce(&Self) + 'static) {
        self.with(|world| world.at(after_us, action));
    }
}

/// Things to be done when an agent wakes.
pub(crate) type OnWake = Vec<Action>;
