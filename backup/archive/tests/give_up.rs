//! What runs left that came to no archive goes, and nothing else; and archives that would be equal are not made.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shoal_archive::{ArchiveError, BackUp, Repository, StoredObject, Watch};
use shoal_backup::ObjectKind;
use support::{Place, assert_same, noise};

/// A run that ends when it has read so much.
fn cut_short(place: &Place, after_bytes: u64) {
    let cancelled = Arc::new(AtomicBool::new(false));
    let held = Arc::clone(&cancelled);
    let watch = Watch::new(cancelled, move |progress| held.store(progress.bytes >= after_bytes, Ordering::Relaxed));
    let made = place.engine.back_up(&place.request(place.plan()), &Arc::new(watch));
    assert!(matches!(made, Err(ArchiveError::Cancelled)), "{made:?}");
}

fn objects(place: &Place, kind: ObjectKind) -> Vec<StoredObject> {
    place.engine.objects().unwrap().into_iter().filter(|object| object.kind == kind).collect()
}

#[test]
fn what_a_run_left_goes_whether_an_index_lists_it_or_not_and_what_archives_need_stays() {
    let place = Place::new();
    let write = |name: &str, seed: u64| fs::write(place.home().join(name), noise(seed, 20 << 20)).unwrap();
    fs::write(place.home().join("a"), noise(1, 1 << 20)).unwrap();
    let made = place.back_up();
    let before = place.engine.objects().unwrap();
    let stays: Vec<_> = place.engine.needs(&made.archive.name).unwrap().packs.into_iter().collect();
    assert_eq!(objects(&place, ObjectKind::Pack).iter().map(|it| it.name).collect::<Vec<_>>(), stays);
    (2..5).for_each(|seed| write(&format!("b{seed}"), seed));
    cut_short(&place, 24 << 20);
    let left = objects(&place, ObjectKind::Pack).len();
    assert!(left > stays.len(), "it left something");
    // The next one lists in an index what it found, and leaves more that no index lists.
    cut_short(&place, 52 << 20);
    assert!(objects(&place, ObjectKind::Index).len() > 1 && objects(&place, ObjectKind::Pack).len() > left);

    let contents = place.engine.contents().unwrap();
    assert!(matches!(place.engine.give_up(), Err(ArchiveError::Busy(_))), "somebody reads");
    drop(contents);
    let given_up = place.engine.give_up().unwrap();
    assert!(given_up.freed_bytes > 30 << 20 && given_up.added.is_empty(), "{given_up:?}");
    assert_eq!(place.engine.objects().unwrap(), before);
    place.restic_ok(&["check", "--read-data"]);
    let made = place.back_up();
    assert_eq!(place.engine.give_up().unwrap().removed, []);
    assert!(place.restore_to(&[made.archive.name], "out").is_complete());
    assert_same(&place.home(), &place.restored("out"));
}

#[test]
fn nothing_is_given_up_while_what_an_archive_needs_is_not_known() {
    let place = Place::new();
    fs::write(place.home().join("a"), noise(1, 1 << 20)).unwrap();
    let made = place.back_up();
    fs::write(place.home().join("b"), noise(2, 24 << 20)).unwrap();
    cut_short(&place, 20 << 20);
    let needed = place.engine.needs(&made.archive.name).unwrap().packs;
    let packs = objects(&place, ObjectKind::Pack).into_iter().filter(|object| needed.contains(&object.name));
    // Folders are in a pack of their own, the smallest.
    let name = packs.min_by_key(|object| object.size_bytes).unwrap().name.to_string();
    fs::remove_file(place.engine.folder().join("data").join(&name[..2]).join(&name)).unwrap();
    let before = place.engine.objects().unwrap();
    assert!(place.engine.give_up().is_err());
    assert_eq!(place.engine.objects().unwrap(), before);
}

#[test]
fn an_archive_that_would_be_equal_is_not_made_where_only_changes_are_wanted() {
    let place = Place::new();
    fs::write(place.home().join("a"), "1").unwrap();
    let back_up = || {
        let what = BackUp { only_changes: true, ..place.request(place.plan()) };
        place.engine.back_up(&what, &Arc::new(Watch::silent())).unwrap()
    };
    let first = back_up();
    let before = place.engine.objects().unwrap();
    // Folders above change all the time.
    fs::write(place.path("beside"), "1").unwrap();
    let again = back_up();
    assert_eq!((first.is_new, again.is_new, again.archive), (true, false, first.archive));
    let archives =
        |all: Vec<StoredObject>| all.into_iter().filter(|it| it.kind == ObjectKind::Snapshot).collect::<Vec<_>>();
    assert_eq!(archives(place.engine.objects().unwrap()), archives(before));
    assert!(place.back_up().is_new, "where that is not said, one is made");
    // Its time alone changes.
    fs::File::open(place.home().join("a")).unwrap().set_modified(std::time::UNIX_EPOCH).unwrap();
    assert!(back_up().is_new);
    fs::remove_file(place.home().join("a")).unwrap();
    assert!(back_up().is_new);
    assert_eq!(place.engine.archives().unwrap().len(), 4);
}
