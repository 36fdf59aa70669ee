use proptest::prelude::*;

use super::*;
use crate::civil::tests::berlin;
use crate::now::{DAY_MS, mix};

const OWNER: AgentId = AgentId([7; 32]);
/// 2026-03-02, a Monday, at midnight UTC.
const MONDAY_MS: u64 = 1_772_409_600_000;

fn times(texts: &[&str]) -> Vec<TimeOfDay> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn daily(texts: &[&str]) -> Rule {
    Rule { mode: Mode::Delta, when: When::Daily { at: times(texts) } }
}

fn at(wall_ms: u64) -> Now {
    Now { steady_ms: wall_ms, wall_ms }
}

fn scheduler(rules: &[Rule], last_ms: u64, now: Now) -> Scheduler {
    let history = History { began_ms: [Some(last_ms); 2], unfinished: None };
    Scheduler::new(rules.to_vec(), OWNER, history, now)
}

fn next(when: When, after_ms: u64, zone: &Zone) -> u64 {
    when.next_after_ms(after_ms, zone).unwrap() - MONDAY_MS
}

#[test]
fn times_of_schedules() {
    let (utc, hour) = (Zone::UTC, HOUR_MS);
    assert_eq!(next(When::Hourly { minute: 5 }, MONDAY_MS, &utc), 5 * MINUTE_MS);
    assert_eq!(next(When::Hourly { minute: 5 }, MONDAY_MS + 5 * MINUTE_MS, &utc), 65 * MINUTE_MS);
    assert_eq!(next(When::Hourly { minute: 5 }, MONDAY_MS, &Zone::new(1800, vec![])), 35 * MINUTE_MS);
    assert_eq!(next(When::Interval { minutes: 360 }, MONDAY_MS + 1, &utc), 6 * hour);
    let daily = || When::Daily { at: times(&["12:00", "06:30"]) };
    assert_eq!(next(daily(), MONDAY_MS, &utc), 6 * hour + 30 * MINUTE_MS);
    assert_eq!(next(daily(), MONDAY_MS + 12 * hour, &utc), 30 * hour + 30 * MINUTE_MS);
    assert_eq!(next(daily(), MONDAY_MS, &berlin()), 5 * hour + 30 * MINUTE_MS);
    let weekly = || When::Weekly { days: vec![Weekday::Sunday, Weekday::Tuesday], at: times(&["01:00"])[0] };
    assert_eq!(next(weekly(), MONDAY_MS, &utc), 25 * hour);
    assert_eq!(next(weekly(), MONDAY_MS + 25 * hour, &utc), 6 * DAY_MS + hour);
    assert_eq!(next(weekly(), MONDAY_MS + 6 * DAY_MS + hour, &utc), 8 * DAY_MS + hour);
}

#[test]
fn a_day_with_a_change_of_the_clock_has_one_run_at_each_time() {
    let (zone, half_past_two) = (berlin(), || When::Daily { at: times(&["02:30"]) });
    for change_s in [1_774_746_000u64, 1_792_890_000] {
        let runs: Vec<u64> = std::iter::successors(Some((change_s - 2 * 86_400) * 1000), |after| {
            half_past_two().next_after_ms(*after, &zone)
        })
        .take(6)
        .collect();
        let days: Vec<i64> = runs[1..].iter().map(|run| zone.local(*run).0.0).collect();
        assert!(days.windows(2).all(|pair| pair[1] == pair[0] + 1), "{days:?}");
    }
}

#[test]
fn what_was_missed_is_made_up_once() {
    let now = at(MONDAY_MS + 10 * DAY_MS + 13 * HOUR_MS);
    let mut scheduler = scheduler(&[daily(&["06:00", "12:00"])], MONDAY_MS, now);
    let decision = scheduler.decide(now, &Zone::UTC, |_| None);
    let due_ms = MONDAY_MS + 6 * HOUR_MS + stagger_ms(OWNER, 6 * HOUR_MS);
    assert_eq!(decision, Decision::Run { mode: Mode::Delta, due_ms });
    scheduler.began(Mode::Delta, now);
    assert_eq!(scheduler.decide(now, &Zone::UTC, |_| None), Decision::Running);
    scheduler.ended(true, now);
    assert_eq!(scheduler.decide(now, &Zone::UTC, |_| None), Decision::Wait { for_ms: ASK_AGAIN_MS });
    let (_, next_ms) = scheduler.next_ms(now, &Zone::UTC).unwrap();
    assert_eq!(next_ms, MONDAY_MS + 11 * DAY_MS + 6 * HOUR_MS + stagger_ms(OWNER, 6 * HOUR_MS));
}

#[test]
fn a_snapshot_is_a_delta_too_and_is_preferred() {
    let rules = [daily(&["06:00"]), Rule { mode: Mode::Snapshot, ..daily(&["06:00"]) }];
    let now = at(MONDAY_MS + 8 * HOUR_MS);
    let mut scheduler = scheduler(&rules, MONDAY_MS, now);
    assert!(matches!(scheduler.decide(now, &Zone::UTC, |_| None), Decision::Run { mode: Mode::Snapshot, .. }));
    scheduler.began(Mode::Snapshot, now);
    scheduler.ended(true, now);
    assert!(matches!(scheduler.decide(now, &Zone::UTC, |_| None), Decision::Wait { .. }));
}

#[test]
fn a_failed_run_is_tried_again_later_and_later_and_a_cut_one_goes_on() {
    let mut now = at(MONDAY_MS);
    let mut scheduler = scheduler(&[daily(&["06:00"])], MONDAY_MS, now);
    scheduler.ask(Mode::Delta);
    let mut waits = Vec::new();
    for _ in 0..3 {
        assert!(matches!(scheduler.decide(now, &Zone::UTC, |_| None), Decision::Run { .. }));
        scheduler.began(Mode::Delta, now);
        scheduler.ended(false, now);
        let Decision::Wait { for_ms } = scheduler.decide(now, &Zone::UTC, |_| None) else { panic!("it waits") };
        waits.push(for_ms / MINUTE_MS);
        now = at(now.wall_ms + backoff_ms(waits.len() as u32, RETRY_FIRST_MS, RETRY_LIMIT_MS));
    }
    assert_eq!(waits, [5, 10, 15], "the third is asked again before its 20 minutes are over");
    let mut restarted = Scheduler::new(vec![], OWNER, scheduler.history(), now);
    assert_eq!(restarted.decide(now, &Zone::UTC, |_| None), Decision::Wait { for_ms: RESUME_AFTER_MS });
    now = at(now.wall_ms + RESUME_AFTER_MS);
    assert!(matches!(restarted.decide(now, &Zone::UTC, |_| None), Decision::Run { mode: Mode::Delta, .. }));
}

#[test]
fn what_its_owner_tries_in_between_makes_the_retry_no_later_and_people_see_when_it_is() {
    let mut now = at(MONDAY_MS);
    let mut scheduler = scheduler(&[daily(&["06:00"])], MONDAY_MS, now);
    for _ in 0..6 {
        scheduler.ask(Mode::Delta);
        scheduler.began(Mode::Delta, now);
        scheduler.ended(false, now);
        assert_eq!(scheduler.next_ms(now, &Zone::UTC), Some((Mode::Delta, now.wall_ms + RETRY_FIRST_MS)));
        now = at(now.wall_ms + MINUTE_MS);
    }
    now = at(now.wall_ms + RETRY_FIRST_MS - MINUTE_MS);
    assert!(matches!(scheduler.decide(now, &Zone::UTC, |_| None), Decision::Run { mode: Mode::Delta, .. }));
    scheduler.began(Mode::Delta, now);
    scheduler.ended(true, now);
    assert_eq!(scheduler.retry_ms(now), None);
    // One that no schedule began is tried again, too.
    scheduler.failed_beside(Mode::Delta, now);
    assert_eq!(scheduler.retry_ms(now), Some(now.wall_ms + RETRY_FIRST_MS));
}

#[test]
fn a_snapshot_that_failed_is_tried_again_also_if_a_delta_fails_after_it() {
    let now = at(MONDAY_MS);
    let mut scheduler = scheduler(&[], MONDAY_MS, now);
    for mode in [Mode::Snapshot, Mode::Delta] {
        scheduler.began(mode, now);
        scheduler.ended(false, now);
    }
    let later = at(now.wall_ms + HOUR_MS);
    assert!(matches!(scheduler.decide(later, &Zone::UTC, |_| None), Decision::Run { mode: Mode::Snapshot, .. }));
}

#[test]
fn a_pause_holds_what_is_due_and_says_why() {
    let now = at(MONDAY_MS + 8 * HOUR_MS);
    let mut scheduler = scheduler(&[daily(&["06:00"])], MONDAY_MS, now);
    let pause = |asked: bool| (!asked).then_some(Pause::Battery);
    assert_eq!(scheduler.decide(now, &Zone::UTC, pause), Decision::Paused { mode: Mode::Delta, pause: Pause::Battery });
    scheduler.ask(Mode::Delta);
    assert!(matches!(scheduler.decide(now, &Zone::UTC, pause), Decision::Run { .. }), "its owner knows");
}

#[test]
fn owners_are_spread_over_a_bounded_window() {
    let offsets: std::collections::BTreeSet<u64> =
        (0..100).map(|owner| stagger_ms(AgentId([owner; 32]), DAY_MS) / MINUTE_MS).collect();
    assert!(offsets.len() > 20 && offsets.iter().all(|minutes| *minutes < 30), "{offsets:?}");
    assert!((0..100).all(|owner| stagger_ms(AgentId([owner; 32]), 20 * MINUTE_MS) < 5 * MINUTE_MS));
}

#[test]
fn a_time_of_day_reads_as_it_is_written() {
    assert_eq!("7:05".parse(), Ok(TimeOfDay { hour: 7, minute: 5 }));
    for bad in ["", "24:00", "12:60", "12", "+1:00", "1:000", "12:3x"] {
        assert!(bad.parse::<TimeOfDay>().is_err(), "{bad}");
    }
}

fn whens() -> impl Strategy<Value = When> {
    prop_oneof![
        (0u8..60).prop_map(|minute| When::Hourly { minute }),
        proptest::collection::vec((0u8..24, 0u8..60), 1..4).prop_map(|at| When::Daily {
            at: at.into_iter().map(|(hour, minute)| TimeOfDay { hour, minute }).collect()
        }),
        (0u8..24).prop_map(|hour| When::Weekly {
            days: vec![Weekday::Monday, Weekday::Friday],
            at: TimeOfDay { hour, minute: 0 }
        }),
        (5u32..10_000).prop_map(|minutes| When::Interval { minutes }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_next_time_is_later_and_no_further_than_the_period(when in whens(), after_minutes in 0u64..400 * 1440) {
        let (zone, after_ms) = (berlin(), MONDAY_MS + after_minutes * MINUTE_MS);
        let next_ms = when.next_after_ms(after_ms, &zone).unwrap();
        prop_assert!(next_ms > after_ms);
        prop_assert!(next_ms - after_ms <= when.period().unwrap().longest_ms + HOUR_MS, "a change of the clock, at most");
    }

    /// Leaps of days ahead and back at any time, and restarts.
    #[test]
    fn a_leaping_clock_makes_neither_a_storm_nor_an_end(when in whens(), seed in any::<u64>(), leap_one_in in 2u64..200) {
        let rule = Rule { mode: Mode::Delta, when };
        let period = rule.when.period().unwrap();
        let zone = berlin();
        let (mut steady_ms, mut skew_ms, mut random) = (0u64, 0i64, seed);
        let now = |steady_ms: u64, skew_ms: i64| {
            Now { steady_ms, wall_ms: (MONDAY_MS + steady_ms).saturating_add_signed(skew_ms) }
        };
        let mut scheduler = scheduler(std::slice::from_ref(&rule), MONDAY_MS, now(0, 0));
        let mut ran_at: Vec<u64> = vec![0];
        let step_ms = (period.shortest_ms / 16).max(MINUTE_MS);
        for _ in 0..1_000 {
            steady_ms += step_ms;
            random = mix(random);
            if random % leap_one_in == 0 {
                skew_ms = (mix(random ^ 1) % (40 * DAY_MS)) as i64 - (20 * DAY_MS) as i64;
            }
            let now = now(steady_ms, skew_ms);
            if let Decision::Run { mode, .. } = scheduler.decide(now, &zone, |_| None) {
                scheduler.began(mode, now);
                scheduler.ended(true, now);
                ran_at.push(steady_ms);
            }
        }
        ran_at.push(steady_ms);
        let gaps = ran_at.windows(2).map(|pair| pair[1] - pair[0]);
        prop_assert!(gaps.clone().skip(1).rev().skip(1).all(|gap| gap >= period.shortest_ms / 2), "a storm: {ran_at:?}");
        prop_assert!(gaps.clone().all(|gap| gap <= period.longest_ms * 2 + step_ms), "an end: {ran_at:?}");
    }
}
