//! What single calls do, on rows in memory.

use std::sync::Arc;

use dci_proto::message::{Body, Envelope, Message, Receipt, ReceiptState, Recipient, Sender};
use dci_proto::{AgentId, MessageId, SessionId};

use super::memory::MemoryRows;
use super::{
    Accepted, Core, Limits, Now, Outcome, Place, Plan, PostRefused, ReceiptOutcome, Retention, Sendable, Settlement,
    State, Sweep,
};

const ME: AgentId = AgentId([1; 32]);
const ANA: AgentId = AgentId([2; 32]);
const BEN: AgentId = AgentId([3; 32]);
const START_MS: u64 = 1_700_000_000_000;
const LIFE_MS: u64 = 600_000;

/// A core, its rows and the time.
struct Bench {
    core: Core,
    rows: MemoryRows,
    now_ms: u64,
}

fn envelope(id: u8, session: Option<u8>, to: Recipient) -> Arc<Envelope> {
    let message = Message {
        id: MessageId([id; 16]),
        kind: "test".parse().expect("a type"),
        session: session.map(|session| SessionId([session; 16])),
        sent_ms: START_MS,
        expires_ms: START_MS + LIFE_MS,
        from: Sender { agent: ME, user: None, session: None },
        to,
        in_reply_to: None,
        replay_of: None,
        body: Body::of_text("text").expect("a body"),
    };
    Arc::new(Envelope { message, ttl: 9, signature: [0; 64] })
}

fn now_at(now_ms: u64) -> Now {
    Now { steady_ms: now_ms, wall_ms: START_MS + now_ms }
}

impl Bench {
    fn new(limits: Limits) -> Self {
        let rows = MemoryRows::default();
        let Ok(core) = Core::recover(ME, limits, now_at(0), &rows);
        Self { core, rows, now_ms: 0 }
    }

    fn plan<T>(&mut self, change: impl FnOnce(&mut Plan<'_, MemoryRows>) -> T) -> T {
        let now = now_at(self.now_ms);
        let mut plan = Plan::new(&self.core, &mut self.rows, now, 1);
        let answer = change(&mut plan);
        let Outcome { facts, next, .. } = plan.finish();
        self.core.committed(now, facts, next);
        answer
    }

    fn post(
        &mut self,
        id: u8,
        session: Option<u8>,
        to: Recipient,
        recipients: &[AgentId],
    ) -> Result<Place, PostRefused> {
        let Ok(posted) = self.plan(|plan| plan.post(&envelope(id, session, to), recipients));
        posted
    }

    fn post_to(&mut self, id: u8, session: Option<u8>, recipient: AgentId) -> Place {
        self.post(id, session, Recipient::Agent(recipient), &[recipient]).expect("posted")
    }

    fn receipt(&mut self, of: u8, from: AgentId, state: ReceiptState) -> ReceiptOutcome {
        let Ok(outcome) = self.plan(|plan| plan.receipt(from, &Receipt { of: MessageId([of; 16]), state }));
        outcome
    }

    /// What is sent at a time: place, attempt, recipients; the rows are told.
    fn due(&mut self, now_ms: u64) -> Vec<Sendable> {
        self.now_ms = now_ms;
        let due = self.core.step(now_at(now_ms), 100, 0);
        let Ok(()) = self.plan(|plan| plan.upkeep(&due));
        due.sendings
    }

    fn places(&mut self, now_ms: u64) -> Vec<(u64, u8)> {
        self.due(now_ms).into_iter().map(|sending| (sending.place.0, sending.attempt)).collect()
    }

    fn state(&self, place: Place, agent: AgentId) -> State {
        self.rows.status(place, agent).expect("a recipient").state
    }

    fn restart(&mut self) {
        let Ok(core) = Core::recover(ME, self.core.limits, now_at(self.now_ms), &self.rows);
        self.core = core;
    }
}

#[test]
fn a_message_is_sent_again_ever_more_seldom_until_it_is_acknowledged() {
    let mut bench = Bench::new(Limits::default());
    bench.post_to(1, None, ANA);
    let mut times = Vec::new();
    for now_ms in (0..400_000).step_by(500) {
        times.extend(bench.places(now_ms).into_iter().map(|(_, attempt)| (now_ms, attempt)));
    }
    assert_eq!(times, [(0, 0), (1_000, 1), (3_000, 2), (8_000, 3), (23_000, 4), (83_000, 5), (383_000, 6)]);
    bench.receipt(1, ANA, ReceiptState::Delivered);
    assert!(bench.places(599_000).is_empty());
}

#[test]
fn who_is_seen_to_come_back_is_sent_to_at_once_though_not_all_the_time() {
    let mut bench = Bench::new(Limits::default());
    bench.post_to(1, None, ANA);
    for now_ms in [0, 1_000, 3_000, 8_000, 23_000] {
        assert_eq!(bench.places(now_ms).len(), 1);
    }
    bench.core.seen(now_at(40_000), ANA);
    assert_eq!(bench.places(40_000), [(1, 5)]);
    bench.core.seen(now_at(40_100), ANA);
    assert!(bench.places(40_100).is_empty());
    assert_eq!(bench.places(41_000), [(1, 6)]);
}

#[test]
fn the_next_of_a_session_is_sent_when_the_one_before_is_acknowledged_or_has_expired() {
    let mut bench = Bench::new(Limits::default());
    let (first, second) = (bench.post_to(1, Some(1), ANA), bench.post_to(2, Some(1), ANA));
    bench.post_to(3, Some(2), ANA);
    bench.post_to(4, Some(1), BEN);
    assert_eq!(bench.places(0), [(1, 0), (3, 0), (4, 0)], "other sessions and recipients do not wait");
    bench.receipt(1, ANA, ReceiptState::Refused { reason: "no".into() });
    assert_eq!(bench.places(10), [(second.0, 0)]);
    assert_eq!(bench.state(first, ANA), State::Refused { reason: "no".into() });
}

#[test]
fn what_has_expired_is_not_sent_and_stays_so() {
    let mut bench = Bench::new(Limits::default());
    let place = bench.post_to(1, Some(1), ANA);
    assert_eq!(bench.places(0), [(1, 0)]);
    bench.now_ms = LIFE_MS;
    assert_eq!(bench.receipt(1, ANA, ReceiptState::Delivered), ReceiptOutcome::Nothing, "before the step that says so");
    assert!(bench.places(LIFE_MS).is_empty());
    assert!(matches!(bench.state(place, ANA), State::Expired { .. }));
    assert_eq!(bench.receipt(1, ANA, ReceiptState::Handled { exit_status: 0 }), ReceiptOutcome::Nothing);
    assert_eq!(bench.post(2, None, Recipient::Agent(ANA), &[ANA]), Err(PostRefused::Expired));
}

#[test]
fn a_copy_dropped_on_the_way_is_shown_and_sending_goes_on() {
    let mut bench = Bench::new(Limits::default());
    let place = bench.post_to(1, None, ANA);
    bench.due(0);
    let dropped = ReceiptState::Expired { hop: BEN, reason: "no hops left".into() };
    assert_eq!(bench.receipt(1, BEN, dropped.clone()), ReceiptOutcome::Changed);
    assert_eq!(bench.receipt(1, BEN, dropped), ReceiptOutcome::Nothing);
    assert!(matches!(bench.state(place, ANA), State::ExpiredOnTheWay { hop: BEN, .. }));
    assert_eq!(bench.places(1_000), [(1, 1)]);
    bench.receipt(1, ANA, ReceiptState::Delivered);
    assert_eq!(bench.state(place, ANA), State::Delivered);
}

#[test]
fn what_never_leaves_for_want_of_hops_has_expired_at_once() {
    let mut bench = Bench::new(Limits::default());
    let (one, all) = (bench.post_to(1, Some(1), ANA), bench.post(2, None, Recipient::All, &[ME, ANA, BEN]));
    let all = all.expect("posted");
    bench.due(0);
    let used_up = ReceiptState::Expired { hop: ME, reason: "no hops left".into() };
    for number in [1, 2] {
        assert_eq!(bench.receipt(number, ME, used_up.clone()), ReceiptOutcome::Changed);
        assert_eq!(bench.receipt(number, ME, used_up.clone()), ReceiptOutcome::Nothing);
    }
    for (place, agent) in [(one, ANA), (all, ANA), (all, BEN)] {
        assert_eq!(bench.state(place, agent), State::Expired { reason: "no hops left".into() });
    }
    assert_eq!(bench.state(all, ME), State::Waiting, "who sends to all has it all the same");
    bench.receipt(2, ME, ReceiptState::Delivered);
    assert!(bench.places(400_000).is_empty(), "nothing is sent again");
}

#[test]
fn of_a_message_to_many_a_recipient_that_drops_a_copy_has_it_all_the_same() {
    let mut bench = Bench::new(Limits::default());
    let place = bench.post(1, None, Recipient::All, &[ANA, BEN]).expect("posted");
    let dropped = ReceiptState::Expired { hop: BEN, reason: "no hops left".into() };
    bench.receipt(1, BEN, dropped.clone());
    assert!(matches!(bench.state(place, ANA), State::ExpiredOnTheWay { .. }));
    assert_eq!(bench.state(place, BEN), State::Waiting);
    bench.receipt(1, BEN, ReceiptState::Delivered);
    assert_eq!(bench.receipt(1, BEN, dropped), ReceiptOutcome::Nothing);
    assert_eq!(bench.state(place, BEN), State::Delivered);
}

#[test]
fn nobody_answers_for_another() {
    let mut bench = Bench::new(Limits::default());
    let place = bench.post_to(1, None, ANA);
    let handled = ReceiptState::Handled { exit_status: 0 };
    let another = ReceiptState::Expired { hop: ANA, reason: "no hops left".into() };
    for (from, state) in [(BEN, handled), (BEN, ReceiptState::Delivered), (BEN, another)] {
        assert_eq!(bench.receipt(1, from, state), ReceiptOutcome::Nothing);
        assert_eq!(bench.state(place, ANA), State::Waiting);
    }
    assert_eq!(bench.receipt(9, ANA, ReceiptState::Delivered), ReceiptOutcome::Unknown);
}

#[test]
fn a_message_to_many_is_one_sending_for_all_and_names_those_whose_turn_has_not_come() {
    let mut bench = Bench::new(Limits::default());
    bench.post_to(1, Some(1), BEN);
    bench.due(0);
    bench.post(2, Some(1), Recipient::All, &[ANA, BEN]).expect("posted");
    let due = bench.due(1);
    assert_eq!(due.len(), 1);
    assert_eq!((due[0].recipients.as_slice(), due[0].not_yet.as_slice()), ([ANA].as_slice(), [BEN].as_slice()));
    bench.receipt(1, BEN, ReceiptState::Delivered);
    let due = bench.due(2);
    assert_eq!((due[0].attempt, due[0].recipients.as_slice()), (1, [ANA, BEN].as_slice()), "one flood reaches both");
    assert!(due[0].not_yet.is_empty());
}

#[test]
fn who_joins_gets_what_is_still_valid_in_order_and_once() {
    let mut bench = Bench::new(Limits::default());
    let group = || Recipient::Group("lab".parse().expect("a group"));
    bench.post(1, Some(1), group(), &[ANA]).expect("posted");
    bench.post(2, Some(1), group(), &[]).expect("posted");
    bench.post(3, Some(1), Recipient::All, &[]).expect("posted");
    bench.due(0);
    bench.receipt(1, ANA, ReceiptState::Delivered);
    let Ok(added) = bench.plan(|plan| plan.joined(&group(), &[ANA, BEN, BEN]));
    assert_eq!(added, 3, "ana for the second, ben for both");
    let Ok(again) = bench.plan(|plan| plan.joined(&group(), &[BEN, ANA]));
    assert_eq!(again, 0);
    let due = bench.due(10);
    let named: Vec<_> =
        due.iter().map(|sending| (sending.place.0, sending.attempt, sending.recipients.clone())).collect();
    assert_eq!(named, [(1, 1, vec![BEN]), (2, 1, vec![ANA])]);
    bench.now_ms = LIFE_MS;
    let Ok(late) = bench.plan(|plan| plan.joined(&Recipient::All, &[BEN]));
    assert_eq!(late, 0, "it has expired");
}

#[test]
fn after_a_restart_no_attempt_number_is_used_again() {
    let mut bench = Bench::new(Limits::default());
    bench.post_to(1, Some(1), ANA);
    bench.post_to(2, Some(1), ANA);
    assert_eq!(bench.places(0), [(1, 0)]);
    bench.restart();
    assert_eq!(bench.places(10), [(1, 1)]);
    bench.restart();
    assert_eq!(bench.places(20), [(1, 2)]);
    bench.receipt(1, ANA, ReceiptState::Delivered);
    bench.restart();
    assert_eq!(bench.places(30), [(2, 1)], "the rows allowed a first sending of it");
}

#[test]
fn who_does_not_answer_is_tried_with_a_few_and_gets_all_when_it_answers() {
    let limits = Limits { on_the_way: 50, on_the_way_unanswered: 3, unanswered: 20, ..Limits::default() };
    let mut bench = Bench::new(limits);
    for id in 1..=80 {
        bench.post_to(id, None, ANA);
    }
    assert_eq!(bench.places(0).len(), 50);
    assert_eq!(bench.places(1_000).len(), 20, "sent again until it counts as one that does not answer");
    let later: Vec<(u64, u8)> = (2..60).flat_map(|second| bench.places(second * 1_000)).collect();
    assert!(later.iter().all(|(place, _)| *place <= 3), "{later:?}");
    bench.now_ms = 60_000;
    bench.receipt(1, ANA, ReceiptState::Delivered);
    assert_eq!(bench.places(60_000).len(), 48, "all there is room for, but the two that were just tried");
}

#[test]
fn what_is_over_the_limits_is_refused_with_a_sentence() {
    let mut bench = Bench::new(Limits { waiting: 3, recipients: 2, ..Limits::default() });
    let three = [ME, ANA, BEN];
    assert_eq!(bench.post(1, None, Recipient::All, &three), Err(PostRefused::Recipients { found: 3, limit: 2 }));
    bench.post(1, None, Recipient::All, &[ANA, BEN]).expect("posted");
    assert_eq!(bench.post(1, None, Recipient::All, &[ANA]), Err(PostRefused::Known));
    let full = bench.post(2, None, Recipient::All, &[ANA, BEN]).expect_err("is full");
    assert_eq!(full, PostRefused::Full { waiting: 2 });
    assert!(full.to_string().contains("wait until some are back"), "{full}");
}

#[test]
fn a_message_is_taken_once_and_another_senders_with_the_same_id_is_another() {
    let mut bench = Bench::new(Limits::default());
    let mut other = Envelope::clone(&envelope(1, None, Recipient::Agent(ME)));
    other.message.from.agent = ANA;
    let (one, other) = (envelope(1, None, Recipient::Agent(ME)), Arc::new(other));
    let mut accept = |envelope: &Arc<Envelope>| {
        let Ok(accepted) = bench.plan(|plan| plan.accept(envelope, None));
        accepted
    };
    let Accepted::New(place) = accept(&one) else { panic!("it is new") };
    assert_eq!(accept(&one), Accepted::Known(ReceiptState::Delivered));
    assert!(matches!(accept(&other), Accepted::New(_)));
    let Ok(settled) = bench.plan(|plan| plan.settle(place, &Settlement::Handled { exit_status: 7 }));
    assert_eq!(settled, Some(ReceiptState::Handled { exit_status: 7 }));
    let Ok(again) = bench.plan(|plan| plan.settle(place, &Settlement::Expired));
    assert_eq!(again, None);
    let Ok(known) = bench.plan(|plan| plan.accept(&one, None));
    assert_eq!(known, Accepted::Known(ReceiptState::Handled { exit_status: 7 }));
}

#[test]
fn an_id_is_forgotten_only_when_the_message_could_not_be_taken_anyway() {
    let mut bench = Bench::new(Limits::default());
    let one = envelope(1, None, Recipient::Agent(ME));
    let Ok(refused) = bench.plan(|plan| plan.accept(&one, Some("not you")));
    assert!(matches!(refused, Accepted::New(_)));
    assert!(bench.core.inbox.is_idle() && bench.core.inbox.len() == 0, "what is refused is not handed out");
    for (now_ms, expected) in [
        (LIFE_MS - 1, Accepted::Known(ReceiptState::Refused { reason: "not you".into() })),
        (LIFE_MS + 3_599_000, Accepted::Known(ReceiptState::Refused { reason: "not you".into() })),
        (LIFE_MS + 3_601_000, Accepted::Expired),
    ] {
        bench.now_ms = now_ms;
        let Ok(_) = Sweep::default().step(&bench.core, &mut bench.rows, now_at(now_ms), Retention::default());
        let Ok(accepted) = bench.plan(|plan| plan.accept(&one, None));
        assert_eq!(accepted, expected, "after {now_ms} ms");
    }
    assert!(bench.rows.received.is_empty());
}

#[test]
fn retention_drops_the_oldest_but_never_what_waits() {
    let mut bench = Bench::new(Limits::default());
    let waits = bench.post_to(1, None, ANA);
    for id in 2..100 {
        bench.post_to(id, None, BEN);
        bench.receipt(id, BEN, ReceiptState::Delivered);
    }
    let Ok(Accepted::New(undone)) = bench.plan(|plan| plan.accept(&envelope(1, None, Recipient::Agent(ME)), None))
    else {
        panic!("it is new")
    };
    let retention = Retention { age_ms: 1_000, bytes: 2_000 };
    let sweep = |bench: &mut Bench, now_ms| {
        let Ok(sweep) = Sweep::default().step(&bench.core, &mut bench.rows, now_at(now_ms), retention);
        assert!(!sweep.is_due(now_at(now_ms)), "the end was reached");
    };
    sweep(&mut bench, 10);
    let left = bench.rows.log.len();
    assert!((10..40).contains(&left), "by bytes, {left} are left");
    assert_eq!(bench.rows.sent.len(), bench.rows.ended.len() + 1, "what became of dropped ones is dropped too");
    sweep(&mut bench, 2_000);
    let left: Vec<Place> = bench.rows.log.keys().copied().collect();
    assert_eq!(left, [waits, undone, Place(undone.0 + 1)], "by age, all but what waits and the last");
}
