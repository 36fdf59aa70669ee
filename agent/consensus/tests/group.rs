//! What a group of members promises, whoever of them lives.

#![allow(clippy::expect_used)]

mod harness;

use std::time::Duration;

use harness::{PATIENCE, Pool, agent, has_folder, make_folder, until};
use shoal_ledger::{LedgerClient, SubmitError};
use tokio::time::{Instant, timeout};

/// Writing fails within this once the quorum is gone.
const WRITE_FAILS_WITHIN: Duration = Duration::from_secs(7);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_of_three_takes_all_show_after_a_barrier() {
    let pool = Pool::of(3).await;
    pool.until_leader(&[1, 2, 3]).await;
    for writer in 1..=3u8 {
        let name = format!("by-{writer}");
        assert!(make_folder(&pool.members[&writer], &name).await.expect("a member takes a write"));
        for reader in 1..=3u8 {
            pool.members[&reader].barrier().await.expect("a member finds the read point");
            assert!(has_folder(&pool.members[&reader], &name), "{reader} shows what {writer} took");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_loses_no_acknowledged_command_and_none_is_applied_twice() {
    let mut pool = Pool::of(3).await;
    let leader = pool.until_leader(&[1, 2, 3]).await;
    let survivors: Vec<u8> = (1..=3).filter(|number| *number != leader).collect();
    let writer = pool.members[&survivors[0]].clone();
    let writing = tokio::spawn(async move {
        let mut made = Vec::new();
        for number in 0..60 {
            let name = format!("folder-{number}");
            // Applied twice, it would find itself there.
            let fresh = make_folder(&writer, &name).await.expect("writing goes on through the change of leader");
            assert!(fresh, "{name} was applied twice");
            made.push(name);
        }
        made
    });
    until(&pool.members[&survivors[0]], "some writes are done", |status| status.applied > 15).await;
    pool.kill(leader).await;
    let made = timeout(PATIENCE * 2, writing).await.expect("writing ends").expect("writing succeeds");
    let new_leader = pool.until_leader(&survivors).await;
    assert_ne!(new_leader, leader);
    for number in survivors {
        pool.members[&number].barrier().await.expect("a read point");
        assert!(made.iter().all(|name| has_folder(&pool.members[&number], name)), "{number} has all of them");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_of_five_may_die_and_a_third_stops_writing_but_not_reading() {
    let mut pool = Pool::of(5).await;
    let leader = pool.until_leader(&[1, 2, 3, 4, 5]).await;
    assert!(make_folder(&pool.members[&leader], "before").await.expect("five write"));
    let others: Vec<u8> = (1..=5).filter(|number| *number != leader).collect();
    pool.kill(leader).await;
    pool.kill(others[0]).await;
    assert!(make_folder(&pool.members[&others[1]], "with-three").await.expect("three of five write"));
    pool.members[&others[2]].barrier().await.expect("three of five find a read point");
    assert!(has_folder(&pool.members[&others[2]], "with-three"));

    pool.kill(others[1]).await;
    for number in &others[2..] {
        let member = &pool.members[number];
        let begun = Instant::now();
        let refused = make_folder(member, "with-two").await;
        assert!(matches!(refused, Err(SubmitError::NoQuorum(_))), "{refused:?}");
        assert!(begun.elapsed() < WRITE_FAILS_WITHIN, "{:?}", begun.elapsed());
        assert!(has_folder(member, "with-three"), "reading goes on");
        assert!(!until(member, "the loss is noticed", |status| !status.quorum).await.quorum);
        let begun = Instant::now();
        assert!(matches!(member.barrier().await, Err(SubmitError::NoQuorum(_))));
        assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    }
    // By now the loss is known, and nobody waits for nothing.
    let begun = Instant::now();
    assert!(matches!(pool.members[&others[2]].barrier().await, Err(SubmitError::NoQuorum(_))));
    assert!(begun.elapsed() < Duration::from_millis(200), "{:?}", begun.elapsed());

    pool.start(others[1]).await;
    pool.until_leader(&others[1..]).await;
    assert!(make_folder(&pool.members[&others[1]], "three-again").await.expect("three of five write again"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hangs_is_replaced_and_does_not_answer_from_the_past() {
    let pool = Pool::of(3).await;
    let leader = pool.until_leader(&[1, 2, 3]).await;
    let survivors: Vec<u8> = (1..=3).filter(|number| *number != leader).collect();
    pool.net.hang(agent(leader));
    assert!(make_folder(&pool.members[&survivors[0]], "after").await.expect("writing goes on"));
    // It may still think it leads; it must not say that all is read.
    assert!(!has_folder(&pool.members[&leader], "after"));
    pool.members[&leader].barrier().await.expect_err("a leader without followers confirms no read");
    pool.net.mend();
    until(&pool.members[&leader], "the old leader follows", |status| !status.is_leader && status.quorum).await;
    pool.members[&leader].barrier().await.expect("a read point");
    assert!(has_folder(&pool.members[&leader], "after"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_gets_the_whole_state_when_the_log_is_gone_and_may_vote_then() {
    let mut pool = Pool::of(1).await;
    for number in 0..20 {
        make_folder(&pool.members[&1], &format!("folder-{number}")).await.expect("one writes");
    }
    pool.members[&1].compact().await.expect("the log is purged");
    pool.start(2).await;
    pool.members[&1].add_learner(agent(2)).await.expect("a learner is added");
    pool.members[&2].barrier().await.expect("a learner finds the read point");
    assert!((0..20).all(|number| has_folder(&pool.members[&2], &format!("folder-{number}"))));
    let status = until(&pool.members[&2], "it knows itself a learner", |status| !status.learners.is_empty()).await;
    assert_eq!(status.learners, [agent(2)].into());

    pool.members[&1].set_voters([agent(1), agent(2)].into()).await.expect("the learner becomes a voter");
    let status = until(&pool.members[&2], "it votes", |status| status.voters.len() == 2).await;
    assert!(status.learners.is_empty());
    make_folder(&pool.members[&2], "by-two").await.expect("two write");
    pool.members[&1].set_voters([agent(1)].into()).await.expect("the voter becomes a learner");
    pool.members[&1].remove_member(agent(2)).await.expect("the learner leaves");
    let status = until(&pool.members[&1], "one is left", |status| status.voters.len() == 1).await;
    assert!(status.learners.is_empty());

    // And once more from disk.
    pool.kill(2).await;
    pool.start(2).await;
    assert!(has_folder(&pool.members[&2], "folder-19"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leader_changes_the_membership_and_only_with_members() {
    let pool = Pool::of(3).await;
    let leader = pool.until_leader(&[1, 2, 3]).await;
    let follower = &pool.members[&(if leader == 1 { 2 } else { 1 })];
    let refused = follower.add_learner(agent(9)).await.expect_err("a follower refuses");
    assert!(refused.to_string().contains(&agent(leader).to_string()), "{refused}");
    let refused = pool.members[&leader].set_voters([agent(1), agent(9)].into()).await.expect_err("a stranger");
    assert!(refused.to_string().contains("is not a member"), "{refused}");
    let refused = pool.members[&leader].set_voters([].into()).await.expect_err("nobody");
    assert!(refused.to_string().contains("at least one voter"), "{refused}");
    let refused = pool.members[&leader].initialize().await.expect_err("it was begun before");
    assert!(refused.to_string().contains("not empty"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_was_cut_off_does_not_depose_the_leader_the_others_are_content_with() {
    let pool = Pool::of(3).await;
    let leader = pool.until_leader(&[1, 2, 3]).await;
    let term = pool.members[&leader].status().term;
    let cut_off = if leader == 3 { 2 } else { 3 };
    // It hears nobody, and misses a leader for longer than it takes to call elections; its own voice is heard.
    for other in (1..=3).filter(|other| *other != cut_off) {
        pool.net.cut_one_way(agent(other), agent(cut_off));
    }
    until(&pool.members[&cut_off], "it misses the leader", |status| status.leader.is_none()).await;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(3) {
        make_folder(&pool.members[&leader], &format!("{:?}", begin.elapsed())).await.expect("writing goes on");
        assert_eq!(pool.members[&leader].status().term, term, "the leader was deposed");
    }
    pool.net.mend();
    assert_eq!(pool.until_leader(&[1, 2, 3]).await, leader);
    assert_eq!(pool.members[&cut_off].status().term, term, "it came back without an election");
}
