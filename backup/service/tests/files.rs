//! The catalogue and the objects on disk: what comes back, and what a crash after any write leaves.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failing test says what failed")]

use std::path::Path;

use dci_proto::AgentId;
use shoal_backup::catalogue::{Catalogue, ENTRY_BYTES, Entry, Op, State};
use shoal_backup::{ArchiveId, Object, ObjectKind, ObjectName};
use shoal_backup_service::files::{CatalogueFile, FilesError, Objects, Opened};
use shoal_backup_service::testing::{TestSigner, TestVerifier};
use shoal_files::testing::{Operation, Recording, Trace, crash_everywhere, scratch_directory};

const OWNER: AgentId = AgentId([1; 32]);
const SIGNER: TestSigner = TestSigner(OWNER);

fn bytes_of(number: u8) -> Vec<u8> {
    (0..3_000 + usize::from(number)).map(|at| (at as u8).wrapping_mul(number)).collect()
}

fn object(number: u8, kind: ObjectKind) -> Object {
    let bytes = bytes_of(number);
    Object { name: ObjectName::of(&bytes), kind, size_bytes: bytes.len() as u64, archive: ArchiveId(1) }
}

fn open(folder: &Path) -> Opened {
    CatalogueFile::open(folder, OWNER, &TestVerifier).unwrap()
}

/// Adds so many objects; all entries, and the state after each, from before the first on.
fn history(count: u8) -> (Catalogue, Vec<Entry>, Vec<State>) {
    let mut catalogue = Catalogue::new(OWNER);
    let (mut entries, mut states) = (Vec::new(), vec![catalogue.state().clone()]);
    for number in 0..count {
        entries.push(catalogue.append(&SIGNER, 0, Op::Add(object(number, ObjectKind::Pack))).unwrap());
        states.push(catalogue.state().clone());
    }
    (catalogue, entries, states)
}

/// A catalogue that was compacted, and one just before that.
fn compacted() -> (Catalogue, Catalogue) {
    let mut catalogue = Catalogue::new(OWNER);
    let first = object(0, ObjectKind::Pack);
    catalogue.append(&SIGNER, 0, Op::Add(first)).unwrap();
    for round in 0..9_000 {
        let passing = object(1 + (round % 7) as u8, ObjectKind::Pack);
        catalogue.append(&SIGNER, 0, Op::Add(passing)).unwrap();
        catalogue.append(&SIGNER, 0, Op::Delete(passing.name)).unwrap();
    }
    let before = catalogue.clone();
    assert!(catalogue.compact(&SIGNER, 9));
    (before, catalogue)
}

#[test]
fn entries_come_back_and_what_is_torn_is_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let (_, entries, states) = history(9);
    let mut opened = open(folder.path());
    assert_eq!((opened.catalogue.state(), opened.cut_bytes), (&states[0], 0));
    opened.file.append(&entries[..4]).unwrap();
    opened.file.append([]).unwrap();
    opened.file.append(&entries[4..]).unwrap();
    let opened = open(folder.path());
    assert_eq!((opened.catalogue.state(), opened.cut_bytes), (&states[9], 0));
    assert_eq!(opened.catalogue.entries().cloned().collect::<Vec<_>>(), entries);

    let path = folder.path().join("catalogue");
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(&path, &whole[..7 * ENTRY_BYTES + 50]).unwrap();
    let mut opened = open(folder.path());
    assert_eq!((opened.catalogue.state(), opened.cut_bytes), (&states[7], 50));
    opened.file.append(&entries[7..]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), whole, "what is appended follows what is whole");
    // A bit in the third entry, or in its signature: all from there on is asked for again.
    for at in [2 * ENTRY_BYTES + 90, 3 * ENTRY_BYTES - 3] {
        let mut damaged = whole.clone();
        damaged[at] ^= 4;
        std::fs::write(&path, &damaged).unwrap();
        let opened = open(folder.path());
        assert_eq!((opened.catalogue.state(), opened.cut_bytes), (&states[2], 7 * ENTRY_BYTES as u64));
    }
}

#[test]
fn a_base_takes_the_place_of_entries_and_a_damaged_one_is_set_aside() {
    let folder = tempfile::tempdir().unwrap();
    let (before, after) = compacted();
    let mut opened = open(folder.path());
    opened.file.append(before.entries()).unwrap();
    opened.file.replace_base(&after).unwrap();
    let mut more = after.clone();
    let entry = more.append(&SIGNER, 0, Op::Add(object(99, ObjectKind::Pack))).unwrap();
    opened.file.append([&entry]).unwrap();
    let base = after.base().unwrap().to_bytes();
    assert_eq!(opened.file.base_piece(10, 20).unwrap(), &base[10..30]);
    assert_eq!(opened.file.base_piece(base.len() as u64 - 5, 20).unwrap(), &base[base.len() - 5..]);
    let opened = open(folder.path());
    assert_eq!((opened.catalogue.state(), opened.catalogue.base()), (more.state(), after.base()));
    assert_eq!(opened.file.length(), (more.entries().count() * ENTRY_BYTES) as u64);

    let path = folder.path().join("catalogue.base");
    std::fs::write(&path, &base[..base.len() - 1]).unwrap();
    let opened = open(folder.path());
    assert!(opened.catalogue.state().is_empty() && opened.cut_bytes > 0 && !path.exists());
    assert!(folder.path().join("catalogue.base.damaged").exists());
}

#[test]
fn objects_are_there_only_with_their_own_bytes_and_what_comes_in_pieces_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let objects = Objects::create(&folder.path().join("repo")).unwrap();
    let kinds = [ObjectKind::Config, ObjectKind::Key, ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot];
    for (number, kind) in (1..).zip(kinds) {
        let (thing, bytes) = (object(number, kind), bytes_of(number));
        assert_eq!(objects.write_piece(&thing.name, 0, &bytes[..1_000]).unwrap(), 1_000);
        let hole = objects.write_piece(&thing.name, 1_001, &bytes[1_001..]);
        assert!(matches!(hole, Err(FilesError::OutOfOrder { have_bytes: 1_000 })), "{hole:?}");
        assert!(!objects.has(&thing.name).unwrap());
        assert_eq!(objects.write_piece(&thing.name, 500, &bytes[500..]).unwrap(), thing.size_bytes);
        assert_eq!(objects.finish(kind, &thing.name).unwrap(), thing.size_bytes);
        assert_eq!(objects.find(&thing.name).unwrap().unwrap().kind, kind);
        assert_eq!(objects.read(&thing.name, 2_990, 1_000).unwrap(), &bytes[2_990..]);
        assert!(objects.read(&thing.name, 9_000, 10).unwrap().is_empty());
    }
    let listed = objects.list().unwrap();
    assert_eq!(listed.iter().map(|found| found.kind).collect::<Vec<_>>(), kinds);
    assert_eq!(Objects::open(&folder.path().join("repo")).list().unwrap(), listed);
    // Other bytes under a name, and names that are none.
    let wrong = object(50, ObjectKind::Pack).name;
    objects.write_piece(&wrong, 0, b"other").unwrap();
    assert_eq!(objects.on_their_way().unwrap(), [(wrong, 5)]);
    assert!(matches!(objects.finish(ObjectKind::Pack, &wrong), Err(FilesError::WrongHash(_))));
    assert!(matches!(objects.finish(ObjectKind::Pack, &wrong), Err(FilesError::NotFound(_))));
    std::fs::write(folder.path().join("repo/index/notes.txt"), b"mine").unwrap();
    std::fs::create_dir(folder.path().join("repo/data/zz")).unwrap();
    std::fs::write(folder.path().join("repo/data/zz").join(wrong.to_string()), b"not at its place").unwrap();
    assert_eq!(objects.list().unwrap(), listed);
    objects.write_piece(&wrong, 0, b"unwanted").unwrap();
    assert_eq!(objects.sweep(|name| *name != wrong).unwrap(), 1);
    listed.iter().for_each(|found| objects.remove(&found.name).unwrap());
    assert_eq!(objects.list().unwrap(), []);
}

/// Opens what each crash left of a catalogue that was written in these steps: marks are sequences that were confirmed.
fn judge_catalogue(trace: &Trace, states: &[State], limit: usize) -> shoal_files::testing::Outcome {
    crash_everywhere(trace, limit, |crash| {
        let root = scratch_directory().expect("a directory");
        crash.lay_out(root.path()).expect("lays out");
        let opened = CatalogueFile::open(root.path(), OWNER, &TestVerifier).map_err(|error| error.to_string())?;
        let sequence = opened.catalogue.state().sequence();
        if crash.marks.last().is_some_and(|mark| sequence < *mark) {
            return Err(format!("{sequence} is all there is of {:?}", crash.marks));
        }
        let expected = states.iter().find(|state| state.sequence() == sequence);
        if expected != Some(opened.catalogue.state()) {
            return Err(format!("at {sequence} it is another history"));
        }
        // And it can be gone on with: what was not confirmed may be told anew.
        let again = CatalogueFile::open(root.path(), OWNER, &TestVerifier).map_err(|error| error.to_string())?;
        if again.cut_bytes > 0 || again.catalogue.state() != opened.catalogue.state() {
            return Err("opened twice it is another".to_owned());
        }
        Ok(())
    })
}

fn recorded_appends() -> (Trace, Vec<State>) {
    let home = scratch_directory().expect("a directory");
    let (_, entries, states) = history(12);
    let recording = Recording::start(home.path()).expect("records");
    let mut opened = open(home.path());
    for batch in entries.chunks(3) {
        opened.file.append(batch).unwrap();
        recording.mark(batch.last().unwrap().sequence);
    }
    (recording.stop(), states)
}

#[test]
fn whatever_was_written_last_before_a_crash_confirmed_entries_are_there() {
    let (trace, states) = recorded_appends();
    let outcome = judge_catalogue(&trace, &states, 20);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    assert!(outcome.disks > 15, "{outcome:?}");
}

#[test]
fn an_entry_that_is_confirmed_before_it_is_durable_is_found() {
    let (mut trace, states) = recorded_appends();
    for at in 1..trace.operations.len() {
        if matches!((&trace.operations[at - 1], &trace.operations[at]), (Operation::Sync { .. }, Operation::Mark(_))) {
            trace.operations.swap(at - 1, at);
        }
    }
    assert!(!judge_catalogue(&trace, &states, 1).violations.is_empty());
}

#[test]
fn whatever_was_written_last_before_a_crash_the_old_base_or_the_new_one_is_there() {
    let home = scratch_directory().expect("a directory");
    let (before, after) = compacted();
    open(home.path()).file.append(before.entries()).unwrap();
    let mut opened = open(home.path());
    let recording = Recording::start(home.path()).expect("records");
    recording.mark(before.state().sequence());
    opened.file.replace_base(&after).unwrap();
    let outcome = judge_catalogue(&recording.stop(), &[after.state().clone()], 20);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    assert!(outcome.disks > 5, "{outcome:?}");
}

/// Objects that come and go: marks `n`: the n-th is confirmed; `100 + n`: its removal is.
fn recorded_objects(things: &[Object]) -> Trace {
    let home = scratch_directory().expect("a directory");
    let recording = Recording::start(home.path()).expect("records");
    let objects = Objects::create(&home.path().join("repo")).unwrap();
    for (number, thing) in (1u8..).zip(things) {
        let bytes = bytes_of(number);
        objects.write_piece(&thing.name, 0, &bytes[..1_500]).unwrap();
        objects.write_piece(&thing.name, 1_500, &bytes[1_500..]).unwrap();
        objects.finish(thing.kind, &thing.name).unwrap();
        recording.mark(number.into());
    }
    for number in [3, 1] {
        objects.remove(&things[number - 1].name).unwrap();
        recording.mark(100 + number as u64);
    }
    recording.stop()
}

fn judge_objects(trace: &Trace, things: &[Object], limit: usize) -> shoal_files::testing::Outcome {
    crash_everywhere(trace, limit, |crash| {
        let root = scratch_directory().expect("a directory");
        crash.lay_out(root.path()).expect("lays out");
        let objects = Objects::open(&root.path().join("repo"));
        for (number, thing) in (1..).zip(things) {
            let found = objects.find(&thing.name).map_err(|error| error.to_string())?;
            let removed = crash.marks.contains(&(100 + number));
            let may_be_removed = number == 3 || number == 1;
            match found {
                Some(_) if removed => return Err(format!("{number} came back")),
                None if crash.marks.contains(&number) && !may_be_removed => return Err(format!("{number} is lost")),
                None if crash.marks.contains(&number) && crash.marks.len() < things.len() => {
                    return Err(format!("{number} is lost"));
                }
                Some(_) => {
                    let bytes = objects.read(&thing.name, 0, 10_000).map_err(|error| error.to_string())?;
                    if ObjectName::of(&bytes) != thing.name {
                        return Err(format!("{number} is at its place and not whole"));
                    }
                }
                None => {}
            }
        }
        Ok(())
    })
}

#[test]
fn whatever_was_written_last_before_a_crash_objects_are_whole_or_not_there() {
    let kinds = [ObjectKind::Config, ObjectKind::Key, ObjectKind::Pack, ObjectKind::Pack, ObjectKind::Index];
    let things: Vec<Object> = (1..).zip(kinds).map(|(number, kind)| object(number, kind)).collect();
    let trace = recorded_objects(&things);
    let outcome = judge_objects(&trace, &things, 20);
    assert!(outcome.violations.is_empty(), "{:#?}", outcome.violations);
    assert!(outcome.disks > 50, "{outcome:?}");
    // It finds what it is for: bytes that are not synced before the rename, and a rename that is not.
    let without_sync = trace.clone().without(|operation| matches!(operation, Operation::Sync { .. }));
    assert!(!judge_objects(&without_sync, &things, 1).violations.is_empty());
    let without_names = trace.without(|operation| matches!(operation, Operation::SyncDirectory { .. }));
    assert!(!judge_objects(&without_names, &things, 1).violations.is_empty());
}
