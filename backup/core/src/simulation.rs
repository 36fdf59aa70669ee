//! Whatever happens, no law is broken; and once all is well again, every archive is at every peer.
//!
//! A run that fails says its seed; [`SEEDS`] narrowed to that one replays it, and made wider tries more.

use crate::now::DAY_MS;
use crate::planted::{self, Bug};
use crate::world::{KIND, Unkindness, World};

/// Seeds of each run of the tests.
const SEEDS: std::ops::Range<u64> = 0..10;
/// Within so much time after all is well, all archives must be everywhere and proven.
const HEALING_MS: u64 = 4 * DAY_MS;

const UNKIND: Unkindness =
    Unkindness { loses: 8, dies: 40, loses_disk: 600, rots: 60, lies: 30, goes_away: 150, clock_leaps: 900 };

fn run(seed: u64, unkind: Unkindness, trouble_ms: u64) -> Result<(), String> {
    let mut world = World::new(seed, unkind);
    world.run(trouble_ms)?;
    world.heal();
    world.run(HEALING_MS)?;
    match world.what_is_missing() {
        Some(wrong) => Err(format!("{} days after all was well, {wrong}", HEALING_MS / DAY_MS)),
        None => Ok(()),
    }
}

fn check(seed: u64, unkind: Unkindness, trouble_ms: u64) {
    if let Err(broken) = run(seed, unkind, trouble_ms) {
        panic!("seed {seed}: {broken}; to replay it alone, narrow SEEDS to it");
    }
}

#[test]
fn whatever_happens_no_law_is_broken_and_all_archives_end_up_everywhere() {
    SEEDS.for_each(|seed| check(seed, UNKIND, (10 + seed % 3 * 10) * DAY_MS));
}

#[test]
fn in_a_kind_world_archives_are_everywhere_within_hours() {
    let mut world = World::new(3, KIND);
    world.run(3 * DAY_MS).unwrap();
    assert_eq!(world.what_is_missing(), None);
}

#[test]
fn who_takes_over_the_owners_pc_destroys_nothing_for_days() {
    for seed in 0..2 {
        let leaps = Unkindness { loses: 8, dies: 40, clock_leaps: 100, ..KIND };
        let mut world = World::new(seed, leaps);
        world.run(5 * DAY_MS).unwrap();
        world.heal();
        world.run(HEALING_MS).unwrap();
        let all = world.hijack();
        assert!(all.len() > 4);
        world.run(7 * DAY_MS).unwrap();
        assert!(world.all_have(&all), "seed {seed}");
        world.run(30 * DAY_MS).unwrap();
        assert!(!world.all_have(&all), "in the end the space comes back");
    }
}

#[test]
fn planted_bugs_are_found() {
    let bugs = [Bug::AnyOrder, Bug::TrustsClock, Bug::CountsSent, Bug::TrustsLiars, Bug::DropsTheMaking];
    let missed: Vec<Bug> = bugs
        .into_iter()
        .filter(|bug| planted::with(*bug, || SEEDS.clone().all(|seed| run(seed, UNKIND, 30 * DAY_MS).is_ok())))
        .collect();
    assert_eq!(missed, []);
}
