use super::*;

const AGENT: AgentId = AgentId([1; 32]);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn core() -> PresenceCore {
    let mut core = PresenceCore::new(Patience { ping_interval: at(2), absent_after: at(1800) });
    core.set_members(at(0), [AGENT]);
    core
}

fn heard(core: &mut PresenceCore, seconds: u64) -> bool {
    core.apply(at(seconds), PresenceEvent::Heard(AGENT, Some(SelfReport::default())))
}

fn missed(core: &mut PresenceCore, seconds: u64) -> bool {
    core.apply(at(seconds), PresenceEvent::Missed(AGENT))
}

fn presence(core: &PresenceCore) -> Presence {
    core.of(AGENT).expect("a member").presence
}

#[test]
fn three_missed_pings_make_a_suspect_and_one_answer_clears_it() {
    let mut core = core();
    assert_eq!(presence(&core), Presence::Unheard);
    assert!(heard(&mut core, 1));
    for miss in 1..=2 {
        assert!(!missed(&mut core, 3 + miss), "miss {miss}");
    }
    assert!(missed(&mut core, 6));
    assert_eq!(presence(&core), Presence::Suspect);
    assert!(heard(&mut core, 7));
    assert_eq!(presence(&core), Presence::Up);
}

#[test]
fn a_suspect_is_absent_after_the_grace_time_and_back_at_once() {
    let mut core = core();
    heard(&mut core, 1);
    core.apply(at(2), PresenceEvent::ProbeFailed(AGENT));
    assert_eq!(presence(&core), Presence::Suspect);
    missed(&mut core, 1800);
    assert_eq!(presence(&core), Presence::Suspect);
    assert!(missed(&mut core, 1801));
    assert_eq!(presence(&core), Presence::Absent);
    assert!(heard(&mut core, 1802));
    assert_eq!(presence(&core), Presence::Up);
}

#[test]
fn one_never_heard_is_absent_only_after_the_grace_time_from_when_it_was_first_watched() {
    let mut core = PresenceCore::new(Patience { ping_interval: at(2), absent_after: at(1800) });
    core.set_members(at(500), [AGENT]);
    for seconds in 501..=503 {
        missed(&mut core, seconds);
    }
    assert_eq!(presence(&core), Presence::Suspect);
    missed(&mut core, 2299);
    assert_eq!(presence(&core), Presence::Suspect);
    missed(&mut core, 2300);
    assert_eq!(presence(&core), Presence::Absent);
    assert_eq!(core.suspicions(), Suspicions::default(), "who was never up is not suspected of being gone");
}

#[test]
fn nobody_is_declared_absent_because_this_agent_slept() {
    let mut core = core();
    heard(&mut core, 1);
    missed(&mut core, 3);
    core.begin_anew(at(9000));
    assert_eq!(core.next_due(), Some(at(9000)), "it is asked at once");
    for seconds in 9002..=9004 {
        missed(&mut core, seconds);
    }
    assert_eq!(presence(&core), Presence::Suspect);
    missed(&mut core, 9000 + 1799);
    assert_eq!(presence(&core), Presence::Suspect);
    missed(&mut core, 9000 + 1800);
    assert_eq!(presence(&core), Presence::Absent);
    core.begin_anew(at(20_000));
    missed(&mut core, 20_003);
    core.apply(at(20_004), PresenceEvent::ProbeFailed(AGENT));
    assert_eq!(presence(&core), Presence::Absent, "it was before and has not been heard");
}

#[test]
fn who_was_missed_while_this_agent_hung_is_not_blamed_even_before_the_next_look_at_the_clocks() {
    let mut core = core();
    core.still_awake(at(0));
    heard(&mut core, 0);
    core.apply(at(5), PresenceEvent::ProbeFailed(AGENT));
    core.still_awake(at(9));
    missed(&mut core, 5000);
    assert_eq!(presence(&core), Presence::Suspect);
    for seconds in (5000..=6800).step_by(10) {
        core.still_awake(at(seconds));
    }
    for seconds in 6797..=6799 {
        missed(&mut core, seconds);
    }
    assert_eq!(presence(&core), Presence::Suspect);
    missed(&mut core, 6800);
    assert_eq!(presence(&core), Presence::Absent, "silent for the whole patience, and watched all the time");
}

#[test]
fn questions_from_before_a_sleep_make_no_suspect_after_it() {
    let mut core = core();
    heard(&mut core, 0);
    assert_eq!(core.due(at(3), 1), [AGENT]);
    core.begin_anew(at(9000));
    core.apply(at(9000), PresenceEvent::ProbeFailed(AGENT));
    missed(&mut core, 9001);
    core.apply(at(9001), PresenceEvent::ProbeFailed(AGENT));
    assert_eq!(presence(&core), Presence::Up);
    assert_eq!(core.next_due(), Some(at(9001) + PING_AGAIN_AFTER), "it is asked again");
    core.apply(at(9002), PresenceEvent::ProbeFailed(AGENT));
    assert_eq!(presence(&core), Presence::Suspect, "asked since, it still says nothing");
}

#[test]
fn a_new_patience_judges_those_who_are_away_at_once() {
    let mut core = core();
    heard(&mut core, 0);
    core.apply(at(1), PresenceEvent::ProbeFailed(AGENT));
    assert!(!core.set_absent_after(at(60), at(1800)), "the same");
    assert!(core.set_absent_after(at(60), at(30)));
    assert_eq!(presence(&core), Presence::Absent);
    assert!(core.set_absent_after(at(61), at(3600)));
    assert_eq!(presence(&core), Presence::Suspect);
    heard(&mut core, 62);
    assert!(!core.set_absent_after(at(100), at(1)), "who answers is not judged");
    assert_eq!(presence(&core), Presence::Up);
}

#[test]
fn one_silent_for_a_good_part_of_the_patience_is_doubtful() {
    let mut core = core();
    heard(&mut core, 0);
    assert!(!core.doubtful(at(1000), AGENT), "it was not missed");
    core.apply(at(1), PresenceEvent::ProbeFailed(AGENT));
    assert!(!core.doubtful(at(299), AGENT) && core.doubtful(at(300), AGENT));
    core.begin_anew(at(300));
    assert!(!core.doubtful(at(300), AGENT));
}

#[test]
fn suspicions_are_counted_and_those_that_clear_within_seconds_apart() {
    let mut core = core();
    heard(&mut core, 0);
    for (suspected, cleared) in [(10, 20), (30, 41), (50, 51)] {
        core.apply(at(suspected), PresenceEvent::ProbeFailed(AGENT));
        missed(&mut core, suspected);
        heard(&mut core, cleared);
    }
    assert_eq!(core.suspicions(), Suspicions { total: 3, likely_false: 2 });
}

#[test]
fn who_let_someone_wait_is_asked_last_for_a_while_but_stays_up() {
    let mut core = core();
    heard(&mut core, 1);
    assert!(!core.avoided(at(1), AGENT));
    core.apply(at(1), PresenceEvent::LetWait(AGENT));
    assert!(core.avoided(at(1), AGENT) && !core.avoided(at(3), AGENT));
    assert_eq!(presence(&core), Presence::Up);
}

#[test]
fn who_speaks_is_not_pinged_and_each_is_pinged_once_at_a_time() {
    let mut core = core();
    assert_eq!(core.due(at(0), 10), [AGENT]);
    assert_eq!(core.due(at(1), 10), []);
    heard(&mut core, 1);
    assert_eq!((core.next_due(), core.due(at(2), 10)), (Some(at(3)), vec![]));
    heard(&mut core, 2);
    assert_eq!((core.due(at(3), 10), core.due(at(4), 10)), (vec![], vec![AGENT]));
}

#[test]
fn in_a_large_pool_each_is_pinged_less_often() {
    let mut core = PresenceCore::new(Patience { ping_interval: at(2), absent_after: at(1800) });
    core.set_members(at(0), (0..200).map(|number| AgentId([number; 32])));
    core.apply(at(0), PresenceEvent::Heard(AgentId([7; 32]), Some(SelfReport::default())));
    assert_eq!(core.members[&AgentId([7; 32])].next_ping, at(10));
}
