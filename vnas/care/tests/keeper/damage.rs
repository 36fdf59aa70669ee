//! Shards that their holders have found bad where they are.

use dci_proto::{AgentId, ShardKey, StripeId};
use shoal_care::{Reason, plan};
use shoal_ledger::{AgentState, Command, StripeRecord, query};

use crate::pool::{Pool, id};

/// Has the holders of these shards of a stripe report them; answers who they are.
fn report(pool: &Pool, (stripe, record): &(StripeId, StripeRecord), indices: &[u8]) -> Vec<AgentId> {
    let one = |index: &u8| {
        let agent = record.shards[usize::from(*index)].agent.expect("placed");
        pool.submit(Command::ReportBad { agent, keys: vec![ShardKey { stripe: *stripe, index: *index }] });
        agent
    };
    indices.iter().map(one).collect()
}

fn record_of(pool: &Pool, stripe: StripeId) -> StripeRecord {
    query::stripe(&*pool.ledger.snapshot(), stripe).expect("memory").expect("there")
}

fn is_noted(pool: &Pool) -> bool {
    !query::bad_shards_of_all(&*pool.ledger.snapshot()).expect("memory").is_empty()
}

#[test]
fn a_shard_found_bad_is_rebuilt_on_another_agent_from_sound_ones_and_nothing_else_is_touched() {
    let mut pool = Pool::new(12);
    pool.write(40);
    pool.settle();
    let one = pool.stripes()[7].clone();
    let holders = report(&pool, &one, &[2, 5]);
    pool.settle();
    let keys: Vec<ShardKey> = pool.rebuilt.iter().map(|job| job.key).collect();
    assert_eq!(keys, [2, 5].map(|index| ShardKey { stripe: one.0, index }));
    for job in &pool.rebuilt {
        assert_eq!((job.copy_from, job.reason), (None, Reason::Endangered), "the last of its margin was gone");
        assert!(job.record.shards.iter().all(|place| place.agent.is_none_or(|agent| !holders.contains(&agent))));
        assert!(!holders.contains(&job.to));
    }
    let record = record_of(&pool, one.0);
    assert!(record.shards.iter().all(|place| place.agent.is_some_and(|agent| !holders.contains(&agent))));
    assert!(!is_noted(&pool), "what is elsewhere now is bad no more");
}

#[test]
fn a_report_is_acted_on_at_once_however_long_the_next_sweep_is_off() {
    let mut pool = Pool::new(12);
    pool.write(40);
    pool.settle();
    let one = pool.stripes()[3].clone();
    report(&pool, &one, &[0]);
    for _ in 0..3 {
        pool.step();
    }
    assert_eq!(pool.rebuilt.iter().map(|job| job.key.stripe).collect::<Vec<_>>(), [one.0]);
}

#[test]
fn where_every_agent_holds_a_shard_of_the_stripe_it_is_cut_anew() {
    let mut pool = Pool::new(5);
    pool.write(10);
    pool.settle();
    let one = pool.stripes()[4].clone();
    report(&pool, &one, &[1]);
    pool.settle();
    assert_eq!((pool.recuts, pool.rebuilt.len()), (1, 0));
    assert!(!is_noted(&pool));
    assert!(query::stripe(&*pool.ledger.snapshot(), one.0).expect("memory").is_none(), "it took its place");
}

#[test]
fn a_stripe_with_more_bad_shards_than_parities_is_lost_and_found_again_when_one_is_mended() {
    let mut pool = Pool::new(12);
    pool.write(20);
    pool.settle();
    let one = pool.stripes()[2].clone();
    let holders = report(&pool, &one, &[0, 1, 2]);
    pool.settle();
    let progress = pool.keeper.progress();
    assert_eq!((progress.lost.stripes, progress.under_way, pool.rebuilt.len()), (1, 0, 0));
    let keys = vec![ShardKey { stripe: one.0, index: 1 }];
    pool.submit(Command::ReportSound { agent: holders[1], keys });
    pool.settle();
    assert_eq!((pool.keeper.progress().lost.stripes, pool.rebuilt.len()), (0, 2));
    assert_eq!(record_of(&pool, one.0).shards[1].agent, Some(holders[1]), "what is sound again stays");
}

#[test]
fn what_is_mended_before_anybody_began_is_left_where_it_is() {
    let mut pool = Pool::new(12);
    pool.write(20);
    pool.settle();
    let one = pool.stripes()[2].clone();
    let holders = report(&pool, &one, &[4]);
    pool.submit(Command::ReportSound { agent: holders[0], keys: vec![ShardKey { stripe: one.0, index: 4 }] });
    pool.settle();
    assert_eq!(pool.rebuilt, []);
}

#[test]
fn a_plan_counts_what_was_found_bad_and_a_drained_agents_bad_shard_is_made_anew() {
    let mut pool = Pool::new(12);
    pool.write(30);
    pool.settle();
    let one = pool.stripes()[5].clone();
    let holders = report(&pool, &one, &[3]);
    let facts: Vec<_> = pool.facts.values().cloned().collect();
    let findings = plan(&*pool.ledger.snapshot(), &facts, &pool.wanted).expect("memory");
    assert_eq!(findings.waiting[&Reason::Degraded].stripes, 1);
    let number = holders[0].0[0];
    pool.facts_of(number).state = AgentState::Draining;
    pool.submit(Command::SetAgentState { agent: id(number), state: AgentState::Draining });
    pool.settle();
    assert_eq!(pool.shards_on(number), 0);
    let of_bad = pool.rebuilt.iter().find(|job| job.key == ShardKey { stripe: one.0, index: 3 }).expect("rebuilt");
    assert_eq!(of_bad.copy_from, None);
}
