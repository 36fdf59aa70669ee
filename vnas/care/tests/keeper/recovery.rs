//! Agents that go, fail, come back, are drained.

use std::collections::BTreeSet;

use shoal_care::Reason;
use shoal_ledger::{AgentState, Command, StripeRecord, query};
use shoal_placement::Geometry;

use crate::pool::{Pool, id};

#[test]
fn the_shards_of_an_agent_that_is_gone_are_rebuilt_on_others_and_nothing_else_is_touched() {
    let mut pool = Pool::new(12);
    pool.write(60);
    pool.settle();
    assert_eq!(pool.rebuilt, [], "nothing is to be done");
    let lost = pool.shards_on(3);
    pool.facts_of(3).answers = false;
    pool.settle();
    assert_eq!(pool.rebuilt, [], "it may come back");
    pool.facts_of(3).absent = true;
    pool.settle();
    assert_eq!((pool.shards_on(3), pool.rebuilt.len() as u64, pool.recuts), (0, lost, 0));
    assert!(pool.rebuilt.iter().all(|job| job.copy_from.is_none() && job.to != id(3)));
    let targets: BTreeSet<_> = pool.rebuilt.iter().map(|job| job.to).collect();
    assert!(targets.len() >= 8, "spread over many agents: {targets:?}");
}

#[test]
fn what_returns_is_counted_at_once_and_what_was_rebuilt_meanwhile_is_surplus() {
    let mut pool = Pool::new(12);
    pool.write(60);
    pool.facts_of(3).answers = false;
    pool.facts_of(3).absent = true;
    while pool.rebuilt.len() < 10 {
        pool.step();
    }
    pool.facts_of(3).answers = true;
    pool.facts_of(3).absent = false;
    pool.settle();
    let moved = pool.rebuilt.iter().filter(|job| job.reason != Reason::Balance).count() as u64;
    assert!(moved < 60, "the rest is left where it is: {moved}");
    let surplus = pool.surplus_on(3);
    assert_eq!(surplus as u64, moved, "and nothing else of what it holds");
}

#[test]
fn stripes_that_can_lose_nothing_more_come_first() {
    let mut pool = Pool::new(12);
    pool.write(80);
    for number in [3, 4] {
        pool.facts_of(number).answers = false;
        pool.facts_of(number).absent = true;
    }
    let gone = |agent| agent == Some(id(3)) || agent == Some(id(4));
    let both = |record: &StripeRecord| record.shards.iter().filter(|place| gone(place.agent)).count() == 2;
    let endangered = pool.stripes().iter().filter(|(_, record)| both(record)).count();
    assert!(endangered > 20, "{endangered}");
    pool.settle();
    let reasons: Vec<Reason> = pool.rebuilt.iter().map(|job| job.reason).collect();
    let first = reasons.iter().take(endangered).filter(|reason| **reason == Reason::Endangered).count();
    assert!(first * 10 > endangered * 8, "{first} of the first {endangered}");
}

#[test]
fn a_stripe_without_margin_does_not_wait_for_the_whole_patience() {
    let mut pool = Pool::new(12);
    pool.write(80);
    for number in [3, 4] {
        pool.facts_of(number).answers = false;
    }
    pool.settle();
    assert_eq!(pool.rebuilt.len(), 0);
    for number in [3, 4] {
        pool.facts_of(number).doubtful = true;
    }
    pool.settle();
    assert!(!pool.rebuilt.is_empty());
    let both = |record: &StripeRecord| {
        record.shards.iter().filter(|place| [Some(id(3)), Some(id(4))].contains(&place.agent)).count() == 2
    };
    assert!(pool.stripes().iter().all(|(_, record)| !both(record)), "each of them has a margin again");
    assert!(pool.shards_on(3) > 0, "what has a margin waits");
}

#[test]
fn where_nobody_could_take_a_lost_shard_stripes_are_cut_anew_for_those_that_are_left() {
    let mut pool = Pool::new(6);
    pool.write(20);
    pool.facts_of(2).answers = false;
    pool.facts_of(2).absent = true;
    pool.settle();
    assert!(pool.stripes().iter().all(|(_, record)| (record.k, record.m) == (3, 2)));
    assert_eq!((pool.shards_on(2), pool.recuts), (0, 20));
}

#[test]
fn an_agent_without_room_holds_no_drain_up() {
    let mut pool = Pool::new(6);
    pool.facts_of(6).free_bytes = 0;
    pool.write_as(Geometry { k: 3, m: 2 });
    pool.write_as(Geometry { k: 3, m: 2 });
    pool.facts_of(1).state = AgentState::Draining;
    pool.settle();
    assert_eq!(pool.shards_on(1), 0);
    assert!(pool.stripes().iter().all(|(_, record)| (record.k, record.m) == (2, 2)), "{:?}", pool.stripes());
}

#[test]
fn a_drained_agent_is_empty_at_the_end_and_its_shards_are_copied_from_it() {
    let mut pool = Pool::new(12);
    pool.write(60);
    let held = pool.shards_on(5);
    pool.submit(Command::SetAgentState { agent: id(5), state: AgentState::Draining });
    pool.facts_of(5).state = AgentState::Draining;
    pool.settle();
    assert_eq!((pool.shards_on(5), pool.rebuilt.len() as u64), (0, held));
    assert!(pool.rebuilt.iter().all(|job| job.copy_from == Some(id(5)) && job.reason == Reason::Drain));
    assert_eq!(query::moves(&*pool.ledger.snapshot()).expect("memory"), []);
}

#[test]
fn an_agent_likely_to_fail_is_emptied_and_one_that_is_paused_is_not() {
    let mut pool = Pool::new(12);
    pool.write(40);
    pool.facts_of(5).state = AgentState::Paused;
    pool.facts_of(6).failing = true;
    let paused = pool.shards_on(5);
    pool.settle();
    assert_eq!((pool.shards_on(6), pool.shards_on(5)), (0, paused));
    assert!(pool.rebuilt.iter().all(|job| job.to != id(5)));
}

#[test]
fn where_all_are_likely_to_fail_only_the_worst_are_emptied() {
    let mut pool = Pool::new(12);
    pool.write(40);
    (1..=12).for_each(|number| pool.facts_of(number).failing = true);
    (3..=4).for_each(|number| pool.facts_of(number).standing = 5);
    pool.settle();
    let empty: Vec<u8> = (1..=12).filter(|number| pool.shards_on(*number) == 0).collect();
    assert_eq!(empty, [3, 4]);
}

#[test]
fn an_agent_whose_disk_fails_is_passed_over() {
    let mut pool = Pool::new(12);
    pool.write(40);
    pool.broken.push(id(7));
    pool.facts_of(5).absent = true;
    pool.facts_of(5).answers = false;
    for _ in 0..4_000 {
        pool.step();
    }
    let whole = |record: &StripeRecord| record.shards.iter().all(|place| place.agent != Some(id(5)));
    assert!(pool.stripes().iter().all(|(_, record)| whole(record)));
}

#[test]
fn a_new_leaders_keeper_takes_up_what_the_last_one_left() {
    let mut pool = Pool::new(12);
    pool.write(60);
    pool.facts_of(3).answers = false;
    pool.facts_of(3).absent = true;
    while query::moves(&*pool.ledger.snapshot()).expect("memory").is_empty() {
        pool.step();
    }
    pool.keeper = shoal_care::Keeper::new(shoal_care::KeeperConfig::default());
    pool.settle();
    assert_eq!(query::moves(&*pool.ledger.snapshot()).expect("memory"), []);
    assert_eq!(pool.shards_on(3), 0);
}

#[test]
fn a_stripe_written_with_fewer_copies_is_made_whole() {
    let mut pool = Pool::new(12);
    pool.write_as(Geometry { k: 4, m: 0 });
    pool.settle();
    let stripes = pool.stripes();
    assert!(stripes.iter().all(|(_, record)| record.m == 2), "{stripes:?}");
}
