//! Chunks, contents and stripes: counted references, and garbage when the last one goes.

use dci_proto::{AgentId, InodeId};
use shoal_ledger::{CHUNK_BYTES, ChunkRef, Command, FileContent, NodeContent, Outcome, Rejection, query};

use crate::harness::{
    Ledger, ana, chunked, content_id, copy, file, file_with, fresh, full, known, remove, rename, stripe_id,
};

fn usage(ledger: &Ledger, agent: u8) -> (u64, u64) {
    let usage = query::agent_usage(&ledger.kv, AgentId([agent; 32])).expect("memory does not fail");
    (usage.shards, usage.bytes)
}

fn garbage(ledger: &Ledger) -> Vec<u8> {
    let garbage = query::garbage(&ledger.kv, 100).expect("memory does not fail");
    garbage.into_iter().map(|garbage| garbage.stripe.0[0]).collect()
}

fn list_of(ledger: &Ledger, at: &str) -> InodeId {
    match ledger.must(at).content {
        Some(NodeContent::Chunks(list)) => list,
        other => panic!("{at} has {other:?}"),
    }
}

#[test]
fn a_file_in_chunks_is_read_back_as_its_list() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/f", vec![full(1, 1), full(2, 2), full(1, 1), fresh(3, 3, 10)]));
    let list = list_of(&ledger, "/f");
    let chunks = |first, limit| query::chunks(&ledger.kv, list, first, limit).expect("memory does not fail");
    let all = [1, 2, 1].map(|content| (content_id(content), CHUNK_BYTES)).into_iter().chain([(content_id(3), 10)]);
    assert_eq!(chunks(0, 100), all.collect::<Vec<_>>());
    assert_eq!(chunks(2, 1), [(content_id(1), CHUNK_BYTES)]);
    assert_eq!((chunks(4, 9).len(), chunks(0, 0).len()), (0, 0));
    let (stripe, record) = query::content(&ledger.kv, content_id(3)).expect("memory").expect("there");
    assert_eq!((stripe, record.plain_bytes), (stripe_id(3), 10));
    assert_eq!(usage(&ledger, 2), (3, u64::from(CHUNK_BYTES) + 5));
}

#[test]
fn equal_contents_share_a_stripe_until_the_last_file_goes() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/a", vec![fresh(1, 1, 10)]));
    ledger.ok(chunked("/b", vec![known(1, 10)]));
    ledger.ok(chunked("/c", vec![fresh(1, 2, 10)]));
    assert_eq!(garbage(&ledger), [2], "the content had come already");
    ledger.ok(remove("/a", ana()));
    ledger.ok(file("/b", "inline now"));
    ledger.empty_trash();
    assert_eq!(garbage(&ledger), [2]);
    assert_eq!(usage(&ledger, 1), (1, 5));
    ledger.time_ms += 1;
    ledger.ok(remove("/c", ana()));
    assert_eq!((garbage(&ledger), usage(&ledger, 1)), (vec![2], (1, 5)), "the trash holds it");
    ledger.empty_trash();
    assert_eq!((garbage(&ledger), usage(&ledger, 1)), (vec![2, 1], (0, 0)));
    assert_eq!(ledger.refused(chunked("/d", vec![known(1, 10)])), Rejection::MissingContent(vec![content_id(1)]));
    ledger.ok(Command::ForgetGarbage { stripes: vec![stripe_id(2), stripe_id(77)] });
    assert_eq!(garbage(&ledger), [1]);
}

#[test]
fn a_file_replaced_by_its_own_content_keeps_the_stripe() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/a", vec![fresh(1, 1, 10)]));
    ledger.ok(chunked("/a", vec![known(1, 10)]));
    ledger.empty_trash();
    assert_eq!((garbage(&ledger), usage(&ledger, 3)), (vec![], (1, 5)));
}

#[test]
fn a_stripe_that_is_garbage_is_not_taken_again() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/a", vec![fresh(1, 1, 10)]));
    ledger.ok(remove("/a", ana()));
    ledger.empty_trash();
    let refused = ledger.refused(chunked("/a", vec![fresh(1, 1, 10)]));
    assert_eq!(refused, Rejection::MissingContent(vec![content_id(1)]), "its shards may be gone");
}

#[test]
fn a_copy_counts_as_a_holder_of_the_whole_list() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/a", vec![full(1, 1), fresh(2, 2, 10)]));
    for to in ["/b", "/c"] {
        ledger.ok(copy("/a", to, false, false));
    }
    assert_eq!(list_of(&ledger, "/a"), list_of(&ledger, "/c"));
    ledger.ok(remove("/a", ana()));
    ledger.ok(file("/b", "other"));
    ledger.empty_trash();
    assert_eq!(garbage(&ledger), [0; 0]);
    ledger.ok(rename("/b", "/c", true));
    ledger.empty_trash();
    assert_eq!(garbage(&ledger), [1, 2]);
}

#[test]
fn what_a_command_counts_on_must_be_there_and_nothing_changes_if_not() {
    let mut ledger = Ledger::new();
    let chunks = vec![full(1, 1), known(2, CHUNK_BYTES), known(3, CHUNK_BYTES), known(2, CHUNK_BYTES)];
    let missing = [2, 3].map(content_id).to_vec();
    assert_eq!(ledger.refused(chunked("/a", chunks)), Rejection::MissingContent(missing));
}

#[test]
fn stripes_that_contradict_themselves_are_refused() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/taken", vec![fresh(9, 9, 10)]));
    let twist = |change: &dyn Fn(&mut ChunkRef)| {
        let mut chunk = fresh(1, 1, 10);
        change(&mut chunk);
        vec![chunk]
    };
    let record = |change: &dyn Fn(&mut shoal_ledger::StripeRecord)| {
        twist(&|chunk| change(&mut chunk.new_stripe.as_mut().expect("fresh").record))
    };
    for (flaw, chunks) in [
        ("no data shard", record(&|record| record.k = 0)),
        ("a shard too few", record(&|record| record.shards.truncate(2))),
        ("one agent twice", record(&|record| record.shards[0] = record.shards[1])),
        ("fewer than k placed", record(&|record| record.shards.iter_mut().skip(1).for_each(|s| s.agent = None))),
        ("shards too short", record(&|record| record.shard_bytes = 4)),
        ("nothing stored", record(&|record| record.stored_bytes = 0)),
        ("another content", record(&|record| record.content = content_id(5))),
        ("another size", record(&|record| record.plain_bytes = 11)),
        ("an empty chunk", twist(&|chunk| chunk.plain_bytes = 0)),
        ("a chunk too long", vec![fresh(1, 1, CHUNK_BYTES + 1)]),
        ("a short chunk before the last", vec![fresh(1, 1, 10), fresh(2, 2, 10)]),
        ("one stripe for two contents", vec![full(1, 1), full(2, 1)]),
        ("a stripe that is taken", vec![fresh(1, 9, 10)]),
        ("a known content of another size", vec![known(9, 11)]),
    ] {
        let refused = ledger.refused(chunked("/f", chunks));
        assert!(matches!(refused, Rejection::Inconsistent(_)), "{flaw}: {refused}");
    }
}

/// An upload with two full chunks staged.
fn upload(ledger: &mut Ledger) -> InodeId {
    let Outcome::Upload(upload) = ledger.ok(Command::BeginUpload { agent: AgentId([1; 32]), run: 1 }) else {
        panic!("no upload")
    };
    ledger.ok(stage(upload, 0, vec![full(1, 1)]));
    ledger.ok(stage(upload, 1, vec![full(2, 2)]));
    upload
}

fn stage(upload: InodeId, first_index: u32, chunks: Vec<ChunkRef>) -> Command {
    Command::StageChunks { upload, first_index, chunks }
}

#[test]
fn staged_chunks_become_the_file_with_what_comes_last() {
    let mut ledger = Ledger::new();
    let upload = upload(&mut ledger);
    let size_bytes = 2 * u64::from(CHUNK_BYTES) + 10;
    let content = FileContent::Staged(upload, vec![fresh(3, 3, 10)]);
    ledger.ok(file_with("/f", content.clone(), size_bytes, ana()));
    assert_eq!((list_of(&ledger, "/f"), ledger.counters()), (upload, (1, size_bytes)));
    assert_eq!(query::chunks(&ledger.kv, upload, 0, 9).expect("memory").len(), 3);
    let refused = ledger.refused(file_with("/g", content, size_bytes, ana()));
    assert!(matches!(refused, Rejection::Inconsistent(_)), "an upload is used up");
}

#[test]
fn an_upload_takes_chunks_in_order_and_none_after_a_short_one() {
    let mut ledger = Ledger::new();
    let upload = upload(&mut ledger);
    for (first_index, chunks) in [(1, vec![full(3, 3)]), (3, vec![full(3, 3)])] {
        assert!(matches!(ledger.refused(stage(upload, first_index, chunks)), Rejection::Inconsistent(_)));
    }
    ledger.ok(stage(upload, 2, vec![fresh(3, 3, 10)]));
    assert!(matches!(ledger.refused(stage(upload, 3, vec![fresh(4, 4, 10)])), Rejection::Inconsistent(_)));
    let more = FileContent::Staged(upload, vec![fresh(4, 4, 10)]);
    let size_bytes = 2 * u64::from(CHUNK_BYTES) + 20;
    assert!(matches!(ledger.refused(file_with("/f", more, size_bytes, ana())), Rejection::Inconsistent(_)));
    assert!(matches!(ledger.refused(stage(InodeId(99), 0, vec![])), Rejection::Inconsistent(_)));
    ledger.ok(file_with("/f", FileContent::Staged(upload, vec![]), size_bytes - 10, ana()));
}

#[test]
fn an_upload_given_up_lets_go_of_its_contents() {
    let mut ledger = Ledger::new();
    let first = upload(&mut ledger);
    ledger.ok(Command::AbortUpload { upload: first });
    assert_eq!(garbage(&ledger), [1, 2]);
    ledger.ok(Command::AbortUpload { upload: first });
}

#[test]
fn an_agent_that_restarted_gives_up_the_uploads_of_its_other_runs() {
    let mut ledger = Ledger::new();
    let old = upload(&mut ledger);
    let Outcome::Upload(new) = ledger.ok(Command::BeginUpload { agent: AgentId([1; 32]), run: 2 }) else {
        panic!("no upload")
    };
    ledger.ok(Command::AbortOldUploads { agent: AgentId([2; 32]), run: 2 });
    ledger.ok(stage(old, 2, vec![]));
    ledger.ok(Command::AbortOldUploads { agent: AgentId([1; 32]), run: 2 });
    assert!(matches!(ledger.refused(stage(old, 2, vec![])), Rejection::Inconsistent(_)));
    ledger.ok(stage(new, 0, vec![]));
    assert_eq!(garbage(&ledger), [1, 2]);
}

#[test]
fn stripes_are_listed_after_a_given_one() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/f", vec![full(1, 3), full(2, 1), fresh(3, 2, 10)]));
    let list = |after: Option<u8>| {
        let mut ids = Vec::new();
        query::stripes(&ledger.kv, after.map(stripe_id), &mut |id, _| {
            ids.push(id.0[0]);
            true
        })
        .expect("memory does not fail");
        ids
    };
    assert_eq!((list(None), list(Some(1)), list(Some(3))), (vec![1, 2, 3], vec![2, 3], vec![]));
}

#[test]
fn a_stripe_found_unfit_gives_way_to_the_one_that_replaces_it() {
    let replacing = |content, stripe, old| {
        let mut chunk = fresh(content, stripe, 10);
        if let Some(new) = &mut chunk.new_stripe {
            new.replaces = Some(stripe_id(old));
        }
        chunk
    };
    let stands_on = |ledger: &Ledger| query::content(&ledger.kv, content_id(1)).expect("memory").expect("there").0;
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/a", vec![fresh(1, 1, 10)]));
    ledger.ok(chunked("/b", vec![replacing(1, 2, 1)]));
    assert_eq!((stands_on(&ledger), garbage(&ledger)), (stripe_id(2), vec![1]));
    assert_eq!(usage(&ledger, 1), (1, 5), "one stripe is kept, for both files");
    // Too late: the content stands on another stripe by now.
    ledger.ok(chunked("/c", vec![replacing(1, 3, 1)]));
    assert_eq!((stands_on(&ledger), garbage(&ledger)), (stripe_id(2), vec![1, 3]));
    // A stripe that is garbage already cannot replace anything: its shards may be gone.
    let refused = ledger.refused(chunked("/d", vec![replacing(1, 3, 2)]));
    assert_eq!(refused, Rejection::MissingContent(vec![content_id(1)]));
}
