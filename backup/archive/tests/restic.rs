//! The stock `restic` checks and restores what we make, and we read what it makes.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;

use shoal_archive::{Engine, Kind, Repository};
use support::{PASSPHRASE, Place, assert_same, describe, everything, noise};

/// restic keeps what links point to as text until 0.16, which Debian 12 does not have.
fn everything_that_restic_keeps(place: &Place) {
    everything(&place.home());
    fs::remove_file(place.home().join("link not utf-8")).unwrap();
}

#[test]
fn restic_checks_and_restores_our_archives() {
    let place = Place::new();
    everything_that_restic_keeps(&place);
    let first = place.back_up();
    fs::write(place.home().join("letter.txt"), "Dear Bob,\n").unwrap();
    fs::remove_file(place.home().join("large")).unwrap();
    let second = place.back_up();

    let checked = place.restic_ok(&["check", "--read-data"]);
    assert!(checked.contains("no errors were found"), "{checked}");
    let ours = place.path("ours");
    for (number, archive) in [first.archive.name, second.archive.name].into_iter().enumerate() {
        let theirs = place.path(&format!("restic{number}"));
        let name = archive.to_string();
        place.restic_ok(&["restore", &name, "--target", theirs.to_str().unwrap()]);
        let outcome = place.restore_to(&[archive], &format!("ours/{number}"));
        assert!(outcome.is_complete(), "{outcome:?}");
        assert_same(&theirs, &ours.join(number.to_string()));
    }
    assert_same(&place.home(), &place.restored("ours/1"));
    let listed = place.restic_ok(&["snapshots", "--tag", "archive-2"]);
    assert!(listed.contains(&second.archive.name.to_string()[..8]) && listed.contains("1 snapshots"), "{listed}");
}

#[test]
fn we_read_and_restore_archives_that_restic_made_and_go_on_in_its_repository() {
    let place = Place::new();
    everything_that_restic_keeps(&place);
    let theirs = place.path("theirs");
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new("restic");
        command.arg("-r").arg(&theirs).arg("--no-cache").args(arguments).env("RESTIC_PASSWORD", PASSPHRASE);
        let output = command.output().expect("restic is needed for this test: `apt-get install restic`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    run(&["init", "--repository-version", "2"]);
    run(&["backup", "--host", "pc", place.home().to_str().unwrap()]);

    let engine = Engine::open(&theirs, PASSPHRASE).unwrap();
    let archives = engine.archives().unwrap();
    assert_eq!(archives.len(), 1);
    assert!(archives[0].number.is_none() && archives[0].is_complete, "{archives:?}");
    let ours = Place { engine, ..place };
    let outcome = ours.restore_to(&[archives[0].name], "out");
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_same(&ours.home(), &ours.restored("out"));

    // What it has is not packed again.
    fs::write(ours.home().join("new"), noise(9, 100_000)).unwrap();
    let made = ours.back_up();
    let added: u64 = made.added.iter().map(|object| object.size_bytes).sum();
    assert!(added < 300_000, "{added}");
    run(&["check", "--read-data"]);
    assert!(ours.engine.check(true).unwrap().is_sound());
}

#[test]
fn chunks_of_large_files_end_where_restics_do() {
    let place = Place::new();
    fs::write(place.home().join("noise"), noise(5, 24 << 20)).unwrap();
    let text: String = (0..400_000_u64).map(|line| format!("{line} and {}\n", line * line % 1_009)).collect();
    fs::write(place.home().join("text"), text).unwrap();
    let theirs = place.path("theirs");
    for arguments in [["init", "--repository-version", "2"].as_slice(), &["backup", place.home().to_str().unwrap()]] {
        let mut command = std::process::Command::new("restic");
        command.arg("-r").arg(&theirs).arg("--no-cache").args(arguments).env("RESTIC_PASSWORD", PASSPHRASE);
        let output = command.output().expect("restic is needed for this test: `apt-get install restic`");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    // Another host's: there is no parent, everything is read and cut again.
    let ours = Place { engine: Engine::open(&theirs, PASSPHRASE).unwrap(), ..place };
    let made = ours.back_up();
    let added: u64 = made.added.iter().map(|object| object.size_bytes).sum();
    assert!(added < 100_000, "{added} bytes of chunks that restic did not have");
}

#[test]
fn holes_come_back_as_holes() {
    use std::os::unix::fs::MetadataExt;
    let place = Place::new();
    everything(&place.home());
    let made = place.back_up();
    place.restore_to(&[made.archive.name], "out");
    let sparse = fs::metadata(place.restored("out").join("sparse")).unwrap();
    assert!(sparse.len() == 64 << 20 && sparse.blocks() * 512 < 1 << 20, "{} blocks", sparse.blocks());
    // And in the repository they cost next to nothing.
    let entries: Vec<_> = place.engine.list(&made.archive.name).unwrap().map(Result::unwrap).collect();
    let sparse = entries.iter().find(|entry| entry.path.as_bytes().ends_with(b"/sparse")).unwrap();
    let Kind::File(pieces) = &sparse.kind else { panic!("{sparse:?}") };
    let different: std::collections::BTreeSet<_> = pieces.iter().collect();
    assert!(pieces.len() >= 8 && different.len() < pieces.len(), "{} of {}", different.len(), pieces.len());
    assert!(describe(&place.home()) == describe(&place.restored("out")));
}
