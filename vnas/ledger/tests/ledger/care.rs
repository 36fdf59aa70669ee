//! Shards that change their agent, stripes cut anew, agents that are emptied: no shard that counts is ever to go.

use dci_proto::{AgentId, ShardKey};
use shoal_ledger::{
    AgentState, BegunMove, CarePolicy, Command, DrainCertificate, MoveId, Outcome, Rejection, ShardMove, ShardStanding,
    query,
};

use crate::harness::{Ledger, agent, ana, chunked, content_id, fresh, known, remove, stripe_id};

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

fn begin(index: u8, from: u8, to: u8) -> Command {
    Command::BeginMoves { moves: vec![ShardMove { key: shard(index), from: Some(id(from)), to: id(to) }] }
}

/// The move of a shard that is under way; one that is not where none is.
fn under_way(ledger: &Ledger, index: u8) -> MoveId {
    let moves = query::moves(&ledger.kv).expect("memory does not fail");
    let one = moves.iter().map(BegunMove::id).find(|id| id.key == shard(index));
    one.unwrap_or(MoveId { key: shard(index), begun: 0 })
}

fn finish(ledger: &mut Ledger, index: u8) -> bool {
    let moves = vec![under_way(ledger, index)];
    accepted(ledger, Command::FinishMoves { moves })
}

fn abort(ledger: &mut Ledger, index: u8) -> bool {
    let moves = vec![under_way(ledger, index)];
    accepted(ledger, Command::AbortMoves { moves })
}

fn accepted(ledger: &mut Ledger, command: Command) -> bool {
    match ledger.ok(command) {
        Outcome::Accepted(parts) => parts == [true],
        other => panic!("{other:?}"),
    }
}

fn standing(ledger: &Ledger, index: u8, holder: u8) -> ShardStanding {
    query::standing(&ledger.kv, shard(index), id(holder)).expect("memory does not fail")
}

fn holders(ledger: &Ledger) -> Vec<Option<AgentId>> {
    let record = query::stripe(&ledger.kv, stripe_id(1)).expect("memory does not fail").expect("there");
    record.shards.iter().map(|place| place.agent).collect()
}

fn shards_of(ledger: &Ledger, number: u8) -> u64 {
    query::agent_usage(&ledger.kv, id(number)).expect("memory does not fail").shards
}

#[test]
fn a_finished_move_changes_the_record_and_leaves_a_surplus_shard() {
    let mut ledger = pool();
    assert!(accepted(&mut ledger, begin(0, 1, 4)));
    assert_eq!((standing(&ledger, 0, 1), standing(&ledger, 0, 4)), (ShardStanding::Counted, ShardStanding::Coming));
    assert!(finish(&mut ledger, 0));
    assert_eq!(holders(&ledger), [Some(id(4)), Some(id(2)), Some(id(3))]);
    assert_eq!((standing(&ledger, 0, 1), standing(&ledger, 0, 4)), (ShardStanding::Surplus, ShardStanding::Counted));
    assert_eq!((shards_of(&ledger, 1), shards_of(&ledger, 4)), (0, 1));
    let surplus = query::surplus(&ledger.kv, 10).expect("memory does not fail");
    assert_eq!(surplus.iter().map(|one| (one.key, one.agent)).collect::<Vec<_>>(), [(shard(0), id(1))]);
    ledger.ok(Command::ForgetSurplus { shards: surplus });
    assert_eq!(standing(&ledger, 0, 1), ShardStanding::Elsewhere);
    assert!(!finish(&mut ledger, 0), "it is done");
}

#[test]
fn what_was_copied_in_vain_is_surplus_and_not_moved_there_again_before_it_is_gone() {
    let mut ledger = pool();
    assert!(accepted(&mut ledger, begin(0, 1, 4)));
    assert!(abort(&mut ledger, 0));
    assert_eq!((standing(&ledger, 0, 1), standing(&ledger, 0, 4)), (ShardStanding::Counted, ShardStanding::Surplus));
    assert!(!accepted(&mut ledger, begin(0, 1, 4)), "a late order to drop it would hit the new copy");
    assert!(accepted(&mut ledger, begin(0, 1, 5)));
    let surplus = query::surplus(&ledger.kv, 10).expect("memory does not fail");
    ledger.ok(Command::ForgetSurplus { shards: surplus });
    assert!(abort(&mut ledger, 0));
    assert!(accepted(&mut ledger, begin(0, 1, 4)));
}

/// What a leader that was deposed says of its move comes late: another has given that up and begun anew.
#[test]
fn a_late_word_about_one_move_is_not_taken_for_one_about_the_next() {
    let mut ledger = pool();
    assert!(accepted(&mut ledger, begin(0, 1, 4)));
    let first = under_way(&ledger, 0);
    assert!(abort(&mut ledger, 0));
    let surplus = query::surplus(&ledger.kv, 10).expect("memory does not fail");
    ledger.ok(Command::ForgetSurplus { shards: surplus });
    for to in [4, 5] {
        assert!(accepted(&mut ledger, begin(0, 1, to)));
        assert!(!accepted(&mut ledger, Command::FinishMoves { moves: vec![first] }), "nothing is on agent {to} yet");
        assert!(!accepted(&mut ledger, Command::AbortMoves { moves: vec![first] }));
        assert_eq!(holders(&ledger)[0], Some(id(1)));
        assert!(abort(&mut ledger, 0));
    }
}

#[test]
fn no_move_puts_two_shards_of_a_stripe_on_one_agent_or_one_where_nobody_is() {
    let mut ledger = pool();
    assert!(!accepted(&mut ledger, begin(0, 1, 2)), "agent 2 holds a shard of it");
    assert!(!accepted(&mut ledger, begin(0, 3, 4)), "it is not there");
    assert!(!accepted(&mut ledger, begin(0, 1, 9)), "no member");
    assert!(!accepted(&mut ledger, begin(7, 1, 4)), "no such shard");
    assert!(accepted(&mut ledger, begin(0, 1, 4)));
    assert!(!accepted(&mut ledger, begin(0, 1, 5)), "it is moved already");
    assert!(!accepted(&mut ledger, begin(1, 2, 4)), "another shard of it comes there");
}

#[test]
fn a_stripe_that_goes_takes_its_moves_along() {
    let mut ledger = pool();
    assert!(accepted(&mut ledger, begin(0, 1, 4)));
    ledger.ok(remove("/f", ana()));
    assert_eq!(query::moves(&ledger.kv).expect("memory does not fail").len(), 1, "the trash holds it");
    ledger.empty_trash();
    assert_eq!(query::moves(&ledger.kv).expect("memory does not fail"), []);
    assert_eq!((standing(&ledger, 0, 4), standing(&ledger, 0, 1)), (ShardStanding::Surplus, ShardStanding::Garbage));
    assert!(!finish(&mut ledger, 0));
}

#[test]
fn a_stripe_cut_anew_takes_the_place_of_the_one_it_was_made_from_and_of_no_other() {
    let mut ledger = pool();
    let anew = |stripe: u8, replaces: u8| {
        let mut new = fresh(1, stripe, FILE_BYTES).new_stripe.expect("a stripe");
        new.replaces = Some(stripe_id(replaces));
        Command::ReplaceStripes { stripes: vec![new] }
    };
    assert!(accepted(&mut ledger, begin(0, 1, 4)));
    assert!(accepted(&mut ledger, anew(2, 1)));
    let (stripe, _) = query::content(&ledger.kv, content_id(1)).expect("memory does not fail").expect("there");
    assert_eq!(stripe, stripe_id(2));
    assert_eq!((standing(&ledger, 0, 1), standing(&ledger, 0, 4)), (ShardStanding::Garbage, ShardStanding::Surplus));
    assert!(!accepted(&mut ledger, anew(3, 1)), "it was made from a stripe that has gone");
    let garbage = query::garbage(&ledger.kv, 10).expect("memory does not fail");
    assert_eq!(garbage.iter().map(|one| one.stripe).collect::<Vec<_>>(), [stripe_id(1), stripe_id(3)]);
    assert!(!accepted(&mut ledger, anew(2, 2)), "no stripe takes its own place");
}

#[test]
fn garbage_a_holder_of_which_is_away_is_dropped_shard_by_shard() {
    let mut ledger = pool();
    ledger.ok(remove("/f", ana()));
    ledger.empty_trash();
    ledger.ok(Command::SplitGarbage { stripes: vec![stripe_id(1), stripe_id(9)] });
    assert_eq!(query::garbage(&ledger.kv, 10).expect("memory"), []);
    for (index, holder) in [(0, 1), (1, 2), (2, 3)] {
        assert_eq!(standing(&ledger, index, holder), ShardStanding::Surplus);
    }
    let of_two = |one: &shoal_ledger::SurplusShard| one.agent == id(2);
    let surplus = query::surplus_where(&ledger.kv, 10, &of_two).expect("memory");
    assert_eq!(surplus.len(), 1);
    ledger.ok(Command::ForgetSurplus { shards: surplus });
    assert_eq!((standing(&ledger, 1, 2), standing(&ledger, 0, 1)), (ShardStanding::Unknown, ShardStanding::Surplus));
}

fn certificate(number: u8) -> Command {
    let certificate =
        DrainCertificate { agent: id(number), position: 1, issued_ms: 1, signer: id(1), signature: vec![1] };
    Command::PutCertificate { certificate }
}

#[test]
fn only_an_agent_nothing_counts_on_is_certified_and_removed_without_force() {
    let mut ledger = pool();
    let remove = |number, force| Command::RemoveAgent { agent: id(number), force };
    let state = |number, state| Command::SetAgentState { agent: id(number), state };
    assert!(matches!(ledger.refused(remove(1, false)), Rejection::StillNeeded { stripes: 1, .. }));
    assert!(matches!(ledger.refused(remove(5, false)), Rejection::NotDrained(_)));
    assert!(matches!(ledger.refused(certificate(1)), Rejection::Invalid(_)), "it is not drained");
    ledger.ok(state(1, AgentState::Draining));
    assert_eq!(query::drain(&ledger.kv, id(1)).expect("memory").expect("drained").shards, 1);
    assert!(matches!(ledger.refused(certificate(1)), Rejection::StillNeeded { stripes: 1, .. }));
    assert!(accepted(&mut ledger, begin(0, 1, 4)));
    assert!(finish(&mut ledger, 0));
    ledger.ok(certificate(1));
    ledger.ok(state(1, AgentState::Active));
    assert_eq!(query::certificate(&ledger.kv, id(1)).expect("memory"), None, "void once it takes part again");
    ledger.ok(state(1, AgentState::Draining));
    ledger.ok(certificate(1));
    ledger.ok(remove(1, false));
}

#[test]
fn a_stripe_written_while_one_of_its_holders_was_struck_off_does_not_count_on_it() {
    let mut ledger = pool();
    ledger.ok(Command::RemoveAgent { agent: id(3), force: true });
    ledger.ok(chunked("/g", vec![fresh(2, 2, FILE_BYTES)]));
    let record = query::stripe(&ledger.kv, stripe_id(2)).expect("memory does not fail").expect("there");
    assert_eq!(record.shards.iter().map(|place| place.agent).collect::<Vec<_>>(), [Some(id(1)), Some(id(2)), None]);
    assert_eq!((shards_of(&ledger, 1), shards_of(&ledger, 3)), (2, 1), "the one before goes on naming it");
}

#[test]
fn a_stripe_too_few_of_whose_holders_are_members_is_refused_and_replaces_none() {
    let mut ledger = pool();
    for number in [2, 3] {
        ledger.ok(Command::RemoveAgent { agent: id(number), force: true });
    }
    let refused = ledger.refused(chunked("/g", vec![fresh(2, 2, FILE_BYTES)]));
    assert_eq!(refused, Rejection::HoldersGone(vec![content_id(2)]), "of 2+1 one is left");
    ledger.ok(chunked("/g", vec![fresh(1, 2, FILE_BYTES)]));
    let (stripe, _) = query::content(&ledger.kv, content_id(1)).expect("memory does not fail").expect("there");
    assert_eq!(stripe, stripe_id(1), "the content is there already: the stripe is not counted on");
    let mut new = fresh(1, 3, FILE_BYTES).new_stripe.expect("a new stripe");
    new.replaces = Some(stripe_id(1));
    let anew = shoal_ledger::ChunkRef { new_stripe: Some(new.clone()), ..known(1, FILE_BYTES) };
    assert_eq!(ledger.refused(chunked("/h", vec![anew])), Rejection::HoldersGone(vec![content_id(1)]));
    assert!(!accepted(&mut ledger, Command::ReplaceStripes { stripes: vec![new] }));
    assert_eq!(holders(&ledger), [1, 2, 3].map(|number| Some(id(number))));
}

#[test]
fn a_command_that_names_what_was_sent_out_too_long_ago_is_refused() {
    let mut ledger = pool();
    let begun_ms = ledger.time_ms;
    let late = |stripe: u8| {
        let command = Box::new(chunked("/late", vec![fresh(stripe, stripe, FILE_BYTES)]));
        Command::Fresh { begun_ms, within_ms: 1_000, command }
    };
    ledger.time_ms += 1_000;
    ledger.ok(late(7));
    ledger.time_ms += 1;
    assert_eq!(ledger.refused(late(8)), Rejection::TooLate);
    assert_eq!(query::content(&ledger.kv, content_id(8)).expect("memory does not fail"), None);
    let nested = Command::Fresh { begun_ms, within_ms: u64::MAX, command: Box::new(late(9)) };
    assert!(matches!(ledger.refused(nested), Rejection::Invalid(_)));
}

#[test]
fn a_patience_of_nothing_or_of_ages_is_refused() {
    let mut ledger = pool();
    let policy = CarePolicy { absent_after_s: 20, ..CarePolicy::default() };
    ledger.ok(Command::SetCarePolicy { policy });
    assert_eq!(query::care_policy(&ledger.kv).expect("memory"), policy);
    for wrong in [
        CarePolicy { absent_after_s: 0, ..policy },
        CarePolicy { scrub_period_s: 0, ..policy },
        CarePolicy { trash_keep_s: u64::MAX, ..policy },
    ] {
        ledger.refused(Command::SetCarePolicy { policy: wrong });
    }
}

#[test]
fn a_stripe_its_writer_gave_up_is_not_taken_after_all_and_its_shards_are_to_go() {
    let mut ledger = pool();
    let sent = |stripe| {
        let key = |index| ShardKey { stripe: stripe_id(stripe), index };
        Command::GiveUp { shards: vec![(id(1), key(0)), (id(2), key(1)), (id(4), key(1)), (id(77), key(2))] }
    };
    ledger.ok(sent(2));
    let surplus = query::surplus(&ledger.kv, 10).expect("memory does not fail");
    assert_eq!(surplus.iter().map(|one| one.agent).collect::<Vec<_>>(), [1, 2, 4].map(id), "77 is no member");
    let refused = ledger.refused(chunked("/g", vec![fresh(2, 2, FILE_BYTES)]));
    assert_eq!(refused, Rejection::MissingContent(vec![content_id(2)]), "its shards may be gone");
    let mut late = fresh(1, 2, FILE_BYTES).new_stripe.expect("a new stripe");
    late.replaces = Some(stripe_id(1));
    assert!(!accepted(&mut ledger, Command::ReplaceStripes { stripes: vec![late] }));
    assert_eq!(holders(&ledger), [1, 2, 3].map(|number| Some(id(number))), "the stripe it was to replace stays");
    ledger.ok(sent(1));
    assert_eq!(standing(&ledger, 0, 1), ShardStanding::Counted, "what counts cannot be given up");
    assert_eq!(standing(&ledger, 1, 4), ShardStanding::Elsewhere);
}
