//! What came of it: histories judged, stalls measured, counts told.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use shoal_testkit::history::{Operation, Outcome, Verdict, check_group};

use super::client::{Shared, folder};
use super::faults::Spell;
use super::journal::Journal;

/// Judges every group's history.
pub(super) fn judge(journal: &Journal) {
    let groups = journal.recorder.groups();
    let (mut right, mut undecided, mut operations) = (0, 0, 0);
    for (group, history) in &groups {
        operations += history.len();
        match check_group(history) {
            Verdict::Linearizable => right += 1,
            Verdict::Violated(violation) => {
                journal.violation(&format!("{} is not linearizable: {violation}", folder(*group)));
            }
            Verdict::Undecided(violation) => {
                undecided += 1;
                journal.tell(&format!("{}: undecided: {violation}", folder(*group)));
            }
        }
    }
    journal.tell(&format!(
        "linearizability: {right} of {} groups of paths explained, {undecided} undecided, {operations} operations",
        groups.len()
    ));
}

/// Tells how many operations ended how.
pub(super) fn counts(journal: &Journal, shared: &Shared<'_>) {
    let tally = shared.tally.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for ((kind, outcome), count) in tally {
        kinds.entry(kind).or_default().push(format!("{outcome} {count}"));
    }
    for (kind, outcomes) in kinds {
        journal.tell(&format!("operations: {kind:<14} {}", outcomes.join(", ")));
    }
}

/// Tells, for each kind of fault, how long a client at an agent that nothing was wrong with had to wait at most.
pub(super) fn stalls(journal: &Journal, spells: &[Spell]) {
    let groups = journal.recorder.groups();
    let operations: Vec<&Operation> = groups.values().flatten().collect();
    let beside = |operation: &Operation, spell: &Spell| {
        operation.invoked_us < spell.ended_us && operation.finished_us > spell.begun_us
    };
    let mut longest: BTreeMap<String, (Duration, usize, usize, Option<Operation>)> = BTreeMap::new();
    for operation in operations {
        let around: Vec<&Spell> = spells.iter().filter(|spell| beside(operation, spell)).collect();
        if around.iter().any(|spell| spell.agent == operation.door as usize) {
            continue;
        }
        let mut kinds: Vec<String> = around.iter().map(|spell| format!("{:?}", spell.kind).to_lowercase()).collect();
        kinds.sort();
        kinds.dedup();
        let name = match kinds.as_slice() {
            [] => "nothing wrong".to_owned(),
            [one] => format!("{one} alone"),
            _ => "several kinds at once".to_owned(),
        };
        let took = Duration::from_micros(operation.finished_us - operation.invoked_us);
        let entry = longest.entry(name).or_default();
        entry.1 += 1;
        entry.2 += usize::from(operation.outcome == Outcome::Unknown);
        if took >= entry.0 {
            (entry.0, entry.3) = (took, Some(*operation));
        }
    }
    for (name, (took, count, failed, operation)) in longest {
        let which =
            operation.map_or_else(String::new, |operation| format!("{:?} → {:?}", operation.action, operation.outcome));
        journal.tell(&format!(
            "stalls: {name:<22} {count} operations at sound agents, {failed} failed, longest {:.2} s ({which})",
            took.as_secs_f32()
        ));
    }
}

/// Tells how often each kind of fault was.
pub(super) fn faults(journal: &Journal, spells: &[Spell], skipped: usize) {
    let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
    for spell in spells {
        *kinds.entry(format!("{:?}", spell.kind).to_lowercase()).or_default() += 1;
    }
    let list: Vec<String> = kinds.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let out = spells.iter().filter(|spell| spell.is_out).count();
    journal.tell(&format!(
        "faults: {} ({}), {out} of them with an agent out; {skipped} skipped",
        spells.len(),
        list.join(", ")
    ));
}
