//! A backup that is killed in the middle leaves a sound repository, and the next one goes on.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use shoal_archive::{BackUp, Engine, Repository, Watch};
use shoal_backup::plan::Plan;
use shoal_backup::schedule::Mode;
use shoal_backup::{ArchiveId, ObjectKind};
use support::{PASSPHRASE, Place, assert_same, noise, path_bytes};

const DEADLINE: Duration = Duration::from_secs(120);

const REPOSITORY: &str = "SHOAL_TEST_CRASH_REPOSITORY";
const HOME: &str = "SHOAL_TEST_CRASH_HOME";

/// What the test starts and kills: this same program, told what to do by its environment.
#[test]
fn the_process_that_is_killed() {
    let (Some(repository), Some(home)) = (std::env::var_os(REPOSITORY), std::env::var_os(HOME)) else { return };
    let engine = Engine::open(Path::new(&repository), PASSPHRASE).unwrap();
    let what = BackUp {
        plan: Arc::new(Plan { roots: vec![path_bytes(Path::new(&home))], ..Plan::default() }),
        host: "pc".to_owned(),
        number: ArchiveId(1),
        mode: Mode::Delta,
        parent: None,
        reread: false,
        only_changes: false,
    };
    engine.back_up(&what, &Arc::new(Watch::silent())).unwrap();
}

/// It, at work on the place.
fn started(place: &Place) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--test-threads=1"])
        .env(REPOSITORY, place.engine.folder())
        .env(HOME, place.home())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn killed_at_any_moment_the_repository_is_sound_and_the_next_run_uses_what_there_is() {
    let place = Place::new();
    for number in 0..48 {
        fs::write(place.home().join(format!("f{number:02}")), noise(number, 3 << 20)).unwrap();
    }
    let mut packed = 0;
    for wanted in [0, 2, 4] {
        let mut child = started(&place);
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
