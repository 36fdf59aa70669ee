//! Shards that their holders have found bad: noted while they count there, and no longer. [`Ledger::answer`] recounts after
//! each step.

use dci_proto::{AgentId, ShardKey, StripeId};
use shoal_ledger::limits::BAD_SHARDS_PER_AGENT;
use shoal_ledger::{BegunMove, Command, Outcome, Rejection, ShardMove, query};

use crate::harness::{Ledger, agent, ana, chunked, fresh, remove, stripe_id};

const FILE_BYTES: u32 = 10;

fn id(number: u8) -> AgentId {
    AgentId([number; 32])
}

fn shard(index: u8) -> ShardKey {
    ShardKey { stripe: stripe_id(1), index }
}

/// Agents 1 to 5, and a file whose stripe of 2+1 lies on 1, 2 and 3.
fn pool() -> Ledger {
    let mut ledger = Ledger::new();
    for number in 4..=5 {
        ledger.ok(Command::RequestJoin { agent: agent(number) });
        ledger.ok(Command::ApproveJoin { agent: id(number) });
    }
    ledger.ok(chunked("/f", vec![fresh(1, 1, FILE_BYTES)]));
    ledger
}

fn report(ledger: &mut Ledger, number: u8, keys: &[ShardKey]) -> Vec<bool> {
    accepted(ledger.ok(Command::ReportBad { agent: id(number), keys: keys.to_vec() }))
}

fn accepted(outcome: Outcome) -> Vec<bool> {
    match outcome {
        Outcome::Accepted(parts) => parts,
        other => panic!("{other:?}"),
    }
}

fn noted(ledger: &Ledger) -> Vec<(AgentId, ShardKey)> {
    query::bad_shards_of_all(&ledger.kv).expect("memory does not fail").into_iter().collect()
}

#[test]
fn an_agent_reports_only_what_counts_on_it_and_each_once() {
    let mut ledger = pool();
    let unknown = ShardKey { stripe: StripeId([7; 16]), index: 0 };
    assert_eq!(report(&mut ledger, 1, &[shard(0), shard(1), unknown, shard(0)]), [true, false, false, false]);
    assert_eq!(noted(&ledger), [(id(1), shard(0))]);
    assert!(query::is_bad(&ledger.kv, id(1), shard(0)).expect("memory does not fail"));
    assert_eq!(query::bad_shards(&ledger.kv, id(2)).expect("memory does not fail").len(), 0);
    let record = query::stripe(&ledger.kv, stripe_id(1)).expect("memory does not fail").expect("there");
    assert_eq!(query::bad_places(&ledger.kv, stripe_id(1), &record).expect("memory does not fail"), [0]);
    let stranger = Command::ReportBad { agent: id(9), keys: vec![shard(0)] };
    assert!(matches!(ledger.refused(stranger), Rejection::UnknownAgent(_)));
}

#[test]
fn what_is_mended_is_taken_back() {
    let mut ledger = pool();
    report(&mut ledger, 1, &[shard(0)]);
    let sound = |number| Command::ReportSound { agent: id(number), keys: vec![shard(0)] };
    assert_eq!(accepted(ledger.ok(sound(2))), [false], "each speaks for itself");
    assert_eq!(noted(&ledger).len(), 1);
    assert_eq!(accepted(ledger.ok(sound(1))), [true]);
    assert_eq!(noted(&ledger), []);
    assert_eq!(report(&mut ledger, 1, &[shard(0)]), [true], "it may go bad again");
}

#[test]
fn a_shard_that_is_rebuilt_elsewhere_is_bad_no_more() {
    let mut ledger = pool();
    report(&mut ledger, 1, &[shard(0)]);
    ledger.ok(Command::BeginMoves { moves: vec![ShardMove { key: shard(0), from: Some(id(1)), to: id(4) }] });
    assert_eq!(noted(&ledger).len(), 1, "until it is done");
    let moves: Vec<_> = query::moves(&ledger.kv).expect("memory does not fail").iter().map(BegunMove::id).collect();
    ledger.ok(Command::FinishMoves { moves });
    assert_eq!(noted(&ledger), []);
    assert_eq!(report(&mut ledger, 1, &[shard(0)]), [false], "it does not count there any more");
    assert_eq!(report(&mut ledger, 4, &[shard(0)]), [true]);
}

#[test]
fn a_stripe_that_goes_or_is_cut_anew_and_an_agent_that_is_struck_off_take_their_reports_along() {
    let mut ledger = pool();
    ledger.ok(chunked("/g", vec![fresh(2, 2, FILE_BYTES)]));
    ledger.ok(chunked("/h", vec![fresh(3, 3, FILE_BYTES)]));
    let of = |stripe: u8| ShardKey { stripe: stripe_id(stripe), index: 1 };
    assert_eq!(report(&mut ledger, 2, &[of(1), of(2), of(3)]), [true, true, true]);
    ledger.ok(remove("/f", ana()));
    ledger.empty_trash();
    assert_eq!(noted(&ledger), [(id(2), of(2)), (id(2), of(3))]);
    let mut new = fresh(2, 4, FILE_BYTES).new_stripe.expect("a stripe");
    new.replaces = Some(stripe_id(2));
    ledger.ok(Command::ReplaceStripes { stripes: vec![new] });
    assert_eq!(noted(&ledger), [(id(2), of(3))]);
    ledger.ok(Command::RemoveAgent { agent: id(2), force: true });
    assert_eq!(noted(&ledger), []);
}

#[test]
fn no_more_than_so_many_shards_of_one_agent_are_noted() {
    let mut ledger = pool();
    let wide = |number: u16| {
        let mut chunk = fresh(1, 1, FILE_BYTES);
        let [high, low] = number.to_be_bytes();
        let (mut content, mut stripe) = ([9; 32], [9; 16]);
        (content[0], content[1], stripe[0], stripe[1]) = (high, low, high, low);
        chunk.content.0 = content;
        let new = chunk.new_stripe.as_mut().expect("a stripe");
        (new.id.0, new.record.content.0) = (stripe, content);
        chunk
    };
    let mut keys = Vec::new();
    for number in 0..=u16::try_from(BAD_SHARDS_PER_AGENT).expect("few") {
        let chunk = wide(number);
        keys.push(ShardKey { stripe: chunk.new_stripe.as_ref().expect("a stripe").id, index: 0 });
        ledger.apply_unchecked(chunked(&format!("/{number}"), vec![chunk]));
    }
    let mut taken = 0;
    for page in keys.chunks(200) {
        taken += report(&mut ledger, 1, page).into_iter().filter(|part| *part).count();
    }
    assert_eq!((taken, noted(&ledger).len()), (BAD_SHARDS_PER_AGENT, BAD_SHARDS_PER_AGENT));
    let too_many = Command::ReportBad { agent: id(1), keys: vec![shard(0); 257] };
    assert!(matches!(ledger.refused(too_many), Rejection::TooMany(_)));
}
