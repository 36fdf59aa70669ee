//! A group that lost its voters begins anew from what one member kept, and who comes back from the old group neither
//! splits it nor is believed.

#![allow(clippy::expect_used)]

mod harness;

use harness::{Pool, agent, config, has_folder, make_folder, until};
use shoal_consensus::{Consensus, Group, RestoreSource, Survey};
use shoal_ledger::LedgerClient;
use tempfile::TempDir;

/// Recovers the ledger of a member that does not run any more, into the place of its old one.
async fn recover(pool: &mut Pool, number: u8) -> Group {
    let old = pool.directories.remove(&number).expect("it had a ledger");
    let survey = Survey::take(old.path(), agent(number)).expect("it is all there");
    let fresh = TempDir::new().expect("a directory");
    let source = RestoreSource::Ledger { directory: old.path().to_owned(), agent: agent(number) };
    let target = config(agent(number), fresh.path());
    let group = Consensus::restore(target, survey.group.generation + 1, source).await.expect("it is recovered");
    assert_eq!(group.position, survey.position);
    pool.directories.insert(number, fresh);
    group
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_learner_carries_on_alone_and_the_old_voters_are_told_and_join_anew() {
    let mut pool = Pool::of(3).await;
    pool.start(4).await;
    let leader = pool.until_leader(&[1, 2, 3]).await;
    pool.members[&leader].add_learner(agent(4)).await.expect("a learner");
    for number in 0..20 {
        make_folder(&pool.members[&leader], &format!("folder-{number}")).await.expect("a write");
    }
    pool.members[&4].barrier().await.expect("it has all of it");
    for number in 1..=4 {
        pool.kill(number).await;
    }
    let group = recover(&mut pool, 4).await;
    assert_eq!(group.generation, 1);
    pool.start(4).await;
    let recovered = pool.members[&4].clone();
    until(&recovered, "it leads itself", |status| status.is_leader && status.quorum).await;
    assert!((0..20).all(|number| has_folder(&recovered, &format!("folder-{number}"))), "all of it, from log and state");
    make_folder(&recovered, "after").await.expect("writing goes on");

    // The whole old majority was not gone after all: it agrees on things until it hears of the new group.
    for number in 1..=3 {
        pool.start(number).await;
    }
    let old_leader = pool.until_leader(&[1, 2, 3]).await;
    make_folder(&pool.members[&old_leader], "of-the-old-group").await.expect("they know no better yet");
    let asks = (1..=3).find(|number| *number != old_leader).expect("another");
    recovered.add_learner(agent(asks)).await.expect("it is asked to join");
    let heard = tokio::time::timeout(harness::PATIENCE, pool.members[&asks].overtaken()).await;
    assert_eq!(heard.expect("it is told"), group);
    assert!(!has_folder(&pool.members[&asks], "after"), "nothing of the new group got into the old ledger");
    assert!(!has_folder(&recovered, "of-the-old-group"), "nor the other way round");

    // With a ledger of its own put aside it takes part.
    pool.kill(asks).await;
    pool.directories.remove(&asks);
    pool.start(asks).await;
    pool.members[&asks].barrier().await.expect("it follows the new group");
    assert!(has_folder(&pool.members[&asks], "after") && !has_folder(&pool.members[&asks], "of-the-old-group"));
    assert_eq!(pool.members[&asks].group(), group);
    recovered.set_voters([agent(4), agent(asks)].into()).await.expect("it votes");
    make_folder(&pool.members[&asks], "by-both").await.expect("writing goes on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_recoveries_of_one_pool_stay_apart() {
    let mut pool = Pool::of(3).await;
    make_folder(&pool.members[&1], "before").await.expect("a write");
    for number in [2, 3] {
        pool.members[&number].barrier().await.expect("it has all of it");
    }
    for number in 1..=3 {
        pool.kill(number).await;
    }
    let (two, three) = (recover(&mut pool, 2).await, recover(&mut pool, 3).await);
    assert_ne!(two.id, three.id);
    for number in [2, 3] {
        pool.start(number).await;
        make_folder(&pool.members[&number], &format!("by-{number}")).await.expect("each for itself");
    }
    pool.members[&2].add_learner(agent(3)).await.expect("it is asked to join");
    let deadline = tokio::time::Instant::now() + harness::PATIENCE;
    while pool.members[&3].twin() != Some(two) || pool.members[&2].twin() != Some(three) {
        assert!(tokio::time::Instant::now() < deadline, "they do not hear of each other");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(!has_folder(&pool.members[&3], "by-2") && !has_folder(&pool.members[&2], "by-3"));
    make_folder(&pool.members[&3], "still").await.expect("and goes on");
}
