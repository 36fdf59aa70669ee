//! Forgetting archives: what others need stays, and packs go only whole.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::fs;

use shoal_archive::{ArchiveError, Repository};
use shoal_backup::{ObjectKind, ObjectName};
use support::{Place, assert_same, noise};

fn names(place: &Place, kind: ObjectKind) -> BTreeSet<ObjectName> {
    place.engine.objects().unwrap().into_iter().filter(|it| it.kind == kind).map(|it| it.name).collect()
}

#[test]
fn what_a_kept_archive_needs_stays_and_the_rest_goes() {
    let place = Place::new();
    let write = |name: &str, seed: u64| fs::write(place.home().join(name), noise(seed, 20 << 20)).unwrap();
    // Alone, so that no pack has both what goes and what stays.
    write("goes", 2);
    let first = place.back_up();
    fs::remove_file(place.home().join("goes")).unwrap();
    write("stays", 1);
    let second = place.back_up();
    write("comes", 3);
    let third = place.back_up();
    let before = names(&place, ObjectKind::Pack);

    let forgotten = place.engine.forget(&[first.archive.name, second.archive.name]).unwrap();
    let after = names(&place, ObjectKind::Pack);
    assert!(after.is_subset(&before), "packs were made anew");
    let removed: BTreeSet<_> = forgotten.removed.iter().copied().collect();
    assert!(before.difference(&after).all(|pack| removed.contains(pack)));
    assert!(forgotten.freed_bytes > 10 << 20, "{forgotten:?}");
    let needs = place.engine.needs(&third.archive.name).unwrap();
    assert_eq!((&needs.packs, &needs.indexes), (&after, &names(&place, ObjectKind::Index)));
    let kept: Vec<_> = place.engine.archives().unwrap().into_iter().map(|archive| archive.name).collect();
    assert_eq!(kept, [third.archive.name]);
    place.restic_ok(&["check", "--read-data"]);
    assert!(place.restore_to(&kept, "out").is_complete());
    assert_same(&place.home(), &place.restored("out"));

    let unknown = place.engine.forget(&[first.archive.name]);
    assert!(matches!(unknown, Err(ArchiveError::NoArchive(name)) if name == first.archive.name));
}

#[test]
fn nothing_is_dropped_while_somebody_restores() {
    let place = Place::new();
    fs::write(place.home().join("x"), "1").unwrap();
    let made = place.back_up();
    let contents = place.engine.contents().unwrap();
    assert!(matches!(place.engine.forget(&[made.archive.name]), Err(ArchiveError::Busy(_))));
    drop(contents);
    place.engine.forget(&[made.archive.name]).unwrap();
    assert_eq!(names(&place, ObjectKind::Pack).len(), 0);
}
