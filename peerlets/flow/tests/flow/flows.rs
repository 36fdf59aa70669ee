//! Single flows, step by step: what is started, with what, where, and what one sees of it.

use crate::world::agents;
use shoal_flow::{Attempt, Body, Directory, Effect, Event, Flow, Outcome, Spec, Start, StepPhase};

const MINUTE_MS: u64 = 60_000;

fn flow(text: &str, count: usize) -> Flow {
    Flow::new(Spec::parse("test", text).expect("a flow"), agents(count)).expect("it begins")
}

/// A step on a line: `NAME | rest of its table, with ; for line ends`.
fn steps(lines: &[&str]) -> String {
    let step = |line: &&str| {
        let (name, rest) = line.split_once('|').expect("a step");
        format!("[[step]]\nname = \"{}\"\n{}\n", name.trim(), rest.replace(';', "\n"))
    };
    lines.iter().map(step).collect()
}

fn starts(effects: &[Effect]) -> Vec<&Start> {
    let mut starts = Vec::new();
    for effect in effects {
        if let Effect::Start(start) = effect {
            starts.push(&**start);
        }
    }
    starts
}

fn done(attempt: Attempt, output: &str) -> Event {
    Event::Done { attempt, output: output.to_owned(), exit_status: Some(0) }
}

fn failed(attempt: Attempt) -> Event {
    Event::Failed { attempt, why: "gone".into(), output: String::new() }
}

#[test]
fn the_output_of_one_step_is_the_input_of_the_next() {
    let text = steps(&[
        "fetch | run = ['curl', 'http://x/{{ item }}']; for_each = ['p', 'q']; on = 'b'",
        "sum | type = 'sum'; input = '[{{ fetch.output }}]'; on = 'a'",
        "note | type = 'note'; xml = '<n>{{ sum.output }}</n>'; on = 'c'",
    ]);
    let mut flow = flow(&text, 3);
    let effects = flow.handle(0, Event::Woken);
    let [p, q] = starts(&effects)[..] else { panic!("two fetches: {effects:?}") };
    let command = |url: &str| Body::Command { command: vec!["curl".into(), url.into()], input: String::new() };
    assert_eq!((&p.body, &q.body), (&command("http://x/p"), &command("http://x/q")));
    assert_eq!((p.agent.as_str(), p.type_name.as_str(), p.item.as_deref()), ("id-of-b", "run", Some("p")));
    let (p, q) = (p.attempt, q.attempt);
    assert_eq!(starts(&flow.handle(1, done(q, "two\r\n"))), Vec::<&Start>::new());
    let effects = flow.handle(2, done(p, "one\n\n"));
    let [sum] = starts(&effects)[..] else { panic!("the sum: {effects:?}") };
    assert_eq!((&sum.body, sum.agent_name.as_str()), (&Body::Text("[one\ntwo]".into()), "a"));
    let effects = flow.handle(3, done(sum.attempt, "1 < 2 & \"3\""));
    let [note] = starts(&effects)[..] else { panic!("the note: {effects:?}") };
    assert_eq!(note.body, Body::Xml("<n>1 &lt; 2 &amp; &quot;3&quot;</n>".into()));
    assert_eq!(flow.handle(4, done(note.attempt, "")), [Effect::Finished]);
    assert_eq!(flow.last_steps().collect::<Vec<_>>(), ["note"]);
    assert_eq!(flow.output("fetch"), "one\ntwo");
}

#[test]
fn runs_for_idle_agents_are_spread_and_those_that_failed_go_elsewhere() {
    let mut flow = flow(
        &format!("per_agent = 2\n{}", steps(&["s | run = ['x']; for_each = { from = 1, to = 10 }; retries = 1"])),
        3,
    );
    let effects = flow.handle(0, Event::Woken);
    let agents: Vec<&str> = starts(&effects).iter().map(|start| start.agent_name.as_str()).collect();
    assert_eq!(agents, ["a", "b", "c", "a", "b", "c"]);
    let first = starts(&effects)[0].attempt;
    let effects = flow.handle(5, failed(first));
    let [again] = starts(&effects)[..] else { panic!("tried again: {effects:?}") };
    assert_eq!((again.attempt, again.agent_name.as_str()), (Attempt { run: first.run, number: 2 }, "a"));
}

#[test]
fn an_agent_that_only_fails_does_not_get_everything() {
    let mut flow = flow(&format!("parallel = 1\n{}", steps(&["s | run = ['x']; for_each = { from = 1, to = 40 }"])), 2);
    let (mut effects, mut on_a) = (flow.handle(0, Event::Woken), 0);
    for now_ms in 1..=40 {
        let [start] = starts(&effects)[..] else { panic!("one at a time: {effects:?}") };
        let event = match start.agent_name.as_str() {
            "a" => {
                on_a += 1;
                failed(start.attempt)
            }
            _ => done(start.attempt, ""),
        };
        effects = flow.handle(now_ms, event);
    }
    assert_eq!((effects, on_a), (vec![Effect::Finished], 2));
}

#[test]
fn a_run_that_failed_is_tried_on_another_agent_while_there_is_one() {
    let mut flow = flow(&steps(&["s | run = ['x']; retries = 3"]), 3);
    let mut effects = flow.handle(0, Event::Woken);
    let mut tried = Vec::new();
    for now_ms in 1..=4 {
        let [start] = starts(&effects)[..] else { panic!("one at a time: {effects:?}") };
        tried.push(start.agent_name.clone());
        effects =
            flow.handle(now_ms, Event::Done { attempt: start.attempt, output: "oh\n".into(), exit_status: Some(3) });
    }
    assert_eq!((tried[..3].join(""), effects), ("abc".to_owned(), vec![Effect::Finished]));
    let result = flow.results().next().expect("a run");
    assert_eq!((result.outcome, result.attempts, result.exit_status), (Outcome::Failed, 4, Some(3)));
    assert_eq!((result.why, result.output), ("exit status 3", "oh\n"));
}

#[test]
fn a_step_for_the_lines_of_another_has_a_run_for_each() {
    let mut flow = flow(
        &steps(&["list | run = ['ls']; on = 'a'", "each | run = ['x', '{{ item }}']; for_each = '{{ list.lines }}'"]),
        1,
    );
    let effects = flow.handle(0, Event::Woken);
    let effects = flow.handle(1, done(starts(&effects)[0].attempt, "one\n\n two \r\n"));
    let items: Vec<_> = starts(&effects).iter().map(|start| start.item.as_deref()).collect();
    assert_eq!(items, [Some("one"), Some(" two ")]);
    // Nothing to do is done.
    let mut flow = self::flow(&steps(&["list | run = ['ls']", "each | run = ['x']; for_each = '{{ list.lines }}'"]), 1);
    let effects = flow.handle(0, Event::Woken);
    assert_eq!(flow.handle(1, done(starts(&effects)[0].attempt, "\n")), [Effect::Finished]);
    assert!(flow.view(1).steps.iter().all(|step| step.phase == StepPhase::Done));
}

#[test]
fn who_is_not_heard_of_is_given_up_and_what_it_says_later_is_not_heard() {
    let mut flow = flow(&steps(&["s | run = ['x']; timeout_s = 10"]), 1);
    let effects = flow.handle(0, Event::Woken);
    let attempt = starts(&effects)[0].attempt;
    let Some(Effect::WakeAt(at_ms)) = effects.last() else { panic!("a time to wake: {effects:?}") };
    assert!(*at_ms > 10_000);
    assert_eq!(flow.handle(*at_ms, Event::Woken), [Effect::Abandon(attempt), Effect::Finished]);
    assert_eq!(flow.handle(at_ms + 1, done(attempt, "late")), []);
    assert_eq!(flow.results().next().map(|result| result.outcome), Some(Outcome::Failed));
}

#[test]
fn a_step_that_no_agent_can_do_waits_a_while_and_fails() {
    let mut flow = flow(&steps(&["s | type = 'sums'; retries = 5"]), 2);
    let effects = flow.handle(0, Event::Woken);
    assert_eq!(effects, [Effect::WakeAt(MINUTE_MS)]);
    assert_eq!(flow.view(1).steps[0].why, "waits for an agent that offers sums");
    // Somebody comes in time.
    let mut later = agents(2);
    later.agents[1].offers = Some(["sums".to_owned()].into());
    let mut lucky = flow.clone();
    let effects = lucky.handle(MINUTE_MS - 1, Event::Agents(later));
    assert_eq!(starts(&effects).len(), 1);
    // Or nobody does.
    assert_eq!(flow.handle(MINUTE_MS, Event::Woken), [Effect::Finished]);
    assert_eq!(flow.view(MINUTE_MS).steps[0].why, "no agent that is there offers sums");
}

#[test]
fn stopped_it_starts_nothing_more_and_says_so() {
    let mut flow = flow(&steps(&["s | run = ['x']", "t | run = ['x']; needs = ['s']"]), 1);
    let effects = flow.handle(0, Event::Woken);
    let attempt = starts(&effects)[0].attempt;
    assert_eq!(flow.handle(1, Event::Stop), [Effect::Abandon(attempt), Effect::Finished]);
    assert!(flow.view(1).steps.iter().all(|step| step.phase == StepPhase::Stopped));
}

#[test]
fn what_is_too_large_is_not_sent_and_not_kept() {
    let mut flow =
        flow(&steps(&["s | run = ['x']; on = 'a'", "t | type = 'run'; input = '{{ s.output }}{{ s.output }}'"]), 1);
    let effects = flow.handle(0, Event::Woken);
    let large = "x".repeat(shoal_flow::BODY_LIMIT_BYTES / 2 + 1);
    assert_eq!(flow.handle(1, done(starts(&effects)[0].attempt, &large)), [Effect::Finished]);
    let view = flow.view(1);
    assert!(view.steps[1].why.contains("send a file instead"), "{:?}", view.steps[1]);

    let mut flow = self::flow(&steps(&["s | run = ['x']"]), 1);
    let effects = flow.handle(0, Event::Woken);
    let huge = "ü".repeat(shoal_flow::OUTPUT_LIMIT_BYTES);
    flow.handle(1, done(starts(&effects)[0].attempt, &huge));
    let result = flow.results().next().expect("a run");
    assert!(
        result.why.contains("larger things travel as files") && result.output.len() <= shoal_flow::OUTPUT_LIMIT_BYTES
    );
}

#[test]
fn agents_and_groups_that_are_not_there_are_named_before_anything_begins() {
    let check = |on: &str, directory: Directory, said: &str| {
        let text = steps(&[&format!("s | run = ['x']; on = {on}")]);
        let error = Flow::new(Spec::parse("test", &text).expect("a flow"), directory).expect_err(on).to_string();
        assert!(error.contains(said), "{error}");
    };
    check("'z'", agents(2), "step s: there is no agent \"z\"; there are a, b");
    check("{ any = ['a', 'z'] }", agents(1), "there is no agent \"z\"");
    check("{ group = 'lab' }", agents(1), "there is no group \"lab\"; there are few");
    check("'all'", Directory::default(), "there is no agent in it");
    let many = steps(&["s | run = ['x']; on = 'all'; for_each = { from = 1, to = 6000 }"]);
    let error = Flow::new(Spec::parse("test", &many).expect("a flow"), agents(2)).expect_err("too many");
    assert_eq!(error.to_string(), "it comes to 12000 runs, the limit is 10000");
}

#[test]
fn all_steps_are_seen_at_a_glance() {
    let text = steps(&[
        "fetch | run = ['x']; on = 'b'",
        "sweep | run = ['x']; for_each = { from = 1, to = 20 }; needs = ['fetch']; parallel = 4; retries = 1",
        "store | run = ['x']; input = '{{ sweep.output }}'; on = 'c'",
        "other | run = ['x']; on = 'a'",
    ]);
    let mut flow = flow(&format!("name = \"weather\"\n{text}"), 3);
    let effects = flow.handle(0, Event::Woken);
    let [fetch, other] = starts(&effects)[..] else { panic!("two: {effects:?}") };
    flow.handle(1000, Event::Done { attempt: other.attempt, output: String::new(), exit_status: Some(2) });
    let effects = flow.handle(2000, done(fetch.attempt, ""));
    let first: Vec<Attempt> = starts(&effects).iter().map(|start| start.attempt).collect();
    for attempt in &first[1..] {
        flow.handle(6000, done(*attempt, ""));
    }
    flow.handle(7000, failed(first[0]));
    let view = flow.view(8000);
    assert_eq!(
        view.lines(200, 50),
        [
            "weather: 2 of 4 steps over, 8 s, about 17 s left",
            "  ✓ fetch  done     on b  2 s",
            "  ▶ sweep  running  █░░░░░░░░░ 3/20  tried again: 1  on a b c  6 s  about 17 s left",
            "  · store  waiting  for sweep",
            "  ✗ other  failed   on a  1 s  exit status 2 on a",
        ]
    );
    let small = view.lines(30, 4);
    assert_eq!(small[1], "  ▶ sweep  running  █░░░░░░░░…");
    assert_eq!((small.len(), small[3].as_str()), (4, "  and 2 more"));
}
