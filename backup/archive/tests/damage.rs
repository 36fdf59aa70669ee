//! Damage costs what is damaged, is named, and never ends the process.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use shoal_archive::{ArchiveError, Kind, Repository};
use shoal_backup::{ObjectKind, ObjectName};
use support::{Place, describe, noise};

fn pack_path(place: &Place, pack: &ObjectName) -> PathBuf {
    let name = pack.to_string();
    place.engine.folder().join("data").join(&name[..2]).join(name)
}

/// Forty files of 1 MiB, so that there are several packs.
fn with_files() -> (Place, ObjectName) {
    let place = Place::new();
    for number in 0..40 {
        fs::write(place.home().join(format!("f{number:02}")), noise(number, 1 << 20)).unwrap();
    }
    let made = place.back_up();
    (place, made.archive.name)
}

fn data_packs(place: &Place) -> Vec<ObjectName> {
    let objects = place.engine.objects().unwrap();
    let packs = objects.into_iter().filter(|object| object.kind == ObjectKind::Pack && object.size_bytes > 1 << 20);
    packs.map(|object| object.name).collect()
}

#[test]
fn one_bad_pack_costs_only_the_files_in_it_and_is_named() {
    let (place, archive) = with_files();
    let packs = data_packs(&place);
    assert!(packs.len() >= 2, "{packs:?}");
    let bad = packs[0];
    let path = pack_path(&place, &bad);
    let mut bytes = fs::read(&path).unwrap();
    bytes.iter_mut().step_by(1 << 16).for_each(|byte| *byte ^= 1);
    fs::write(&path, bytes).unwrap();

    let outcome = place.restore_to(&[archive], "out");
    assert!(outcome.stopped.is_none());
    assert_eq!(outcome.failures.packs.keys().copied().collect::<Vec<_>>(), [bad]);
    let lost: BTreeSet<Vec<u8>> = outcome
        .failures
        .kept
        .iter()
        .map(|failure| failure.path.as_ref().unwrap().as_bytes().rsplit(|byte| *byte == b'/').next().unwrap().to_vec())
        .collect();
    assert!(!lost.is_empty() && lost.len() < 40, "{}", lost.len());
    let (before, after) = (describe(&place.home()), describe(&place.restored("out")));
    for (name, said) in &before {
        assert_eq!(after.get(name), (!lost.contains(name)).then_some(said), "{}", String::from_utf8_lossy(name));
    }
    assert_eq!(place.engine.check(true).unwrap().damaged, [bad]);
    assert!(place.engine.check(false).unwrap().is_sound(), "the size is right, the contents were not read");

    // A pack that is gone: the same, and the next backup packs again what was in it.
    fs::remove_file(&path).unwrap();
    let outcome = place.restore_to(&[archive], "again");
    assert_eq!(outcome.failures.packs.keys().copied().collect::<Vec<_>>(), [bad]);
    assert!(!place.engine.check(false).unwrap().is_sound());
    let mut request = place.request(place.plan());
    request.reread = true;
    let made = place.engine.back_up(&request, &std::sync::Arc::new(shoal_archive::Watch::silent())).unwrap();
    let outcome = place.restore_to(&[made.archive.name], "mended");
    assert!(outcome.is_complete(), "{outcome:?}");
    support::assert_same(&place.home(), &place.restored("mended"));
    place.restic_ok(&["check", "--read-data"]);
}

#[test]
fn another_sound_pack_in_the_place_of_one_is_found() {
    let (place, archive) = with_files();
    let packs = data_packs(&place);
    let (one, other) = (pack_path(&place, &packs[0]), pack_path(&place, &packs[1]));
    fs::copy(&other, &one).unwrap();
    let outcome = place.restore_to(&[archive], "out");
    assert_eq!(outcome.failures.packs.keys().copied().collect::<Vec<_>>(), [packs[0]]);
    for (name, said) in describe(&place.restored("out")) {
        assert_eq!(describe(&place.home()).get(&name), Some(&said));
    }
}

#[test]
fn a_bad_pack_of_folders_is_named_and_a_listing_goes_on() {
    let (place, archive) = with_files();
    let objects = place.engine.objects().unwrap();
    let trees = objects.iter().filter(|object| object.kind == ObjectKind::Pack && object.size_bytes < 1 << 20);
    for pack in trees {
        let path = pack_path(&place, &pack.name);
        let mut bytes = fs::read(&path).unwrap();
        bytes.iter_mut().for_each(|byte| *byte ^= 0x55);
        fs::write(path, bytes).unwrap();
    }
    let listed: Vec<_> = place.engine.list(&archive).unwrap().collect();
    assert!(matches!(listed.as_slice(), [Err(ArchiveError::Damaged { pack: Some(_), .. })]), "{listed:?}");
    let outcome = place.restore_to(&[archive], "out");
    assert!(!outcome.is_complete() && outcome.restored == 0);
}

#[test]
fn damaged_indexes_snapshots_and_configurations_are_errors() {
    for (kind, folder) in [("index", "index"), ("snapshot", "snapshots"), ("config", ".")] {
        let (place, archive) = with_files();
        let folder = place.engine.folder().join(folder);
        let mut spoilt = 0;
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                for length in [0, 10] {
                    fs::write(&path, vec![1; length]).unwrap();
                    assert!(place.engine.list(&archive).is_err(), "{kind}");
                    assert!(!place.engine.check(true).unwrap().is_sound(), "{kind}");
                }
                spoilt += 1;
            }
        }
        assert!(spoilt > 0, "{kind}");
    }
}

#[test]
fn what_a_listing_says_of_files_can_be_read() {
    let (place, archive) = with_files();
    let contents = place.engine.contents().unwrap();
    let needs = place.engine.needs(&archive).unwrap();
    let names: BTreeSet<_> = place.engine.objects().unwrap().into_iter().map(|object| object.name).collect();
    assert!(needs.packs.is_subset(&names) && needs.indexes.is_subset(&names) && !needs.indexes.is_empty());
    assert!(data_packs(&place).iter().all(|pack| needs.packs.contains(pack)));
    for entry in place.engine.list(&archive).unwrap() {
        if let Kind::File(pieces) = entry.unwrap().kind {
            pieces.iter().for_each(|piece| drop(contents.read(piece).unwrap()));
        }
    }
}
