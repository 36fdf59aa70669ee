//! Files and folders.

use bytes::Bytes;
use dci_proto::InodeId;
use shoal_ledger::{
    Command, Expect, FileContent, Guard, NodeContent, NodeKind, Outcome, PropertyName, PropertyPatch, Rejection, query,
};

use crate::harness::{Ledger, START_MS, ana, copy, file, file_with, folder, path, remove, rename};

/// `/a` with the file `f` and the folder `b` with `g` in it; and the file `/x`.
fn tree() -> Ledger {
    let mut ledger = Ledger::new();
    for command in [folder("/a"), file("/a/f", "f"), folder("/a/b"), file("/a/b/g", "gg"), file("/x", "xxx")] {
        ledger.ok(command);
    }
    ledger
}

fn expecting(expect: Expect) -> Guard {
    Guard { expect: Some(expect), ..ana() }
}

#[test]
fn a_folder_needs_a_free_name_in_a_folder_that_is_there() {
    let mut ledger = tree();
    let at = |text: &str| text.to_owned();
    for (command, expected) in [
        (folder("/a"), Rejection::Exists(at("/a"))),
        (folder("/x"), Rejection::Exists(at("/x"))),
        (folder("/"), Rejection::Exists(at("/"))),
        (folder("/none/b"), Rejection::ParentMissing(at("/none/b"))),
        (folder("/x/b"), Rejection::ParentMissing(at("/x/b"))),
        (file("/none/f", ""), Rejection::ParentMissing(at("/none/f"))),
        (file("/a", ""), Rejection::IsAFolder(at("/a"))),
        (file("/", ""), Rejection::IsAFolder(at("/"))),
        (remove("/none", ana()), Rejection::NotFound(at("/none"))),
        (remove("/none/f", ana()), Rejection::NotFound(at("/none/f"))),
    ] {
        let said = format!("{command:?}");
        assert_eq!(ledger.refused(command), expected, "{said}");
    }
}

#[test]
fn a_new_file_has_the_leaders_time_and_a_replaced_one_keeps_its_number_and_birth() {
    let mut ledger = Ledger::new();
    let Outcome::Node { node: first, created: true } = ledger.ok(file("/f", "one")) else { panic!("not created") };
    assert_eq!((first.created_ms, first.modified_ms, first.size_bytes), (START_MS as i64, START_MS as i64, 3));
    ledger.time_ms += 5;
    let Outcome::Node { node: second, created: false } = ledger.ok(file("/f", "three")) else { panic!("created") };
    assert_eq!((second.inode, second.created_ms), (first.inode, first.created_ms));
    assert_eq!(second.modified_ms, START_MS as i64 + 5);
    assert!(second.version > first.version);
    assert_eq!(second.content, Some(NodeContent::Inline(Bytes::from_static(b"three"))));
    assert_eq!(ledger.node("/f"), Some(second));
    assert_eq!(ledger.counters(), (1, 5));
}

#[test]
fn number_and_version_never_come_again() {
    let mut ledger = Ledger::new();
    let mut seen = std::collections::BTreeSet::new();
    for round in 0..4 {
        ledger.ok(file("/f", "x"));
        assert!(seen.insert((ledger.must("/f").inode, ledger.must("/f").version)), "round {round}");
        ledger.ok(file("/f", "y"));
        assert!(seen.insert((ledger.must("/f").inode, ledger.must("/f").version)), "round {round}");
        ledger.ok(remove("/f", ana()));
    }
}

#[test]
fn names_are_kept_as_given_and_found_in_any_normal_form() {
    let mut ledger = Ledger::new();
    let (composed, decomposed) = ("/caf\u{e9}", "/cafe\u{301}");
    ledger.ok(file(decomposed, "1"));
    assert_eq!(ledger.must(composed).name, "cafe\u{301}");
    ledger.ok(file(composed, "22"));
    assert_eq!(ledger.list("/"), ["cafe\u{301}"]);
    let before = ledger.must(composed);
    ledger.ok(rename(decomposed, composed, false));
    assert_eq!(ledger.list("/"), ["caf\u{e9}"]);
    assert_eq!(ledger.must(decomposed).inode, before.inode);
    assert_eq!(ledger.counters(), (1, 2));
}

#[test]
fn names_that_are_no_path_are_refused_though_the_caller_did_not_check() {
    let mut ledger = Ledger::new();
    for name in ["", ".", "..", "a/b", "a\0b", &"n".repeat(766)] {
        let mut bad = path("/a");
        name.clone_into(&mut bad.names[0]);
        let command = Command::MakeFolder { path: bad, guard: ana(), modified_ms: None };
        assert!(matches!(ledger.refused(command), Rejection::Path(_)), "{name:?}");
    }
}

#[test]
fn a_condition_is_checked_in_the_step_that_changes() {
    let mut ledger = tree();
    let node = ledger.must("/x");
    let now = Expect::Version { inode: node.inode, version: node.version };
    let other = Expect::Version { inode: node.inode, version: node.version + 1 };
    let put = |at: &str, expect| file_with(at, FileContent::Inline(Bytes::from_static(b"new")), 3, expecting(expect));
    for (at, expect) in [("/x", Expect::Absent), ("/x", other), ("/new", Expect::Present), ("/new", now)] {
        let refused = ledger.refused(put(at, expect));
        assert_eq!(refused, Rejection::PreconditionFailed(at.to_owned()), "{expect:?}");
    }
    for expect in [other, Expect::Absent] {
        assert!(matches!(ledger.refused(remove("/x", expecting(expect))), Rejection::PreconditionFailed(_)));
    }
    let moved =
        |expect| Command::Rename { from: path("/x"), to: path("/a/f"), overwrite: true, guard: expecting(expect) };
    assert_eq!(ledger.refused(moved(other)), Rejection::PreconditionFailed("/x".to_owned()));
    ledger.ok(put("/new", Expect::Absent));
    ledger.ok(put("/new", Expect::Present));
    ledger.ok(moved(now));
}

#[test]
fn removing_a_folder_removes_all_in_it() {
    let mut ledger = tree();
    assert_eq!(ledger.counters(), (3, 6));
    ledger.ok(remove("/a", ana()));
    assert_eq!((ledger.list("/"), ledger.counters()), (vec!["x".to_owned()], (1, 3)));
    assert!(matches!(ledger.refused(remove("/", ana())), Rejection::Invalid(_)));
}

#[test]
fn a_folder_of_thousands_is_removed_and_copied_page_by_page() {
    let mut ledger = Ledger::new();
    ledger.ok(folder("/many"));
    let mut kv = std::mem::take(&mut ledger.kv);
    for number in 0..1_100_u64 {
        let batch = crate::harness::batch(1_000 + number, START_MS, file(&format!("/many/{number:04}"), "x"));
        shoal_ledger::apply(&mut kv, 1_000 + number, &batch).expect("memory does not fail")[0].as_ref().expect("made");
    }
    (ledger.kv, ledger.position) = (kv, 9_999);
    ledger.ok(copy("/many", "/copied", false, true));
    assert_eq!(ledger.counters(), (2_200, 2_200));
    assert_eq!(ledger.list("/many"), ledger.list("/copied"));
    ledger.ok(remove("/many", ana()));
    assert_eq!(ledger.counters(), (1_100, 1_100));
}

#[test]
fn a_listing_goes_on_after_a_name() {
    let mut ledger = Ledger::new();
    for at in ["/b", "/a", "/c", "/\u{e9}"] {
        ledger.ok(folder(at));
    }
    let list = |after: Option<&str>, limit: usize| {
        let mut names = Vec::new();
        query::children(&ledger.kv, ledger.must("/").inode, after, &mut |node| {
            names.push(node.name);
            names.len() < limit
        })
        .expect("memory does not fail");
        names
    };
    assert_eq!(list(None, 2), ["a", "b"]);
    assert_eq!(list(Some("b"), 9), ["c", "\u{e9}"]);
    assert_eq!(list(Some("bb"), 1), ["c"]);
    assert_eq!(list(Some("e\u{301}"), 9), [""; 0]);
}

#[test]
fn renaming_moves_the_row_and_keeps_number_and_version() {
    let mut ledger = tree();
    let (a, g) = (ledger.must("/a"), ledger.must("/a/b/g"));
    let Outcome::Node { node, created: true } = ledger.ok(rename("/a", "/z", false)) else { panic!("not created") };
    assert_eq!((node.inode, node.version, node.name.as_str()), (a.inode, a.version, "z"));
    assert_eq!((ledger.node("/a"), ledger.must("/z/b/g")), (None, g));
    let Outcome::Node { created: false, .. } = ledger.ok(rename("/z/b", "/x", true)) else { panic!("created") };
    assert_eq!((ledger.must("/x").kind, ledger.counters()), (NodeKind::Folder, (2, 3)));
}

#[test]
fn renaming_and_copying_refuse_what_would_lose_the_source() {
    let mut ledger = tree();
    let into_itself = |at: &str| Rejection::IntoItself(at.to_owned());
    for make in
        [|from: &str, to: &str, over| rename(from, to, over), |from: &str, to: &str, over| copy(from, to, over, true)]
    {
        for (from, to, overwrite, expected) in [
            ("/a", "/a", true, into_itself("/a")),
            ("/a", "/a/b/c", true, into_itself("/a")),
            ("/a/b", "/a", true, into_itself("/a/b")),
            ("/a/b/g", "/a", true, into_itself("/a/b/g")),
            ("/a/b", "/a", false, Rejection::Exists("/a".to_owned())),
            ("/x", "/a/f", false, Rejection::Exists("/a/f".to_owned())),
            ("/x", "/none/x", true, Rejection::ParentMissing("/none/x".to_owned())),
            ("/x", "/a/f/x", true, Rejection::ParentMissing("/a/f/x".to_owned())),
            ("/none", "/y", true, Rejection::NotFound("/none".to_owned())),
        ] {
            assert_eq!(ledger.refused(make(from, to, overwrite)), expected, "{from} to {to}");
        }
        assert!(matches!(ledger.refused(make("/a", "/", true)), Rejection::Invalid(_)));
    }
    assert!(matches!(ledger.refused(rename("/", "/y", true)), Rejection::Invalid(_)));
    ledger.ok(copy("/a", "/a/b/shallow", false, false));
    assert_eq!(ledger.list("/a/b/shallow"), [""; 0]);
}

#[test]
fn a_copy_is_new_nodes_with_the_old_bytes_and_properties() {
    let mut ledger = tree();
    let name = PropertyName { namespace: "urn:x".to_owned(), name: "colour".to_owned() };
    let patches = vec![PropertyPatch::Set(name, Bytes::from_static(b"<colour>red</colour>"))];
    ledger.ok(Command::PatchProperties { path: path("/a/b/g"), guard: ana(), patches });
    ledger.time_ms += 9;
    ledger.ok(copy("/a", "/x", true, true));
    let (old, new) = (ledger.must("/a/b/g"), ledger.must("/x/b/g"));
    assert_ne!((old.inode, old.version), (new.inode, new.version));
    assert_eq!((&old.content, old.modified_ms), (&new.content, new.modified_ms));
    assert_eq!(new.created_ms, START_MS as i64 + 9);
    let properties = |inode| query::properties(&ledger.kv, inode).expect("memory does not fail");
    assert_eq!(properties(old.inode), properties(new.inode));
    assert_eq!((properties(new.inode).len(), ledger.counters()), (1, (4, 6)));
}

#[test]
fn properties_are_changed_all_or_none() {
    let mut ledger = tree();
    let name = |name: &str| PropertyName { namespace: String::new(), name: name.to_owned() };
    let set = |which: &str, xml: &str| PropertyPatch::Set(name(which), Bytes::copy_from_slice(xml.as_bytes()));
    let patch = |at: &str, patches| Command::PatchProperties { path: path(at), guard: ana(), patches };
    ledger.ok(patch("/", vec![set("root", "<r/>")]));
    ledger.ok(patch("/x", vec![set("a", "1"), set("b", "2"), set("a", "3"), PropertyPatch::Remove(name("none"))]));
    let of = |ledger: &Ledger, at: &str| -> Vec<(String, Bytes)> {
        let found = query::properties(&ledger.kv, ledger.must(at).inode).expect("memory does not fail");
        found.into_iter().map(|property| (property.name.name, property.xml)).collect()
    };
    assert_eq!(of(&ledger, "/x"), [("a".into(), Bytes::from("3")), ("b".into(), Bytes::from("2"))]);
    let too_large = "x".repeat(shoal_ledger::limits::PROPERTY_LIMIT_BYTES + 1);
    assert!(matches!(ledger.refused(patch("/x", vec![set("c", "1"), set("d", &too_large)])), Rejection::Invalid(_)));
    let too_many = (0..=1_000).map(|number| set(&number.to_string(), "")).collect();
    assert!(matches!(ledger.refused(patch("/x", too_many)), Rejection::TooMany(_)));
    ledger.ok(patch("/x", vec![PropertyPatch::Remove(name("a")), PropertyPatch::Remove(name("b"))]));
    assert!(!ledger.must("/x").has_properties);
    assert!(ledger.must("/").has_properties);
}

#[test]
fn times_are_set_and_the_version_stays() {
    let mut ledger = tree();
    let before = ledger.must("/x");
    let set =
        |at: &str, modified_ms, created_ms| Command::SetTimes { path: path(at), guard: ana(), modified_ms, created_ms };
    ledger.ok(set("/x", Some(-5), None));
    ledger.ok(set("/", None, Some(7)));
    let after = ledger.must("/x");
    assert_eq!((after.modified_ms, after.created_ms, after.version), (-5, before.created_ms, before.version));
    assert_eq!(ledger.must("/").created_ms, 7);
}

#[test]
fn the_sum_of_the_parts_must_be_the_whole() {
    let mut ledger = Ledger::new();
    let inline = |bytes: usize| FileContent::Inline(Bytes::from(vec![0; bytes]));
    for (content, size_bytes) in [
        (inline(3), 4),
        (inline(2_049), 2_049),
        (FileContent::Chunks(Vec::new()), 1),
        (FileContent::Staged(InodeId(77), Vec::new()), 0),
    ] {
        let refused = ledger.refused(file_with("/f", content, size_bytes, ana()));
        assert!(matches!(refused, Rejection::Inconsistent(_)), "{refused}");
    }
    ledger.ok(file_with("/f", inline(2_048), 2_048, ana()));
    ledger.ok(file_with("/f", FileContent::Chunks(Vec::new()), 0, ana()));
}
