//! The trash as doors show it, and room that writes were refused for want of.

use shoal_ledger::{Guard, Node, NodeKind, NodePath, Rejection};
use shoal_volume::{Drive, DriveError, NewFile, TRASH_FOLDER, WantedRoom};

use crate::pool::*;

fn at(names: &[&str]) -> NodePath {
    NodePath { volume: path("x").volume, names: names.iter().map(|&name| name.to_owned()).collect() }
}

fn listed(drive: &Drive, names: &[&str]) -> Vec<Node> {
    let (nodes, more) = drive.trash_children(&at(names), None, 100).expect("read");
    assert_eq!(more, None);
    nodes
}

#[tokio::test]
async fn every_version_is_a_file_in_the_folder_it_was_in_and_reads_as_it_was() {
    let pool = pool();
    let drive = &pool.drive;
    drive.make_folder(&path("docs"), Guard::default()).await.expect("made");
    let (first, second) = (noise(1, CHUNK + 7), noise(2, 100));
    let file = at(&["docs", "report.txt"]);
    for bytes in [&first, &second] {
        let mut writer = drive.create(&file, NewFile::default(), Guard::default()).await.expect("begun");
        writer.write(bytes.clone()).await.expect("taken");
        writer.commit().await.expect("written");
    }
    assert_eq!(listed(drive, &[]).len(), 1, "the overwritten version's folder");
    drive.remove(&path("docs"), Guard::default()).await.expect("removed");
    let root = drive.trash_node(&at(&[])).expect("read").expect("there");
    assert_eq!((root.name.as_str(), root.kind), (TRASH_FOLDER, NodeKind::Folder));
    let [docs] = &listed(drive, &[])[..] else { panic!("one folder") };
    assert_eq!((docs.name.as_str(), docs.kind), ("docs", NodeKind::Folder));
    let versions = listed(&pool.fresh(), &["docs"]);
    let named = |version: &Node, reason: &str| {
        version.name.starts_with("report (20") && version.name.ends_with(&format!(", {reason}).txt"))
    };
    assert!(named(&versions[0], "overwritten") && named(&versions[1], "deleted"), "{versions:?}");
    for (version, bytes) in versions.iter().zip([&first, &second]) {
        let found = drive.trash_node(&at(&["docs", &version.name])).expect("read").expect("found by its name");
        assert_eq!(&found, version);
        let read = collect(pool.fresh().open(&found).expect("opened").read(0..u64::MAX)).await.expect("read");
        assert_same(&read, bytes);
    }
    for nothing in [&["docs", "report.txt"][..], &["none"], &["docs", "report (2026-11-21 15.04.05, deleted).txt"]] {
        assert_eq!(drive.trash_node(&at(nothing)).expect("read"), None, "{nothing:?}");
    }
}

#[tokio::test]
async fn versions_of_long_names_are_found_by_the_names_they_are_shown_by() {
    let pool = pool();
    let drive = &pool.drive;
    let files = ["one", "two"].map(|end| format!("{}{end}.txt", "long ".repeat(48)));
    for file in &files {
        write(drive, file, &noise(1, 3_000)).await.expect("written");
        drive.remove(&path(file), Guard::default()).await.expect("removed");
    }
    let versions = listed(drive, &[]);
    assert_eq!(versions.len(), 2);
    for version in &versions {
        assert!(version.name.len() <= 255 && version.name.ends_with(", deleted).txt"), "{}", version.name);
        assert_eq!(drive.trash_node(&at(&[&version.name])).expect("read").as_ref(), Some(version));
    }
}

#[tokio::test]
async fn a_version_is_copied_out_and_stays() {
    let pool = pool();
    let drive = &pool.drive;
    let bytes = noise(3, CHUNK);
    write(drive, "file", &bytes).await.expect("written");
    drive.remove(&path("file"), Guard::default()).await.expect("removed");
    let version = listed(drive, &[]).remove(0);
    let from = at(&[&version.name]);
    let copied = drive.copy_from_trash(&from, &path("back"), false, Guard::default()).await;
    assert!(copied.expect("copied"), "nothing was there");
    assert_same(&read(drive, "back").await.expect("read"), &bytes);
    let again = drive.copy_from_trash(&from, &path("back"), false, Guard::default()).await;
    assert!(matches!(again, Err(DriveError::Rejected(Rejection::Exists(_)))), "{again:?}");
    let none = drive.copy_from_trash(&path("none"), &path("new"), false, Guard::default()).await;
    assert!(matches!(none, Err(DriveError::Rejected(Rejection::NotFound(_)))), "{none:?}");
    assert_eq!(listed(drive, &[]), [version]);
}

#[tokio::test]
async fn a_long_listing_goes_on_where_it_was() {
    let pool = pool();
    for number in 0..30 {
        let name = format!("{number:02}");
        write(&pool.drive, &name, &noise(number, 10)).await.expect("written");
        pool.drive.remove(&path(&name), Guard::default()).await.expect("removed");
    }
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let (nodes, next) = pool.drive.trash_children(&at(&[]), after.as_deref(), 7).expect("read");
        seen.extend(nodes.into_iter().map(|node| node.name[..2].to_owned()));
        after = next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, (0..30).map(|number| format!("{number:02}")).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_a_refused_write_wanted_is_told_once() {
    let pool = pool_of(3, 1 << 20, |_| {});
    assert_eq!(pool.drive.take_wanted_room(), None);
    for size in [5 << 20, 9 << 20, 7 << 20] {
        let file = NewFile { size_bytes: Some(size), ..NewFile::default() };
        let refused = pool.drive.create(&path("file"), file, Guard::default()).await;
        assert!(matches!(refused, Err(DriveError::Full)));
    }
    assert_eq!(pool.drive.take_wanted_room(), Some(WantedRoom { bytes: 9 << 20, survive: 2 }));
    assert_eq!(pool.drive.take_wanted_room(), None);
    // One whose size is not known finds out on the way.
    let written = write(&pool.drive, "file", &noise(1, 3 * CHUNK)).await;
    assert!(matches!(written, Err(DriveError::Full)), "{written:?}");
    assert!(pool.drive.take_wanted_room().is_some_and(|wanted| wanted.bytes >= CHUNK as u64));
}
