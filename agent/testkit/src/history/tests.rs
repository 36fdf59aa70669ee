//! Histories that one copy could have made, and histories it could not have: each kind of wrong must be caught.

use super::model::{State, changes};
use super::*;
use crate::RandomBytes;

const A: Path = 0;
const B: Path = 1;

fn at(invoked_us: u64, finished_us: u64, action: Action, outcome: Outcome) -> Operation {
    Operation { client: 0, door: 0, invoked_us, finished_us, action, outcome }
}

fn write(path: Path, value: Value) -> Action {
    Action::Write { path, value, condition: Condition::None }
}

fn read(path: Path) -> Action {
    Action::Read { path }
}

fn rename(from: Path, to: Path) -> Action {
    Action::Move { from, to, overwrite: true }
}

const fn found(value: Value) -> Outcome {
    Outcome::Found(Some(value))
}

const NOTHING: Outcome = Outcome::Found(None);

fn explained(history: &[Operation]) {
    assert_eq!(check_group(history), Verdict::Linearizable);
}

/// Fails unless exactly this answer is the one that cannot be explained.
fn caught(history: &[Operation], wrong: usize) {
    match check_group(history) {
        Verdict::Violated(violation) => assert_eq!(violation.answer, history[wrong], "{violation}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_after_the_other_is_explained() {
    explained(&[
        at(0, 1, read(A), NOTHING),
        at(2, 3, write(A, 7), Outcome::Done),
        at(4, 5, read(A), found(7)),
        at(6, 7, rename(A, B), Outcome::Done),
        at(8, 9, read(A), NOTHING),
        at(8, 9, Action::List, Outcome::Listed(0b10)),
        at(10, 11, Action::Delete { path: A }, Outcome::Missing),
        at(12, 13, Action::Delete { path: B }, Outcome::Done),
        at(14, 15, rename(B, A), Outcome::Missing),
    ]);
}

#[test]
fn a_read_beside_a_write_may_see_either() {
    for seen in [NOTHING, found(7)] {
        explained(&[at(0, 10, write(A, 7), Outcome::Done), at(2, 4, read(A), seen)]);
    }
}

#[test]
fn a_stale_read_is_caught() {
    caught(
        &[
            at(0, 1, write(A, 1), Outcome::Done),
            at(2, 3, write(A, 2), Outcome::Done),
            at(4, 5, read(A), found(1)),
            at(6, 7, read(A), found(2)),
        ],
        2,
    );
}

#[test]
fn two_reads_beside_a_write_that_go_back_in_time_are_caught() {
    let write_over = [at(0, 1, write(A, 1), Outcome::Done), at(2, 20, write(A, 2), Outcome::Done)];
    let reads = [at(3, 4, read(A), found(2)), at(5, 6, read(A), found(1))];
    caught(&[write_over, reads].concat(), 3);
}

#[test]
fn a_lost_acknowledged_write_is_caught() {
    caught(&[at(0, 1, write(A, 1), Outcome::Done), at(2, 3, read(A), NOTHING)], 1);
}

#[test]
fn a_lost_update_is_caught() {
    // Both replaced what the other had not read.
    let over = |value| Action::Write { path: A, value, condition: Condition::Is(1) };
    let begin = [at(0, 1, write(A, 1), Outcome::Done), at(2, 3, read(A), found(1))];
    caught(&[begin, [at(4, 8, over(2), Outcome::Done), at(5, 9, over(3), Outcome::Done)]].concat(), 3);
    explained(&[begin, [at(4, 8, over(2), Outcome::Done), at(5, 9, over(3), Outcome::Refused)]].concat());
}

#[test]
fn a_file_created_twice_is_caught() {
    let create = |value| Action::Write { path: A, value, condition: Condition::Absent };
    caught(&[at(0, 9, create(1), Outcome::Done), at(1, 8, create(2), Outcome::Done)], 0);
    explained(&[at(0, 9, create(1), Outcome::Done), at(1, 8, create(2), Outcome::Refused)]);
}

#[test]
fn a_deleted_file_that_comes_back_is_caught() {
    let gone = [
        at(0, 1, write(A, 1), Outcome::Done),
        at(2, 3, Action::Delete { path: A }, Outcome::Done),
        at(4, 5, read(A), NOTHING),
    ];
    caught(&[&gone[..], &[at(6, 7, read(A), found(1))]].concat(), 3);
}

#[test]
fn a_file_deleted_twice_is_caught() {
    let delete = Action::Delete { path: A };
    let begin = at(0, 1, write(A, 1), Outcome::Done);
    caught(&[begin, at(2, 9, delete, Outcome::Done), at(3, 8, delete, Outcome::Done)], 1);
}

#[test]
fn a_torn_rename_is_caught() {
    let begin = at(0, 1, write(A, 1), Outcome::Done);
    let move_it = at(2, 10, rename(A, B), Outcome::Done);
    for (both, wrong) in [(0b00, true), (0b11, true), (0b01, false), (0b10, false)] {
        let history = [begin, move_it, at(4, 5, Action::List, Outcome::Listed(both))];
        if wrong {
            caught(&history, 2);
        } else {
            explained(&history);
        }
    }
    // Seen at the target first, then still at the source.
    caught(&[begin, move_it, at(4, 5, read(B), found(1)), at(6, 7, read(A), found(1))], 3);
    // Gone from the source, not at the target yet.
    caught(&[begin, move_it, at(4, 5, read(A), NOTHING), at(6, 7, read(B), NOTHING)], 3);
}

#[test]
fn a_rename_that_loses_what_it_moves_is_caught() {
    let begin = at(0, 1, write(A, 1), Outcome::Done);
    caught(&[begin, at(2, 3, rename(A, B), Outcome::Done), at(4, 5, read(B), NOTHING)], 2);
}

#[test]
fn a_write_of_unknown_outcome_may_happen_late_or_never() {
    let begin = [at(0, 1, write(A, 1), Outcome::Done), at(2, 3, write(A, 2), Outcome::Unknown)];
    let then = |reads: &[Outcome]| {
        let reads =
            reads.iter().enumerate().map(|(i, seen)| at(10 * i as u64 + 10, 10 * i as u64 + 11, read(A), *seen));
        begin.iter().copied().chain(reads).collect::<Vec<_>>()
    };
    explained(&then(&[found(1), found(1)]));
    explained(&then(&[found(1), found(2)]));
    explained(&then(&[found(2), found(2)]));
    // But it happens once.
    caught(&then(&[found(1), found(2), found(1)]), 4);
}

#[test]
fn what_nobody_wrote_is_caught() {
    caught(&[at(0, 1, write(A, 1), Outcome::Done), at(2, 3, read(A), found(9))], 1);
    // A write that was refused did not write.
    caught(&[at(0, 1, write(A, 1), Outcome::NoEffect), at(2, 3, read(A), found(1))], 1);
}

#[test]
fn a_deletion_of_unknown_outcome_may_explain_one_absence_only() {
    let history = |second| {
        [
            at(0, 1, write(A, 1), Outcome::Done),
            at(2, 3, Action::Delete { path: A }, Outcome::Unknown),
            at(4, 5, read(A), NOTHING),
            at(6, 7, write(A, 2), Outcome::Done),
            at(8, 9, read(A), second),
        ]
    };
    explained(&history(found(2)));
    caught(&history(NOTHING), 4);
}

/// Every order tried, the plain way: what the search must agree with.
fn by_force(history: &[Operation]) -> bool {
    fn go(history: &[Operation], done: u32, state: State) -> bool {
        let left = |index: &usize| done & (1 << index) == 0;
        let mut pending = (0..history.len()).filter(left);
        let known = |index: &usize| history[*index].outcome != Outcome::Unknown;
        if !pending.clone().any(|index| known(&index)) {
            return true;
        }
        pending.any(|index| {
            let operation = &history[index];
            // Nothing whose answer was there before this began may come after it.
            let late = (0..history.len())
                .filter(left)
                .any(|other| known(&other) && history[other].finished_us < operation.invoked_us);
            if late {
                return false;
            }
            let after = state.after(&operation.action, &operation.outcome);
            after.is_some_and(|state| go(history, done | 1 << index, state))
        })
    }
    go(history, 0, State::default())
}

#[test]
fn the_search_agrees_with_trying_every_order() {
    let mut random = RandomBytes::new(4);
    let (mut right, mut wrong) = (0, 0);
    for _ in 0..10_000 {
        let mut below = |limit: u64| random.next_u64() % limit;
        let mut history: Vec<Operation> = Vec::new();
        for value in 1..=6 {
            let (path, invoked_us) = (below(2) as Path, below(12));
            let (action, outcome) = match below(9) {
                0 | 1 => (write(path, value), [Outcome::Done, Outcome::Unknown][below(2) as usize]),
                2 => {
                    let condition = [Condition::Absent, Condition::Is(1 + below(6))][below(2) as usize];
                    let outcome = [Outcome::Done, Outcome::Refused, Outcome::Unknown][below(3) as usize];
                    (Action::Write { path, value, condition }, outcome)
                }
                3 => (Action::Delete { path }, [Outcome::Done, Outcome::Missing, Outcome::Unknown][below(3) as usize]),
                4 => (
                    Action::Move { from: path, to: 1 - path, overwrite: below(2) == 0 },
                    [Outcome::Done, Outcome::Missing, Outcome::Refused, Outcome::Unknown][below(4) as usize],
                ),
                5 => (Action::List, Outcome::Listed(below(4) as u8)),
                _ => (read(path), [NOTHING, found(1 + below(6)), Outcome::Exists][below(3) as usize]),
            };
            history.push(at(invoked_us, invoked_us + below(8), action, outcome));
        }
        let expected = by_force(&history);
        if expected {
            right += 1
        } else {
            wrong += 1
        }
        assert_eq!(check_group(&history) == Verdict::Linearizable, expected, "{history:#?}");
    }
    assert!(right > 500 && wrong > 500, "{right} right, {wrong} wrong");
}

/// A long history of one copy under several clients, some of whose changes have an unknown outcome.
fn long_history(seed: u64, operations: u64, one_unknown_of: u64) -> Vec<Operation> {
    let mut random = RandomBytes::new(seed);
    let mut state = State::default();
    let mut history = Vec::new();
    for value in 1..=operations {
        let mut below = |limit: u64| random.next_u64() % limit;
        let path = below(3) as Path;
        // It happens at its instant; start and answer lie round that.
        let instant = value * 10;
        let (invoked_us, finished_us) = (instant - below(40).min(instant), instant + below(40));
        let action = match below(8) {
            0..=2 => write(path, value),
            3 => Action::Delete { path },
            4 => Action::Move { from: path, to: (path + 1) % 3, overwrite: true },
            _ => read(path),
        };
        let answers = [Outcome::Done, Outcome::Missing, NOTHING];
        let values = (1..=value).rev().map(found);
        let outcomes = answers.into_iter().chain(values);
        let fits = |outcome: &Outcome| match action {
            Action::Read { .. } => matches!(outcome, Outcome::Found(_)) && state.after(&action, outcome).is_some(),
            _ => !matches!(outcome, Outcome::Found(_)) && state.after(&action, outcome).is_some(),
        };
        let mut outcome = outcomes.into_iter().find(fits).expect("one copy answers everything");
        let lost = changes(&action, &outcome) && below(one_unknown_of) == 0;
        // Of those lost, half never happened.
        if !lost || below(2) == 0 {
            state = state.after(&action, &outcome).expect("it fits");
        }
        if lost {
            outcome = Outcome::Unknown;
        }
        history.push(at(invoked_us, finished_us, action, outcome));
    }
    history
}

#[test]
fn long_histories_with_many_unknown_outcomes_are_decided() {
    for seed in 0..3 {
        let history = long_history(seed, 600, 20);
        let unknown = history.iter().filter(|operation| operation.outcome == Outcome::Unknown).count();
        assert!(unknown > 8, "{unknown} unknown outcomes");
        explained(&history);
    }
}

#[test]
fn one_wrong_answer_in_a_long_history_is_caught() {
    let mut history = long_history(9, 1_000, 100);
    // A read far from everything that finds what was there long ago and overwritten with an answer since.
    let written = |o: &&Operation| matches!(o.action, Action::Write { path: 0, .. }) && o.outcome == Outcome::Done;
    let first = *history.iter().find(written).expect("a write");
    let Action::Write { value, .. } = first.action else { unreachable!() };
    let last_us = history.iter().map(|operation| operation.finished_us).max().expect("operations");
    for path in 0..3 {
        history.push(at(last_us + 1, last_us + 2, write(path, 1_000_000 + u64::from(path)), Outcome::Done));
    }
    history.push(at(last_us + 3, last_us + 4, read(0), found(value)));
    caught(&history, history.len() - 1);
}
