//! The log's files, without Raft.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use dci_proto::AgentId;
use openraft::{EmptyNode, EntryPayload, LeaderId};
use proptest::prelude::*;
use tempfile::TempDir;

use super::disk::{LogDisk, Opened, read_entry};
use crate::types::{EncodedBatch, Entry, LogId, Membership, Vote};
use crate::{ConsensusError, Headroom};

const AGENT: AgentId = AgentId([1; 32]);

fn id(term: u64, index: u64) -> LogId {
    LogId::new(LeaderId::new(term, AGENT), index)
}

/// An entry whose bytes tell its index.
fn entry(term: u64, index: u64) -> Entry {
    let payload = match index % 5 {
        0 => EntryPayload::Blank,
        1 => EntryPayload::Membership(Membership::new(
            vec![BTreeSet::from([AGENT])],
            BTreeMap::from([(AGENT, EmptyNode {})]),
        )),
        _ => EntryPayload::Normal(EncodedBatch(vec![index as u8; 40 + index as usize % 60].into())),
    };
    Entry { log_id: id(term, index), payload }
}

fn open(directory: &Path) -> Opened {
    let mut opened = LogDisk::open(directory, AGENT, Headroom::new(directory, 0)).expect("the log opens");
    // So that a few entries make several segments.
    opened.disk.set_segment_bytes(600);
    opened
}

fn append(opened: &mut Opened, entries: impl IntoIterator<Item = Entry>) {
    opened.disk.append(entries.into_iter().collect(), 0).expect("appends");
}

/// All entries, in memory or on disk.
fn entries(opened: &Opened) -> Vec<Entry> {
    let index = opened.index.lock().expect("the index");
    (index.first_index()..index.end_index())
        .map(|at| read_entry(index.find(at).expect("an entry has its place")).expect("it reads"))
        .collect()
}

fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(directory.join("log"))
        .expect("the log's directory")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    paths
}

#[test]
fn entries_vote_and_purge_are_there_after_opening_again() {
    let directory = TempDir::new().expect("a directory");
    let mut opened = open(directory.path());
    append(&mut opened, (0..30).map(|index| entry(1, index)));
    for index in 30..50 {
        append(&mut opened, [entry(2, index)]);
    }
    opened.disk.append(vec![entry(2, 50)], 48).expect("appends");
    opened.disk.save_vote(Vote::new_committed(2, AGENT)).expect("saves");
    assert!(segments(directory.path()).len() > 2);
    opened.disk.purge(id(2, 35)).expect("purges");
    drop(opened);

    let opened = open(directory.path());
    assert_eq!(opened.disk.remembered.vote, Some(Vote::new_committed(2, AGENT)));
    assert_eq!(opened.committed, Some(id(2, 47)));
    let expected: Vec<_> = (36..51).map(|index| entry(2, index)).collect();
    assert_eq!(entries(&opened), expected);
}

#[test]
fn a_truncated_log_goes_on_from_there_in_whatever_segment_that_is() {
    for since in [0, 1, 17, 29, 30, 38, 39] {
        let directory = TempDir::new().expect("a directory");
        let mut opened = open(directory.path());
        append(&mut opened, (0..30).map(|index| entry(1, index)));
        for index in 30..40 {
            append(&mut opened, [entry(1, index)]);
        }
        opened.disk.truncate(since, 0).expect("truncates");
        let kept: Vec<_> = (0..since).map(|index| entry(1, index)).collect();
        assert_eq!(entries(&opened), kept, "cut at {since}");
        assert_eq!(entries(&open(directory.path())), kept, "cut at {since}, opened again");
        append(&mut opened, [entry(2, since)]);
        drop(opened);
        let last = entries(&open(directory.path())).pop();
        assert_eq!(last, Some(entry(2, since)));
    }
}

#[test]
fn a_log_purged_beyond_its_end_goes_on_after_the_purge() {
    let directory = TempDir::new().expect("a directory");
    let mut opened = open(directory.path());
    append(&mut opened, (0..5).map(|index| entry(1, index)));
    opened.disk.purge(id(3, 100)).expect("purges");
    assert!(entries(&opened).is_empty());
    append(&mut opened, [entry(3, 101)]);
    drop(opened);
    let opened = open(directory.path());
    assert_eq!(entries(&opened), [entry(3, 101)]);
    assert_eq!(segments(directory.path()).len(), 1);
}

#[test]
fn a_purge_of_which_a_crash_kept_only_a_part_is_finished_at_the_next_start() {
    let directory = TempDir::new().expect("a directory");
    let mut opened = open(directory.path());
    for index in 0..50 {
        append(&mut opened, [entry(1, index)]);
    }
    let first = segments(directory.path())[0].clone();
    let kept = std::fs::read(&first).expect("reads");
    opened.disk.purge(id(1, 40)).expect("purges");
    drop(opened);
    assert!(!first.exists());
    // Names are removed one by one, and nothing says that a crash keeps the earlier ones first.
    std::fs::write(&first, kept).expect("writes");
    let expected: Vec<_> = (41..50).map(|index| entry(1, index)).collect();
    assert_eq!(entries(&open(directory.path())), expected);
    assert!(!first.exists());
}

#[test]
fn an_entry_that_does_not_follow_is_refused() {
    let directory = TempDir::new().expect("a directory");
    let mut opened = open(directory.path());
    append(&mut opened, [entry(1, 0)]);
    let refused = opened.disk.append(vec![entry(1, 2)], 0).expect_err("a hole");
    assert!(matches!(refused, ConsensusError::Damaged { .. }), "{refused}");
}

#[test]
fn a_newer_format_is_told_from_damage() {
    let directory = TempDir::new().expect("a directory");
    drop(open(directory.path()));
    let path = directory.path().join("raft.vote");
    let newer = postcard::to_stdvec(&(7u32, "what a later version keeps here")).expect("encodes");
    std::fs::write(&path, crate::files::seal(newer)).expect("writes");
    let refused =
        LogDisk::open(directory.path(), AGENT, Headroom::new(directory.path(), 0)).err().expect("it is newer");
    assert!(matches!(refused, ConsensusError::NewerVersion { found: 7, .. }), "{refused}");
    std::fs::write(&path, b"not what was written").expect("writes");
    let refused =
        LogDisk::open(directory.path(), AGENT, Headroom::new(directory.path(), 0)).err().expect("it is damaged");
    assert!(matches!(refused, ConsensusError::Damaged { .. }), "{refused}");
}

#[test]
fn a_log_written_by_version_1_is_read() {
    let stored = include_bytes!("samples/version-1.log");
    let directory = TempDir::new().expect("a directory");
    drop(open(directory.path()));
    std::fs::write(directory.path().join("log/00000000000000000000.log"), stored).expect("writes");
    let expected: Vec<_> = (0..6).map(|index| entry(1, index)).collect();
    assert_eq!(entries(&open(directory.path())), expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// A crash leaves any part of the last write, or garbage in its place.
    #[test]
    fn a_torn_last_write_loses_only_itself(cut in 0.0f64..1.0, garbage in any::<u8>(), fill in any::<bool>()) {
        let directory = TempDir::new().expect("a directory");
        let mut opened = open(directory.path());
        append(&mut opened, (0..7).map(|index| entry(1, index)));
        let path = segments(directory.path()).pop().expect("a segment");
        let sound = std::fs::read(&path).expect("reads").len();
        append(&mut opened, (7..9).map(|index| entry(1, index)));
        drop(opened);
        let path = segments(directory.path()).pop().expect("a segment");
        let mut bytes = std::fs::read(&path).expect("reads");
        let begins = if bytes.len() > sound { sound } else { 0 };
        let whole = bytes.len();
        let kept = begins + ((whole - begins) as f64 * cut) as usize;
        bytes.truncate(kept);
        if fill {
            bytes.resize(whole, garbage);
        }
        std::fs::write(&path, bytes).expect("writes");
        let expected: Vec<_> = (0..7).map(|index| entry(1, index)).collect();
        let mut opened = open(directory.path());
        prop_assert_eq!(entries(&opened), expected);
        append(&mut opened, [entry(2, 7)]);
        drop(opened);
        prop_assert_eq!(entries(&open(directory.path())).len(), 8);
    }

    /// A flipped bit in anything but the last write is damage, never a shorter log.
    #[test]
    fn a_flipped_bit_before_the_last_write_is_reported(at in 0.0f64..1.0, bit in 0u8..8) {
        let directory = TempDir::new().expect("a directory");
        let mut opened = open(directory.path());
        append(&mut opened, (0..4).map(|index| entry(1, index)));
        let path = segments(directory.path()).pop().expect("a segment");
        let sound = std::fs::read(&path).expect("reads").len();
        append(&mut opened, [entry(1, 4)]);
        drop(opened);
        let mut bytes = std::fs::read(&path).expect("reads");
        prop_assert!(bytes.len() > sound);
        let flipped = (sound as f64 * at) as usize;
        bytes[flipped] ^= 1 << bit;
        std::fs::write(&path, &bytes).expect("writes");
        prop_assert!(LogDisk::open(directory.path(), AGENT, Headroom::new(directory.path(), 0)).is_err());
    }
}
