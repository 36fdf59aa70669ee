//! What one member promises: through restarts and crashes, and against wrong directories and hostile messages.

#![allow(clippy::expect_used)]

mod harness;

use std::path::Path;

use bytes::Bytes;
use harness::{Net, Pool, agent, config, has_folder, make_folder, make_pool};
use shoal_consensus::{Consensus, ConsensusError, RestoreSource};
use shoal_ledger::{KvRead, LedgerClient};
use tempfile::TempDir;

fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("lists") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copies");
        }
    }
}

async fn start(who: u8, directory: &Path) -> Result<Consensus, ConsensusError> {
    Consensus::start(config(agent(who), directory), Net::default().transport(agent(who))).await
}

fn rows(view: &dyn KvRead) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = Vec::new();
    view.scan(&[], &[0xff; 64], &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        Ok(true)
    })
    .expect("scans");
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_is_there_after_a_restart() {
    let mut pool = Pool::of(1).await;
    assert!(make_folder(&pool.members[&1], "kept").await.expect("a write"));
    pool.kill(1).await;
    pool.start(1).await;
    assert!(has_folder(&pool.members[&1], "kept"));
    assert!(make_folder(&pool.members[&1], "more").await.expect("writing goes on"));
    pool.members[&1].barrier().await.expect("a read point");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_is_there_after_a_crash_before_anything_is_elected() {
    let pool = Pool::of(1).await;
    for number in 0..30 {
        assert!(make_folder(&pool.members[&1], &format!("folder-{number}")).await.expect("a write"));
    }
    // What a crash leaves: the files as they are, the member still running.
    let crashed = TempDir::new().expect("a directory");
    copy_directory(pool.directories[&1].path(), crashed.path());
    let again = start(1, crashed.path()).await.expect("it starts after a crash");
    assert!((0..29).all(|number| has_folder(&again, &format!("folder-{number}"))), "known committed at once");
    again.barrier().await.expect("a read point");
    assert!(has_folder(&again, "folder-29"));
    assert_eq!(rows(&*again.view().expect("a view")), rows(&*pool.members[&1].view().expect("a view")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_torn_write_at_the_end_is_cut_off_and_damage_before_it_is_told() {
    let pool = Pool::of(1).await;
    for number in 0..5 {
        assert!(make_folder(&pool.members[&1], &format!("folder-{number}")).await.expect("a write"));
    }
    let log = |directory: &Path| directory.join("log").join("00000000000000000000.log");
    let torn = TempDir::new().expect("a directory");
    copy_directory(pool.directories[&1].path(), torn.path());
    let mut bytes = std::fs::read(log(torn.path())).expect("the log");
    let sound = bytes.len();
    bytes.extend_from_slice(b"FRAM\x40\x00\x00\x00half a frame");
    std::fs::write(log(torn.path()), &bytes).expect("writes");
    let again = start(1, torn.path()).await.expect("it starts after a torn write");
    again.barrier().await.expect("a read point");
    assert!(has_folder(&again, "folder-4"));

    let damaged = TempDir::new().expect("a directory");
    copy_directory(pool.directories[&1].path(), damaged.path());
    bytes.truncate(sound);
    bytes[sound / 2] ^= 1;
    std::fs::write(log(damaged.path()), &bytes).expect("writes");
    let refused = start(1, damaged.path()).await.err().expect("damage is not started from");
    assert!(refused.to_string().contains("is damaged"), "{refused}");
    assert_eq!(std::fs::read(log(damaged.path())).expect("the log"), bytes, "nothing was touched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_in_use_or_of_another_agent_is_refused_in_one_sentence() {
    let mut pool = Pool::of(1).await;
    let directory = pool.directories[&1].path().to_owned();
    let refused = start(1, &directory).await.err().expect("it is in use");
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    pool.kill(1).await;
    let refused = start(2, &directory).await.err().expect("it is another's");
    assert!(refused.to_string().contains("belongs to agent"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_messages_are_answered_and_change_nothing() {
    let pool = Pool::of(1).await;
    let member = &pool.members[&1];
    let before = member.status();
    let mut messages = vec![Bytes::new(), Bytes::from_static(&[9, 1, 2, 3]), Bytes::from(vec![1; 5 * 1024 * 1024])];
    for tag in 0..=9u8 {
        for filler in [0x00, 0x01, 0x7f, 0x80, 0xff] {
            for length in [0, 1, 7, 33, 40, 66, 100, 400] {
                // A version, the group of a pool never recovered, a message.
                let mut message = vec![2];
                message.resize(19, 0);
                message.push(tag);
                message.resize(length + 20, filler);
                messages.push(message.into());
            }
        }
    }
    for message in messages {
        assert!(!member.handle(agent(7), message).await.is_empty());
    }
    let after = member.status();
    assert_eq!((after.is_leader, after.term, &after.voters), (true, before.term, &before.voters));
    assert!(make_folder(member, "still").await.expect("writing goes on"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_ledger_begins_anew_from_a_copy_and_a_damaged_copy_is_refused() {
    let pool = Pool::of(1).await;
    for number in 0..10 {
        assert!(make_folder(&pool.members[&1], &format!("folder-{number}")).await.expect("a write"));
    }
    let mut dump = pool.members[&1].snapshot_state();
    assert!(make_folder(&pool.members[&1], "later").await.expect("a write"));
    let mut pieces = Vec::new();
    while let Some(piece) = dump.next_piece().expect("the state reads") {
        pieces.push(piece);
    }
    let directory = TempDir::new().expect("a directory");
    let target = config(agent(5), directory.path());
    let copy = |pieces: Vec<Bytes>| RestoreSource::Copy(Box::new(pieces.into_iter()));
    let group = Consensus::restore(target.clone(), 1, copy(pieces.clone())).await.expect("the copy is taken");
    assert_eq!(group.generation, 1);
    let again = start(5, directory.path()).await.expect("it starts");
    again.barrier().await.expect("it leads itself");
    assert!(has_folder(&again, "folder-9") && !has_folder(&again, "later"));
    assert!(make_folder(&again, "new").await.expect("writing goes on"));
    again.shutdown().await;
    drop(again);
    let refused = Consensus::restore(target, 1, copy(pieces.clone())).await.expect_err("not over a ledger");
    assert!(matches!(refused, ConsensusError::NotEmpty), "{refused}");

    // However it is cut: copies are encrypted in frames of their own size.
    let mut cut = vec![pieces[0].clone()];
    cut.extend(pieces[1..pieces.len() - 1].concat().chunks(7).map(Bytes::copy_from_slice));
    cut.push(pieces[pieces.len() - 1].clone());
    let elsewhere = TempDir::new().expect("a directory");
    Consensus::restore(config(agent(6), elsewhere.path()), 1, copy(cut)).await.expect("however it is cut");
    assert!(has_folder(&start(6, elsewhere.path()).await.expect("it starts"), "folder-9"));

    let mut cut_off = pieces.clone();
    cut_off.pop();
    let mut flipped = pieces.clone();
    let mut piece = flipped[1].to_vec();
    let middle = piece.len() / 2;
    piece[middle] ^= 1;
    flipped[1] = piece.into();
    for (what, pieces) in [("cut off", cut_off), ("flipped", flipped), ("empty", Vec::new())] {
        let directory = TempDir::new().expect("a directory");
        let refused = Consensus::restore(config(agent(5), directory.path()), 1, copy(pieces)).await;
        assert!(matches!(refused, Err(ConsensusError::Format(_))), "{what}: {refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_told_once_it_is_applied() {
    let directory = TempDir::new().expect("a directory");
    let member = start(1, directory.path()).await.expect("it starts");
    member.initialize().await.expect("it begins");
    make_pool(&member).await;
    let before = member.changed(0).await;
    let waiting = tokio::spawn({
        let member = member.clone();
        async move { member.changed(before).await }
    });
    assert!(make_folder(&member, "news").await.expect("a write"));
    let after = tokio::time::timeout(harness::PATIENCE, waiting).await.expect("it is told").expect("the task ends");
    assert!(after > before);
}
