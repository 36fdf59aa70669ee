//! A hopeless upload is refused before its bytes are taken, as the commit would refuse it.

use shoal_ledger::{Expect, Guard, LockRequest, LockScope, NodePath, Rejection, VolumePolicy, VolumeRecord, query};
use shoal_volume::{DriveError, NewFile};

use crate::pool::*;

async fn refused(pool: &Pool, at: &NodePath, guard: Guard) -> Rejection {
    match pool.drive.create(at, NewFile::default(), guard).await {
        Err(DriveError::Rejected(rejection)) => rejection,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
}

#[tokio::test]
async fn places_where_no_file_can_be() {
    let pool = pool();
    pool.drive.make_folder(&path("folder"), Guard::default()).await.expect("made");
    write(&pool.drive, "file", &noise(1, 10)).await.expect("written");
    let none = Guard::default;
    assert!(matches!(refused(&pool, &path("folder"), none()).await, Rejection::IsAFolder(_)));
    assert!(matches!(refused(&pool, &path("none").child("file"), none()).await, Rejection::ParentMissing(_)));
    assert!(matches!(refused(&pool, &path("file").child("file"), none()).await, Rejection::ParentMissing(_)));
    let mut elsewhere = path("file");
    elsewhere.volume.0 += 100;
    assert!(matches!(refused(&pool, &elsewhere, none()).await, Rejection::NotFound(_)));
}

#[tokio::test]
async fn conditions_that_do_not_hold() {
    let pool = pool();
    let (node, _) = write(&pool.drive, "file", &noise(1, 10)).await.expect("written");
    let guard = |expect| Guard { expect: Some(expect), ..Guard::default() };
    let stale = Expect::Version { inode: node.inode, version: node.version + 1 };
    for (name, expect) in [("file", Expect::Absent), ("other", Expect::Present), ("file", stale)] {
        let rejection = refused(&pool, &path(name), guard(expect)).await;
        assert!(matches!(rejection, Rejection::PreconditionFailed(_)), "{rejection}");
    }
    let current = Expect::Version { inode: node.inode, version: node.version };
    for (name, expect) in [("other", Expect::Absent), ("file", Expect::Present), ("file", current)] {
        assert!(pool.drive.create(&path(name), NewFile::default(), guard(expect)).await.is_ok());
    }
}

#[tokio::test]
async fn a_locked_folder_takes_no_new_file() {
    let pool = pool();
    pool.drive.make_folder(&path("folder"), Guard::default()).await.expect("made");
    let within = path("folder").child("new");
    let ana = Guard { user: "ana".to_owned(), ..Guard::default() };
    pool.drive.lock(lock_of("folder"), ana.clone()).await.expect("locked");
    assert!(matches!(refused(&pool, &within, Guard::default()).await, Rejection::Locked(_)));
    let owner = Guard { tokens: vec!["urn:uuid:1".to_owned()], ..ana };
    assert!(pool.drive.create(&within, NewFile::default(), owner).await.is_ok());
}

fn lock_of(name: &str) -> LockRequest {
    LockRequest {
        token: "urn:uuid:1".to_owned(),
        path: path(name),
        deep: false,
        scope: LockScope::Exclusive,
        owner_xml: "".into(),
        timeout_s: 600,
    }
}

#[tokio::test]
async fn what_somebody_else_has_locked() {
    let pool = pool();
    write(&pool.drive, "file", &noise(1, 10)).await.expect("written");
    let ana = Guard { user: "ana".to_owned(), ..Guard::default() };
    pool.drive.lock(lock_of("file"), ana.clone()).await.expect("locked");
    let token = vec!["urn:uuid:1".to_owned()];
    let thief = Guard { user: "bo".to_owned(), tokens: token.clone(), expect: None };
    for guard in [Guard::default(), ana.clone(), thief] {
        assert!(matches!(refused(&pool, &path("file"), guard).await, Rejection::Locked(_)));
    }
    let owner = Guard { tokens: token, ..ana };
    assert!(pool.drive.create(&path("file"), NewFile::default(), owner).await.is_ok());
}

fn volume(pool: &Pool) -> VolumeRecord {
    query::volume_by_name(&*pool.ledger.snapshot(), "pool").expect("read").expect("there")
}

#[tokio::test]
async fn free_space_is_what_can_be_stored() {
    let room_bytes = 8 * CHUNK as u64;
    let pool = pool_of(6, room_bytes, |_| {});
    let free = pool.drive.space(&volume(&pool)).expect("space").free_bytes;
    assert!(free <= 4 * room_bytes, "six agents at 4+2 store no more than four agents' room: {free}");
    let written = noise(1, usize::try_from(free).expect("fits") - CHUNK);
    write(&pool.drive, "large", &written).await.expect("what is said to be free can be stored");
    let space = pool.drive.space(&volume(&pool)).expect("space");
    assert_eq!(space.used_bytes, written.len() as u64);
    assert!(space.free_bytes < 2 * CHUNK as u64, "{}", space.free_bytes);
    let file = NewFile { size_bytes: Some(space.free_bytes + 1), ..NewFile::default() };
    let refused = pool.drive.create(&path("more"), file, Guard::default()).await;
    assert!(matches!(refused.err(), Some(DriveError::Full)));
}

#[tokio::test]
async fn a_volume_follows_its_own_policy() {
    let pool = pool();
    let policy = VolumePolicy { survive: Some(1), compress: false };
    let command = shoal_ledger::Command::SetVolumePolicy { volume: volume(&pool).id, policy };
    pool.ledger.submit_now(command).expect("set");
    write(&pool.drive, "file", &noise(1, 100_000)).await.expect("written");
    assert_eq!((pool.stripes()[0].1.k, pool.stripes()[0].1.m), (5, 1));
}
