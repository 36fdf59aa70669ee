//! The search for an order that explains a history.
//!
//! After Wing and Gong (1993) and Lowe (2017): the history is gone through in time, with the set of all *possibilities*
//! — what the paths may hold now, and which operations that are under way have happened already. At an answer, each
//! possibility must let that operation have happened: at once, or after others under way. Possibilities that cannot are
//! dropped; none left means no order explains the history. Three things keep the set small, none loses an order:
//!
//! - what changes nothing happens as soon as it fits: it can only be in nobody's way;
//! - of two possibilities alike but for the unknown operations they used up, the one that used fewer is enough;
//! - a value nobody will ask for any more is as good as any other such value.
//!
//! Where many outcomes are unknown the set could still grow without end. So it is cut to a width, those that use up
//! least being kept: an order found that way is an order. If none is found, the search is done anew with more width,
//! and only one that cut nothing off says that there is none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use super::model::{FORGOTTEN, State, changes, mentioned};
use super::{Action, Operation, Outcome, Value};

/// Possibilities kept from one answer to the next, at most; the widths tried one after the other.
const WIDTHS: [usize; 3] = [48, 768, 6_144];
/// Possibilities looked at for one answer, at most, for each that may be kept.
const LOOKS_PER_WIDTH: usize = 8;
/// Operations told of a violation, at most.
const TOLD_LIMIT: usize = 40;

/// What the search found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Some order explains every answer.
    Linearizable,
    /// No order does.
    Violated(Violation),
    /// No order was found, but not all could be tried: too much was unknown at once.
    Undecided(Violation),
}

/// Where a history stops being explicable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The answer no order explains.
    pub answer: Operation,
    /// What went before and beside it, in the order of its start.
    pub around: Vec<Operation>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "no order explains: {}", self.answer)?;
        writeln!(f, "before and beside it:")?;
        self.around.iter().try_for_each(|operation| writeln!(f, "  {operation}"))
    }
}

/// Looks for an order that explains what the clients of a group were told, its paths being empty at first.
#[must_use]
pub fn check_group(history: &[Operation]) -> Verdict {
    let useful = |operation: &&Operation| {
        // Of a read that failed nothing is known; of a change that failed, nothing or everything.
        operation.outcome != Outcome::NoEffect
            && (operation.outcome != Outcome::Unknown || changes(&operation.action, &operation.outcome))
    };
    let operations: Vec<Operation> = history.iter().filter(useful).copied().collect();
    let mut verdict = Verdict::Linearizable;
    for width in WIDTHS {
        verdict = Search::new(&operations, width).run();
        if !matches!(verdict, Verdict::Undecided(_)) {
            break;
        }
    }
    verdict
}

/// One way things may stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Possibility {
    state: State,
    /// Operations under way that have happened.
    happened: BTreeSet<usize>,
    /// Operations of unknown outcome that have happened.
    used: BTreeSet<usize>,
}

struct Search<'a> {
    operations: &'a [Operation],
    /// Starts and answers in the order of time; at the same instant starts come first, which allows more orders.
    events: Vec<(u64, bool, usize)>,
    /// The event after which nobody asks for a value.
    last_asked: HashMap<Value, usize>,
    event: usize,
    /// Under way, their answer to come.
    open: BTreeSet<usize>,
    /// Begun, of unknown outcome.
    unknown: BTreeSet<usize>,
    possibilities: Vec<Possibility>,
    /// How many possibilities are kept.
    width: usize,
    /// Some were not looked at.
    cut: bool,
}

impl<'a> Search<'a> {
    fn new(operations: &'a [Operation], width: usize) -> Self {
        let mut events = Vec::new();
        for (index, operation) in operations.iter().enumerate() {
            events.push((operation.invoked_us, false, index));
            if operation.outcome != Outcome::Unknown {
                events.push((operation.finished_us, true, index));
            }
        }
        events.sort_unstable();
        let mut last_asked = HashMap::new();
        for (event, (_, is_answer, index)) in events.iter().enumerate() {
            if let Some(value) = operations.get(*index).and_then(|o| mentioned(&o.action, &o.outcome)) {
                // A condition of unknown outcome may be looked at until the end.
                let unknown = operations.get(*index).is_some_and(|o| o.outcome == Outcome::Unknown);
                let last = if unknown && !is_answer { usize::MAX } else { event };
                let slot = last_asked.entry(value).or_insert(last);
                *slot = last.max(*slot);
            }
        }
        Self {
            operations,
            events,
            last_asked,
            event: 0,
            open: BTreeSet::new(),
            unknown: BTreeSet::new(),
            possibilities: vec![Possibility::default()],
            width,
            cut: false,
        }
    }

    fn run(mut self) -> Verdict {
        for event in 0..self.events.len() {
            self.event = event;
            let Some((_, is_answer, index)) = self.events.get(event).copied() else { break };
            if !is_answer {
                self.begin(index);
                continue;
            }
            let explained = self.explain(index);
            if explained.is_empty() {
                let violation = self.violation(index);
                return if self.cut { Verdict::Undecided(violation) } else { Verdict::Violated(violation) };
            }
            self.open.remove(&index);
            self.possibilities = explained;
            self.forget();
        }
        Verdict::Linearizable
    }

    fn begin(&mut self, index: usize) {
        if self.operation(index).outcome == Outcome::Unknown {
            self.unknown.insert(index);
            return;
        }
        self.open.insert(index);
        let settled = self.possibilities.drain(..).collect::<Vec<_>>();
        self.possibilities = settled.into_iter().map(|possibility| self.settle(possibility)).collect();
    }

    fn operation(&self, index: usize) -> &'a Operation {
        &self.operations[index]
    }

    /// The possibilities in which this operation has happened, those together that no other makes needless.
    fn explain(&mut self, index: usize) -> Vec<Possibility> {
        let mut seen = Smallest::default();
        let mut explained = Smallest::default();
        // By how much they used up, the least first.
        let mut queue: BTreeMap<usize, Vec<Possibility>> = BTreeMap::new();
        for possibility in &self.possibilities {
            queue.entry(possibility.used.len()).or_default().push(possibility.clone());
        }
        let mut looks = 0;
        while let Some(mut first) = queue.first_entry() {
            let Some(mut possibility) = first.get_mut().pop() else {
                first.remove();
                continue;
            };
            if looks >= self.width * LOOKS_PER_WIDTH || explained.count >= self.width {
                self.cut = true;
                break;
            }
            looks += 1;
            if possibility.happened.remove(&index) {
                explained.insert(possibility);
            } else if seen.insert(possibility.clone()) {
                for next in self.nexts(&possibility) {
                    queue.entry(next.used.len()).or_default().push(next);
                }
            }
        }
        explained.into_all()
    }

    /// What one more change under way, or of unknown outcome, makes of a possibility.
    fn nexts(&self, possibility: &Possibility) -> Vec<Possibility> {
        let mut nexts = Vec::new();
        for next in self.open.difference(&possibility.happened) {
            if let Some(state) = self.after(possibility.state, *next) {
                let mut happened = possibility.happened.clone();
                happened.insert(*next);
                nexts.push(self.settle(Possibility { state, happened, used: possibility.used.clone() }));
            }
        }
        let mut tried: BTreeSet<Action> = BTreeSet::new();
        for next in self.unknown.difference(&possibility.used) {
            // Of several alike, one stands for all.
            if !tried.insert(self.asked(*next)) {
                continue;
            }
            if let Some(state) = self.after(possibility.state, *next) {
                let mut used = possibility.used.clone();
                used.insert(*next);
                nexts.push(self.settle(Possibility { state, happened: possibility.happened.clone(), used }));
            }
        }
        nexts
    }

    /// Lets everything under way happen that changes nothing and fits.
    fn settle(&self, mut possibility: Possibility) -> Possibility {
        for index in &self.open {
            let operation = self.operation(*index);
            if !changes(&operation.action, &operation.outcome) && self.after(possibility.state, *index).is_some() {
                possibility.happened.insert(*index);
            }
        }
        possibility
    }

    fn after(&self, state: State, index: usize) -> Option<State> {
        state.after(&self.asked(index), &self.operation(index).outcome)
    }

    /// What an operation asked for, with forgotten values for what nobody will ask for.
    fn asked(&self, index: usize) -> Action {
        match self.operation(index).action {
            Action::Write { path, value, condition } => {
                Action::Write { path, value: self.stands_for(value), condition }
            }
            other => other,
        }
    }

    fn stands_for(&self, value: Value) -> Value {
        match self.last_asked.get(&value) {
            Some(last) if *last >= self.event => value,
            _ => FORGOTTEN,
        }
    }

    /// Makes alike what has become alike, and drops what every possibility used up.
    fn forget(&mut self) {
        let next = self.event + 1;
        let stands_for =
            |value| if self.last_asked.get(&value).is_some_and(|last| *last >= next) { value } else { FORGOTTEN };
        let mut smallest = Smallest::default();
        for mut possibility in self.possibilities.drain(..) {
            possibility.state = possibility.state.map(stands_for);
            smallest.insert(possibility);
        }
        self.possibilities = smallest.into_all();
        let by_all = |index: &usize| self.possibilities.iter().all(|possibility| possibility.used.contains(index));
        let gone: Vec<usize> = self.unknown.iter().copied().filter(by_all).collect();
        for index in gone {
            self.unknown.remove(&index);
            for possibility in &mut self.possibilities {
                possibility.used.remove(&index);
            }
        }
    }

    fn violation(&self, index: usize) -> Violation {
        let answer = *self.operation(index);
        let mut around: Vec<Operation> =
            self.operations.iter().filter(|other| other.invoked_us <= answer.finished_us).copied().collect();
        around.sort_by_key(|other| (other.invoked_us, other.finished_us));
        let skip = around.len().saturating_sub(TOLD_LIMIT);
        Violation { answer, around: around.split_off(skip) }
    }
}

/// Possibilities none of which makes another needless.
#[derive(Default)]
struct Smallest {
    all: HashMap<(State, BTreeSet<usize>), Vec<BTreeSet<usize>>>,
    /// How many were taken in, the needless included.
    count: usize,
}

impl Smallest {
    /// Takes one in; `false` if another that is there makes it needless.
    fn insert(&mut self, possibility: Possibility) -> bool {
        let alike = self.all.entry((possibility.state, possibility.happened)).or_default();
        if alike.iter().any(|used| used.is_subset(&possibility.used)) {
            return false;
        }
        alike.retain(|used| !possibility.used.is_subset(used));
        alike.push(possibility.used);
        self.count += 1;
        true
    }

    fn into_all(self) -> Vec<Possibility> {
        let mut sorted: BTreeMap<(BTreeSet<usize>, BTreeSet<usize>), Vec<State>> = BTreeMap::new();
        for ((state, happened), alike) in self.all {
            for used in alike {
                sorted.entry((happened.clone(), used)).or_default().push(state);
            }
        }
        let one = |((happened, used), states): ((BTreeSet<usize>, BTreeSet<usize>), Vec<State>)| {
            states.into_iter().map(move |state| Possibility { state, happened: happened.clone(), used: used.clone() })
        };
        sorted.into_iter().flat_map(one).collect()
    }
}
