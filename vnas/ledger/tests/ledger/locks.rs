//! WebDAV locks (RFC 4918 §6, §7).

use shoal_ledger::LockScope::{Exclusive, Shared};
use shoal_ledger::{Batch, Command, Expect, Guard, Lock, Outcome, PropertyPatch, Rejection, apply, limits, query};

use crate::harness::{Ledger, START_MS, ana, batch, by, copy, file, file_by, folder, lock, path, remove, rename};

/// `/a` with `f` and the folder `b` with `g`; `/x`.
fn tree() -> Ledger {
    let mut ledger = Ledger::new();
    for command in [folder("/a"), file("/a/f", "f"), folder("/a/b"), file("/a/b/g", "gg"), file("/x", "xxx")] {
        ledger.ok(command);
    }
    ledger
}

fn locked(rejection: Rejection) -> String {
    match rejection {
        Rejection::Locked(lock) => lock.token,
        other => panic!("not locked: {other}"),
    }
}

fn tokens(locks: Vec<Lock>) -> Vec<String> {
    locks.into_iter().map(|lock| lock.token).collect()
}

fn below(ledger: &Ledger, at: &str) -> Vec<String> {
    tokens(query::locks_below(&ledger.kv, &path(at)).expect("memory does not fail"))
}

fn covering(ledger: &Ledger, at: &str) -> Vec<String> {
    tokens(query::locks_covering(&ledger.kv, &path(at)).expect("memory does not fail"))
}

#[test]
fn locks_exclude_each_other_unless_both_are_shared() {
    for (held_at, held_deep, held_scope, at, deep, scope, fits) in [
        ("/a", false, Exclusive, "/a", false, Exclusive, false),
        ("/a", false, Exclusive, "/a", false, Shared, false),
        ("/a", false, Shared, "/a", false, Exclusive, false),
        ("/a", false, Shared, "/a", false, Shared, true),
        ("/a", true, Exclusive, "/a/b/g", false, Shared, false),
        ("/a", true, Shared, "/a/b/g", false, Shared, true),
        ("/a", false, Exclusive, "/a/b/g", false, Exclusive, true),
        ("/a/b/g", false, Exclusive, "/a", true, Shared, false),
        ("/a/b/g", false, Shared, "/a", true, Exclusive, false),
        ("/a/b/g", false, Shared, "/a", true, Shared, true),
        ("/a/b/g", false, Exclusive, "/a", false, Exclusive, true),
        ("/", true, Exclusive, "/x", false, Shared, false),
    ] {
        let mut ledger = tree();
        ledger.ok(lock("held", held_at, held_deep, held_scope, ana()));
        let result = ledger.answer(lock("new", at, deep, scope, by("ben", &[])));
        let case = format!("{held_scope:?} on {held_at} and {scope:?} on {at}");
        match result {
            Ok(_) => assert!(fits, "{case}"),
            Err(rejection) => {
                assert!(!fits, "{case}");
                assert_eq!(locked(rejection), "held", "{case}");
            }
        }
    }
}

#[test]
fn a_lock_lets_only_its_owner_with_its_token_change_things() {
    let mut ledger = tree();
    ledger.ok(lock("t", "/x", false, Exclusive, ana()));
    let patch = |guard| Command::PatchProperties { path: path("/x"), guard, patches: Vec::<PropertyPatch>::new() };
    let times = |guard| Command::SetTimes { path: path("/x"), guard, modified_ms: Some(1), created_ms: None };
    for guard in [ana(), by("ben", &["t"]), by("ana", &["other"])] {
        for command in [
            file_by("/x", "new", guard.clone()),
            remove("/x", guard.clone()),
            patch(guard.clone()),
            times(guard.clone()),
            Command::Rename { from: path("/x"), to: path("/y"), overwrite: false, guard: guard.clone() },
            Command::Copy { from: path("/a/f"), to: path("/x"), overwrite: true, deep: true, guard },
        ] {
            assert_eq!(locked(ledger.refused(command)), "t");
        }
    }
    let owner = by("ana", &["t"]);
    for command in [patch(owner.clone()), times(owner.clone()), file_by("/x", "new", owner.clone())] {
        ledger.ok(command);
    }
    ledger.ok(copy("/x", "/copy", false, true));
    assert_eq!(below(&ledger, "/copy"), [""; 0], "locks do not travel");
    ledger.ok(remove("/x", owner));
    assert_eq!(below(&ledger, "/"), [""; 0]);
    ledger.ok(file("/x", "free"));
}

#[test]
fn a_lock_on_a_folder_protects_who_is_in_it_and_a_deep_one_all_below() {
    let mut ledger = tree();
    ledger.ok(lock("shallow", "/a", false, Exclusive, ana()));
    let ben = || by("ben", &[]);
    for command in [
        file_by("/a/new", "", ben()),
        Command::MakeFolder { path: path("/a/new"), guard: ben(), modified_ms: None },
        remove("/a/f", ben()),
        lock("other", "/a/new", false, Exclusive, ben()),
        Command::Rename { from: path("/x"), to: path("/a/x"), overwrite: false, guard: ben() },
        Command::Rename { from: path("/a/f"), to: path("/f"), overwrite: false, guard: ben() },
        remove("/a", ben()),
    ] {
        assert_eq!(locked(ledger.refused(command)), "shallow");
    }
    ledger.ok(file_by("/a/f", "content is not membership", ben()));
    ledger.ok(file_by("/a/b/new", "", ben()));
    ledger.ok(Command::Unlock { token: "shallow".to_owned(), path: path("/a"), user: "ana".to_owned() });
    ledger.ok(lock("deep", "/a", true, Exclusive, ana()));
    for command in [file_by("/a/f", "", ben()), file_by("/a/b/newer", "", ben()), remove("/a/b/g", ben())] {
        assert_eq!(locked(ledger.refused(command)), "deep");
    }
    ledger.ok(remove("/a/b/g", by("ana", &["deep"])));
    assert_eq!(covering(&ledger, "/a/b/any"), ["deep"]);
}

#[test]
fn a_lock_below_protects_from_removing_what_is_above() {
    let mut ledger = tree();
    ledger.ok(lock("t", "/a/b/g", false, Exclusive, ana()));
    let ben = || by("ben", &[]);
    for command in [
        remove("/a", ben()),
        Command::Rename { from: path("/a"), to: path("/z"), overwrite: false, guard: ben() },
        Command::Rename { from: path("/x"), to: path("/a/b"), overwrite: true, guard: ben() },
        Command::Copy { from: path("/x"), to: path("/a"), overwrite: true, deep: true, guard: ben() },
    ] {
        assert_eq!(locked(ledger.refused(command)), "t");
    }
    ledger.ok(Command::Rename { from: path("/a"), to: path("/z"), overwrite: false, guard: by("ana", &["t"]) });
    assert_eq!((below(&ledger, "/"), ledger.must("/z/b/g").size_bytes), (vec![], 2));
}

#[test]
fn the_token_of_one_of_several_shared_locks_is_enough() {
    let mut ledger = tree();
    ledger.ok(lock("ana's", "/x", false, Shared, ana()));
    ledger.ok(lock("ben's", "/x", false, Shared, by("ben", &[])));
    ledger.ok(file_by("/x", "1", by("ben", &["ben's"])));
    assert_eq!(locked(ledger.refused(file_by("/x", "2", by("cem", &["ben's"])))), "ana's");
    ledger.ok(lock("deep", "/a", true, Shared, ana()));
    ledger.ok(lock("leaf", "/a/b/g", false, Shared, by("ben", &[])));
    ledger.ok(remove("/a/b", by("ana", &["deep"])));
}

#[test]
fn a_replaced_destination_keeps_its_own_lock_and_loses_those_below() {
    let mut ledger = tree();
    ledger.ok(lock("on", "/a", false, Exclusive, ana()));
    ledger.ok(lock("below", "/a/b/g", false, Exclusive, ana()));
    let guard = by("ana", &["on", "below"]);
    ledger.ok(Command::Rename { from: path("/x"), to: path("/a"), overwrite: true, guard });
    assert_eq!(below(&ledger, "/"), ["on"]);
    assert_eq!(locked(ledger.refused(file_by("/a", "", by("ben", &[])))), "on");
}

#[test]
fn locking_a_free_name_makes_an_empty_file() {
    let mut ledger = tree();
    let Outcome::Lock { lock: taken, created: true } = ledger.ok(lock("t", "/a/new", true, Exclusive, ana())) else {
        panic!("not created")
    };
    assert_eq!((taken.expires_ms, taken.user.as_str()), (START_MS + 60_000, "ana"));
    assert_eq!((ledger.must("/a/new").size_bytes, ledger.counters()), (0, (4, 6)));
    assert!(matches!(ledger.refused(lock("u", "/none/new", false, Shared, ana())), Rejection::ParentMissing(_)));
    let guard = Guard { expect: Some(Expect::Absent), ..ana() };
    assert!(matches!(ledger.refused(lock("u", "/x", false, Shared, guard)), Rejection::PreconditionFailed(_)));
}

#[test]
fn locks_end_by_themselves_and_live_longer_when_refreshed() {
    let mut ledger = tree();
    ledger.ok(lock("short", "/x", false, Exclusive, ana()));
    ledger.ok(lock("long", "/a", true, Exclusive, ana()));
    ledger.time_ms += 59_999;
    let refresh = |token: &str, at: &str, user: &str| Command::RefreshLock {
        token: token.to_owned(),
        path: path(at),
        user: user.to_owned(),
        timeout_s: 100,
    };
    for (token, at, user) in [("long", "/x", "ana"), ("long", "/a", "ben"), ("none", "/a", "ana")] {
        assert_eq!(ledger.refused(refresh(token, at, user)), Rejection::NoSuchLock, "{token} {at} {user}");
    }
    ledger.ok(refresh("long", "/a/b/g", "ana"));
    ledger.time_ms += 1;
    ledger.ok(file_by("/x", "the lock is over", by("ben", &[])));
    assert_eq!(ledger.refused(refresh("short", "/x", "ana")), Rejection::NoSuchLock);
    assert_eq!((below(&ledger, "/"), covering(&ledger, "/x")), (vec!["long".to_owned()], vec![]));
    ledger.ok(Command::Tick);
    ledger.time_ms += 100_000;
    ledger.ok(Command::Tick);
    assert_eq!(below(&ledger, "/"), [""; 0]);
    assert!(!ledger.kv.rows().any(|(key, _)| key.first() == Some(&0x20)), "rows of locks are gone");
}

#[test]
fn time_never_goes_back() {
    let mut ledger = tree();
    ledger.ok(lock("t", "/x", false, Exclusive, ana()));
    ledger.time_ms += 60_000;
    ledger.ok(Command::Tick);
    ledger.time_ms = 5;
    ledger.ok(file_by("/x", "", by("ben", &[])));
    assert_eq!(query::time_ms(&ledger.kv).expect("memory does not fail"), START_MS + 60_000);
}

#[test]
fn only_its_owner_ends_a_lock_before_its_time() {
    let mut ledger = tree();
    ledger.ok(lock("t", "/a", true, Exclusive, ana()));
    let unlock = |token: &str, at: &str, user: &str| Command::Unlock {
        token: token.to_owned(),
        path: path(at),
        user: user.to_owned(),
    };
    for (token, at, user) in [("t", "/a", "ben"), ("u", "/a", "ana"), ("t", "/x", "ana"), ("t", "/", "ana")] {
        assert_eq!(ledger.refused(unlock(token, at, user)), Rejection::NoSuchLock, "{token} {at} {user}");
    }
    ledger.ok(unlock("t", "/a/b/g", "ana"));
    assert_eq!(below(&ledger, "/"), [""; 0]);
}

#[test]
fn locks_on_one_path_are_counted_and_names_that_begin_alike_are_told_apart() {
    let mut ledger = tree();
    ledger.ok(file("/xx", ""));
    for number in 0..limits::LOCKS_PER_PATH_LIMIT {
        ledger.ok(lock(&format!("t{number:02}"), "/x", false, Shared, ana()));
    }
    assert!(matches!(ledger.refused(lock("more", "/x", false, Shared, ana())), Rejection::TooMany(_)));
    ledger.ok(lock("xx", "/xx", false, Exclusive, ana()));
    assert_eq!(below(&ledger, "/x").len(), limits::LOCKS_PER_PATH_LIMIT);
    assert_eq!(covering(&ledger, "/xx"), ["xx"]);
    assert!(matches!(ledger.refused(lock("t00", "/x", false, Shared, ana())), Rejection::TooMany(_)));
    ledger.ok(rename("/a", "/aa", false));
}

#[test]
fn a_token_is_taken_once_and_neither_empty_nor_endless() {
    let mut ledger = tree();
    ledger.ok(lock("t", "/x", false, Shared, ana()));
    for token in ["t", "", &"t".repeat(257)] {
        assert!(matches!(ledger.refused(lock(token, "/x", false, Shared, ana())), Rejection::Invalid(_)), "{token}");
    }
}

#[test]
fn locks_of_a_pool_are_bounded_and_those_that_ended_make_room() {
    let mut ledger = Ledger::new();
    let submission = |number: u64| {
        let mut batch = batch(1_000 + number, START_MS, lock("t", &format!("/{number}"), false, Exclusive, ana()));
        batch.submissions.remove(0)
    };
    let submissions = (0..limits::LOCKS_LIMIT).map(submission).collect();
    let taken = apply(&mut ledger.kv, 9, &Batch { time_ms: START_MS, submissions }).expect("memory does not fail");
    assert!(taken.iter().all(Result::is_ok));
    let more = batch(99_999, START_MS, lock("t", "/more", false, Exclusive, ana()));
    let refused = apply(&mut ledger.kv, 10, &more).expect("memory does not fail");
    assert_eq!(refused, [Err(Rejection::TooMany("locks".to_owned()))]);
    let later = batch(99_998, START_MS + 60_000, lock("t", "/more", false, Exclusive, ana()));
    assert!(apply(&mut ledger.kv, 11, &later).expect("memory does not fail")[0].is_ok());
    assert_eq!(below(&ledger, "/"), ["t"]);
}
