//! Agents that join, owe room, or have too much; policies that change.

use std::time::Duration;

use shoal_care::{KeeperConfig, Reason, plan};

use crate::pool::{CHUNK, Pool, id};

#[test]
fn a_newcomer_gets_its_fair_share_and_no_more_is_moved() {
    let mut pool = Pool::new(12);
    pool.write(200);
    pool.settle();
    let shards: u64 = (1..=12).map(|number| pool.shards_on(number)).sum();
    pool.rebuilt.clear();
    pool.join(13);
    pool.settle();
    let (fair, moved) = (shards / 13, pool.rebuilt.len() as u64);
    assert!(pool.shards_on(13) * 100 >= fair * 80, "{} of {fair}", pool.shards_on(13));
    assert!(moved * 10 <= fair * 11, "{moved} moved for {fair}");
    assert!(pool.rebuilt.iter().all(|job| job.reason == Reason::Balance && job.to == id(13)));
    pool.rebuilt.clear();
    pool.settle();
    assert_eq!(pool.rebuilt, [], "it does not move to and fro");
}

#[test]
fn a_newcomer_is_filled_as_fast_as_it_takes_shards_not_a_handful_each_look() {
    let mut pool = Pool::new(12);
    pool.write(200);
    pool.settle();
    let fair = (1..=12).map(|number| pool.shards_on(number)).sum::<u64>() / 13;
    pool.rebuilt.clear();
    pool.join(13);
    while pool.rebuilt.is_empty() {
        pool.step();
    }
    (0..1_000).for_each(|_| _ = pool.step_after(Duration::ZERO));
    assert!(pool.shards_on(13) * 100 >= fair * 80, "{} of {fair} within one look", pool.shards_on(13));
}

#[test]
fn two_agents_growing_to_six_end_with_four_and_two_everywhere_and_shrinking_back_works_too() {
    let mut pool = Pool::new(2);
    pool.write(10);
    assert!(pool.stripes().iter().all(|(_, record)| (record.k, record.m) == (1, 1)));
    (3..=6).for_each(|number| pool.join(number));
    pool.settle();
    assert!(pool.stripes().iter().all(|(_, record)| (record.k, record.m) == (4, 2)), "{:?}", pool.stripes());
    for number in 3..=6 {
        pool.facts_of(number).state = shoal_ledger::AgentState::Draining;
        pool.settle();
    }
    assert!(pool.stripes().iter().all(|(_, record)| (record.k, record.m) == (1, 1)));
    assert!((3..=6).all(|number| pool.shards_on(number) == 0));
}

#[test]
fn stripes_are_cut_anew_for_room_only_once_agents_have_stayed_for_a_while() {
    let mut pool = Pool::new(5);
    pool.write(10);
    pool.settle();
    pool.join(6);
    let settled = pool.now + KeeperConfig::default().recut_after;
    while pool.now + Duration::from_secs(2) < settled {
        pool.step();
    }
    assert_eq!(pool.recuts, 0);
    pool.settle();
    assert_eq!(pool.recuts, 10);
}

#[test]
fn a_policy_that_asks_for_more_or_less_is_followed() {
    let mut pool = Pool::new(6);
    pool.write(10);
    pool.wanted.pool = 1;
    pool.settle();
    assert!(pool.stripes().iter().all(|(_, record)| (record.k, record.m) == (5, 1)));
    pool.wanted.pool = 3;
    pool.settle();
    assert!(pool.stripes().iter().all(|(_, record)| (record.k, record.m) == (3, 3)));
}

#[test]
fn an_agent_gives_back_what_it_owes_its_owner_and_no_more() {
    let mut pool = Pool::new(12);
    pool.write(60);
    let before = pool.shards_on(4);
    let shard_bytes = u64::from(CHUNK / 8);
    pool.facts_of(4).owed_bytes = 7 * shard_bytes;
    while pool.shards_on(4) + 7 > before {
        assert!(pool.now < Duration::from_secs(1_000), "it never gives back");
        pool.step();
    }
    pool.facts_of(4).owed_bytes = 0;
    assert_eq!(pool.shards_on(4), before - 7);
    assert!(pool.rebuilt.iter().all(|job| job.reason == Reason::Owed));
}

#[test]
fn a_plan_tells_what_would_be_moved_and_moves_nothing() {
    let mut pool = Pool::new(12);
    pool.write(60);
    let held = pool.shards_on(5);
    pool.facts_of(5).state = shoal_ledger::AgentState::Draining;
    let facts: Vec<_> = pool.facts.values().cloned().collect();
    let findings = plan(&*pool.ledger.snapshot(), &facts, &pool.wanted).expect("memory");
    let drain = findings.waiting[&Reason::Drain];
    assert_eq!((drain.stripes, drain.bytes), (held, held * u64::from(CHUNK / 8)));
    assert_eq!(pool.shards_on(5), held);
}

#[test]
fn what_is_under_way_waits_until_it_is_done() {
    for agents in [6, 12] {
        let mut pool = Pool::new(agents);
        pool.write(60);
        let held = pool.shards_on(5);
        pool.facts_of(5).state = shoal_ledger::AgentState::Draining;
        (0..60).for_each(|_| pool.step_without_an_answer());
        let progress = pool.keeper.progress();
        assert!(progress.under_way > 0, "{progress:?}");
        assert_eq!(progress.waiting_stripes(), held, "of {agents} agents, after several sweeps: {progress:?}");
    }
}

#[test]
fn a_recut_counts_for_as_many_bytes_done_as_it_waited_for() {
    let mut pool = Pool::new(6);
    pool.write(10);
    pool.facts_of(5).state = shoal_ledger::AgentState::Draining;
    let facts: Vec<_> = pool.facts.values().cloned().collect();
    let waits = plan(&*pool.ledger.snapshot(), &facts, &pool.wanted).expect("memory").waiting[&Reason::Drain];
    pool.settle();
    assert_eq!((pool.recuts, pool.keeper.progress().done_bytes), (10, waits.bytes));
}
