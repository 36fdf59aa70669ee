//! Proofs, and damage that is found by reading.

use bytes::Bytes;
use shoal_backup::challenge::Challenge;
use shoal_backup_service::call::{Answer, Ask, No};

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
    let challenge = Challenge::of_all(&pack, [5; 32]);
    let mut rotten = bytes.to_vec();
    rotten[100_000] ^= 1;
    std::fs::write(pool.pcs[0].path(&pack), &rotten).unwrap();
    let ask = Ask::Prove { owner: OWNER, challenge };
    let Ok((Answer::Proof(proof), _)) = pool.ask(0, ask, Bytes::new()).await else { panic!("no proof") };
    assert_ne!(proof, challenge.answer(&bytes));
    for outside in [Challenge { offset: 1, ..challenge }, Challenge { offset: u64::MAX, ..challenge }] {
        assert_eq!(no(pool.ask(0, Ask::Prove { owner: OWNER, challenge: outside }, Bytes::new()).await), No::Refused);
    }
    assert_eq!(no(pool.ask(1, Ask::Prove { owner: OWNER, challenge }, Bytes::new()).await), No::NotFound);
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
