use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);

fn disk(smart: Smart) -> Observed {
    Observed { disks: vec![DiskHealth { device: "/dev/sda".into(), smart }], ..Observed::default() }
}

fn first(observed: &Observed) -> (u8, bool, Vec<String>) {
    let standing = StandingCore::default().look(Duration::ZERO, observed);
    (standing.score, standing.failing, standing.reasons)
}

#[test]
fn each_observation_lowers_the_standing_and_says_why() {
    let none = Observed::default();
    let check = |observed: Observed, score: u8, failing: bool, reason: &str| {
        let told = first(&observed);
        assert_eq!((told.0, told.1), (score, failing), "{observed:?}: {told:?}");
        assert_eq!(told.2, if reason.is_empty() { vec![] } else { vec![reason.to_owned()] });
    };
    check(none.clone(), 100, false, "");
    check(disk(Smart { passed: Some(true), ..Smart::default() }), 100, false, "");
    check(disk(Smart::default()), 100, false, "");
    let passed = Smart { passed: Some(true), ..Smart::default() };
    let failed = Smart { passed: Some(false), ..Smart::default() };
    check(disk(failed), 10, true, "disk /dev/sda: its self-test (SMART) says FAILED");
    check(
        disk(Smart { warns: true, ..passed }),
        10,
        true,
        "disk /dev/sda: it warns of itself (SMART critical warning)",
    );
    check(disk(Smart { pending_sectors: 3, ..passed }), 80, false, "disk /dev/sda: 3 sectors cannot be read");
    check(disk(Smart { reallocated_sectors: 100, ..passed }), 60, false, "disk /dev/sda: 100 sectors were replaced");
    check(disk(Smart { media_errors: 7, ..passed }), 80, false, "disk /dev/sda: 7 media errors");
    check(disk(Smart { used_percent: 104, ..passed }), 80, false, "disk /dev/sda: worn out (104 % of its life used)");
    let failed = |failed_operations| Observed { failed_operations, ..Observed::default() };
    check(failed(9), 73, false, "9 reads or writes of its disks failed within a day");
    check(failed(10), 10, true, "10 reads and writes of its disks failed within a day");
    let damaged = |damaged_shards| Observed { damaged_shards, ..Observed::default() };
    check(damaged(30), 70, false, "30 damaged shards were found within a day");
    check(damaged(100), 10, true, "100 damaged shards were found within a day");
    let slow = |latency_us, usual_latency_us| Observed { latency_us, usual_latency_us, ..Observed::default() };
    check(slow(99_000, 1000), 100, false, "");
    check(slow(400_000, 200_000), 100, false, "");
    check(slow(400_000, 50_000), 80, false, "its disks have become slow: 400 ms for a read, 50 ms before");
    let absences = |absences| Observed { absences, ..Observed::default() };
    check(absences(3), 100, false, "");
    check(absences(5), 90, false, "it was away 5 times within a day");
    check(absences(1000), 70, false, "it was away 1000 times within a day");
}

#[test]
fn slowness_and_absence_alone_never_make_an_agent_failing() {
    let observed = Observed { absences: u64::MAX, latency_us: u64::MAX, usual_latency_us: 1, ..Observed::default() };
    assert_eq!(first(&observed).0, 50);
    assert!(!first(&observed).1);
}

#[test]
fn a_failing_agent_is_well_again_only_after_a_day_without_cause() {
    let mut core = StandingCore::default();
    let failed = disk(Smart { passed: Some(false), ..Smart::default() });
    let passed = disk(Smart { passed: Some(true), ..Smart::default() });
    assert!(core.look(HOUR, &failed).failing);
    let after = core.look(2 * HOUR, &passed);
    assert!(after.failing && after.reasons[0].ends_with("(not any more; watched for a day)"), "{after:?}");
    assert!(core.look(3 * HOUR, &failed).failing, "it flapped: the day begins anew");
    assert!(core.look(26 * HOUR, &passed).failing);
    assert_eq!(core.look(27 * HOUR, &passed), Standing::default());
}

#[test]
fn errors_count_within_a_day_not_over_a_life() {
    let mut core = StandingCore::default();
    for day in 0..20u64 {
        let observed = Observed { failed_operations: 2 * (day + 1), ..Observed::default() };
        let standing = core.look(HOUR * 24 * u32::try_from(day).expect("small"), &observed);
        assert_eq!((standing.score, standing.failing), (94, false), "day {day}");
    }
}

#[test]
fn what_another_agent_says_of_itself_is_cut_to_the_limits() {
    let told = Standing { score: 255, failing: false, reasons: vec!["\u{1b}[31mx".repeat(1000); 1000] }.bounded();
    assert_eq!((told.score, told.reasons.len()), (100, REASONS_LIMIT));
    let within =
        |reason: &String| reason.chars().count() == REASON_CHARACTERS_LIMIT && !reason.chars().any(char::is_control);
    assert!(told.reasons.iter().all(within), "{:?}", told.reasons);
}
