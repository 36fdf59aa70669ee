use super::*;

const QUIET: Load = Load { foreground_per_s: 0, cpu_busy_percent: 0, on_battery: false };
const PEOPLE: Load = Load { foreground_per_s: 5, ..QUIET };
const BUSY: Load = Load { cpu_busy_percent: 95, ..QUIET };
const BATTERY: Load = Load { on_battery: true, ..QUIET };

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn background_work_yields_to_people_to_the_processor_and_to_the_battery() {
    for (load, endangered, repair, idle) in [
        (QUIET, Some(0), Some(0), Some(0)),
        (PEOPLE, Some(1), Some(4), Some(9)),
        (BUSY, Some(0), Some(1), Some(4)),
        (BATTERY, Some(1), Some(9), None),
        (Load { on_battery: true, ..PEOPLE }, Some(1), Some(9), None),
        (Load { cpu_busy_percent: 95, ..PEOPLE }, Some(1), Some(4), Some(9)),
        (Load { cpu_busy_percent: 79, ..QUIET }, Some(0), Some(0), Some(0)),
    ] {
        let factors = Class::ALL.map(|class| factor(class, load));
        assert_eq!(factors, [endangered, repair, idle], "{load:?}");
    }
}

#[test]
fn two_turns_at_once_and_while_people_wait_one_but_for_what_is_endangered() {
    let mut core = PaceCore::default();
    let asked: Vec<_> = (0..3).map(|_| core.ask(at(0), Class::Repair)).collect();
    assert_eq!(core.begin_next(at(0), PEOPLE), Some(asked[0]));
    assert_eq!(core.begin_next(at(0), PEOPLE), None);
    let endangered = core.ask(at(0), Class::Endangered);
    assert_eq!(core.begin_next(at(0), PEOPLE), Some(endangered));
    assert_eq!(core.begin_next(at(0), QUIET), None, "two run");
    core.end(at(0), asked[0]);
    assert_eq!(core.begin_next(at(0), QUIET), Some(asked[1]));
    assert!(core.has_begun(asked[1]) && !core.has_begun(asked[0]) && !core.has_begun(asked[2]));
}

#[test]
fn after_a_turn_its_class_rests_in_proportion_and_no_longer_than_the_load_lasts() {
    let mut core = PaceCore::default();
    let first = core.ask(at(0), Class::Repair);
    assert_eq!(core.begin_next(at(0), PEOPLE), Some(first));
    core.end(at(2), first);
    let second = core.ask(at(2), Class::Repair);
    assert_eq!(core.begin_next(at(9), PEOPLE), None, "2 s of work, 8 s of rest");
    let other = core.ask(at(9), Class::Idle);
    assert_eq!(core.begin_next(at(9), PEOPLE), Some(other), "each class rests for itself");
    core.end(at(9), other);
    assert_eq!(core.begin_next(at(10), PEOPLE), Some(second));
    core.end(at(12), second);
    let third = core.ask(at(12), Class::Repair);
    assert_eq!(core.begin_next(at(12), PEOPLE), None);
    assert_eq!(core.begin_next(at(12), QUIET), Some(third), "nobody waits any more");
    let expected = ClassStats { turns: 3, worked: at(4), waited: at(8) };
    assert_eq!(core.stats()[1], expected);
}

#[test]
fn the_most_pressing_goes_first_and_who_waited_too_long_before_all() {
    let mut core = PaceCore::default();
    let idle = core.ask(at(0), Class::Idle);
    let repair = core.ask(at(1), Class::Repair);
    let endangered = core.ask(at(2), Class::Endangered);
    assert_eq!(core.begin_next(at(3), QUIET), Some(endangered));
    assert_eq!(core.begin_next(at(30), QUIET), Some(idle), "it waited for 30 s");
    core.end(at(30), idle);
    assert_eq!(core.begin_next(at(30), QUIET), Some(repair));
}

#[test]
fn a_wait_ends_however_long_the_rest_would_be_but_on_battery_the_idle_stand_still() {
    let mut core = PaceCore::default();
    let first = core.ask(at(0), Class::Idle);
    assert_eq!(core.begin_next(at(0), QUIET), Some(first));
    core.end(at(100), first);
    let second = core.ask(at(100), Class::Idle);
    assert_eq!(core.begin_next(at(129), PEOPLE), None);
    assert_eq!(core.begin_next(at(1000), BATTERY), None);
    assert_eq!(core.begin_next(at(130), PEOPLE), Some(second));
}

#[test]
fn who_gives_up_waiting_is_forgotten() {
    let mut core = PaceCore::default();
    let first = core.ask(at(0), Class::Idle);
    core.end(at(1), first);
    assert_eq!(core.begin_next(at(1), QUIET), None);
    core.end(at(2), first);
    assert_eq!(core.stats(), [ClassStats::default(); 3]);
}

#[test]
fn a_class_that_always_has_work_leaves_turns_to_the_others() {
    let mut core = PaceCore::default();
    let scrub = core.ask(at(0), Class::Idle);
    let mut running: Vec<TurnId> = Vec::new();
    for second in 0..=31 {
        core.ask(at(second), Class::Repair);
        core.ask(at(second), Class::Repair);
        running.drain(..).for_each(|id| core.end(at(second), id));
        while let Some(id) = core.begin_next(at(second), BUSY) {
            running.push(id);
        }
        assert!(running.len() <= TURNS_AT_ONCE);
        if running.contains(&scrub) {
            return;
        }
    }
    panic!("the scrub never had its turn");
}
