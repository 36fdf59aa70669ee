//! The owner's disk is full: what did not come to an archive goes, runs wait, and go on by themselves.

use shoal_backup::plan::Pause;
use shoal_backup::schedule::{Rule, When};

use super::*;

/// A small disk, as long as it is held.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn at(folder: &Path, size: &str) -> Self {
        assert!(rustix::process::geteuid().is_root(), "this test mounts a small disk and needs root");
        mount(folder, size);
        Self(folder.to_owned())
    }

    fn grow(&self, size: &str) {
        mount(&self.0, &format!("remount,{size}"));
    }
}

fn mount(folder: &Path, options: &str) {
    let mut mount = std::process::Command::new("mount");
    assert!(mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(folder).status().unwrap().success());
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn failed(status: &OwnerStatus) -> bool {
    status.run.is_none() && status.last_run.as_ref().is_some_and(|last| last.error.is_some())
}

fn packs(repository: &Path) -> BTreeSet<PathBuf> {
    let folders = fs::read_dir(repository.join("data")).unwrap().map(|entry| entry.unwrap().path());
    folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path())).collect()
}

fn names(paths: &BTreeSet<PathBuf>) -> BTreeSet<std::ffi::OsString> {
    paths.iter().map(|path| path.file_name().unwrap().to_owned()).collect()
}

const RETRY_MS: u64 = 5 * 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_wrote_that_filled_the_disk_goes_everywhere_and_it_is_tried_again_when_there_is_room() {
    let mut pool = Pool::new(2);
    pool.stop().await;
    let disk = SmallDisk::at(&pool.folder(), "size=19m");
    pool.start();
    pool.write("letter.txt", &noise(1, 1 << 20));
    let kit = pool.init().await;
    let before = pool.back_up().await;
    let repository = pool.folder().join("repo");
    let (packs_before, kept) = (packs(&repository), pool.files());
    // One pack of it fits.
    pool.write("large", &noise(2, 20 << 20));
    pool.owner().ask_run(Mode::Delta).unwrap();
    let status = pool.until("an error", failed).await;
    assert!(status.last_run.unwrap().error.unwrap().contains("no room"), "it says why");
    assert_eq!((status.archives, packs(&repository)), (1, packs_before.clone()), "the disk is its user's again");
    let data = pool.dir.path().join("data");
    let begins = format!("The disk of {} is full: ", data.display());
    assert!(status.verdict.starts_with(&begins) && status.verdict.contains("Make room: "), "{}", status.verdict);
    let retry_ms = status.next_run.unwrap().at_ms;
    assert!(status.verdict.ends_with(&format!("it is tried again at {}", Zone::UTC.clock(retry_ms))));
    // Who was told of it deletes it again.
    let status = pool.until("the peers as before", |status| status.unsent_bytes == 0).await;
    assert_eq!(status.objects, before.objects);
    for number in [2, 3] {
        assert_eq!(pool.restored(&pool.holder(number).repository(agent(1)).unwrap(), kit.passphrase.as_str()), kept);
    }
    assert_eq!(pool.restored(&repository, kit.passphrase.as_str()), kept);
    // There is no more room when it is due: it waits, and fills nothing.
    pool.machine.pass(RETRY_MS);
    let status = pool.until("waiting", |status| status.waits_for.is_some()).await;
    assert_eq!(status.waits_for.map(|waits| waits.pause), Some(Pause::NoRoom));
    assert!(status.verdict.starts_with(&begins), "{}", status.verdict);
    assert_eq!(names(&packs(&repository)), names(&packs_before));
    disk.grow("size=96m");
    let status = pool.until("an archive", |status| status.archives == 2 && status.run.is_none()).await;
    assert_eq!((status.last_run.unwrap().error, status.trouble), (None, None));
    assert_eq!(pool.restored(&repository, kit.passphrase.as_str()), pool.files());
    pool.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_run_begins_or_goes_on_with_less_room_than_is_reserved() {
    let pool = Pool::new(2);
    pool.write("letter.txt", &noise(1, 100_000));
    let mut plan = pool.plan();
    plan.rules = vec![Rule { mode: Mode::Snapshot, when: When::Interval { minutes: 60 * 24 } }];
    pool.machine.set_free_bytes(Some(RESERVE_BYTES - 1));
    pool.owner().init(plan).await.unwrap();
    let status = pool.until("waiting", |status| status.waits_for.is_some()).await;
    assert_eq!((status.waits_for.map(|waits| waits.pause), status.last_run), (Some(Pause::NoRoom), None));
    assert!(status.verdict.contains("is full: 1.0 MB free, 2.0 MB are needed"), "{}", status.verdict);
    // Who asks is told at once.
    pool.owner().ask_run(Mode::Delta).unwrap();
    let status = pool.until("a refusal", failed).await;
    assert!(status.last_run.unwrap().error.unwrap().contains("is full"));
    assert_eq!(status.archives, 0);
    pool.machine.set_free_bytes(None);
    let status = pool.until("the first", |status| status.archives == 1 && status.run.is_none()).await;
    assert_eq!((status.trouble, status.last_run.unwrap().error), (None, None));
    // Somebody fills the disk while a run is on.
    pool.write("second", &noise(2, 3 << 20));
    let machine = Arc::clone(&pool.machine);
    let state = pool.folder().join("state.json");
    pool.machine.on_free_bytes(move || {
        if fs::read_to_string(&state).unwrap_or_default().contains("\"unfinished\": \"delta\"") {
            machine.set_free_bytes(Some(0));
        }
    });
    pool.owner().ask_run(Mode::Delta).unwrap();
    let status = pool.until("its end", failed).await;
    assert!(status.last_run.unwrap().error.unwrap().contains("no room"));
    assert_eq!(status.archives, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_run_left_that_the_power_cut_short_goes_when_there_is_no_room() {
    let mut pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    let kit = pool.init().await;
    let before = pool.back_up().await;
    pool.stop().await;
    // As a run leaves it that wrote a pack and no index.
    let left = noise(5, 300_000);
    let name = ObjectName::of(&left).to_string();
    let path = pool.folder().join("repo/data").join(&name[..2]).join(&name);
    fs::write(&path, left).unwrap();
    pool.start();
    pool.until("it at the peers", |status| status.objects > before.objects && status.unsent_bytes == 0).await;
    pool.machine.set_free_bytes(Some(0));
    pool.owner().ask_run(Mode::Delta).unwrap();
    let status = pool.until("a refusal", failed).await;
    assert!(!path.exists());
    assert_eq!((status.archives, status.objects), (1, before.objects));
    pool.machine.set_free_bytes(None);
    let status = pool.back_up().await;
    assert_eq!((status.archives, status.lost_here), (2, 0));
    for number in [2, 3] {
        let repository = pool.holder(number).repository(agent(1)).unwrap();
        assert_eq!(pool.restored(&repository, kit.passphrase.as_str()), pool.files());
        assert!(pool.holder(number).status().copies.iter().any(|copy| copy.trash_objects > 0));
    }
}
