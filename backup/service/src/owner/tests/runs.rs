//! Runs: one at a time, waiting, failing, begun by files that changed.

use shoal_backup::plan::{Conditions, Pause};
use shoal_backup::schedule::{Rule, When};

use super::*;
use crate::owner::{Asked, OwnerError, Requested};

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_asked_for_at_once_are_one() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.init().await;
    let asked = [Mode::Snapshot, Mode::Delta].map(|mode| pool.owner().ask_run(mode).unwrap());
    assert!(asked[0].request < asked[1].request);
    let status = pool.until("one", |status| status.archives > 0 && status.run.is_none()).await;
    // Each of them is told of that run, whatever ran after it.
    let ended = |asked: &Asked| match pool.owner().requested(asked.request).unwrap() {
        Some(Requested::Ended(last)) => last.archive.0,
        other => panic!("{other:?}"),
    };
    assert_eq!(asked.each_ref().map(ended), [1, 1]);
    assert_eq!(pool.owner().requested(7).unwrap(), None);
    assert_eq!(status.last_run.as_ref().map(|last| last.mode), Some(Mode::Snapshot));
    pool.until("quiet", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    assert_eq!(pool.status().archives, 1);
    assert!(matches!(pool.owner().cancel_run(), Err(OwnerError::NotRunning)));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_more_than_the_run_that_is_on_does_is_told_of_its_own_run() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.init().await;
    // It cannot begin before it is asked for more than once.
    let work = pool.owner().setup().unwrap().work.clone().lock_owned().await;
    let delta = pool.owner().ask_run(Mode::Delta).unwrap();
    assert_eq!((delta.on, delta.is_that), (None, false));
    assert_eq!(pool.owner().requested(delta.request).unwrap(), Some(Requested::Waits));
    drop(work);
    pool.until("the first", |status| status.archives == 1 && status.run.is_none()).await;
    let snapshot = pool.owner().ask_run(Mode::Snapshot).unwrap();
    pool.until("the second", |status| status.archives == 2 && status.run.is_none()).await;
    for (asked, archive, mode) in [(delta, 1, Mode::Delta), (snapshot, 2, Mode::Snapshot)] {
        let Some(Requested::Ended(last)) = pool.owner().requested(asked.request).unwrap() else { panic!("it ended") };
        assert_eq!((last.archive.0, last.mode, last.error), (archive, mode, None));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_its_schedule_wants_waits_for_mains_and_one_that_its_owner_wants_does_not() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.machine.set_conditions(Conditions { on_battery: true, ..Conditions::default() });
    let mut plan = pool.plan();
    plan.rules = vec![Rule { mode: Mode::Snapshot, when: When::Interval { minutes: 60 * 24 } }];
    pool.owner().init(plan).await.unwrap();
    let status = pool.until("waiting", |status| status.waits_for.is_some()).await;
    assert_eq!(status.waits_for.map(|waits| waits.pause), Some(Pause::Battery));
    assert_eq!(status.archives, 0);
    // What its owner asked for travels, too.
    assert_eq!(pool.back_up().await.archives, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_time_was_set_back_is_found_by_a_delta_and_a_snapshot_reads_everything() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    let kit = pool.init().await;
    pool.back_up().await;
    let path = pool.home().join("letter.txt");
    let modified = fs::metadata(&path).unwrap().modified().unwrap();
    // In place, so that the inode stays; some programs set the time back. When that was done the system notes, too.
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"Dear Eva,\n", 0).unwrap();
    file.set_modified(modified).unwrap();
    let repository = pool.folder().join("repo");
    let kept = || pool.restored(&repository, kit.passphrase.as_str());
    pool.owner().ask_run(Mode::Delta).unwrap();
    pool.until("a delta", |status| status.archives == 2 && status.run.is_none()).await;
    assert_eq!(kept(), pool.files());
    pool.owner().ask_run(Mode::Snapshot).unwrap();
    pool.until("a snapshot", |status| status.archives == 3 && status.run.is_none()).await;
    assert_eq!(kept(), pool.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_cannot_be_read_are_told() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    // A root that is not there: nothing else is unreadable to one who may read everything.
    let mut plan = pool.plan();
    plan.roots.push(PathBytes::new(pool.dir.path().join("nowhere").as_os_str().as_bytes()));
    pool.owner().init(plan).await.unwrap();
    let status = pool.back_up().await;
    let last = status.last_run.unwrap();
    assert_eq!((last.unreadable, last.problems.len()), (1, 1));
    assert!(last.problems[0].contains("nowhere"), "{:?}", last.problems);
    assert!(status.alerts.iter().any(|alert| alert.kind == "incomplete"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_after_it_made_its_archive_is_the_last_run() {
    let mut pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.init().await;
    pool.back_up().await;
    pool.stop().await;
    let state = pool.folder().join("state.json");
    let before = fs::read(&state).unwrap();
    pool.start();
    pool.write("list.txt", b"1 kg of flour\n");
    pool.back_up().await;
    pool.stop().await;
    fs::write(&state, before).unwrap();
    pool.start();
    let last = |status: &OwnerStatus| status.last_run.as_ref().map(|last| (last.archive.0, last.files));
    pool.until("the second run", |status| last(status) == Some((2, 2))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_another_program_stands_in_the_way_of_is_tried_again() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.init().await;
    // As another backup does that works on the repository.
    let writer = fs::File::open(pool.folder().join("repo/snapshots")).unwrap();
    rustix::fs::flock(&writer, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    pool.owner().ask_run(Mode::Delta).unwrap();
    let failed = |status: &OwnerStatus| status.last_run.as_ref().is_some_and(|last| last.error.is_some());
    let status = pool.until("an error", failed).await;
    assert!(status.last_run.unwrap().error.unwrap().contains("in use"));
    drop(writer);
    pool.machine.pass(5 * 60_000);
    pool.until("an archive", |status| status.archives == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_continuous_mode_makes_one_archive_of_a_change() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    let mut plan = pool.plan();
    plan.continuous = true;
    let kit = pool.owner().init(plan).await.unwrap();
    pool.until("the first", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    for number in 2..5 {
        pool.write(&format!("letter-{number}.txt"), b"Dear Bob,\n");
        pool.until("its archive", |status| {
            status.newest.as_ref().is_some_and(|newest| newest.files == number && newest.copies == 2)
        })
        .await;
        assert_eq!(pool.status().archives, number);
        // Nothing that is kept of it changes.
        let path = pool.home().join("letter.txt");
        fs::set_permissions(&path, fs::metadata(&path).unwrap().permissions()).unwrap();
    }
    assert_eq!(pool.restored(&pool.folder().join("repo"), kit.passphrase.as_str()), pool.files());
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_files_are_on_the_peers_within_seconds_and_fold_into_the_next_archive() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    let mut plan = pool.plan();
    plan.continuous = true;
    let kit = pool.owner().init(plan).await.unwrap();
    // What is there when watching begins is kept at once, too.
    pool.until("the first", |status| status.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    let count = pool.status().archives;
    pool.write("letter.txt", b"Dear Ana, dear Bob,\n");
    let begun = Instant::now();
    pool.until("a continuous one", |status| {
        status.archives > count
            && status.newest.as_ref().is_some_and(|newest| newest.is_continuous && newest.copies == 2)
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(10));
    let repository = pool.holder(2).repository(agent(1)).unwrap();
    assert_eq!(pool.restored(&repository, kit.passphrase.as_str()), pool.files());
    pool.owner().ask_run(Mode::Snapshot).unwrap();
    pool.until("one archive", |status| {
        status.archives == 1 && status.newest.as_ref().is_some_and(|newest| !newest.is_continuous && newest.copies == 2)
    })
    .await;
    assert_eq!(pool.restored(&pool.folder().join("repo"), kit.passphrase.as_str()), pool.files());
}
