//! A backup that is killed in the middle leaves a sound repository, and the next one goes on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use shoal_archive::Repository;
use shoal_backup::ObjectKind;
use support::{PASSPHRASE, Place, assert_same, noise};

const DEADLINE: Duration = Duration::from_secs(120);

fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.parent().and_then(|deps| deps.parent()).unwrap().join("examples/back_up")
}

#[test]
fn killed_at_any_moment_the_repository_is_sound_and_the_next_run_uses_what_there_is() {
    let place = Place::new();
    for number in 0..48 {
        fs::write(place.home().join(format!("f{number:02}")), noise(number, 3 << 20)).unwrap();
    }
    let mut packed = 0;
    for wanted in [0, 2, 4] {
        let mut child = Command::new(example());
        child.arg(place.engine.folder()).arg(place.home()).arg("1").env("SHOAL_PASSPHRASE", PASSPHRASE);
        let mut child = child.stdout(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + DEADLINE;
        let unfinished = place.engine.folder().join("tmp");
        loop {
            let packs = place.engine.objects().unwrap().iter().filter(|it| it.kind == ObjectKind::Pack).count();
            // In the middle of writing a pack.
            if packs >= wanted && fs::read_dir(&unfinished).unwrap().next().is_some() {
                break;
            }
            assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
            assert!(Instant::now() < deadline, "no {wanted} packs in {DEADLINE:?}");
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(place.engine.archives().unwrap(), []);
        place.restic_ok(&["check", "--read-data"]);
        let objects = place.engine.objects().unwrap();
        packed = objects.iter().filter(|it| it.kind == ObjectKind::Pack).map(|it| it.size_bytes).sum();
    }
    assert!(packed > 32 << 20, "{packed}");
    let made = place.back_up();
    let added = made.added.iter().filter(|it| it.kind == ObjectKind::Pack).map(|it| it.size_bytes).sum::<u64>();
    assert!(added + packed < 150 << 20, "{added} added, {packed} were there");
    assert_eq!(fs::read_dir(place.engine.folder().join("tmp")).unwrap().count(), 0);
    place.restic_ok(&["check", "--read-data"]);
    let outcome = place.restore_to(&[made.archive.name], "out");
    assert!(outcome.is_complete(), "{outcome:?}");
    assert_same(&place.home(), &place.restored("out"));
}
