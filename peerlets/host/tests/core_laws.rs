//! What always holds of the core, whatever messages come and whatever programs do: random runs, each with a world that keeps
//! the shell's promises and is otherwise as unruly as can be.

#![allow(clippy::expect_used, reason = "a failing test says what failed")]

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::message::{Body, MessageType};
use dci_proto::{MessageId, SessionId};
use proptest::prelude::*;
use shoal_peerlets::core::{Core, Effect, End, Event, Policy, ProcessId, ReplyLine, Settles, Ticket, Verdict, Work};
use shoal_peerlets::manifest::Mode;

const HOST_LIMIT: usize = 5;
const QUEUE_LIMIT: usize = 6;
const TIME_MS: u64 = 1_000;
const IDLE_MS: u64 = 3_000;
const GRACE_MS: u64 = 200;

/// One step of a run. Numbers pick among what is there.
#[derive(Debug, Clone)]
enum Step {
    Arrive { kind: u8, session: Option<u8>, life_ms: u64 },
    Ready(u8),
    StartFailed(u8),
    Fed(u8),
    Reply { process: u8, about: Option<u8>, more: bool },
    OutputClosed(u8),
    Broke(u8),
    Exit(u8, i32),
    Wait(u64),
    Learn(u8),
    Forget(u8),
}

/// Short ones expire while they wait; the others outlast every run, so that one that is never taken is found.
fn life_ms() -> impl Strategy<Value = u64> {
    prop_oneof![1..8_000u64, Just(1_000_000_000)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..5u8, proptest::option::of(0..4u8), life_ms())
            .prop_map(|(kind, session, life_ms)| Step::Arrive { kind, session, life_ms }),
        6 => any::<u8>().prop_map(Step::Ready),
        1 => any::<u8>().prop_map(Step::StartFailed),
        6 => any::<u8>().prop_map(Step::Fed),
        6 => (any::<u8>(), proptest::option::of(any::<u8>()), any::<bool>())
            .prop_map(|(process, about, more)| Step::Reply { process, about, more }),
        1 => any::<u8>().prop_map(Step::OutputClosed),
        1 => any::<u8>().prop_map(Step::Broke),
        3 => (any::<u8>(), 0..3i32).prop_map(|(process, status)| Step::Exit(process, status)),
        4 => (1..2_000u64).prop_map(Step::Wait),
        1 => (0..5u8).prop_map(Step::Learn),
        1 => (0..5u8).prop_map(Step::Forget),
    ]
}

fn kind(number: u8) -> MessageType {
    format!("kind{number}").parse().expect("a type")
}

fn policy(number: u8) -> Policy {
    let (mode, settles, instances) = match number {
        0 => (Mode::Oneshot, Settles::AtExit, 2),
        1 => (Mode::Session, Settles::WithItsLine, 2),
        2 => (Mode::Session, Settles::WithItsReply, 3),
        3 => (Mode::Service, Settles::WithItsReply, 1),
        _ => (Mode::Service, Settles::WhenFed, 1),
    };
    Policy { mode, settles, time_ms: TIME_MS, queue: QUEUE_LIMIT, idle_ms: IDLE_MS, instances, grace_ms: GRACE_MS }
}

#[derive(Debug, Default)]
struct Program {
    kind: u8,
    session: Option<SessionId>,
    fed: Vec<Ticket>,
    unwritten: Vec<Ticket>,
}

/// The shell and the programs.
struct World {
    core: Core,
    now_ms: u64,
    arrived: BTreeMap<Ticket, Work>,
    settled: BTreeSet<Ticket>,
    programs: BTreeMap<ProcessId, Program>,
    fed_to: BTreeMap<Ticket, ProcessId>,
    limits: BTreeMap<u8, usize>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            core: Core::new(HOST_LIMIT),
            now_ms: 0,
            arrived: BTreeMap::new(),
            settled: BTreeSet::new(),
            programs: BTreeMap::new(),
            fed_to: BTreeMap::new(),
            limits: (0..5).map(|number| (number, policy(number).instances)).collect(),
        };
        (0..5).for_each(|number| world.learn(number));
        world
    }

    fn learn(&mut self, number: u8) {
        self.handle(Event::Learnt(kind(number), policy(number)), None);
    }

    fn pick(&self, number: u8) -> Option<ProcessId> {
        let count = self.programs.len();
        self.programs.keys().nth(usize::from(number) % count.max(1)).copied()
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Arrive { kind: number, session, life_ms } => {
                let ticket = Ticket(self.arrived.len() as u64);
                let work = Work {
                    ticket,
                    id: MessageId(u128::from(ticket.0).to_be_bytes()),
                    kind: kind(*number),
                    session: session.map(|session| SessionId([session; 16])),
                    void_ms: self.now_ms + life_ms,
                };
                self.arrived.insert(ticket, work.clone());
                self.handle(Event::Arrived(work), None);
            }
            Step::Wait(ms) => {
                self.now_ms += ms;
                self.handle(Event::Tick, None);
            }
            Step::Learn(number) => self.learn(*number),
            Step::Forget(number) => self.handle(Event::Forgotten(kind(*number)), None),
            Step::Ready(number) => self.of_program(*number, |process, _| Some(Event::Ready(process))),
            Step::Fed(number) => self.of_program(*number, |process, program| {
                (!program.unwritten.is_empty()).then(|| Event::Fed(process, program.unwritten.remove(0)))
            }),
            Step::Reply { process, about, more } => {
                // Programs may name any message there ever was, most of them not theirs.
                let all: Vec<MessageId> = self.arrived.values().map(|work| work.id).collect();
                let about = about.and_then(|at| all.get(usize::from(at) % all.len().max(1)).copied());
                let body = Some(Body::of_text("hello").expect("a body"));
                let line = ReplyLine { about, body, more: *more, status: 0 };
                self.of_program(*process, |process, _| Some(Event::Reply(process, line)));
            }
            Step::OutputClosed(number) => self.of_program(*number, |process, _| Some(Event::OutputClosed(process))),
            Step::Broke(number) => self.of_program(*number, |process, _| Some(Event::Broke(process, "bad".into()))),
            Step::StartFailed(number) => {
                if let Some(process) = self.pick(*number) {
                    self.gone(process, |process| Event::StartFailed(process, "no such file".into()));
                }
            }
            Step::Exit(number, status) => {
                if let Some(process) = self.pick(*number) {
                    let end = End { status: *status, fault: None, said: String::new() };
                    self.gone(process, |process| Event::Exited(process, end));
                }
            }
        }
    }

    fn of_program(&mut self, number: u8, event: impl FnOnce(ProcessId, &mut Program) -> Option<Event>) {
        let Some(process) = self.pick(number) else { return };
        let about = self.programs.get_mut(&process).and_then(|program| event(process, program));
        if let Some(event) = about {
            self.handle(event, Some(process));
        }
    }

    fn gone(&mut self, process: ProcessId, event: impl FnOnce(ProcessId) -> Event) {
        self.programs.remove(&process);
        self.handle(event(process), Some(process));
    }

    fn handle(&mut self, event: Event, from: Option<ProcessId>) {
        for effect in self.core.handle(self.now_ms, event) {
            self.take(effect, from);
        }
        self.limits_hold();
    }

    fn take(&mut self, effect: Effect, from: Option<ProcessId>) {
        match effect {
            Effect::Start { process, kind: of, session, .. } => {
                let number = (0..5).find(|number| kind(*number) == of).expect("a type of this run");
                let program = Program { kind: number, session, ..Program::default() };
                assert!(self.programs.insert(process, program).is_none(), "a number was used twice");
            }
            Effect::Feed(process, ticket) => {
                assert!(!self.settled.contains(&ticket), "{ticket:?} was fed after it was settled");
                assert!(self.fed_to.insert(ticket, process).is_none(), "{ticket:?} was fed twice");
                let work = &self.arrived[&ticket];
                let program = self.programs.get_mut(&process).expect("a program that is there is fed");
                assert_eq!(work.kind, kind(program.kind));
                if let Some(session) = program.session {
                    assert_eq!(work.session.unwrap_or(SessionId(work.id.0)), session, "fed to another session");
                }
                assert!(program.fed.last().is_none_or(|last| *last < ticket), "fed out of order");
                program.fed.push(ticket);
                program.unwritten.push(ticket);
            }
            Effect::Reply(ticket, _) => {
                assert!(!self.settled.contains(&ticket), "a reply to {ticket:?} came after it was settled");
                assert_eq!(self.fed_to.get(&ticket).copied(), from, "a program answered for another");
            }
            Effect::Settle(ticket, verdict) => {
                assert!(self.settled.insert(ticket), "{ticket:?} was settled twice");
                let handled = matches!(verdict, Verdict::Handled { .. });
                assert!(!handled || self.fed_to.contains_key(&ticket), "{ticket:?} was handled by nobody");
                let given_back = verdict == Verdict::GivenBack;
                assert!(!given_back || !self.fed_to.contains_key(&ticket), "{ticket:?} was begun and given back");
            }
            Effect::CloseInput(process) | Effect::Terminate(process) | Effect::Kill(process) => {
                assert!(self.programs.contains_key(&process) || from == Some(process), "one that is gone was ended");
            }
            Effect::Stray(_) => {}
        }
    }

    fn limits_hold(&self) {
        assert!(self.programs.len() <= HOST_LIMIT, "more programs than the host may have");
        for number in 0..5 {
            let live: Vec<&Program> = self.programs.values().filter(|program| program.kind == number).collect();
            assert!(live.len() <= self.limits[&number], "more programs than a peerlet may have");
            let sessions: BTreeSet<_> = live.iter().filter_map(|program| program.session).collect();
            assert!(number == 0 || number > 2 || sessions.len() == live.len(), "two programs for one session");
            assert!(self.core.standing(&kind(number)).waiting <= QUEUE_LIMIT, "more wait than may");
        }
        assert_eq!(self.core.totals().0, self.programs.len());
    }

    /// Programs end, one after the other, until nothing is under way.
    fn finish(&mut self, shut_down: bool) {
        if shut_down {
            self.handle(Event::ShutDown, None);
        }
        let mut rounds = 0;
        while self.core.totals() != (0, 0) {
            rounds += 1;
            assert!(rounds < 1_000, "it never comes to an end: {:?}", self.core.totals());
            self.step(&Step::Exit(0, 0));
            self.step(&Step::Wait(TIME_MS));
        }
        assert_eq!(self.settled.len(), self.arrived.len(), "a message was never settled");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_whatever_programs_do(
        steps in proptest::collection::vec(step(), 1..120), shut_down in any::<bool>(),
    ) {
        let mut world = World::new();
        steps.iter().for_each(|step| world.step(step));
        world.finish(shut_down);
    }
}
