//! Restoring: nothing unknown is touched, nothing leads out of the target, nothing is half-written.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;

use shoal_archive::{
    Archive, ArchiveError, BackUp, BackedUp, Checked, ContentId, Entry, Forgotten, Kind, Listing, Needs, Objects,
    ReadContents, Repository, Restore, UNFINISHED_PREFIX, Watch,
};
use shoal_backup::ObjectName;
use shoal_backup::recovery::Existing;
use support::{Place, assert_same, describe, noise, path_bytes};

#[test]
fn what_is_unknown_stays_and_folders_are_never_replaced() {
    let place = Place::new();
    fs::create_dir(place.home().join("f")).unwrap();
    fs::write(place.home().join("f/x"), "archived").unwrap();
    fs::write(place.home().join("g"), "archived").unwrap();
    fs::write(place.home().join("h"), "archived").unwrap();
    let made = place.back_up();
    let target = place.restored("out");
    fs::create_dir_all(target.join("g/mine")).unwrap();
    fs::write(target.join("f"), "mine").unwrap();
    fs::write(target.join("h"), "mine").unwrap();
    fs::write(target.join("unknown"), "mine").unwrap();

    let restore = place.restore(&[made.archive.name], "out");
    let before = describe(&target);
    let preview = restore.preview(&place.engine, &Watch::silent(), &mut |_| {}).unwrap();
    assert_eq!(describe(&target), before, "a preview wrote something");
    let kept = Restore { existing: Existing::Keep, ..restore.clone() };
    kept.run(&place.engine, &Watch::silent()).unwrap();
    assert_eq!(fs::read(target.join("h")).unwrap(), b"mine");

    let outcome = restore.run(&place.engine, &Watch::silent()).unwrap();
    assert_eq!(preview.totals, outcome.totals);
    assert_eq!((outcome.totals.overwritten.count, outcome.totals.skipped.count), (1, 3));
    assert_eq!(outcome.failures.count, 2, "{:?}", outcome.failures);
    assert_eq!(fs::read(target.join("f")).unwrap(), b"mine");
    assert_eq!(fs::read(target.join("unknown")).unwrap(), b"mine");
    assert_eq!(fs::read(target.join("h")).unwrap(), b"archived");
    assert!(target.join("g/mine").is_dir());
}

#[test]
fn what_a_killed_restore_left_goes_with_the_next_one_and_is_never_backed_up() {
    let place = Place::new();
    fs::create_dir(place.home().join("a")).unwrap();
    fs::write(place.home().join("a/letter"), "Dear Ana,").unwrap();
    // No process can have this number.
    let left = format!("{UNFINISHED_PREFIX}2147483647-3");
    let ours = format!("{UNFINISHED_PREFIX}{}-999999", std::process::id());
    fs::write(place.home().join("a").join(&left), "Dear").unwrap();
    let archive = place.back_up().archive.name;
    place.restore_to(&[archive], "out");
    let names = || -> Vec<String> {
        let found = fs::read_dir(place.restored("out").join("a")).unwrap();
        let mut names: Vec<_> = found.map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    assert_eq!(names(), ["letter"]);
    fs::write(place.restored("out").join("a").join(&left), "Dear").unwrap();
    fs::write(place.restored("out").join("a").join(&ours), "of another restore of this process").unwrap();
    fs::write(place.path("out").join(&left), "Dear").unwrap();
    place.restore_to(&[archive], "out");
    assert_eq!(names(), [ours.as_str(), "letter"]);
    assert!(!place.path("out").join(&left).exists());
}

#[test]
fn only_what_is_back_counts_as_back() {
    let place = Place::new();
    for name in ["a/one", "a/two", "b/three"] {
        let path = place.home().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, name).unwrap();
    }
    let archive = place.back_up().archive.name;
    fs::create_dir_all(place.restored("out")).unwrap();
    // No way into this folder.
    fs::write(place.restored("out").join("a"), "a file").unwrap();
    let watch = Watch::silent();
    let outcome = place.restore(&[archive], "out").run(&place.engine, &watch).unwrap();
    assert!(!outcome.is_complete());
    assert_eq!(watch.progress().files, 1);
}

#[test]
fn several_archives_in_sequence_and_ticked_paths() {
    let place = Place::new();
    let write = |name: &str, text: &str| {
        let path = place.home().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("a/old", "1");
    write("a/both", "1");
    write("b/gone", "1");
    let first = place.back_up().archive.name;
    fs::remove_file(place.home().join("a/old")).unwrap();
    fs::remove_dir_all(place.home().join("b")).unwrap();
    write("a/both", "22");
    write("b", "a file now");
    write("c", "3");
    let second = place.back_up().archive.name;

    place.restore_to(&[first, second], "all");
    let read = |target: &str, name: &str| fs::read_to_string(place.restored(target).join(name)).ok();
    let found: Vec<_> = ["a/old", "a/both", "b", "c"].iter().map(|name| read("all", name).unwrap()).collect();
    assert_eq!(found, ["1", "22", "a file now", "3"]);

    let mut ticked = place.restore(&[first], "ticked");
    ticked.ticked = vec![path_bytes(&place.home().join("a/both"))];
    ticked.run(&place.engine, &Watch::silent()).unwrap();
    let names: Vec<_> = describe(&place.restored("ticked")).into_keys().collect();
    assert_eq!(names, [b"a".to_vec(), b"a/both".to_vec()]);
}

#[test]
fn folders_above_a_ticked_file_stay_as_their_owner_left_them() {
    let place = Place::new();
    fs::create_dir(place.home().join("private")).unwrap();
    fs::set_permissions(place.home().join("private"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(place.home().join("private/letter"), "archived").unwrap();
    let made = place.back_up();
    let mut restore = place.restore(&[made.archive.name], "out");
    restore.run(&place.engine, &Watch::silent()).unwrap();
    let folder = place.restored("out").join("private");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).unwrap();
    fs::remove_file(folder.join("letter")).unwrap();
    restore.ticked = vec![path_bytes(&place.home().join("private/letter"))];
    restore.run(&place.engine, &Watch::silent()).unwrap();
    assert_eq!(fs::read(folder.join("letter")).unwrap(), b"archived");
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700, "closed since");
    restore.ticked = vec![path_bytes(&place.home().join("private"))];
    restore.run(&place.engine, &Watch::silent()).unwrap();
    assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o755, "asked for itself");
}

#[test]
fn a_link_planted_in_the_way_is_not_followed() {
    let place = Place::new();
    fs::create_dir(place.home().join("folder")).unwrap();
    fs::write(place.home().join("folder/file"), "archived").unwrap();
    let made = place.back_up();
    let outside = place.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::create_dir_all(place.restored("out")).unwrap();
    symlink(&outside, place.restored("out").join("folder")).unwrap();
    let outcome = place.restore_to(&[made.archive.name], "out");
    assert_eq!(outcome.failures.count, 1, "{:?}", outcome.failures);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    // Above all that was backed up, too.
    let above = place.path("above");
    let first = place.home().strip_prefix("/").unwrap().components().next().unwrap().as_os_str().to_owned();
    fs::create_dir(&above).unwrap();
    symlink(&outside, above.join(first)).unwrap();
    let outcome = place.restore_to(&[made.archive.name], "above");
    assert!(outcome.failures.count > 0 && outcome.restored == 0);
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
}

/// A repository that says whatever it likes.
struct Hostile {
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Nothing;

impl ReadContents for Nothing {
    fn read(&self, _: &ContentId) -> Result<bytes::Bytes, ArchiveError> {
        Ok(bytes::Bytes::new())
    }
}

impl Repository for Hostile {
    fn back_up(&self, _: &BackUp, _: &Arc<Watch>) -> Result<BackedUp, ArchiveError> {
        Err(ArchiveError::Cancelled)
    }
    fn archives(&self) -> Result<Vec<Archive>, ArchiveError> {
        Ok(vec![])
    }
    fn list(&self, _: &ObjectName) -> Result<Listing, ArchiveError> {
        Ok(Box::new(self.entries.clone().into_iter().map(Ok)))
    }
    fn contents(&self) -> Result<Arc<dyn ReadContents>, ArchiveError> {
        Ok(Arc::new(Nothing))
    }
    fn check(&self, _: bool) -> Result<Checked, ArchiveError> {
        Ok(Checked::default())
    }
    fn forget(&self, _: &[ObjectName]) -> Result<Forgotten, ArchiveError> {
        Ok(Forgotten::default())
    }
    fn give_up(&self) -> Result<Forgotten, ArchiveError> {
        Ok(Forgotten::default())
    }
    fn objects(&self) -> Result<Objects, ArchiveError> {
        Ok(vec![])
    }
    fn needs(&self, _: &ObjectName) -> Result<Needs, ArchiveError> {
        Ok(Needs::default())
    }
}

#[test]
fn no_path_of_a_hostile_repository_leads_out_of_the_target() {
    let place = Place::new();
    let target = place.path("a/b/target");
    fs::create_dir_all(&target).unwrap();
    let outside = place.path("a/b/outside");
    fs::create_dir(&outside).unwrap();
    let entry = |path: &str, kind: Kind| Entry {
        path: path.into(),
        kind,
        size_bytes: 0,
        modified_ns: 0,
        mode: 0o777,
        uid: 0,
        gid: 0,
        same_as: None,
        attributes: vec![],
    };
    let file = || Kind::File(Box::new([]));
    let link = |to: &std::path::Path| Kind::Link(std::os::unix::ffi::OsStrExt::as_bytes(to.as_os_str()).into());
    let before = describe(&place.path("a/b/outside"));
    for entries in [
        vec![entry("../planted", file())],
        vec![entry("/../planted", file())],
        vec![entry("..", Kind::Folder), entry("../planted", file())],
        vec![entry("/x/../../planted", file())],
        vec![entry("/x", Kind::Folder), entry("/x/..", Kind::Folder), entry("/x/../../planted", file())],
        vec![entry("/out", link(&outside)), entry("/out/planted", file())],
        vec![entry("/up", link("..".as_ref())), entry("/up/planted", file())],
        vec![entry(outside.join("planted").to_str().unwrap(), file())],
        vec![entry("//planted/./x", file())],
        vec![entry("", file()), entry("/", Kind::Folder), entry("/.", file())],
    ] {
        let restore = Restore {
            archives: vec![ObjectName::default()],
            target: target.clone(),
            ticked: vec![],
            existing: Existing::Overwrite,
        };
        let outcome = restore.run(&Hostile { entries: entries.clone() }, &Watch::silent()).unwrap();
        let planted = describe(&target).into_keys().find(|path| path.ends_with(b"planted"));
        assert_eq!(planted, None, "{entries:?} {outcome:?}");
        assert_eq!(describe(&outside), before, "{entries:?}");
        let beside: Vec<_> = fs::read_dir(place.path("a/b")).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(beside.len(), 2, "{entries:?} {beside:?}");
    }
}

#[test]
fn a_full_disk_is_a_clear_error_and_nothing_is_half_written() {
    assert!(rustix::process::geteuid().is_root(), "this test mounts a small disk and needs root");
    let place = Place::new();
    for number in 0..12 {
        fs::write(place.home().join(format!("f{number:02}")), noise(number, 1 << 20)).unwrap();
    }
    let made = place.back_up();
    let small = place.path("small");
    fs::create_dir(&small).unwrap();
    let run = |command: &str, arguments: &[&str]| {
        let mut command = std::process::Command::new(command);
        assert!(command.args(arguments).arg(&small).status().unwrap().success());
    };
    run("mount", &["-t", "tmpfs", "-o", "size=6m", "tmpfs"]);
    let restore = place.restore(&[made.archive.name], "small");
    let preview = restore.preview(&place.engine, &Watch::silent(), &mut |_| {}).unwrap();
    let outcome = restore.run(&place.engine, &Watch::silent()).unwrap();
    let there = describe(&place.restored("small"));
    run("umount", &[]);
    assert!(!preview.fits(), "{preview:?}");
    let stopped = outcome.stopped.unwrap().to_string();
    assert!(stopped.contains("the disk is full"), "{stopped}");
    let before = describe(&place.home());
    assert!(!there.is_empty() && there.len() < 12, "{}", there.len());
    for (name, said) in there {
        assert!(!name.starts_with(UNFINISHED_PREFIX.as_bytes()));
        assert_eq!(before.get(&name), Some(&said));
    }
}

#[test]
fn cancelling_leaves_whole_files_only() {
    let place = Place::new();
    for number in 0..20 {
        fs::write(place.home().join(format!("f{number:02}")), noise(number, 1 << 20)).unwrap();
    }
    let made = place.back_up();
    let cancelled = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let tell = {
        let cancelled = Arc::clone(&cancelled);
        move |progress: shoal_archive::Progress| {
            cancelled.store(progress.bytes > 5 << 20, std::sync::atomic::Ordering::SeqCst);
        }
    };
    let watch = Watch::new(Arc::clone(&cancelled), tell);
    let outcome = place.restore(&[made.archive.name], "out").run(&place.engine, &watch).unwrap();
    assert!(matches!(outcome.stopped, Some(ArchiveError::Cancelled)));
    let before = describe(&place.home());
    let there = describe(&place.restored("out"));
    assert!(there.len() >= 5 && there.len() < 20, "{}", there.len());
    there.iter().for_each(|(name, said)| assert_eq!(before.get(name), Some(said)));
    // And it goes on where it was.
    let outcome = place.restore_to(&[made.archive.name], "out");
    assert_eq!(outcome.totals.created.count, 20 - there.len() as u64);
    assert_same(&place.home(), &place.restored("out"));
}

#[test]
fn a_file_that_may_not_be_written_to_is_replaced_whole() {
    let place = Place::new();
    fs::write(place.home().join("x"), "archived").unwrap();
    fs::set_permissions(place.home().join("x"), fs::Permissions::from_mode(0o400)).unwrap();
    let made = place.back_up();
    let target = place.restored("out").join("x");
    fs::create_dir_all(target.parent().unwrap()).unwrap();
    fs::write(&target, "mine, and longer").unwrap();
    fs::set_permissions(&target, fs::Permissions::from_mode(0o000)).unwrap();
    let open = fs::File::open(&target).unwrap();
    place.restore_to(&[made.archive.name], "out");
    assert_same(&place.home(), &place.restored("out"));
    assert_eq!(std::io::read_to_string(open).unwrap(), "mine, and longer", "the old file was written into");
}
