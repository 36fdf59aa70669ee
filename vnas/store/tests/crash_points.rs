//! Every write, sync and rename of the store is tried as the last thing that happened.
//!
//! A workload is recorded operation by operation, the index's database included (through redb's backend). After each
//! operation the store is opened on what a crash may leave: all that was not synced lost, all of it kept, bytes
//! without names, names without bytes, a torn write, sectors and names mixed. What was answered must be there and
//! whole; what was not may be there or not, but never half. A process that dies is another matter than the power:
//! its successor sees what is not durable yet, so each point is also tried as a death with a second life, at the end
//! of which the power goes.
//!
//! The planted faults at the end show that this finds what it is for.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, IoSlice, Read};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use common::wait_until;
use shoal_files::testing::{Crash, Loss, Operation, Recording, Trace, crash_everywhere, scratch_directory};
use shoal_store::contract::{bytes, key};
use shoal_store::{DiskStore, DiskStoreConfig, ShardStore, StoreError};

/// Segments so short that three small shards fill one.
const SEGMENT_BYTES: u32 = 16 * 1024;
const SMALL: usize = 5_000;
const LARGE: usize = 270_000;
/// Until when damage that is done must be seen.
const DAMAGE_DEADLINE: Duration = Duration::from_secs(20);
/// Set when the store was made and opened.
const CREATED: u64 = u64::MAX;

/// One thing that is asked of the store. Shards are told by their number.
#[derive(Debug, Clone, Copy)]
enum Step {
    Put(u8, usize),
    /// Three at once, from this number on: they share a write and a sync.
    PutThree(u8),
    Delete(u8),
    /// The disk flips a bit.
    Damage(u8, usize),
}

const WORKLOAD: &[Step] = &[
    Step::Put(1, SMALL),
    Step::PutThree(2),
    Step::Put(20, LARGE),
    Step::Put(5, SMALL),
    Step::Delete(3),
    Step::Put(21, LARGE),
    Step::Delete(20),
    Step::Damage(5, SMALL),
    Step::Put(5, SMALL),
    Step::Damage(21, LARGE),
    Step::Put(21, LARGE),
    Step::PutThree(6),
    Step::Delete(2),
    Step::Delete(1),
    Step::Put(20, LARGE),
    Step::Delete(6),
    Step::Delete(7),
    Step::Put(3, SMALL),
    Step::Delete(21),
    Step::PutThree(9),
];

/// What may be found under a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Found {
    Nothing,
    Whole(usize),
    Damaged,
}

type Allowed = BTreeMap<u8, BTreeSet<Found>>;

fn config(root: &Path, create_if_new: bool) -> DiskStoreConfig {
    DiskStoreConfig { segment_bytes: SEGMENT_BYTES, create_if_new, ..DiskStoreConfig::new(root.join("store")) }
}

fn length_of(step: Step) -> Vec<(u8, Found)> {
    match step {
        Step::Put(number, length) => vec![(number, Found::Whole(length))],
        Step::PutThree(first) => (first..first + 3).map(|number| (number, Found::Whole(SMALL))).collect(),
        Step::Delete(number) => vec![(number, Found::Nothing)],
        Step::Damage(number, _) => vec![(number, Found::Damaged)],
    }
}

async fn take(store: &DiskStore, root: &Path, step: Step) -> Result<(), StoreError> {
    let put = |number: u8, length| store.put(key(number), bytes(number.into(), length), None);
    match step {
        Step::Put(number, length) => put(number, length).await.map(drop),
        Step::PutThree(first) => {
            let (a, b, c) = tokio::join!(put(first, SMALL), put(first + 1, SMALL), put(first + 2, SMALL));
            a.and(b).and(c).map(drop)
        }
        Step::Delete(number) => store.delete(key(number)).await,
        Step::Damage(number, length) => {
            damage(store, root, number, length).await;
            Ok(())
        }
    }
}

/// Flips a bit in the middle of a shard's bytes, wherever they lie, in a way the recording sees. Segments are put
/// together meanwhile: a copy may go, or be made, between a look and the flip, so it ends when the store says so.
async fn damage(store: &DiskStore, root: &Path, number: u8, length: usize) {
    let deadline = Instant::now() + DAMAGE_DEADLINE;
    while !matches!(store.get(key(number), None).await, Err(StoreError::Damaged { .. })) {
        assert!(Instant::now() < deadline, "shard {number} is still whole after {DAMAGE_DEADLINE:?}");
        flip(root, &bytes(number.into(), length)[length / 2..length / 2 + 64]);
    }
}

/// Flips a bit of these bytes in every file of shards that has them; not twice, since they are not found again.
fn flip(root: &Path, needle: &[u8]) {
    let is_shard = |path: &PathBuf| path.extension().is_none_or(|extension| extension != "redb");
    for path in files_under(&root.join("store")).into_iter().filter(is_shard) {
        let mut file = match fs::OpenOptions::new().read(true).write(true).open(&path) {
            Err(gone) if gone.kind() == io::ErrorKind::NotFound => continue,
            file => file.expect("opens"),
        };
        let mut content = Vec::new();
        file.read_to_end(&mut content).expect("reads");
        if let Some(at) = content.windows(needle.len()).position(|window| window == needle) {
            shoal_files::write_at(&file, at as u64, &mut [IoSlice::new(&[content[at] ^ 1])]).expect("writes");
            shoal_files::sync(&file).expect("syncs");
        }
    }
}

fn files_under(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).expect("lists").map(|entry| entry.expect("lists").path());
    entries.flat_map(|path| if path.is_dir() { files_under(&path) } else { vec![path] }).collect()
}

fn segments(root: &Path) -> usize {
    files_under(&root.join("store/segments")).iter().filter(|path| path.extension().is_some_and(|e| e == "seg")).count()
}

/// The workload, recorded once for all tests of this file.
fn recorded() -> &'static Trace {
    static TRACE: OnceLock<Trace> = OnceLock::new();
    TRACE.get_or_init(|| {
        let home = scratch_directory().expect("a directory");
        let recording = Recording::start(home.path()).expect("records");
        runtime().block_on(async {
            let store = DiskStore::open(config(home.path(), true)).expect("opens");
            recording.mark(CREATED);
            for (number, step) in WORKLOAD.iter().enumerate() {
                recording.mark(2 * number as u64);
                take(&store, home.path(), *step).await.expect("works");
                recording.mark(2 * number as u64 + 1);
            }
            wait_until("segments are put together", || segments(home.path()) <= 4).await;
            drop(store);
        });
        recording.stop()
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// What may be found after these marks; the steps that were begun and not answered.
fn allowed(marks: &[u64]) -> (Allowed, Vec<Step>) {
    let (mut allowed, mut begun) = (Allowed::new(), Vec::new());
    for (number, step) in WORKLOAD.iter().enumerate() {
        let answered = marks.contains(&(2 * number as u64 + 1));
        if !answered && !marks.contains(&(2 * number as u64)) {
            break;
        }
        for (shard, found) in length_of(*step) {
            let states = allowed.entry(shard).or_insert_with(|| BTreeSet::from([Found::Nothing]));
            if answered {
                states.clear();
            }
            states.insert(found);
        }
        if !answered {
            begun.push(*step);
        }
    }
    (allowed, begun)
}

async fn look(store: &DiskStore) -> Result<BTreeMap<u8, Found>, String> {
    let mut found = BTreeMap::new();
    for info in store.list(None, usize::MAX).await.map_err(|error| error.to_string())? {
        let number = info.key.stripe.0[0];
        let state = match store.get(info.key, None).await {
            Ok(data) if data == bytes(number.into(), data.len()) => Found::Whole(data.len()),
            Ok(data) => return Err(format!("shard {number} has {} bytes nobody wrote", data.len())),
            Err(StoreError::Damaged { .. }) => Found::Damaged,
            Err(error) => return Err(format!("shard {number}: {error}")),
        };
        found.insert(number, state);
    }
    if store.space().shards != found.len() as u64 {
        return Err(format!("{} shards are counted, {} are there", store.space().shards, found.len()));
    }
    Ok(found)
}

fn compare(found: &BTreeMap<u8, Found>, allowed: &Allowed) -> Result<(), String> {
    if let Some(number) = found.keys().find(|number| !allowed.contains_key(number)) {
        return Err(format!("shard {number} is there, which nobody put"));
    }
    for (number, states) in allowed {
        let state = found.get(number).copied().unwrap_or(Found::Nothing);
        if !states.contains(&state) {
            return Err(format!("shard {number} is {state:?}, not one of {states:?}"));
        }
    }
    Ok(())
}

/// Opens what a crash left, several times, and compares.
async fn judge_disk(root: &Path, created: bool, allowed: &Allowed) -> Result<(), String> {
    let open = || DiskStore::open(config(root, !created)).map_err(|error| format!("does not open: {error}"));
    let first = look(&open()?).await?;
    compare(&first, allowed)?;
    let second = look(&open()?).await?;
    if first != second {
        return Err(format!("opened again it is another: {first:?}, then {second:?}"));
    }
    fs::remove_file(root.join("store/segments/index.redb")).expect("removes");
    let rebuilt = look(&open()?).await?;
    if first != rebuilt {
        return Err(format!("with a new index it is another: {first:?}, then {rebuilt:?}"));
    }
    Ok(())
}

/// The process dies here; its successor does again what was not answered, and more; then the power goes.
async fn judge_second_life(crash: &Crash<'_>, created: bool) -> Result<(), String> {
    let (mut allowed, begun) = allowed(crash.marks);
    let home = scratch_directory().expect("a directory");
    let recording = crash.resume(home.path()).expect("lays out");
    let store = DiskStore::open(config(home.path(), !created)).map_err(|error| format!("does not open: {error}"))?;
    let more = [Step::Put(90, SMALL), Step::Put(91, LARGE)];
    for step in begun.into_iter().filter(|step| !matches!(step, Step::Damage(..))).chain(more) {
        take(&store, home.path(), step).await.map_err(|error| format!("{step:?} again: {error}"))?;
        allowed.extend(length_of(step).into_iter().map(|(number, found)| (number, BTreeSet::from([found]))));
    }
    let left = scratch_directory().expect("a directory");
    recording.stop().end().lay_out(Loss::Everything, left.path()).expect("lays out");
    drop(store);
    judge_disk(left.path(), true, &allowed).await.map_err(|wrong| format!("after a second life {wrong}"))
}

/// Of the many directories of shards that a new store gets, the first ones and the last stand for all.
fn is_one_of_many(crash: &Crash<'_>) -> bool {
    let Some(Operation::CreateDirectory { path }) = crash.last else { return false };
    path.parent().is_some_and(|parent| parent.ends_with("shards"))
        && !["00", "01", "ff"].iter().any(|name| path.ends_with(name))
}

fn judge(crash: &Crash<'_>) -> Result<(), String> {
    if is_one_of_many(crash) {
        return Ok(());
    }
    runtime().block_on(async {
        let created = crash.marks.contains(&CREATED);
        let home = scratch_directory().expect("a directory");
        crash.lay_out(home.path()).expect("lays out");
        judge_disk(home.path(), created, &allowed(crash.marks).0).await?;
        if crash.loss == Loss::Nothing { judge_second_life(crash, created).await } else { Ok(()) }
    })
}

#[test]
fn whatever_the_store_did_last_before_a_crash_all_that_was_answered_is_there() {
    let outcome = crash_everywhere(recorded(), 20, judge);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    println!("{} operations, {} different disks opened", outcome.points, outcome.disks);
    assert!(
        outcome.points > 300 && outcome.disks > outcome.points,
        "{} points, {} disks",
        outcome.points,
        outcome.disks
    );
}

fn is_found(faulty: &Trace) -> bool {
    !crash_everywhere(faulty, 1, judge).violations.is_empty()
}

#[test]
fn a_segment_that_is_not_synced_is_found() {
    let files = recorded().files_named(|path| path.extension().is_some_and(|extension| extension == "seg"));
    assert!(is_found(
        &recorded().clone().without(|done| matches!(done, Operation::Sync { file } if files.contains(file)))
    ));
}

#[test]
fn a_shard_file_that_is_renamed_before_it_is_synced_is_found() {
    let files = recorded().files_named(|path| path.starts_with("store/shards"));
    assert!(is_found(
        &recorded().clone().without(|done| matches!(done, Operation::Sync { file } if files.contains(file)))
    ));
}

#[test]
fn a_directory_of_shards_that_is_not_synced_is_found() {
    let skipped = |path: &Path| path.parent().is_some_and(|parent| parent.ends_with("shards"));
    assert!(is_found(
        &recorded().clone().without(|done| matches!(done, Operation::SyncDirectory { path } if skipped(path)))
    ));
}

#[test]
fn a_new_segment_whose_name_is_not_synced_is_found() {
    assert!(is_found(
        &recorded()
            .clone()
            .without(|done| matches!(done, Operation::SyncDirectory { path } if path.ends_with("segments")))
    ));
}

#[test]
fn an_answer_before_the_sync_is_found() {
    let mut faulty = recorded().clone();
    let operations = &mut faulty.operations;
    for at in 1..operations.len() {
        // Odd marks say "answered"; the sync it waited for now comes after it.
        let answered = matches!(operations[at], Operation::Mark(number) if number != CREATED && number % 2 == 1);
        if answered && matches!(operations[at - 1], Operation::Sync { .. } | Operation::SyncDirectory { .. }) {
            operations.swap(at - 1, at);
        }
    }
    assert!(is_found(&faulty));
}
