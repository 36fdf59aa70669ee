//! What goes in comes out.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use shoal_archive::{ArchiveError, Engine, Kind, ProblemKind, Repository, Watch};
use shoal_backup::plan::Pattern;
use shoal_backup::recovery::tree_order;
use support::{PASSPHRASE, Place, assert_same, everything, noise, path_bytes};

#[test]
fn everything_comes_back_as_it_was() {
    let place = Place::new();
    everything(&place.home());
    let made = place.back_up();
    assert_eq!(made.problems.named, []);
    assert!(made.archive.is_complete);

    let outcome = place.restore_to(&[made.archive.name], "out");
    assert_eq!((outcome.failures.kept.as_slice(), outcome.stopped.as_ref().map(ToString::to_string)), (&[][..], None));
    assert_same(&place.home(), &place.restored("out"));

    // And a second time there is nothing left to do.
    let again = place.restore_to(&[made.archive.name], "out");
    assert_eq!((again.restored, again.totals.created.count, again.totals.overwritten.count), (0, 0, 0));
    assert_same(&place.home(), &place.restored("out"));
}

#[test]
fn a_listing_is_in_order_and_has_everything() {
    let place = Place::new();
    everything(&place.home());
    let made = place.back_up();
    let entries: Vec<_> = place.engine.list(&made.archive.name).unwrap().map(Result::unwrap).collect();
    assert!(entries.is_sorted_by(|one, other| tree_order(one.path.as_bytes(), other.path.as_bytes()).is_lt()));
    let home = path_bytes(&place.home());
    let in_home = entries.iter().filter(|entry| entry.path.is_within(&home)).count();
    assert_eq!(in_home, support::describe(&place.home()).len() + 1);
    let large = entries.iter().find(|entry| entry.path == path_bytes(&place.home().join("large"))).unwrap();
    let Kind::File(pieces) = &large.kind else { panic!("{large:?}") };
    let contents = place.engine.contents().unwrap();
    let read: Vec<u8> = pieces.iter().flat_map(|piece| contents.read(piece).unwrap()).collect();
    assert!(read == noise(1, 9 << 20));
}

#[test]
fn unchanged_files_are_not_read_again_and_changed_ones_are() {
    let place = Place::new();
    for number in 0..50 {
        fs::write(place.home().join(format!("f{number}")), noise(number, 10_000)).unwrap();
    }
    // Until the clock of the file system has ticked on, files count as still changing.
    let probe = place.path("probe");
    let first = {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let made = place.back_up();
            let watch = Arc::new(Watch::silent());
            place.engine.back_up(&place.request(place.plan()), &watch).unwrap();
            if watch.progress().bytes == 0 {
                break made;
            }
            assert!(std::time::Instant::now() < deadline, "unchanged files are read for ever");
            fs::write(&probe, "time passes").unwrap();
        }
    };
    let changed = place.home().join("f7");
    let before = fs::metadata(&changed).unwrap();
    fs::write(&changed, noise(1_000, 10_000)).unwrap();
    // The same size and time of change as before: only the time of the last change of anything tells.
    fs::File::open(&changed).unwrap().set_modified(before.modified().unwrap()).unwrap();
    let watch = Arc::new(Watch::silent());
    let made = place.engine.back_up(&place.request(place.plan()), &watch).unwrap();
    assert_eq!((watch.progress().bytes, watch.progress().files), (10_000, 50));
    place.restore_to(&[made.archive.name], "out");
    assert_same(&place.home(), &place.restored("out"));
    place.restore_to(&[first.archive.name], "first");
    assert!(fs::read(place.restored("first").join("f7")).unwrap() == noise(7, 10_000));
}

#[test]
fn what_is_excluded_is_not_there() {
    let place = Place::new();
    for path in ["keep/a.txt", "keep/a.iso", "big/x", "keep/target/y", "keep/z.o"] {
        let path = place.home().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "1").unwrap();
    }
    let mut plan = place.plan();
    plan.excluded.directories = vec![path_bytes(&place.home().join("big"))];
    plan.excluded.extensions = vec!["iso".to_owned()];
    plan.excluded.patterns = vec![Pattern::new(b"**/target").unwrap(), Pattern::new(b"*.o").unwrap()];
    let made = place.engine.back_up(&place.request(plan), &Arc::new(Watch::silent())).unwrap();
    place.restore_to(&[made.archive.name], "out");
    let names: Vec<_> = support::describe(&place.restored("out")).into_keys().collect();
    assert_eq!(names, [b"keep".to_vec(), b"keep/a.txt".to_vec()]);
}

#[test]
fn the_repository_is_not_backed_up_into_itself() {
    let place = Place::new();
    let mut plan = place.plan();
    plan.roots = vec![path_bytes(place.dir.path())];
    let made = place.engine.back_up(&place.request(plan), &Arc::new(Watch::silent())).unwrap();
    let repository = path_bytes(place.engine.folder());
    assert!(place.engine.list(&made.archive.name).unwrap().all(|entry| !entry.unwrap().path.is_within(&repository)));
}

#[test]
fn several_roots_and_one_that_is_a_file_or_missing() {
    let place = Place::new();
    fs::create_dir_all(place.path("home/one")).unwrap();
    fs::write(place.path("home/one/x"), "1").unwrap();
    fs::write(place.path("home/lone"), "2").unwrap();
    fs::write(place.path("home/not this"), "3").unwrap();
    let mut plan = place.plan();
    plan.roots = ["one", "lone", "missing"].map(|name| path_bytes(&place.home().join(name))).into();
    let made = place.engine.back_up(&place.request(plan.clone()), &Arc::new(Watch::silent())).unwrap();
    let problems: Vec<_> = made.problems.named.iter().map(|it| (it.path.clone(), it.kind.clone())).collect();
    assert_eq!(problems, [(path_bytes(&place.home().join("missing")), ProblemKind::Vanished)]);
    assert!(!made.archive.is_complete);
    place.restore_to(&[made.archive.name], "out");
    let names: Vec<_> = support::describe(&place.restored("out")).into_keys().collect();
    assert_eq!(names, [b"lone".to_vec(), b"one".to_vec(), b"one/x".to_vec()]);

    plan.roots = vec![path_bytes(&place.home().join("missing"))];
    let nothing = place.engine.back_up(&place.request(plan), &Arc::new(Watch::silent()));
    assert!(matches!(nothing, Err(ArchiveError::NothingRead(_))), "{nothing:?}");
    assert_eq!(place.engine.archives().unwrap().len(), 1);
}

#[test]
fn a_file_that_changes_while_it_is_read_makes_the_archive_incomplete() {
    let place = Place::new();
    let path = place.home().join("growing");
    fs::write(&path, noise(3, 40 << 20)).unwrap();
    // It grows as soon as reading has begun.
    let grown = Arc::new(AtomicBool::new(false));
    let tell = {
        let (path, grown) = (path.clone(), Arc::clone(&grown));
        move |progress: shoal_archive::Progress| {
            if progress.bytes > 0 && !grown.swap(true, Ordering::SeqCst) {
                use std::io::Write;
                fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"more").unwrap();
            }
        }
    };
    let watch = Arc::new(Watch::new(Arc::default(), tell));
    let made = place.engine.back_up(&place.request(place.plan()), &watch).unwrap();
    assert!(grown.load(Ordering::SeqCst));
    assert_eq!(made.problems.named.len(), 1, "{:?}", made.problems);
    assert_eq!(made.problems.named[0].kind, ProblemKind::Changed);
    let archive = place.engine.archives().unwrap().pop().unwrap();
    assert!(!archive.is_complete && archive.description.contains("growing changed while it was read"), "{archive:?}");
    // Anybody's restic says so too.
    assert!(place.restic_ok(&["snapshots"]).contains("incomplete"));
    let outcome = place.restore_to(&[made.archive.name], "out");
    assert!(outcome.is_complete(), "{outcome:?}");
    assert!(fs::read(place.restored("out").join("growing")).unwrap() == noise(3, 40 << 20));
}

#[test]
fn a_file_that_vanishes_is_named_and_the_rest_is_there() {
    let place = Place::new();
    fs::write(place.home().join("a"), noise(1, 4 << 20)).unwrap();
    // So many that the walker is not through with them when reading begins.
    for number in 0..2_000 {
        fs::write(place.home().join(format!("b{number:04}")), [1]).unwrap();
    }
    let last = place.home().join("c");
    fs::write(&last, "soon gone").unwrap();
    let tell = {
        let last = last.clone();
        move |_| drop(fs::remove_file(&last))
    };
    let watch = Arc::new(Watch::new(Arc::default(), tell));
    let made = place.engine.back_up(&place.request(place.plan()), &watch).unwrap();
    let problems: Vec<_> = made.problems.named.iter().map(|it| (it.path.clone(), it.kind.clone())).collect();
    assert_eq!(problems, [(path_bytes(&last), ProblemKind::Vanished)]);
    assert!(!place.engine.archives().unwrap()[0].is_complete);
    assert!(place.restore_to(&[made.archive.name], "out").is_complete());
    assert_same(&place.home(), &place.restored("out"));
}

#[test]
fn what_is_cancelled_leaves_no_archive_and_the_next_run_uses_what_was_packed() {
    let place = Place::new();
    for number in 0..40 {
        fs::write(place.home().join(format!("f{number:02}")), noise(number, 2 << 20)).unwrap();
    }
    let cancelled = Arc::new(AtomicBool::new(false));
    let seen = Arc::new(AtomicU64::new(0));
    let tell = {
        let (cancelled, seen) = (Arc::clone(&cancelled), Arc::clone(&seen));
        move |progress: shoal_archive::Progress| {
            seen.fetch_max(progress.bytes, Ordering::SeqCst);
            cancelled.store(progress.bytes > 40 << 20, Ordering::SeqCst);
        }
    };
    let watch = Arc::new(Watch::new(Arc::clone(&cancelled), tell));
    let ended = place.engine.back_up(&place.request(place.plan()), &watch);
    assert!(matches!(ended, Err(ArchiveError::Cancelled)), "{ended:?}");
    assert!(seen.load(Ordering::SeqCst) < 80 << 20);
    assert_eq!(place.engine.archives().unwrap(), []);
    let made = place.back_up();
    let added: u64 = made.added.iter().map(|object| object.size_bytes).sum();
    assert!(added < 60 << 20, "{added}");
    assert!(place.engine.check(true).unwrap().is_sound());
    place.restore_to(&[made.archive.name], "out");
    assert_same(&place.home(), &place.restored("out"));
}

#[test]
fn two_backups_at_once_and_wrong_keys_are_refused() {
    let place = Place::new();
    fs::write(place.home().join("x"), noise(1, 8 << 20)).unwrap();
    let second = Arc::new(Engine::open(place.engine.folder(), PASSPHRASE).unwrap());
    let refused = Arc::new(AtomicBool::new(false));
    let request = place.request(place.plan());
    let tell = {
        let (refused, request) = (Arc::clone(&refused), request.clone());
        move |_| {
            let ended = second.back_up(&request, &Arc::new(Watch::silent()));
            refused.store(matches!(ended, Err(ArchiveError::Busy(_))), Ordering::SeqCst);
        }
    };
    place.engine.back_up(&request, &Arc::new(Watch::new(Arc::default(), tell))).unwrap();
    assert!(refused.load(Ordering::SeqCst));
    assert!(matches!(Engine::open(place.engine.folder(), "wrong"), Err(ArchiveError::WrongKey(_))));
    assert!(matches!(Engine::open(&place.home(), "wrong"), Err(ArchiveError::NoRepository(_))));
    assert!(matches!(Engine::init(place.engine.folder(), "new", "pc"), Err(ArchiveError::AlreadyThere(_))));
}
