//! What an owner sends to its holders.

use std::os::unix::fs::symlink;

use bytes::Bytes;
use shoal_backup::ObjectKind;
use shoal_backup::catalogue::{Catalogue, Op};
use shoal_backup::{Object, ObjectName};
use shoal_backup_service::call::{Answer, Ask, No, PIECE_LIMIT_BYTES, entries_to_bytes, names_to_bytes};
use shoal_backup_service::testing::TestSigner;

use crate::pool::{OWNER, Pool, no, share, within};

/// Until when what may hang is done.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(20);

const KEPT: fn(u64, bool) -> Result<(Answer, Bytes), shoal_backup_service::call::CallError> =
    |have_bytes, stored| Ok((Answer::Kept { have_bytes, stored }, Bytes::new()));

#[tokio::test]
async fn objects_are_taken_in_order_and_a_copy_is_whole() {
    let pool = Pool::new();
    let first = pool.owner.archive(1, 3, 100_000);
    assert_eq!(no(pool.ask(0, Ask::Standing { owner: OWNER }, Bytes::new()).await), No::NotFound);
    assert_eq!(no(pool.ask(0, Ask::Entries { owner: OWNER }, Bytes::new()).await), No::NotFound, "it holds nothing");
    pool.send_catalogue(0).await;
    let (index, snapshot) = (first[3], first[4]);
    assert_eq!(no(pool.put(0, &index, 1_000).await), No::Refused, "its packs come first");
    assert_eq!(no(pool.put(0, &snapshot, 1_000).await), No::Refused);
    assert_eq!(no(pool.put(0, &first[0], 1_000).await), No::Refused, "the config and the key come first");
    pool.send_all(0).await;
    pool.assert_whole(0);
    assert_eq!(pool.put(0, &snapshot, 1_000).await, KEPT(300, true), "twice is confirmed");
    let mut names: Vec<ObjectName> = pool.owner.all().iter().map(|object| object.name).collect();
    names.sort_unstable();
    assert_eq!(pool.held(0).await, names);
    let standing = pool.standing(0).await;
    assert_eq!((standing.sequence, standing.holds, standing.lacking), (7, true, 0));
    // Somebody reads all of it back, in pieces.
    let pack = first[1];
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < pack.size_bytes {
        let ask = Ask::Get { owner: OWNER, name: pack.name, offset: bytes.len() as u64, length: 30_000 };
        bytes.extend_from_slice(&pool.ask_as(50, 0, ask, Bytes::new()).await.unwrap().1);
    }
    assert_eq!(bytes, pool.owner.bytes(&pack.name));
    let unknown = ObjectName::of(b"unknown");
    let get = Ask::Get { owner: OWNER, name: unknown, offset: 0, length: 10 };
    assert_eq!(no(pool.ask(0, get, Bytes::new()).await), No::NotFound);
    let which = pool.ask_as(50, 0, Ask::Which { owner: OWNER }, names_to_bytes(&[unknown, pack.name])).await.unwrap();
    assert_eq!(which.1, names_to_bytes(&[pack.name]));
}

/// An owner that hears nothing sends again, while the first try is still being written.
#[test]
fn a_piece_that_comes_several_times_at_once_is_written_once_and_hangs_nobody() {
    within(PATIENCE, async {
        let pool = Pool::new();
        let objects = pool.owner.archive(1, 1, 4_000_000);
        pool.send_catalogue(0).await;
        for object in pool.owner.all().iter().filter(|object| object.kind < ObjectKind::Pack) {
            assert!(pool.put(0, object, 1_000).await.is_ok());
        }
        let pack = objects[0];
        let bytes = pool.owner.bytes(&pack.name);
        let send = || pool.ask(0, Ask::Put { name: pack.name, offset: 0 }, bytes.clone());
        let replies = futures::future::join_all((0..16).map(|_| send())).await;
        assert!(replies.contains(&KEPT(pack.size_bytes, true)), "{replies:?}");
        assert_eq!(pool.put(0, &pack, 1_000).await, KEPT(pack.size_bytes, true));
    });
}

/// An owner sends what it takes for lost: perhaps a proof was wrong.
#[tokio::test]
async fn what_is_sent_again_is_confirmed_only_if_it_is_whole_and_else_written_anew() {
    let pool = Pool::new();
    let pack = pool.owner.archive(1, 1, 200_000)[0];
    pool.send_all(0).await;
    let path = pool.pcs[0].path(&pack);
    let mut rotten = pool.owner.bytes(&pack.name).to_vec();
    rotten[150_000] ^= 1;
    std::fs::write(&path, &rotten).unwrap();
    assert_eq!(pool.put(0, &pack, 64 * 1024).await, KEPT(200_000, true));
    pool.assert_whole(0);
    std::fs::remove_file(&path).unwrap();
    // An empty piece at the end asks what there is of it.
    let at_end = Ask::Put { name: pack.name, offset: 200_000 };
    assert_eq!(pool.ask(0, at_end, Bytes::new()).await, KEPT(0, false));
    assert_eq!(pool.put(0, &pack, 64 * 1024).await, KEPT(200_000, true));
    pool.assert_whole(0);
    let status = pool.pcs[0].holder.status();
    assert_eq!((status.damaged_objects, status.mended_objects), (2, 2));
}

#[tokio::test]
async fn what_is_not_the_owners_word_is_refused_and_changes_nothing() {
    let pool = Pool::new();
    pool.owner.archive(1, 1, 1_000);
    pool.send_all(0).await;
    let before = pool.standing(0).await;
    // Signed by somebody else, in the owner's name.
    let mut forged = pool.owner.state().catalogue.clone();
    let gone = pool.owner.all()[4].name;
    let mut entry = forged.append(&TestSigner(OWNER), 0, Op::Delete(gone)).unwrap();
    entry.signature[0] ^= 1;
    assert_eq!(no(pool.ask(0, Ask::Entries { owner: OWNER }, entries_to_bytes([&entry])).await), No::Refused);
    assert_eq!(no(pool.ask(0, Ask::Entries { owner: OWNER }, Bytes::from_static(b"abc")).await), No::Refused);
    // The owner's own history, but with another end: it forked.
    let mut other = Catalogue::new(OWNER);
    let thing = Object { kind: ObjectKind::Pack, ..pool.owner.all()[0] };
    let entry = other.append(&TestSigner(OWNER), 0, Op::Add(thing)).unwrap();
    assert_eq!(no(pool.ask(0, Ask::Entries { owner: OWNER }, entries_to_bytes([&entry])).await), No::Refused);
    assert!(pool.pcs[0].status().forked.is_some());
    // What does not follow is no harm: it says how far it is.
    pool.owner.archive(2, 2, 1_000);
    let tail = pool.owner.state().catalogue.tail(before.sequence + 2);
    let reply = pool.ask(0, Ask::Entries { owner: OWNER }, entries_to_bytes(&tail.entries)).await.unwrap().0;
    assert!(matches!(reply, Answer::Standing(standing) if standing == before), "{reply:?}");
    assert_eq!(no(pool.ask_as(50, 0, Ask::Release, Bytes::new()).await), No::NotFound, "it has nothing to release");
    let base = Ask::Base { owner: OWNER, offset: 0, size_bytes: 10 };
    assert_eq!(no(pool.ask_as(50, 0, base, Bytes::new()).await), No::Refused);
    pool.send_all(0).await;
    pool.assert_whole(0);
}

#[tokio::test]
async fn wrong_bytes_and_bytes_that_are_too_many_are_refused_and_thrown_away() {
    let pool = Pool::new();
    let pack = pool.owner.archive(1, 1, 5_000)[0];
    pool.send_catalogue(0).await;
    for object in &pool.owner.all()[..2] {
        pool.put(0, object, 1_000).await.unwrap();
    }
    let put = |offset| Ask::Put { name: pack.name, offset };
    let wrong = Bytes::from(vec![7; 5_000]);
    assert_eq!(pool.ask(0, put(0), wrong.slice(..2_000)).await, KEPT(2_000, false));
    assert_eq!(no(pool.ask(0, put(2_000), wrong.slice(2_000..)).await), No::Damaged);
    assert_eq!(pool.ask(0, put(2_000), wrong.slice(2_000..)).await, KEPT(0, false), "nothing is kept of it");
    assert_eq!(no(pool.ask(0, put(0), Bytes::from(vec![7; 5_001])).await), No::Refused);
    assert_eq!(no(pool.ask(0, put(u64::MAX), wrong.clone()).await), No::Refused);
    let long = Bytes::from(vec![0; PIECE_LIMIT_BYTES as usize + 1]);
    assert_eq!(no(pool.ask(0, put(0), long).await), No::Refused);
    // Only the owner sends objects.
    assert_eq!(no(pool.ask_as(50, 0, put(0), wrong).await), No::NotFound);
    pool.send_all(0).await;
    pool.assert_whole(0);
}

#[tokio::test]
async fn a_piece_that_came_before_a_restart_is_not_sent_again() {
    let mut pool = Pool::new();
    let pack = pool.owner.archive(1, 1, 100_000)[0];
    pool.send_catalogue(0).await;
    for object in &pool.owner.all()[..2] {
        pool.put(0, object, 1_000).await.unwrap();
    }
    let bytes = pool.owner.bytes(&pack.name);
    let put = |offset| Ask::Put { name: pack.name, offset };
    assert_eq!(pool.ask(0, put(0), bytes.slice(..60_000)).await, KEPT(60_000, false));
    pool.restart(0);
    assert_eq!(pool.ask(0, put(90_000), bytes.slice(90_000..)).await, KEPT(60_000, false), "there is a hole");
    assert_eq!(pool.ask(0, put(0), bytes.slice(..10_000)).await, KEPT(60_000, false), "it came already");
    assert_eq!(pool.ask(0, put(60_000), bytes.slice(60_000..)).await, KEPT(100_000, true));
    pool.send_all(0).await;
    pool.assert_whole(0);
}

#[tokio::test]
async fn the_share_and_the_reserve_are_never_overrun() {
    let mut pool = Pool::new();
    let archive = pool.owner.archive(1, 3, 10_000);
    // Room for the small ones, the catalogue (7 entries) and two packs.
    pool.restart_with(0, share(7 * 198 + 605 + 2 * 10_000 + 100, 0));
    pool.send_catalogue(0).await;
    for object in &pool.owner.all()[..2] {
        pool.put(0, object, 1_000).await.unwrap();
    }
    // What is begun takes its room, so a third one is refused though the second is not there yet.
    pool.put(0, &archive[0], 10_000).await.unwrap();
    let half = pool.owner.bytes(&archive[1].name).slice(..5_000);
    pool.ask(0, Ask::Put { name: archive[1].name, offset: 0 }, half).await.unwrap();
    assert_eq!(no(pool.put(0, &archive[2], 10_000).await), No::Full);
    pool.put(0, &archive[1], 10_000).await.unwrap();
    assert_eq!(no(pool.put(0, &archive[2], 10_000).await), No::Full);
    assert_eq!(no(pool.put(0, &archive[2], 100).await), No::Full, "not a byte of it");
    // After a restart it is as full as before.
    pool.restart_with(0, share(7 * 198 + 605 + 2 * 10_000 + 100, 0));
    assert_eq!(no(pool.put(0, &archive[2], 10_000).await), No::Full);
    let Ok((Answer::Room(room), _)) = pool.ask(0, Ask::Room, Bytes::new()).await else { panic!("no room") };
    assert_eq!((room.share.used_bytes, room.owners), (7 * 198 + 605 + 20_000, 1));
    // A disk whose reserve begins here takes nothing, whatever the share.
    pool.restart_with(0, share(u64::MAX, u64::MAX));
    assert_eq!(no(pool.put(0, &archive[2], 10_000).await), No::Full);
    // Who gives nothing holds nothing.
    pool.restart_with(1, share(0, 0));
    assert_eq!(no(pool.ask(1, Ask::Hold, Bytes::new()).await), No::Refused);
    pool.restart(0);
    pool.send_all(0).await;
    pool.assert_whole(0);
}

#[tokio::test]
async fn a_disk_that_is_full_in_the_middle_of_a_write_is_said_and_nothing_is_left() {
    let pool = Pool::new();
    let pack = pool.owner.archive(1, 1, 10_000)[0];
    pool.send_catalogue(0).await;
    for object in &pool.owner.all()[..2] {
        pool.put(0, object, 1_000).await.unwrap();
    }
    // The one device that is always full.
    let incoming = pool.pcs[0].copy_folder().join("incoming").join(pack.name.to_string());
    symlink("/dev/full", &incoming).unwrap();
    assert_eq!(no(pool.put(0, &pack, 10_000).await), No::Full);
    assert!(!incoming.exists());
    pool.send_all(0).await;
    pool.assert_whole(0);
}

#[tokio::test]
async fn a_base_takes_the_place_of_entries_that_are_gone() {
    let mut pool = Pool::new();
    pool.owner.archive(1, 2, 3_000);
    pool.send_all(0).await;
    // More entries than are kept: things come and go.
    for number in 0..9_000 {
        let gone = pool.owner.add(ObjectKind::Pack, 2, 10 + number % 3).name;
        pool.owner.delete(gone);
    }
    pool.owner.archive(3, 2, 3_000);
    assert!(pool.owner.state().catalogue.compact(&TestSigner(OWNER), 5));
    pool.send_all(0).await;
    pool.assert_whole(0);
    let status = pool.pcs[0].status();
    pool.restart(0);
    assert_eq!(pool.pcs[0].status(), status, "the base and its entries are there after a restart");
    // Another holder gets it from the first, the owner being away.
    pool.ask(1, Ask::Hold, Bytes::new()).await.unwrap();
    pool.hub.set_away(OWNER, true);
    assert!(pool.pcs[1].holder.catch_up().await);
    pool.assert_whole(1);
}
