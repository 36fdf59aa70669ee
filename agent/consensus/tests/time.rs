//! How the ledger's time passes while leaders and their wall clocks come and go.

#![allow(clippy::expect_used)]

mod harness;

use std::time::Duration;

use harness::{PATIENCE, Pool, make_folder, right_ms, until};
use shoal_consensus::Consensus;
use shoal_ledger::{Command, LedgerClient, query};
use tokio::time::Instant;

const DAY_MS: u64 = 86_400_000;
const DAYS_AHEAD: i64 = 30 * 86_400_000;
/// What "about now" means on a busy machine.
const ABOUT_MS: u64 = 3_600_000;

fn stamped_ms(consensus: &Consensus) -> u64 {
    query::time_ms(&*consensus.view().expect("a view")).expect("the state reads")
}

/// Has an entry stamped, and answers with what.
async fn stamp_ms(consensus: &Consensus) -> u64 {
    consensus.submit(Command::Tick).await.expect("time may pass");
    consensus.barrier().await.expect("a read point");
    stamped_ms(consensus)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn time_goes_on_after_a_ledger_whose_leaders_clocks_were_far_ahead() {
    let mut pool = Pool::with_clocks_ahead(3, DAYS_AHEAD).await;
    assert!(make_folder(&pool.members[&1], "stamped").await.expect("a write"));
    (1..=3).for_each(|number| pool.wall(number).set_ahead_ms(0));
    pool.kill(1).await;
    let leader = pool.until_leader(&[2, 3]).await;
    let leader = &pool.members[&leader];
    let (begun, first_ms) = (Instant::now(), stamp_ms(leader).await);
    assert!(first_ms > right_ms() + 29 * DAY_MS, "the ledger's time does not go back");
    let mut last_ms = first_ms;
    while last_ms < first_ms + 500 {
        assert!(begun.elapsed() < PATIENCE, "time stands still at {last_ms}");
        tokio::time::sleep(Duration::from_millis(20)).await;
        let told_ms = leader.time_ms().expect("the state reads");
        last_ms = stamp_ms(leader).await;
        assert!(last_ms >= told_ms, "what is waited for by has come: {told_ms} was told, {last_ms} stamped");
    }
    let passed_ms = u64::try_from(begun.elapsed().as_millis()).expect("a time");
    assert!(last_ms - first_ms <= passed_ms, "{} ms in {passed_ms}", last_ms - first_ms);
    assert!(last_ms - first_ms >= 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_leaps_takes_the_others_with_it_nowhere() {
    let mut pool = Pool::of(3).await;
    let before_ms = stamp_ms(&pool.members[&1]).await;
    assert!(before_ms.abs_diff(right_ms()) < ABOUT_MS, "by their clocks");
    pool.wall(1).set_ahead_ms(DAYS_AHEAD);
    let after_ms = stamp_ms(&pool.members[&1]).await;
    assert!((before_ms..before_ms + ABOUT_MS).contains(&after_ms), "a leap of {} ms", after_ms - before_ms);
    pool.wall(1).set_ahead_ms(-DAYS_AHEAD);
    assert!(stamp_ms(&pool.members[&1]).await >= after_ms, "nor back");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_voter_asks_a_member_without_a_vote_before_it_believes_its_clock() {
    let mut pool = Pool::of(1).await;
    pool.start(2).await;
    pool.members[&1].add_learner(harness::agent(2)).await.expect("the leader adds a learner");
    let before_ms = stamp_ms(&pool.members[&1]).await;
    pool.kill(1).await;
    pool.wall(1).set_ahead_ms(DAYS_AHEAD);
    pool.start(1).await;
    until(&pool.members[&1], "it leads again", |status| status.is_leader).await;
    let after_ms = stamp_ms(&pool.members[&1]).await;
    assert!((before_ms..before_ms + ABOUT_MS).contains(&after_ms), "a leap of {} ms", after_ms - before_ms);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_entry_after_days_off_is_stamped_with_the_time_of_day() {
    let mut pool = Pool::of(3).await;
    stamp_ms(&pool.members[&1]).await;
    for number in 1..=3 {
        pool.kill(number).await;
        pool.wall(number).set_ahead_ms(DAYS_AHEAD);
    }
    for number in 1..=3 {
        pool.start(number).await;
    }
    let leader = pool.until_leader(&[1, 2, 3]).await;
    let first_ms = stamp_ms(&pool.members[&leader]).await;
    assert!(first_ms > right_ms() + 29 * DAY_MS, "{first_ms}");
}
