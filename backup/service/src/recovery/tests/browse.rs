//! Archives looked at.

use std::fs;

use super::super::*;
use super::stage::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_was_made_since_one_first_looked_is_seen_and_the_latest_is_the_latest() {
    let mut owner = Owner::new();
    owner.write("a", b"old");
    let gone = owner.back_up();
    let mut stage = Stage::new(&owner, &[1]);
    assert_eq!(stage.recovery.archives(&kit()).await.unwrap().len(), 1);
    owner.write("a", b"newer");
    owner.back_up();
    stage.renew(&owner, 1);
    assert_eq!(stage.recovery.archives(&kit()).await.unwrap().len(), 2);
    let out = stage.target("out");
    let done = stage.restore(&RestoreRequest::all(kit(), ArchiveRef::Latest, out.clone())).await;
    assert_eq!(done.state, RestoreState::Done, "{done:#?}");
    assert_eq!(fs::read(owner.below(&out).join("a")).unwrap(), b"newer");
    // One that the owner let go is not offered any more.
    owner.catalogue.append(&crate::testing::TestSigner(OWNER), 9, shoal_backup::catalogue::Op::Delete(gone)).unwrap();
    stage.renew(&owner, 1);
    let numbers: Vec<_> = stage.recovery.archives(&kit()).await.unwrap().iter().map(|view| view.number).collect();
    assert_eq!(numbers.len(), 1, "{numbers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_differences_and_names() {
    let mut owner = Owner::new();
    for name in ["a", "b/x.txt", "b/y", "c"] {
        owner.write(name, name.as_bytes());
    }
    owner.back_up();
    owner.write("b/x.txt", b"longer than before");
    owner.write("d.txt", b"new");
    fs::remove_file(owner.home().join("c")).unwrap();
    owner.back_up();
    let stage = Stage::new(&owner, &[1]);
    let recovery = &stage.recovery;

    let home = owner.path("");
    let names = |page: &FilesPage| {
        let name = |entry: &FileView| entry.path.to_string().rsplit('/').next().unwrap().to_owned();
        page.entries.iter().map(name).collect::<Vec<_>>()
    };
    let page = recovery.files(&kit(), 1.into(), home.clone(), None, 2).await.unwrap();
    assert_eq!((names(&page), page.more), (vec!["a".to_owned(), "b".to_owned()], true));
    let after = page.entries.last().unwrap().path.clone();
    let page = recovery.files(&kit(), 1.into(), home.clone(), Some(after), 2).await.unwrap();
    assert_eq!((names(&page), page.more), (vec!["c".to_owned()], false));
    let top = recovery.files(&kit(), 1.into(), "/".into(), None, 9).await.unwrap();
    assert_eq!(top.entries.len(), 1, "{top:?}");
    let file = recovery.files(&kit(), 1.into(), owner.path("b/x.txt"), None, 9).await.unwrap();
    assert_eq!((file.entries.len(), &file.entries[0].path, file.more), (1, &owner.path("b/x.txt"), false));
    for nothing in ["z", "a/z", "z/a"] {
        let missing = recovery.files(&kit(), 1.into(), owner.path(nothing), None, 9).await;
        assert!(matches!(&missing, Err(RecoveryError::NotInArchive(_))), "{missing:?}");
    }

    let diff = recovery.diff(&kit(), 1.into(), ArchiveRef::Latest, None, 9).await.unwrap();
    let found: Vec<_> = diff.differences.iter().map(|it| (it.file.path.clone(), it.change)).collect();
    let expected = [("b/x.txt", Change::Changed), ("c", Change::Removed), ("d.txt", Change::Added)];
    assert_eq!(found, expected.map(|(path, change)| (owner.path(path), change)));
    let sizes = |it: &DifferenceView| (it.before.as_ref().map(|before| before.size_bytes), it.file.size_bytes);
    assert_eq!(diff.differences.iter().map(sizes).collect::<Vec<_>>(), [(Some(7), 18), (None, 1), (None, 3)]);
    let rest = recovery.diff(&kit(), 1.into(), 2.into(), Some(owner.path("b/x.txt")), 1).await.unwrap();
    assert_eq!((rest.differences[0].file.path.clone(), rest.differences.len(), rest.more), (owner.path("c"), 1, true));

    // Other rights are a change too.
    fs::set_permissions(owner.home().join("a"), std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    owner.back_up();
    let stage = Stage::new(&owner, &[1]);
    let diff = stage.recovery.diff(&kit(), 2.into(), 3.into(), None, 9).await.unwrap();
    let modes = |it: &DifferenceView| (it.file.path.clone(), it.file.rights.map(|rights| rights.mode));
    assert_eq!(diff.differences.iter().map(modes).collect::<Vec<_>>(), [(owner.path("a"), Some(0o600))]);
    assert_ne!(diff.differences[0].before.as_ref().unwrap().rights, diff.differences[0].file.rights);

    let found = recovery.find(&kit(), "*.txt".to_owned(), 9).await.unwrap();
    let versions: Vec<_> =
        found.found.iter().map(|it| (it.file.path.clone(), it.archives.iter().map(|it| it.0).collect())).collect();
    let expected = [("b/x.txt", vec![1]), ("b/x.txt", vec![2]), ("d.txt", vec![2])];
    assert_eq!(versions, expected.map(|(path, archives)| (owner.path(path), archives)));
    let found = recovery.find(&kit(), "y".to_owned(), 9).await.unwrap();
    assert_eq!(found.found[0].archives.len(), 2);
    assert!(matches!(recovery.find(&kit(), "[".to_owned(), 9).await, Err(RecoveryError::BadRequest(_))));
}
