//! The state's files, without Raft.

use dci_proto::{AgentId, CommandId, PoolId};
use openraft::{EntryPayload, LeaderId};
use shoal_ledger::{Batch, Command, KvRead, Submission, query};
use tempfile::TempDir;

use super::StateStore;
use crate::Headroom;
use crate::types::{EncodedBatch, Entry, LogId, SnapshotMeta, StoredMembership};

const CACHE_BYTES: usize = 1024 * 1024;

pub(crate) fn entry(index: u64, command: Command) -> Entry {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&index.to_le_bytes());
    let batch = Batch { time_ms: 1000 + index, submissions: vec![Submission { id: CommandId(id), command }] };
    let encoded = postcard::to_stdvec(&batch).expect("encodes");
    let log_id = LogId::new(LeaderId::new(1, AgentId([1; 32])), index);
    Entry { log_id, payload: EntryPayload::Normal(EncodedBatch(encoded.into())) }
}

pub(crate) fn create_pool(index: u64) -> Entry {
    let first = shoal_ledger::AgentRecord {
        id: AgentId([1; 32]),
        name: "first".to_owned(),
        control_addresses: Vec::new(),
        data_addresses: Vec::new(),
        roles: Default::default(),
        state: shoal_ledger::AgentState::Active,
        site: String::new(),
        capacity_bytes: 1,
        version: "test".to_owned(),
        joined_ms: 0,
    };
    entry(index, Command::CreatePool { id: PoolId([1; 16]), name: "test".to_owned(), survive: 2, first })
}

fn open(directory: &TempDir) -> StateStore {
    StateStore::open(directory.path(), CACHE_BYTES, Headroom::new(directory.path(), 0)).expect("the state opens")
}

fn survive(state: &StateStore) -> Option<u8> {
    query::pool(&*state.view()).expect("reads").map(|pool| pool.survive)
}

/// What is on disk while the state is open: what a crash would leave.
fn after_crash(directory: &TempDir) -> TempDir {
    let copy = TempDir::new().expect("a directory");
    for file in std::fs::read_dir(directory.path()).expect("lists") {
        let file = file.expect("an entry");
        std::fs::copy(file.path(), copy.path().join(file.file_name())).expect("copies");
    }
    copy
}

#[test]
fn a_crash_goes_back_to_the_last_checkpoint_and_says_so() {
    let directory = TempDir::new().expect("a directory");
    let state = open(&directory);
    state.apply(&[create_pool(0)]).expect("applies");
    assert_eq!(state.durable().borrow().next, 0);
    state.checkpoint().expect("is made durable");
    assert_eq!(state.durable().borrow().next, 1);
    state.apply(&[entry(1, Command::SetSurvive { survive: 3 })]).expect("applies");
    assert_eq!(survive(&state), Some(3));

    let again = open(&after_crash(&directory));
    assert_eq!(again.view().applied.map(|id| id.index), Some(0));
    assert_eq!(survive(&again), Some(2));
}

#[test]
fn a_view_does_not_change_and_lives_through_the_install_of_another_state() {
    let (from, to) = (TempDir::new().expect("a directory"), TempDir::new().expect("a directory"));
    let (source, target) = (open(&from), open(&to));
    source.apply(&[create_pool(0), entry(1, Command::SetSurvive { survive: 1 })]).expect("applies");
    target.apply(&[create_pool(0)]).expect("applies");
    let old = target.view();

    let mut incoming = target.begin_incoming().expect("begins");
    let mut pieces = super::RowPieces::new(source.view());
    while let Some(piece) = pieces.next_piece().expect("reads") {
        incoming.write_piece(&piece).expect("is taken up");
    }
    let view = source.view();
    let meta = SnapshotMeta {
        last_log_id: view.applied,
        last_membership: StoredMembership::default(),
        snapshot_id: "one".to_owned(),
    };
    target.install(incoming, &meta).expect("is put in place");
    assert_eq!(query::pool(&*old).expect("reads").map(|pool| pool.survive), Some(2));
    assert_eq!(survive(&target), Some(1));
    target.apply(&[entry(2, Command::SetSurvive { survive: 3 })]).expect("applying goes on");
    target.checkpoint().expect("is made durable");
    drop((old, target));
    let again = open(&to);
    assert_eq!((again.view().applied.map(|id| id.index), survive(&again)), (Some(2), Some(3)));
}

#[test]
fn an_entry_that_does_not_decode_changes_nothing() {
    let directory = TempDir::new().expect("a directory");
    let state = open(&directory);
    let mut broken = entry(1, Command::Tick);
    broken.payload = EntryPayload::Normal(EncodedBatch(vec![0xff; 9].into()));
    state.apply(&[create_pool(0), broken]).expect_err("it does not decode");
    assert_eq!(survive(&state), None);
    assert_eq!(state.view().applied, None);
    assert_eq!(state.view().get(b"anything").expect("reads"), None);
}
