//! Every write, sync and rename of the ledger's log, vote and state is tried as the last thing that happened.
//!
//! A workload on the log and the state beside it is recorded operation by operation, the state's databases included
//! (through redb's backend). After each operation both are opened on what a crash may leave; what was answered must be
//! there: the vote, the entries, the checkpoint, and no gap between state and log. Whatever a member finds when it
//! starts it also votes and answers by, so each point is tried as the death of the process too: what its successor
//! found must outlive the power.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::OnceLock;

use dci_proto::AgentId;
use openraft::LeaderId;
use shoal_files::testing::{Crash, Disk, Loss, Operation, Recording, Trace, crash_everywhere, scratch_directory};
use shoal_ledger::{Command, query};

use super::disk::{LogDisk, Opened, read_entry};
use crate::files::lock_directory;
use crate::restore::{LEAP, RestoreSource, restore};
use crate::state::tests::{create_pool, entry as entry_of};
use crate::state::{RowPieces, StateStore};
use crate::types::{Entry, LogId, SnapshotMeta, StoredMembership, Vote};
use crate::{ConsensusConfig, Group, Headroom, StateDump};

const AGENT: AgentId = AgentId([1; 32]);
const CACHE_BYTES: usize = 1024 * 1024;
/// So that a few entries make several segments.
const SEGMENT_BYTES: u64 = 400;
/// Set when log and state were made and opened.
const CREATED: u64 = u64::MAX;
/// Violations told, at most.
const VIOLATIONS: usize = 20;

#[derive(Debug, Clone, Copy)]
enum Step {
    Vote(u64),
    /// Entries of a term, from an index up to another, in one write.
    Append(u64, u64, u64),
    /// Away with the entries from here on.
    Truncate(u64),
    /// The state takes up the entries below this index.
    Apply(u64),
    Checkpoint,
    /// Away with the entries up to this one, of this term.
    Purge(u64, u64),
    /// A state received from another member, as of this entry of this term.
    Install(u64, u64),
}

const WORKLOAD: &[Step] = &[
    Step::Vote(1),
    Step::Append(1, 0, 3),
    Step::Append(1, 3, 6),
    Step::Apply(4),
    Step::Checkpoint,
    Step::Vote(2),
    Step::Append(1, 6, 12),
    Step::Append(1, 12, 18),
    Step::Append(1, 18, 20),
    Step::Truncate(9),
    Step::Append(2, 9, 12),
    Step::Append(2, 12, 15),
    Step::Append(2, 15, 18),
    Step::Append(2, 18, 20),
    Step::Apply(17),
    Step::Checkpoint,
    Step::Purge(2, 16),
    Step::Append(2, 20, 24),
    Step::Truncate(21),
    Step::Install(3, 40),
    Step::Purge(3, 40),
    Step::Vote(3),
    Step::Append(3, 41, 46),
    Step::Apply(45),
    Step::Checkpoint,
    Step::Purge(3, 43),
    Step::Append(3, 46, 48),
];

/// What log and state hold.
#[derive(Debug, Clone, PartialEq, Default)]
struct Held {
    vote: Option<Vote>,
    entries: BTreeMap<u64, Entry>,
    /// One past the last entry in the state, whether or not that is durable.
    applied_next: u64,
    /// One past the last entry that is durably in the state.
    durable_next: u64,
}

fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, AGENT), index)
}

fn survive_at(index: u64) -> u8 {
    if index == 0 { 2 } else { 1 + (index % 3) as u8 }
}

fn entry(term: u64, index: u64) -> Entry {
    let made = match index {
        0 => create_pool(0),
        _ => entry_of(index, Command::SetSurvive { survive: survive_at(index) }),
    };
    Entry { log_id: id(term, index), ..made }
}

impl Held {
    fn after(mut self, step: Step) -> Self {
        match step {
            Step::Vote(term) => self.vote = Some(Vote::new(term, AGENT)),
            Step::Append(term, from, to) => self.entries.extend((from..to).map(|index| (index, entry(term, index)))),
            Step::Truncate(since) => self.entries.retain(|index, _| *index < since),
            Step::Apply(next) => self.applied_next = next,
            Step::Checkpoint => self.durable_next = self.applied_next,
            Step::Purge(_, upto) => self.entries.retain(|index, _| *index > upto),
            Step::Install(_, position) => (self.applied_next, self.durable_next) = (position + 1, position + 1),
        }
        self
    }
}

struct Member {
    log: Opened,
    state: StateStore,
}

fn open(root: &Path) -> Result<Member, String> {
    let directory = root.join("ledger");
    drop(lock_directory(&directory).map_err(|error| error.to_string())?);
    let state = StateStore::open(&directory, CACHE_BYTES, Headroom::new(&directory, 0))
        .map_err(|error| format!("the state does not open: {error}"))?;
    let mut log = LogDisk::open(&directory, AGENT, Headroom::new(&directory, 0))
        .map_err(|error| format!("the log does not open: {error}"))?;
    log.disk.set_segment_bytes(SEGMENT_BYTES);
    Ok(Member { log, state })
}

impl Member {
    fn take(&mut self, held: &Held, step: Step) {
        let disk = &mut self.log.disk;
        match step {
            Step::Vote(term) => disk.save_vote(Vote::new(term, AGENT)).expect("votes"),
            Step::Append(term, from, to) => {
                let entries = (from..to).map(|index| entry(term, index)).collect();
                disk.append(entries, held.applied_next).expect("appends");
            }
            Step::Truncate(since) => disk.truncate(since, held.applied_next).expect("truncates"),
            Step::Apply(next) => {
                let entries: Vec<_> = (held.applied_next..next).map(|index| held.entries[&index].clone()).collect();
                self.state.apply(&entries).expect("applies");
            }
            Step::Checkpoint => drop(self.state.checkpoint().expect("is made durable")),
            Step::Purge(term, upto) => disk.purge(id(term, upto)).expect("purges"),
            Step::Install(term, position) => self.install(term, position),
        }
    }

    fn install(&self, term: u64, position: u64) {
        let elsewhere = scratch_directory().expect("a directory");
        let source = source(elsewhere.path(), term, position);
        let mut incoming = self.state.begin_incoming().expect("begins");
        let mut pieces = RowPieces::new(source.view());
        while let Some(piece) = pieces.next_piece().expect("reads") {
            incoming.write_piece(&piece).expect("is taken up");
        }
        let meta = SnapshotMeta {
            last_log_id: Some(id(term, position)),
            last_membership: StoredMembership::default(),
            snapshot_id: "one".to_owned(),
        };
        self.state.install(incoming, &meta).expect("is put in place");
    }

    /// What is found, if it holds together.
    fn held(&self) -> Result<Held, String> {
        let index = self.log.index.lock().expect("the index");
        let view = self.state.view();
        let mut held = Held { vote: self.log.disk.remembered.vote, ..Held::default() };
        for at in index.first_index()..index.end_index() {
            let place = index.find(at).ok_or_else(|| format!("entry {at} has no place"))?;
            held.entries.insert(at, read_entry(place).map_err(|error| error.to_string())?);
        }
        held.applied_next = view.applied.map_or(0, |id| id.index + 1);
        held.durable_next = self.state.durable().borrow().next;
        let survive = query::pool(&*view).map_err(|error| error.to_string())?.map(|pool| pool.survive);
        // A recovered ledger has the rows of the copy, and goes on a leap after it.
        let last = held.applied_next.checked_sub(1);
        let expected = last.map(|last| survive_at(last.checked_sub(LEAP).unwrap_or(last)));
        if survive != expected {
            return Err(format!("the state says it has {} entries and its rows are of others", held.applied_next));
        }
        if index.first_index() > held.durable_next {
            let (first, next) = (index.first_index(), held.durable_next);
            return Err(format!("the log begins with entry {first}, the state ends before {next}"));
        }
        Ok(held)
    }
}

/// A state as of an entry.
fn source(root: &Path, term: u64, position: u64) -> StateStore {
    let state = StateStore::open(root, CACHE_BYTES, Headroom::new(root, 0)).expect("opens");
    state.apply(&[entry(term, 0), entry(term, position)]).expect("applies");
    state
}

fn recorded() -> &'static Trace {
    static TRACE: OnceLock<Trace> = OnceLock::new();
    TRACE.get_or_init(|| {
        let home = scratch_directory().expect("a directory");
        let recording = Recording::start(home.path()).expect("records");
        let mut member = open(home.path()).expect("opens");
        recording.mark(CREATED);
        let mut held = Held::default();
        for (number, step) in WORKLOAD.iter().enumerate() {
            recording.mark(2 * number as u64);
            member.take(&held, *step);
            held = held.after(*step);
            recording.mark(2 * number as u64 + 1);
        }
        assert_eq!(member.held().expect("holds together").entries, held.entries);
        recording.stop()
    })
}

/// What was answered before these marks, and what the step then under way would have made of it.
fn expected(marks: &[u64]) -> (Held, Held) {
    let mut held = Held::default();
    for (number, step) in WORKLOAD.iter().enumerate() {
        if !marks.contains(&(2 * number as u64 + 1)) {
            let begun = marks.contains(&(2 * number as u64));
            let next = if begun { held.clone().after(*step) } else { held.clone() };
            return (held, next);
        }
        held = held.after(*step);
    }
    (held.clone(), held)
}

fn compare(found: &Held, answered: &Held, under_way: &Held) -> Result<(), String> {
    if found.vote != answered.vote && found.vote != under_way.vote {
        return Err(format!("the vote is {:?}, not {:?}", found.vote, answered.vote));
    }
    for (index, kept) in &answered.entries {
        if under_way.entries.get(index) == Some(kept) && found.entries.get(index) != Some(kept) {
            return Err(format!("entry {index} was answered and is not there"));
        }
    }
    for (index, there) in &found.entries {
        if answered.entries.get(index) != Some(there) && under_way.entries.get(index) != Some(there) {
            return Err(format!("entry {index} is not what was written"));
        }
    }
    let applied = answered.durable_next..=under_way.applied_next.max(answered.applied_next);
    if !applied.contains(&found.applied_next) {
        return Err(format!("the state has {} entries, not {applied:?}", found.applied_next));
    }
    Ok(())
}

fn judge(crash: &Crash<'_>) -> Result<(), String> {
    let (answered, under_way) = expected(crash.marks);
    let home = scratch_directory().expect("a directory");
    crash.lay_out(home.path()).expect("lays out");
    let found = open(home.path())?.held()?;
    compare(&found, &answered, &under_way)?;
    let again = open(home.path())?.held()?;
    if found != again {
        return Err(format!("opened again it is another: {found:?}, then {again:?}"));
    }
    if crash.loss == Loss::Nothing { judge_second_life(crash) } else { Ok(()) }
}

/// The process dies here, its successor looks at what there is, and the power goes.
fn judge_second_life(crash: &Crash<'_>) -> Result<(), String> {
    let home = scratch_directory().expect("a directory");
    let recording = crash.resume(home.path()).expect("lays out");
    let member = open(home.path())?;
    let found = member.held()?;
    let left = scratch_directory().expect("a directory");
    let disk: Disk = recording.stop().end();
    disk.lay_out(Loss::Everything, left.path()).expect("lays out");
    drop(member);
    let kept = open(left.path())?.held()?;
    compare(&kept, &found, &found).map_err(|wrong| format!("after a second life {wrong}"))
}

fn is_found(faulty: &Trace) -> bool {
    !crash_everywhere(faulty, 1, judge).violations.is_empty()
}

#[test]
fn whatever_the_ledger_did_last_before_a_crash_all_that_was_answered_is_there() {
    let outcome = crash_everywhere(recorded(), VIOLATIONS, judge);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    println!("{} operations, {} different disks opened", outcome.points, outcome.disks);
    assert!(
        outcome.points > 200 && outcome.disks > outcome.points,
        "{} points, {} disks",
        outcome.points,
        outcome.disks
    );
}

#[test]
fn a_copy_of_a_ledger_restored_until_any_moment_is_there_as_a_whole_or_not_at_all() {
    const POSITION: u64 = 7;
    let (home, elsewhere) = (scratch_directory().expect("a directory"), scratch_directory().expect("a directory"));
    let mut dump = StateDump::new(source(elsewhere.path(), 1, POSITION).view());
    let pieces: Vec<_> = std::iter::from_fn(|| dump.next_piece().expect("reads")).collect();
    let recording = Recording::start(home.path()).expect("records");
    let config = |root: &Path| ConsensusConfig::new(AGENT, root.join("ledger"));
    let source = RestoreSource::Copy(Box::new(pieces.into_iter()));
    let group = restore(&config(home.path()), 1, source).expect("restores");
    recording.mark(CREATED);
    let outcome = crash_everywhere(&recording.stop(), VIOLATIONS, |crash| {
        let home = scratch_directory().expect("a directory");
        crash.lay_out(home.path()).expect("lays out");
        let view = open(home.path())?.state.view();
        let next = view.applied.map_or(0, |id| id.index + 1);
        let survive = query::pool(&*view).map_err(|error| error.to_string())?.map(|pool| pool.survive);
        if survive != (next > 0).then(|| survive_at(POSITION)) {
            return Err(format!("the state says it has {next} entries and its rows are of others"));
        }
        let answered = crash.marks.contains(&CREATED);
        // The copy as it was is there before it is made the beginning of a new group; nobody uses it then.
        let fine = next == POSITION + LEAP + 1 || (!answered && [0, POSITION + 1].contains(&next));
        let found = Group::read(&home.path().join("ledger")).map_err(|error| error.to_string())?;
        let grouped = found == group || (!answered && found == Group::default());
        if fine && grouped { Ok(()) } else { Err(format!("{next} entries of {found:?}, answered: {answered}")) }
    });
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
}

#[test]
fn entries_answered_before_their_sync_are_found() {
    let files = recorded().files_named(|path| path.extension().is_some_and(|extension| extension == "log"));
    let skips = |done: &Operation| matches!(done, Operation::Sync { file } if files.contains(file));
    assert!(is_found(&recorded().clone().without(skips)));
}

#[test]
fn a_vote_put_in_place_before_it_is_synced_is_found() {
    let files = recorded().files_named(|path| path.ends_with("raft.vote"));
    let skips = |done: &Operation| matches!(done, Operation::Sync { file } if files.contains(file));
    assert!(is_found(&recorded().clone().without(skips)));
}

#[test]
fn a_log_segment_whose_name_is_not_synced_is_found() {
    let skips = |done: &Operation| matches!(done, Operation::SyncDirectory { path } if path.ends_with("log"));
    assert!(is_found(&recorded().clone().without(skips)));
}

#[test]
fn a_log_purged_before_the_state_is_durable_is_found() {
    let files = recorded().files_named(|path| path.extension().is_some_and(|extension| extension == "redb"));
    let skips = |done: &Operation| matches!(done, Operation::Sync { file } if files.contains(file));
    assert!(is_found(&recorded().clone().without(skips)));
}
