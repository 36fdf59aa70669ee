//! What an owner deletes, or whoever took over its PC, and copies that are needed no more.

use bytes::Bytes;
use shoal_backup::aging::GRACE_MS;
use shoal_backup::catalogue::Op;
use shoal_backup::{Object, ObjectKind, ObjectName};
use shoal_backup_service::call::{Answer, Ask, No, names_from_bytes};
use shoal_backup_service::testing::TestSigner;

use crate::pool::{OWNER, Pool, no};

const HOUR_MS: u64 = 60 * 60 * 1_000;

async fn trashed(pool: &Pool, at: usize) -> Vec<ObjectName> {
    let (_, body) = pool.ask(at, Ask::Trashed { owner: OWNER, after: None }, Bytes::new()).await.unwrap();
    names_from_bytes(&body).unwrap()
}

#[tokio::test]
async fn what_was_deleted_is_kept_for_the_grace_time_and_then_goes_in_order() {
    let mut pool = Pool::new();
    let old = pool.owner.archive(1, 2, 20_000);
    let kept = pool.owner.archive(2, 1, 20_000);
    pool.send_all(0).await;
    // A new index for all takes the place of the old one; the snapshot goes first, then the index, then the packs.
    let new_index = pool.owner.add(ObjectKind::Index, 0, 700);
    for object in [&old[3], &old[2], &old[1], &old[0]] {
        pool.owner.delete(object.name);
    }
    pool.send_catalogue(0).await;
    assert_eq!(trashed(&pool, 0).await.len(), 4);
    assert!(!pool.held(0).await.contains(&old[0].name), "the owner counts on none of it");
    let used_bytes = pool.standing(0).await.held_bytes;
    // It lacks the new index: nothing goes, however long that takes.
    pool.machine.pass(GRACE_MS + HOUR_MS);
    pool.pcs[0].holder.drop_due().await;
    assert!(old.iter().all(|object| pool.pcs[0].path(object).exists()));
    pool.put(0, &new_index, 1_000).await.unwrap();
    pool.restart(0);
    pool.pcs[0].holder.drop_due().await;
    assert!(old.iter().all(|object| !pool.pcs[0].path(object).exists()));
    pool.assert_whole(0);
    assert_eq!(trashed(&pool, 0).await, []);
    let freed_bytes: u64 = old.iter().map(|object| object.size_bytes).sum();
    assert_eq!(pool.standing(0).await.held_bytes, used_bytes + 700 - freed_bytes, "the room came back");
    assert!(pool.pcs[0].path(&kept[0]).exists());
}

#[tokio::test]
async fn an_owner_that_was_taken_over_destroys_nothing_within_the_grace_time() {
    let mut pool = Pool::new();
    pool.owner.archive(1, 2, 20_000);
    pool.send_all(0).await;
    pool.send_all(1).await;
    let before: Vec<Object> = pool.owner.all();
    let mut all = before.clone();
    all.sort_by_key(|object| std::cmp::Reverse(object.kind));
    all.iter().for_each(|object| pool.owner.delete(object.name));
    pool.send_catalogue(0).await;
    assert!(pool.pcs[0].status().all_deleted, "its admin is told");
    // Days pass, the holder restarts, its clock leaps by years.
    for _ in 0..13 {
        pool.machine.pass(GRACE_MS / 14);
        pool.pcs[0].holder.drop_due().await;
    }
    pool.restart(0);
    pool.pcs[0].holder.drop_due().await;
    assert_eq!(trashed(&pool, 0).await.len(), before.len());
    for object in &before {
        let ask = Ask::Get { owner: OWNER, name: object.name, offset: 0, length: 100_000 };
        let (_, bytes) = pool.ask_as(50, 0, ask, Bytes::new()).await.unwrap();
        assert_eq!(ObjectName::of(&bytes), object.name);
    }
    // The owner, itself again, takes it all back: nothing is sent.
    for object in &before {
        pool.owner.state().catalogue.append(&TestSigner(OWNER), 0, Op::Add(*object)).unwrap();
    }
    pool.send_catalogue(0).await;
    pool.machine.pass(2 * GRACE_MS);
    pool.pcs[0].holder.drop_due().await;
    pool.assert_whole(0);
    assert!(!pool.pcs[0].status().all_deleted);
}

#[tokio::test]
async fn what_was_deleted_while_the_state_was_not_written_is_found_in_the_folder() {
    let mut pool = Pool::new();
    let archive = pool.owner.archive(1, 2, 2_000);
    pool.send_all(0).await;
    [&archive[3], &archive[2], &archive[1], &archive[0]].iter().for_each(|object| pool.owner.delete(object.name));
    pool.send_catalogue(0).await;
    // The state is damaged; grace times begin anew, nothing stays for ever and nothing goes at once.
    std::fs::write(pool.pcs[0].copy_folder().join("state"), b"SBH1 and then nothing that it should be").unwrap();
    pool.restart(0);
    assert_eq!(trashed(&pool, 0).await.len(), 4);
    pool.pcs[0].holder.drop_due().await;
    assert_eq!(trashed(&pool, 0).await.len(), 4);
    pool.machine.pass(GRACE_MS);
    pool.pcs[0].holder.drop_due().await;
    assert_eq!(trashed(&pool, 0).await, []);
    assert!(!pool.pcs[0].path(&archive[0]).exists());
}

#[tokio::test]
async fn without_its_catalogue_a_copy_goes_nowhere_and_it_comes_back_with_it() {
    let mut pool = Pool::new();
    pool.owner.archive(1, 2, 2_000);
    pool.send_all(0).await;
    let whole = pool.pcs[0].status();
    // The tail of the catalogue is torn.
    let path = pool.pcs[0].copy_folder().join("catalogue");
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..2 * 198 + 77]).unwrap();
    pool.restart(0);
    assert_eq!(pool.standing(0).await.sequence, 2);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 2 * 198);
    // All of it is damaged.
    std::fs::write(&path, [&[0; 100], &bytes[100..]].concat()).unwrap();
    pool.restart(0);
    assert_eq!((pool.standing(0).await.sequence, pool.pcs[0].status().trash_objects), (0, 0));
    pool.machine.pass(3 * GRACE_MS);
    pool.pcs[0].holder.drop_due().await;
    pool.restart(0);
    pool.machine.pass(3 * GRACE_MS);
    pool.pcs[0].holder.drop_due().await;
    assert!(pool.pcs[0].holder.catch_up().await);
    pool.assert_whole(0);
    assert_eq!(pool.pcs[0].status(), whole);
    let gets = pool.hub.calls().into_iter().filter(|(.., ask)| matches!(ask, Ask::Get { .. } | Ask::Ship { .. }));
    assert_eq!(gets.count(), 0, "nothing had to be fetched");
}

#[tokio::test]
async fn a_copy_that_was_released_goes_after_the_grace_time_unless_it_is_needed_again() {
    let mut pool = Pool::new();
    let archive = pool.owner.archive(1, 2, 20_000);
    pool.send_all(0).await;
    pool.ask(0, Ask::Release, Bytes::new()).await.unwrap();
    assert!(!pool.standing(0).await.holds);
    assert_eq!(no(pool.ask(0, Ask::Entries { owner: OWNER }, Bytes::new()).await), No::Refused);
    pool.machine.pass(GRACE_MS - 1);
    pool.restart(0);
    pool.pcs[0].holder.drop_due().await;
    let ask = Ask::Get { owner: OWNER, name: archive[0].name, offset: 0, length: 5 };
    assert_eq!(pool.ask_as(50, 0, ask, Bytes::new()).await.unwrap().1.len(), 5, "it can still be had");
    // Needed again: it stays.
    let Ok((Answer::Standing(standing), _)) = pool.ask(0, Ask::Hold, Bytes::new()).await else { panic!("refused") };
    assert!(standing.holds && standing.lacking == 0);
    pool.machine.pass(2 * GRACE_MS);
    pool.pcs[0].holder.drop_due().await;
    pool.assert_whole(0);
    // And no more.
    pool.ask(0, Ask::Release, Bytes::new()).await.unwrap();
    pool.machine.pass(GRACE_MS);
    pool.pcs[0].holder.drop_due().await;
    assert!(!pool.pcs[0].copy_folder().exists());
    assert_eq!(no(pool.ask(0, Ask::Standing { owner: OWNER }, Bytes::new()).await), No::NotFound);
    assert_eq!(pool.pcs[0].holder.status().share.used_bytes, 0);
    pool.send_all(0).await;
    pool.assert_whole(0);
}
