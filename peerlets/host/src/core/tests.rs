//! Single stories; the laws over random ones are in `tests/core_laws.rs`.

use dci_proto::message::{Body, MessageType};
use dci_proto::{MessageId, SessionId};

use super::*;
use crate::manifest::Mode;

fn kind() -> MessageType {
    "k".parse().expect("a type")
}

fn policy(mode: Mode, settles: Settles) -> Policy {
    Policy { mode, settles, time_ms: 1_000, queue: 10, idle_ms: 5_000, instances: 2, grace_ms: 100 }
}

fn core(mode: Mode, settles: Settles) -> Core {
    let mut core = Core::new(10);
    core.handle(0, Event::Learnt(kind(), policy(mode, settles)));
    core
}

fn work(number: u8, session: Option<u8>) -> Event {
    let id = MessageId([number; 16]);
    let session = session.map(|session| SessionId([session; 16]));
    Event::Arrived(Work { ticket: Ticket(number.into()), id, kind: kind(), session, void_ms: 1_000_000 })
}

fn line(about: Option<u8>, more: bool) -> ReplyLine {
    let about = about.map(|number| MessageId([number; 16]));
    ReplyLine { about, body: Some(Body::of_text("yes").expect("a body")), more, status: 0 }
}

fn end(status: i32) -> End {
    End { status, fault: None, said: String::new() }
}

fn started(effects: &[Effect]) -> Vec<ProcessId> {
    let start = |effect: &Effect| if let Effect::Start { process, .. } = effect { Some(*process) } else { None };
    effects.iter().filter_map(start).collect()
}

fn refusals(effects: &[Effect]) -> Vec<(Ticket, String)> {
    let refusal = |effect: &Effect| match effect {
        Effect::Settle(ticket, Verdict::Refused { why }) => Some((*ticket, why.clone())),
        _ => None,
    };
    effects.iter().filter_map(refusal).collect()
}

fn handled(ticket: u64) -> Effect {
    Effect::Settle(Ticket(ticket), Verdict::Handled { status: 0, said: String::new() })
}

#[test]
fn a_oneshot_is_started_for_each_message_and_the_rest_wait() {
    let mut core = core(Mode::Oneshot, Settles::AtExit);
    let first = started(&core.handle(0, work(1, None)));
    assert_eq!(started(&core.handle(0, work(2, None))).len(), 1);
    assert!(started(&core.handle(0, work(3, None))).is_empty());
    let fed = core.handle(0, Event::Ready(first[0]));
    assert_eq!(fed, [Effect::Feed(first[0], Ticket(1)), Effect::CloseInput(first[0])]);
    let effects = core.handle(0, Event::Exited(first[0], end(3)));
    let verdict = Verdict::Handled { status: 3, said: String::new() };
    assert_eq!(effects[0], Effect::Settle(Ticket(1), verdict));
    assert_eq!(started(&effects).len(), 1);
}

#[test]
fn a_session_that_exists_gets_the_message_and_a_new_one_a_program_of_its_own() {
    let mut core = core(Mode::Session, Settles::WithItsReply);
    let first = started(&core.handle(0, work(1, Some(1))))[0];
    core.handle(0, Event::Ready(first));
    assert_eq!(core.handle(0, work(2, Some(1))), [Effect::Feed(first, Ticket(2))]);
    let second = started(&core.handle(0, work(3, Some(2))))[0];
    assert_ne!(first, second);
    // The second may not speak for the first's sender.
    assert_eq!(core.handle(0, Event::Reply(second, line(Some(1), false))), [Effect::Stray(second)]);
}

#[test]
fn lines_answer_one_message_after_the_other() {
    let mut core = core(Mode::Service, Settles::WithItsLine);
    let service = started(&core.handle(0, work(1, None)))[0];
    core.handle(0, work(2, None));
    assert_eq!(core.handle(0, Event::Ready(service)), [Effect::Feed(service, Ticket(1))]);
    let body = Body::of_text("yes").expect("a body");
    let effects = core.handle(0, Event::Reply(service, line(None, false)));
    assert_eq!(effects, [Effect::Reply(Ticket(1), body), handled(1), Effect::Feed(service, Ticket(2))]);
    core.handle(0, Event::Reply(service, line(None, false)));
    assert_eq!(core.handle(0, Event::Reply(service, line(None, false))), [Effect::Stray(service)]);
}

#[test]
fn a_reply_that_says_more_will_follow_keeps_the_message_open_without_a_time() {
    let mut core = core(Mode::Service, Settles::WithItsReply);
    let service = started(&core.handle(0, work(1, None)))[0];
    core.handle(0, Event::Ready(service));
    core.handle(0, Event::Reply(service, line(Some(1), true)));
    assert!(core.handle(4_000, Event::Tick).is_empty(), "it has been answered");
    assert!(core.handle(4_000, Event::Reply(service, line(None, false))).contains(&handled(1)));
}

#[test]
fn one_that_crashes_before_it_takes_a_message_is_tried_ever_more_seldom_and_then_given_up() {
    let mut core = core(Mode::Service, Settles::WithItsLine);
    let mut process = started(&core.handle(0, work(1, None)))[0];
    let (mut now_ms, mut waits) = (0, Vec::new());
    let last = loop {
        // Which is seen first when a program ends.
        core.handle(now_ms, Event::OutputClosed(process));
        let effects = core.handle(now_ms, Event::Exited(process, end(1)));
        if !refusals(&effects).is_empty() {
            break refusals(&effects);
        }
        let before_ms = now_ms;
        process = loop {
            now_ms += 50;
            assert!(now_ms < 100_000, "it is never started again");
            if let Some(process) = started(&core.handle(now_ms, Event::Tick)).first() {
                break *process;
            }
        };
        waits.push(now_ms - before_ms);
    };
    assert_eq!(waits, [200, 400, 800, 1_600]);
    assert_eq!(last[0].0, Ticket(1));
    assert!(last[0].1.contains("status 1"), "{}", last[0].1);
    assert_eq!(core.totals(), (0, 0));
}

#[test]
fn a_message_a_program_has_seen_is_never_given_to_another() {
    let mut core = core(Mode::Service, Settles::WithItsLine);
    let service = started(&core.handle(0, work(1, None)))[0];
    core.handle(0, work(2, None));
    core.handle(0, Event::Ready(service));
    let refused = refusals(&core.handle(0, Event::Exited(service, end(0))));
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].0, Ticket(1));
    // The one that waited is for the next.
    assert_eq!(core.totals(), (0, 1));
}

#[test]
fn one_that_takes_too_long_is_asked_to_end_and_then_ended() {
    let mut core = core(Mode::Oneshot, Settles::AtExit);
    let process = started(&core.handle(0, work(1, None)))[0];
    core.handle(0, Event::Ready(process));
    assert!(core.handle(999, Event::Tick).is_empty());
    assert_eq!(core.handle(1_000, Event::Tick), [Effect::Terminate(process)]);
    assert!(core.handle(1_099, Event::Tick).is_empty());
    assert_eq!(core.handle(1_100, Event::Tick), [Effect::Kill(process)]);
    let refused = refusals(&core.handle(1_101, Event::Exited(process, end(137))));
    assert!(refused[0].1.contains("longer than 1 s"), "{refused:?}");
}

#[test]
fn an_idle_one_is_ended_gently_and_a_message_that_comes_meanwhile_gets_the_next() {
    let mut core = core(Mode::Service, Settles::WhenFed);
    let service = started(&core.handle(0, work(1, None)))[0];
    core.handle(0, Event::Ready(service));
    assert_eq!(core.handle(10, Event::Fed(service, Ticket(1))), [handled(1)]);
    assert_eq!(core.handle(5_010, Event::Tick), [Effect::CloseInput(service)]);
    assert!(core.handle(5_020, work(2, None)).is_empty());
    assert_eq!(started(&core.handle(5_030, Event::Exited(service, end(0)))).len(), 1);
}

#[test]
fn an_idle_session_makes_room_for_a_new_one() {
    let mut core = core(Mode::Session, Settles::WithItsReply);
    let sessions: Vec<ProcessId> =
        (1..=2u8).map(|number| started(&core.handle(number.into(), work(number, Some(number))))[0]).collect();
    for (at, process) in sessions.iter().enumerate() {
        core.handle(10 + at as u64, Event::Ready(*process));
        core.handle(20 + at as u64, Event::Reply(*process, line(None, false)));
    }
    assert_eq!(core.handle(30, work(3, Some(3))), [Effect::CloseInput(sessions[0])]);
    assert!(core.handle(31, work(4, Some(4))).is_empty(), "one on its way out is enough");
    assert_eq!(started(&core.handle(40, Event::Exited(sessions[0], end(0)))).len(), 1);
}

#[test]
fn what_waits_too_long_or_has_no_peerlet_or_no_room_is_refused() {
    let mut core = core(Mode::Service, Settles::WithItsLine);
    for number in 1..=10 {
        assert!(refusals(&core.handle(0, work(number, None))).is_empty());
    }
    assert!(refusals(&core.handle(0, work(11, None)))[0].1.contains("limits.queue"));
    assert_eq!(refusals(&core.handle(0, Event::Forgotten(kind()))).len(), 10);
    assert!(refusals(&core.handle(0, work(12, None)))[0].1.contains("no peerlet"));
    let mut core = Core::new(0);
    core.handle(0, Event::Learnt(kind(), policy(Mode::Oneshot, Settles::AtExit)));
    core.handle(0, work(1, None));
    assert!(refusals(&core.handle(1_000_000, Event::Tick))[0].1.contains("expired"));
}

#[test]
fn shutting_down_gives_back_what_no_program_has_seen_and_lets_the_others_finish() {
    let mut core = core(Mode::Service, Settles::WithItsLine);
    let service = started(&core.handle(0, work(1, None)))[0];
    core.handle(0, work(2, None));
    core.handle(0, Event::Ready(service));
    let effects = core.handle(0, Event::ShutDown);
    assert_eq!(effects, [Effect::Settle(Ticket(2), Verdict::GivenBack), Effect::CloseInput(service)]);
    assert!(core.handle(10, Event::Reply(service, line(None, false))).contains(&handled(1)));
    assert_eq!(core.handle(20, work(3, None)), [Effect::Settle(Ticket(3), Verdict::GivenBack)]);
    core.handle(30, Event::Exited(service, end(0)));
    assert_eq!((core.totals(), core.pace()), ((0, 0), Pace::Never));
}
