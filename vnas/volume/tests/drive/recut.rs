//! Stripes cut anew: the same bytes on other agents, and the old stripe only given up for a whole new one.

use shoal_ledger::query;
use shoal_volume::Recut;
use shoal_volume::testing::Mood;

use crate::pool::*;

#[tokio::test]
async fn a_stripe_is_cut_for_the_agents_that_are_left() {
    let pool = pool();
    let written = noise(1, CHUNK);
    write(&pool.drive, "file", &written).await.expect("written");
    let (stripe, before) = pool.stripes().remove(0);
    assert_eq!((before.k, before.m), (4, 2));
    pool.peers.pause(pool.agent(5));
    pool.drive.recut(stripe, 2).await.expect("cut anew");
    let (after_id, after) = pool.stripes().remove(0);
    assert!(after_id != stripe && (after.k, after.m) == (3, 2), "{after:?}");
    assert!(after.shards.iter().all(|place| place.agent.is_some_and(|agent| agent != pool.agent(5))));
    assert_same(&read(&pool.fresh(), "file").await.expect("read"), &written);
    let garbage = query::garbage(&*pool.ledger.snapshot(), 10).expect("memory");
    assert_eq!(garbage.iter().map(|one| one.stripe).collect::<Vec<_>>(), [stripe]);
}

#[tokio::test]
async fn a_stripe_that_is_as_it_should_be_is_left_alone() {
    let pool = pool();
    write(&pool.drive, "file", &noise(1, CHUNK)).await.expect("written");
    let (stripe, _) = pool.stripes().remove(0);
    assert_eq!(pool.drive.recut(stripe, 2).await.expect("looked at"), Recut::Needless);
    assert_eq!(pool.stripes().remove(0).0, stripe);
    pool.assert_nothing_else_is_stored();
}

#[tokio::test]
async fn a_new_stripe_that_cannot_be_kept_in_full_takes_no_place() {
    let pool = pool();
    let written = noise(1, CHUNK);
    write(&pool.drive, "file", &written).await.expect("written");
    let (stripe, before) = pool.stripes().remove(0);
    pool.set_moods(0..2, Mood::Full);
    pool.drive.recut(stripe, 1).await.expect_err("two agents take nothing");
    assert_eq!(pool.stripes(), [(stripe, before)]);
    eventually("what was sent is dropped", || pool.peers.shard_count() == pool.known_shards()).await;
    assert_same(&read(&pool.fresh(), "file").await.expect("read"), &written);
}
