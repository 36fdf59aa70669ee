//! Proofs, and damage that is found by reading.

use bytes::Bytes;
use shoal_backup::Object;
use shoal_backup::challenge::Challenge;
use shoal_backup_service::call::{Answer, Ask, No};
use shoal_backup_service::holder::ScrubAsked;

use crate::pool::{OWNER, Pool, no};

#[tokio::test]
async fn a_proof_is_right_only_with_the_bytes() {
    let pool = Pool::new();
    let pack = pool.owner.archive(1, 1, 200_000)[0];
    pool.send_all(0).await;
    let bytes = pool.owner.bytes(&pack.name);
    for challenge in [Challenge::of_range(&pack, [3; 32]), Challenge::of_all(&pack, [4; 32])] {
        let range = challenge.range(pack.size_bytes).unwrap();
        let right = challenge.answer(&bytes[range.start as usize..range.end as usize]);
        let ask = Ask::Prove { owner: OWNER, challenge };
        assert_eq!(pool.ask(0, ask, Bytes::new()).await, Ok((Answer::Proof(right), Bytes::new())));
    }
    // The bytes are others now: so is the proof.
    let challenge = Challenge { offset: 90_000, length: 20_000, ..Challenge::of_all(&pack, [5; 32]) };
    let mut rotten = bytes.to_vec();
    rotten[100_000] ^= 1;
    std::fs::write(pool.pcs[0].path(&pack), &rotten).unwrap();
    let ask = Ask::Prove { owner: OWNER, challenge };
    let Ok((Answer::Proof(proof), _)) = pool.ask(0, ask, Bytes::new()).await else { panic!("no proof") };
    assert_ne!(proof, challenge.answer(&bytes[90_000..110_000]));
    let challenge = Challenge::of_all(&pack, [5; 32]);
    for outside in [Challenge { offset: 1, ..challenge }, Challenge { offset: u64::MAX, ..challenge }] {
        assert_eq!(no(pool.ask(0, Ask::Prove { owner: OWNER, challenge: outside }, Bytes::new()).await), No::Refused);
    }
    assert_eq!(no(pool.ask(1, Ask::Prove { owner: OWNER, challenge }, Bytes::new()).await), No::NotFound);
}

/// Who wants to see all of an object doubts it, and who got too little or wrong bytes says so: it is not left to the next scrub.
#[tokio::test]
async fn what_is_doubted_is_read_at_once_and_made_anew() {
    let pool = Pool::new();
    let packs = pool.owner.archive(1, 4, 50_000);
    pool.send_all(0).await;
    let rot = |at: usize, object: &Object| {
        let mut rotten = pool.owner.bytes(&object.name).to_vec();
        rotten[40_000] ^= 1;
        std::fs::write(pool.pcs[at].path(object), rotten).unwrap();
    };
    rot(0, &packs[0]);
    let challenge = Challenge::of_all(&packs[0], [5; 32]);
    assert_eq!(no(pool.ask(0, Ask::Prove { owner: OWNER, challenge }, Bytes::new()).await), No::Damaged);
    std::fs::write(pool.pcs[0].path(&packs[1]), b"short").unwrap();
    let get = |object: &Object| Ask::Get { owner: OWNER, name: object.name, offset: 0, length: 50_000 };
    assert_eq!(no(pool.ask_as(50, 0, get(&packs[1]), Bytes::new()).await), No::Damaged);
    std::fs::remove_file(pool.pcs[0].path(&packs[2])).unwrap();
    assert_eq!(no(pool.ask_as(50, 0, get(&packs[2]), Bytes::new()).await), No::Damaged);
    assert_eq!(pool.pcs[0].status().lacking, 3);
    assert!(pool.pcs[0].holder.catch_up().await);
    pool.assert_whole(0);
    // One that reads wrong bytes tells who gave them, though the owner is away.
    rot(0, &packs[3]);
    pool.ask(2, Ask::Hold, Bytes::new()).await.unwrap();
    pool.hub.set_away(OWNER, true);
    assert!(!pool.pcs[2].holder.catch_up().await);
    pool.pcs[2].holder.catch_up().await;
    assert_eq!(pool.pcs[0].status().lacking, 1);
    assert!(pool.pcs[2].status().lacking > 0, "nobody has it");
    pool.hub.set_away(OWNER, false);
    assert!(pool.pcs[0].holder.catch_up().await);
    pool.assert_whole(0);
    let status = pool.pcs[0].holder.status();
    assert_eq!((status.damaged_objects, status.mended_objects), (4, 4));
    // What is whole stays, whoever says what.
    let doubt = Ask::Doubt { owner: OWNER, name: packs[0].name };
    assert_eq!(pool.ask_as(50, 0, doubt, Bytes::new()).await, Ok((Answer::Done, Bytes::new())));
    pool.assert_whole(0);
}

#[tokio::test]
async fn what_a_copy_takes_is_what_a_recount_finds_though_somebody_removed_its_folder() {
    let mut pool = Pool::new();
    let archive = pool.owner.archive(1, 3, 50_000);
    pool.send_all(0).await;
    let (used_bytes, recounted_bytes) = pool.pcs[0].used_and_recounted_bytes();
    assert_eq!(used_bytes, recounted_bytes);
    // Objects that went or were cut count as what they were, not as what they are.
    std::fs::remove_file(pool.pcs[0].path(&archive[0])).unwrap();
    std::fs::write(pool.pcs[0].path(&archive[1]), b"short").unwrap();
    assert_eq!(pool.pcs[0].holder.scrub().await, 2);
    assert!(pool.pcs[0].holder.catch_up().await);
    assert_eq!(pool.pcs[0].used_and_recounted_bytes(), (used_bytes, used_bytes));
    std::fs::remove_dir_all(pool.pcs[0].copy_folder()).unwrap();
    assert_eq!(pool.pcs[0].holder.scrub().await, 7);
    assert_eq!(pool.pcs[0].used_and_recounted_bytes(), (0, 0));
    pool.send_catalogue(0).await;
    assert!(pool.pcs[0].holder.catch_up().await);
    pool.assert_whole(0);
    assert_eq!(pool.pcs[0].used_and_recounted_bytes(), (used_bytes, used_bytes));
    let status = pool.pcs[0].holder.status();
    assert_eq!((status.damaged_objects, status.mended_objects), (9, 9));
    pool.restart(0);
    pool.assert_whole(0);
    assert_eq!(pool.pcs[0].used_and_recounted_bytes(), (used_bytes, used_bytes));
}

#[tokio::test]
async fn there_is_one_scrub_at_a_time_and_a_second_call_joins_it() {
    let pool = Pool::new();
    let archive = pool.owner.archive(1, 3, 50_000);
    pool.send_all(0).await;
    std::fs::write(pool.pcs[0].path(&archive[0]), b"short").unwrap();
    let holder = &pool.pcs[0].holder;
    let first = holder.begin_scrub();
    assert!(first.is_new && first.round.ended_ms.is_none());
    assert_eq!((first.round.objects, first.round.objects_total, first.round.bytes_total), (0, 7, 151_805));
    assert_eq!(holder.begin_scrub(), ScrubAsked { is_new: false, ..first });
    assert_eq!(futures::future::join(holder.scrub(), holder.scrub()).await, (1, 1));
    let status = holder.status();
    assert_eq!(status.scrubbed_objects, 7, "each was read once");
    let ended = status.scrub.expect("it was asked for");
    assert!(ended.ended_ms.is_some());
    assert_eq!((ended.objects, ended.bytes, ended.damaged), (7, 151_805, 1));
    assert!(holder.begin_scrub().is_new, "the next one");
}

#[tokio::test]
async fn damage_is_found_told_and_mended_from_another_holder() {
    let pool = Pool::new();
    let archive = pool.owner.archive(1, 3, 50_000);
    for at in [0, 1] {
        pool.send_all(at).await;
    }
    assert_eq!(pool.pcs[0].holder.scrub().await, 0);
    assert_eq!(pool.pcs[0].holder.status().scrubbed_objects, 7);
    // One rots, one is cut off, one is gone, one is the config.
    let config = pool.owner.all()[0];
    let mut rotten = pool.owner.bytes(&archive[0].name).to_vec();
    rotten[9] ^= 128;
    std::fs::write(pool.pcs[0].path(&archive[0]), rotten).unwrap();
    std::fs::write(pool.pcs[0].path(&archive[3]), b"short").unwrap();
    std::fs::remove_file(pool.pcs[0].path(&archive[4])).unwrap();
    std::fs::write(pool.pcs[0].path(&config), b"other").unwrap();
    assert_eq!(pool.pcs[0].holder.scrub().await, 4);
    assert_eq!((pool.pcs[0].status().lacking, pool.pcs[0].holder.status().untold), (4, 4));
    // The owner is away: it is mended from the other holder, and told later.
    pool.hub.set_away(OWNER, true);
    assert!(pool.pcs[0].holder.catch_up().await);
    pool.assert_whole(0);
    assert_eq!(pool.owner.state().damaged.len(), 0);
    pool.hub.set_away(OWNER, false);
    assert!(pool.pcs[0].holder.catch_up().await);
    let mut told: Vec<_> = std::mem::take(&mut pool.owner.state().damaged);
    told.sort_unstable();
    let mut expected =
        [archive[0].name, archive[3].name, archive[4].name, config.name].map(|name| (pool.pcs[0].id, name));
    expected.sort_unstable();
    assert_eq!(told, expected);
    assert_eq!((pool.pcs[0].holder.scrub().await, pool.pcs[0].holder.status().untold), (0, 0));
}
