//! The trash: what is kept of files that go, how it is found, how it comes back, and how it goes for good.

use dci_proto::VolumeId;
use shoal_ledger::{
    CarePolicy, Command, KvWrite, LockScope, NodeContent, NodeKind, Outcome, Rejection, TrashReason, TrashTotals,
    apply, limits, query,
};

use crate::harness::{
    Ledger, START_MS, ana, batch, by, chunked, content_id, copy, copy_out, file, file_by, folder, fresh, full, known,
    lock, path, remove, rename, restore,
};

/// Paths of what is in the trash, the oldest first.
fn paths(ledger: &Ledger) -> Vec<String> {
    ledger.trash().iter().map(|entry| entry.path.to_string()).collect()
}

fn text(ledger: &Ledger, at: &str) -> String {
    match ledger.must(at).content {
        Some(NodeContent::Inline(bytes)) => String::from_utf8(bytes.to_vec()).expect("text"),
        other => panic!("{at} has {other:?}"),
    }
}

fn garbage(ledger: &Ledger) -> usize {
    query::garbage(&ledger.kv, 100).expect("memory does not fail").len()
}

fn totals(ledger: &Ledger) -> (u64, u64) {
    let totals = query::trash_totals(&ledger.kv).expect("memory does not fail");
    assert_eq!(query::trash_totals_of(&ledger.kv, VolumeId(1)).expect("memory does not fail"), totals, "one volume");
    (totals.files, totals.bytes)
}

#[test]
fn what_is_overwritten_or_deleted_stays_with_who_when_and_why() {
    let mut ledger = Ledger::new();
    ledger.ok(file("/f", "one"));
    let one = ledger.must("/f");
    ledger.time_ms += 5;
    ledger.ok(file_by("/f", "second", by("ben", &[])));
    ledger.time_ms += 5;
    ledger.ok(remove("/f", ana()));
    let trash = ledger.trash();
    let seen: Vec<_> = trash.iter().map(|entry| (entry.since_ms, entry.user.as_str(), entry.reason)).collect();
    let (overwritten, deleted) = (TrashReason::Overwritten, TrashReason::Deleted);
    assert_eq!(seen, [(START_MS + 5, "ben", overwritten), (START_MS + 10, "ana", deleted)]);
    assert_eq!((&trash[0].node, paths(&ledger)), (&one, vec!["/f".to_owned(), "/f".to_owned()]));
    assert_eq!((ledger.counters(), totals(&ledger)), ((0, 0), (2, 9)), "the trash is counted apart");
}

#[test]
fn an_empty_file_leaves_nothing_behind() {
    let mut ledger = Ledger::new();
    ledger.ok(file("/f", ""));
    ledger.ok(file("/f", "text"));
    ledger.ok(file("/g", ""));
    ledger.ok(remove("/g", ana()));
    assert_eq!(paths(&ledger), [""; 0]);
}

#[test]
fn each_file_of_a_removed_tree_is_kept_under_its_full_path() {
    let mut ledger = Ledger::new();
    let folders = ["/a", "/a/b", "/a/b/c", "/a/d", "/a/b/e"];
    folders.map(folder).into_iter().for_each(|command| drop(ledger.ok(command)));
    let files = ["/a/1", "/a/b/2", "/a/b/c/3", "/a/b/e/4", "/a/d/5", "/a/b/6"];
    files.map(|at| file(at, "x")).into_iter().for_each(|command| drop(ledger.ok(command)));
    ledger.ok(remove("/a", ana()));
    let mut kept = paths(&ledger);
    kept.sort();
    let mut expected = files.map(str::to_owned);
    expected.sort();
    assert_eq!(kept, expected);
    for entry in ledger.trash() {
        ledger.ok(restore(entry.id, None, false));
    }
    assert_eq!(
        (ledger.list("/a/b"), ledger.counters()),
        (vec!["2".to_owned(), "6".into(), "c".into(), "e".into()], (6, 6))
    );
    assert_eq!(totals(&ledger), (0, 0));
}

#[test]
fn two_versions_of_one_path_both_come_back() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/f", vec![full(1, 1), fresh(2, 2, 10)]));
    let first = ledger.must("/f");
    ledger.ok(file("/f", "second"));
    ledger.ok(remove("/f", ana()));
    assert_eq!(garbage(&ledger), 0);
    let Outcome::Restored { path: at, created } = ledger.ok(restore(1, None, false)) else { panic!("not restored") };
    assert_eq!((at, created), (path("/f"), true));
    let back = ledger.must("/f");
    assert_eq!((back.content, back.size_bytes, back.modified_ms), (first.content, first.size_bytes, first.modified_ms));
    assert_ne!((back.inode, back.version), (first.inode, first.version), "it is another file to clients");
    assert_eq!(ledger.refused(restore(2, None, false)), Rejection::Exists("/f".to_owned()));
    let Outcome::Restored { created: false, .. } = ledger.ok(restore(2, None, true)) else { panic!("not replaced") };
    assert_eq!((text(&ledger, "/f"), ledger.counters()), ("second".to_owned(), (1, 6)));
    assert_eq!((paths(&ledger), totals(&ledger).0), (vec!["/f".to_owned()], 1), "what stood there went in turn");
    assert_eq!(ledger.refused(restore(2, None, true)), Rejection::NotFound("version 2 in the trash".to_owned()));
}

#[test]
fn a_restore_makes_folders_and_refuses_what_stands_in_the_way() {
    let mut ledger = Ledger::new();
    ledger.ok(file("/f", "text"));
    ledger.ok(remove("/f", ana()));
    ledger.ok(file("/file", "x"));
    ledger.ok(folder("/folder"));
    for (to, expected) in [
        ("/file/below", Rejection::NotAFolder("/file".to_owned())),
        ("/folder", Rejection::IsAFolder("/folder".to_owned())),
    ] {
        assert_eq!(ledger.refused(restore(1, Some(to), true)), expected, "{to}");
    }
    assert!(matches!(ledger.refused(restore(1, Some("/"), true)), Rejection::Invalid(_)));
    let elsewhere = Command::RestoreTrash { volume: VolumeId(7), id: 1, to: None, overwrite: true, guard: ana() };
    assert!(matches!(ledger.refused(elsewhere), Rejection::NotFound(_)));
    ledger.ok(lock("t", "/folder", true, LockScope::Exclusive, by("ben", &[])));
    assert!(matches!(ledger.refused(restore(1, Some("/folder/new/f"), true)), Rejection::Locked(_)));
    ledger.ok(restore(1, Some("/new/deeper/g"), false));
    assert_eq!(
        (ledger.must("/new/deeper").kind, text(&ledger, "/new/deeper/g")),
        (NodeKind::Folder, "text".to_owned())
    );
}

#[test]
fn a_copy_out_of_the_trash_shares_the_content_and_leaves_the_version() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/f", vec![fresh(1, 1, 10)]));
    ledger.ok(remove("/f", ana()));
    assert!(matches!(ledger.refused(copy_out(1, "/none/g", true)), Rejection::ParentMissing(_)));
    let Outcome::Node { node, created: true } = ledger.ok(copy_out(1, "/g", false)) else { panic!("not made") };
    assert_eq!((node.name.as_str(), totals(&ledger)), ("g", (1, 10)));
    assert_eq!(ledger.refused(copy_out(1, "/g", false)), Rejection::Exists("/g".to_owned()));
    let Outcome::Node { created: false, .. } = ledger.ok(copy_out(1, "/g", true)) else { panic!("not replaced") };
    assert_eq!((paths(&ledger), ledger.counters()), (vec!["/f".to_owned(), "/g".to_owned()], (1, 10)));
    ledger.empty_trash();
    assert_eq!(garbage(&ledger), 0, "the copy holds the content");
    ledger.ok(remove("/g", ana()));
    ledger.empty_trash();
    assert_eq!(garbage(&ledger), 1);
}

#[test]
fn what_a_rename_or_a_copy_replaces_is_kept_and_what_moves_is_not() {
    let mut ledger = Ledger::new();
    ["/a", "/b"].map(folder).into_iter().for_each(|command| drop(ledger.ok(command)));
    for (at, text) in [("/a/f", "moves"), ("/b/f", "replaced"), ("/b/g", "too")] {
        ledger.ok(file(at, text));
    }
    ledger.ok(rename("/a", "/b", true));
    assert_eq!(paths(&ledger), ["/b/f", "/b/g"]);
    ledger.ok(copy("/b/f", "/b/h", false, false));
    ledger.ok(copy("/b/f", "/b/h", true, false));
    assert_eq!(paths(&ledger), ["/b/f", "/b/g", "/b/h"]);
    assert!(ledger.trash().iter().all(|entry| entry.reason == TrashReason::Overwritten));
}

#[test]
fn of_one_path_the_oldest_version_goes_for_one_more_than_is_kept() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/f", vec![fresh(1, 1, 10)]));
    for number in 0..limits::TRASH_VERSIONS_LIMIT {
        ledger.ok(file("/f", &format!("version {number}")));
    }
    assert_eq!((totals(&ledger).0, garbage(&ledger)), (limits::TRASH_VERSIONS_LIMIT as u64, 0));
    ledger.ok(file("/f", "one more"));
    assert_eq!((totals(&ledger).0, garbage(&ledger)), (limits::TRASH_VERSIONS_LIMIT as u64, 1));
    assert_eq!(ledger.trash()[0].node.size_bytes, 9, "the one in chunks was the oldest");
    let oldest = ledger.trash()[0].id;
    ledger.ok(restore(oldest, None, true));
    assert_eq!(text(&ledger, "/f"), "version 0", "room was made by the very version that came back");
}

#[test]
fn of_all_versions_the_oldest_goes_for_one_more_than_the_pool_keeps() {
    let mut ledger = Ledger::new();
    for at in ["/oldest", "/older", "/f"] {
        ledger.ok(file(at, "text"));
    }
    ledger.ok(remove("/oldest", ana()));
    ledger.ok(remove("/older", ana()));
    // As if there were a million: version, next number, files, bytes.
    let books = [&[1, 9][..], &[0xc0, 0x84, 0x3d], &[99]].concat();
    assert_eq!(limits::TRASH_ROWS_LIMIT, 1_000_000);
    ledger.kv.put(&[0x53], &books).expect("memory does not fail");
    let batch = batch(1_000, START_MS, remove("/f", ana()));
    apply(&mut ledger.kv, 1_000, &batch).expect("memory does not fail")[0].as_ref().expect("removed");
    assert_eq!(paths(&ledger), ["/older", "/f"]);
    let totals = query::trash_totals(&ledger.kv).expect("memory does not fail");
    assert_eq!(totals.files, limits::TRASH_ROWS_LIMIT);
}

#[test]
fn purging_lets_go_for_good_of_what_is_named_and_of_nothing_else() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/f", vec![fresh(1, 1, 10)]));
    ledger.ok(copy("/f", "/kept", false, false));
    ledger.ok(remove("/f", ana()));
    ledger.ok(file("/g", "text"));
    ledger.ok(remove("/g", ana()));
    let purge = |volume, ids| Command::PurgeTrash { volume: VolumeId(volume), ids };
    let nothing = Outcome::Purged(TrashTotals::default());
    assert_eq!((ledger.ok(purge(2, vec![1, 2])), ledger.ok(purge(1, vec![77]))), (nothing.clone(), nothing));
    assert_eq!(ledger.ok(purge(1, vec![1, 1])), Outcome::Purged(TrashTotals { files: 1, bytes: 10 }));
    assert_eq!((paths(&ledger), garbage(&ledger)), (vec!["/g".to_owned()], 0), "another file has the content");
    assert!(query::content(&ledger.kv, content_id(1)).expect("memory").is_some());
    let too_many = (0..=limits::TRASH_PURGE_LIMIT as u64).collect();
    assert!(matches!(ledger.refused(purge(1, too_many)), Rejection::TooMany(_)));
}

#[test]
fn content_in_the_trash_is_known_to_writers() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/f", vec![fresh(1, 1, 10)]));
    ledger.ok(remove("/f", ana()));
    ledger.ok(chunked("/again", vec![known(1, 10)]));
    ledger.empty_trash();
    assert_eq!(garbage(&ledger), 0);
}

#[test]
fn the_trash_is_listed_as_the_folders_were() {
    let mut ledger = Ledger::new();
    ["/a", "/a/b", "/ab", "/caf\u{e9}"].map(folder).into_iter().for_each(|command| drop(ledger.ok(command)));
    for at in ["/a/b/1", "/a/b/2", "/ab/3", "/a/\u{e9}", "/caf\u{e9}/4", "/b"] {
        ledger.ok(file(at, "old"));
        ledger.ok(file(at, "new"));
    }
    // A file where a folder was: both are under one name.
    ledger.ok(remove("/a", ana()));
    ledger.ok(file("/a", "file"));
    ledger.ok(remove("/a", ana()));
    let list = |at: &str, after: Option<&str>| {
        let mut found = Vec::new();
        query::trash_children(&ledger.kv, &path(at), after, &mut |child| {
            found.push((child.name.clone(), child.versions.len(), child.folder_since_ms.is_some()));
            true
        })
        .expect("memory does not fail");
        found
    };
    let entry = |name: &str, versions: usize, folder: bool| (name.to_owned(), versions, folder);
    let root = [entry("a", 1, true), entry("ab", 0, true), entry("b", 1, false), entry("caf\u{e9}", 0, true)];
    assert_eq!(list("/", None), root);
    assert_eq!(list("/", Some("a")), root[1..]);
    assert_eq!(list("/", Some("ab")), root[2..]);
    assert_eq!(list("/a", None), [entry("b", 0, true), entry("\u{e9}", 2, false)]);
    assert_eq!(list("/a", Some("e\u{301}")), []);
    assert_eq!(list("/a/b", None), [entry("1", 2, false), entry("2", 2, false)]);
    assert_eq!(list("/none", None), []);
    let folder = |at: &str| query::trash_folder(&ledger.kv, &path(at)).expect("memory").is_some();
    assert_eq!(["/", "/a", "/a/b", "/a/b/1", "/b"].map(folder), [true, true, true, false, false]);
    let versions = |at: &str| query::trash_versions(&ledger.kv, &path(at)).expect("memory").len();
    assert_eq!(["/a", "/a/b", "/a/b/1"].map(versions), [1, 0, 2]);
    let mut below = Vec::new();
    query::trash_below(&ledger.kv, &path("/a"), &mut |entry| {
        below.push(entry.path.to_string());
        below.len() < 4
    })
    .expect("memory does not fail");
    assert_eq!(below, ["/a", "/a/b/1", "/a/b/1", "/a/b/2"]);
}

#[test]
fn where_nothing_is_kept_content_goes_at_once_and_what_was_kept_stays_until_it_is_purged() {
    let mut ledger = Ledger::new();
    ledger.ok(chunked("/f", vec![fresh(1, 1, 10)]));
    ledger.ok(remove("/f", ana()));
    let policy = CarePolicy { trash_keep_s: 0, ..CarePolicy::default() };
    ledger.ok(Command::SetCarePolicy { policy });
    ledger.ok(chunked("/g", vec![fresh(2, 2, 10)]));
    ledger.ok(chunked("/g", vec![fresh(3, 3, 10)]));
    ledger.ok(remove("/g", ana()));
    assert_eq!((paths(&ledger), garbage(&ledger)), (vec!["/f".to_owned()], 2));
    ledger.ok(restore(1, None, false));
    assert_eq!(ledger.must("/f").size_bytes, 10);
}
