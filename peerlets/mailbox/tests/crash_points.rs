//! Every write and sync of the mailbox is tried as the last thing that happened before the power went: what was answered
//! is there, whole; what was not may be there or not.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;

use common::{ANA, ME, came, delivered, id, sent};
use dci_proto::message::ReceiptState;
use shoal_files::testing::{Crash, Operation, Recording, Trace, crash_everywhere, scratch_directory};
use shoal_mailbox::{Accepted, Mailbox, MailboxConfig, MailboxError, Now, Opened, Settlement, State};

/// How often each thing is done.
const COUNT: u64 = 6;
/// Things done for each: posted, acknowledged, accepted, settled.
const STEPS: u64 = 4;

/// Time stands still, so that nothing happens by itself.
struct NoTime;

impl shoal_mailbox::Clock for NoTime {
    fn now(&self) -> Now {
        Now { steady_ms: 0, wall_ms: common::START_MS }
    }
}

fn open(root: &Path) -> Result<Opened, MailboxError> {
    let config = MailboxConfig::new(root.join("mailbox.redb"), ME);
    Mailbox::open(MailboxConfig { clock: Arc::new(NoTime), ..config })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// The workload, recorded once. Mark n: the n-th thing was answered.
fn recorded() -> &'static Trace {
    static TRACE: OnceLock<Trace> = OnceLock::new();
    TRACE.get_or_init(|| {
        let home = scratch_directory().expect("a directory");
        let recording = Recording::start(home.path()).expect("records");
        runtime().block_on(async {
            let Opened { mailbox, .. } = open(home.path()).expect("opens");
            for number in 0..COUNT {
                mailbox.post(sent(number, Some(1)), vec![ANA]).await.expect("posted");
                recording.mark(number * STEPS);
                mailbox.receipt(ANA, delivered(number)).await.expect("taken");
                recording.mark(number * STEPS + 1);
                let Ok(Accepted::New(place)) = mailbox.accept(came(number, None)).await else { panic!("is new") };
                recording.mark(number * STEPS + 2);
                mailbox.settle(place, Settlement::Handled { exit_status: 0 }).await.expect("settled");
                recording.mark(number * STEPS + 3);
            }
        });
        recording.stop()
    })
}

/// Opens what a crash left, and compares it with what was answered.
async fn look(root: &Path, marks: &[u64]) -> Result<(), String> {
    let Opened { mailbox, .. } = open(root).map_err(|error| format!("does not open: {error}"))?;
    for number in 0..COUNT {
        let answered = |step| marks.contains(&(number * STEPS + step));
        let states = mailbox.states(id(number)).await.map_err(|error| error.to_string())?;
        let state = states.and_then(|states| states.first().map(|state| state.status.state.clone()));
        match state {
            None if answered(0) => return Err(format!("{number} was posted, then lost")),
            Some(State::Waiting) if answered(1) => return Err(format!("{number} waits for what has come")),
            None | Some(State::Waiting | State::Delivered) => {}
            Some(other) => return Err(format!("{number} is {other:?}")),
        }
        let known = mailbox.accept(came(number, None)).await.map_err(|error| error.to_string())?;
        match known {
            Accepted::New(_) if answered(2) => return Err(format!("{number} is taken twice")),
            Accepted::Known(ReceiptState::Delivered) if answered(3) => return Err(format!("{number} was settled")),
            Accepted::New(_) | Accepted::Known(ReceiptState::Delivered | ReceiptState::Handled { exit_status: 0 }) => {}
            other => return Err(format!("{number} is {other:?}")),
        }
    }
    Ok(())
}

fn judge(crash: &Crash<'_>) -> Result<(), String> {
    let home = scratch_directory().expect("a directory");
    crash.lay_out(home.path()).expect("lays out");
    runtime().block_on(look(home.path(), crash.marks))
}

#[test]
fn whatever_was_written_last_before_a_crash_all_that_was_answered_is_there() {
    let outcome = crash_everywhere(recorded(), 20, judge);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    println!("{} operations, {} different disks opened", outcome.points, outcome.disks);
    assert!(outcome.points > 100 && outcome.disks > 100, "{} points, {} disks", outcome.points, outcome.disks);
}

#[test]
fn an_answer_before_the_sync_is_found() {
    let mut faulty = recorded().clone();
    let operations = &mut faulty.operations;
    for at in 1..operations.len() {
        if matches!((&operations[at - 1], &operations[at]), (Operation::Sync { .. }, Operation::Mark(_))) {
            operations.swap(at - 1, at);
        }
    }
    assert!(!crash_everywhere(&faulty, 1, judge).violations.is_empty());
}
