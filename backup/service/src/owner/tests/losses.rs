//! What rots on the owner's disk before the first copy of it was made.

use super::*;

/// The packs in the owner's repository.
fn packs(pool: &Pool) -> Vec<PathBuf> {
    let folders = fs::read_dir(pool.folder().join("repo/data")).unwrap().map(|entry| entry.unwrap().path());
    folders.flat_map(|folder| fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path())).collect()
}

fn rot(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

/// An archive that nobody has a copy of, with bad bytes in the pack of its largest file.
async fn rotten() -> (Pool, Kit) {
    let pool = Pool::new(0);
    pool.write("large", &noise(1, 3 << 20));
    pool.write("small", b"Dear Ana,\n");
    let kit = pool.init().await;
    pool.owner().ask_run(Mode::Snapshot).unwrap();
    pool.until("an archive", |status| status.run.is_none() && status.newest.is_some()).await;
    let largest = packs(&pool).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    rot(&largest);
    (pool, kit)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_rots_before_it_was_copied_is_packed_again_and_copied() {
    let (mut pool, kit) = rotten().await;
    (2..4).for_each(|number| pool.join(number, ROOM_BYTES));
    let status = pool.until("copies", |it| it.newest.as_ref().is_some_and(|newest| newest.copies == 2)).await;
    assert_eq!((status.lost_here, status.unsent_bytes), (0, 0), "{status:#?}");
    for number in [2, 3] {
        let repository = pool.holder(number).repository(agent(1)).unwrap();
        assert_eq!(pool.restored(&repository, kit.passphrase.as_str()), pool.files());
    }
    let archives = pool.owner().archives().unwrap();
    let all = archives.iter().map(|archive| (archive.copies, archive.is_damaged)).collect::<Vec<_>>();
    assert_eq!(all, [(2, false), (2, false)], "the first archive has all of it, too");
    assert_eq!(status.alerts, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_has_any_more_is_told_and_what_comes_later_is_copied() {
    let (mut pool, kit) = rotten().await;
    fs::remove_file(pool.home().join("large")).unwrap();
    (2..4).for_each(|number| pool.join(number, ROOM_BYTES));
    let is_copied = |it: &OwnerStatus| it.archives == 2 && it.newest.as_ref().is_some_and(|newest| newest.copies == 2);
    pool.until("copies of the second archive", is_copied).await;
    let told = |status: &OwnerStatus| -> Vec<String> { status.alerts.iter().map(|alert| alert.text.clone()).collect() };
    let lost = "archive 1 lacks contents that the disk of this PC damaged before there was a copy: a restore brings back the rest and \
                names the files. Check that disk";
    let status = pool.until("all of it at both", |status| status.unsent_bytes == 0 && status.lost_here == 0).await;
    assert_eq!(told(&status), [lost]);
    for number in [2, 3] {
        let engine = Engine::open(&pool.holder(number).repository(agent(1)).unwrap(), kit.passphrase.as_str()).unwrap();
        assert_eq!(engine.archives().unwrap().len(), 2);
    }
    pool.restart().await;
    let status = pool.until("both again", is_copied).await;
    assert_eq!(told(&status), [lost], "also after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_goes_while_the_repository_is_changed_is_no_loss() {
    let pool = Pool::new(2);
    pool.write("letter.txt", b"Dear Ana,\n");
    pool.init().await;
    pool.back_up().await;
    let (owner, setup) = (pool.owner(), pool.owner().setup().unwrap());
    let object = {
        let books = setup.books();
        let mut packs = books.catalogue.state().iter().map(|(_, object)| *object);
        packs.find(|object| object.kind == shoal_backup::ObjectKind::Pack).unwrap()
    };
    // As aging does: it is not there any more, and the catalogue has it still.
    let aging = setup.work.lock().await;
    let (path, aside) = (setup.objects.path(object.kind, &object.name), pool.dir.path().join("aside"));
    fs::rename(&path, &aside).unwrap();
    owner.look_at_own(&setup, &object).await;
    assert!(setup.books().missing.is_empty());
    drop(aging);
    owner.look_at_own(&setup, &object).await;
    assert_eq!(setup.books().missing.keys().collect::<Vec<_>>(), [&object.name], "now it is");
    pool.until("it comes back", |status| status.lost_here == 0).await;
}
