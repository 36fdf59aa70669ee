//! Laws of the directory, in networks of many shapes with links that come and go and messages that take their time.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a failing test says what failed")]

mod neighbours;
mod world;

use dci_proto::directory::DirectoryLimits;
use proptest::prelude::*;

use world::World;

/// Long enough for each agent to be compared with each of its neighbours some times over.
const QUIET_MS: u64 = 30_000 * 60;

fn mesh(world: &mut World) {
    let count = world.directories.len();
    for one in 0..count {
        for two in 0..one {
            world.link(one, two);
        }
    }
}

fn ring(world: &mut World) {
    let count = world.directories.len();
    for one in 0..count {
        world.link(one, (one + 1) % count);
    }
}

#[test]
fn a_change_is_known_to_all_within_the_time_of_a_few_hops() {
    let mut world = World::new(8, 1, 20, DirectoryLimits::default());
    ring(&mut world);
    world.run(2_000);
    assert!(world.all_agree());
    world.says[3] = "something new".into();
    world.issue(3);
    // Four hops: the first is one message, each other one three and the pause before what is new is told.
    world.run(20 + 3 * (3 * 20 + 100));
    assert!(world.all_agree());
}

#[test]
fn where_everyone_sees_everyone_a_change_is_carried_once_to_each() {
    let mut world = World::new(30, 1, 20, DirectoryLimits::default());
    mesh(&mut world);
    world.run(5_000);
    assert!(world.all_agree());
    (world.messages, world.offers_carried) = Default::default();
    world.says[7] = "something new".into();
    world.issue(7);
    world.run(200);
    assert!(world.all_agree());
    assert_eq!(world.offers_carried, 29);
    assert_eq!(world.messages.values().sum::<u64>(), 29, "{:?}", world.messages);
}

#[test]
fn an_offer_is_carried_to_each_agent_little_more_than_once() {
    let mut world = World::new(40, 3, 50, DirectoryLimits::default());
    ring(&mut world);
    for one in 0..40 {
        for step in [7, 11, 17] {
            world.link(one, (one + step) % 40);
        }
    }
    world.run(10_000);
    assert!(world.all_agree());
    assert_eq!(world.offers_carried, 40 * 39, "as few as can be at the start");
    world.offers_carried = 0;
    world.says[7] = "something new".into();
    world.issue(7);
    world.run(5_000);
    assert!(world.all_agree());
    // The neighbours of the one that changed are sent it, whoever else may tell them.
    assert!(world.offers_carried <= 39 + 8, "{}", world.offers_carried);
}

#[test]
fn while_nothing_changes_only_digests_go_round() {
    let mut world = World::new(20, 1, 20, DirectoryLimits::default());
    mesh(&mut world);
    world.run(60_000);
    assert!(world.all_agree());
    world.messages.clear();
    world.run(600_000);
    let digests = world.messages.remove("digest").unwrap_or_default();
    assert_eq!(digests, 20 * 600_000 / 30_000, "one each, every 30 s");
    assert!(world.messages.is_empty(), "{:?}", world.messages);
}

#[test]
fn one_that_was_a_member_is_forgotten_and_not_learnt_again() {
    let mut world = World::new(6, 1, 20, DirectoryLimits::default());
    ring(&mut world);
    world.run(2_000);
    // All but one hear of it; that one still has its offer and says so.
    for one in [1, 3, 4, 5] {
        world.set_members(one, [0, 1, 3, 4, 5].into_iter());
    }
    world.says[2] = "I am still here".into();
    world.issue(2);
    world.run(QUIET_MS);
    for one in [1, 3, 4, 5] {
        assert!(!world.known(one).contains_key(&2));
    }
    world.set_members(0, [0, 1, 3, 4, 5].into_iter());
    assert!(!world.known(0).contains_key(&2));
    // It is let in again.
    for one in 0..6 {
        world.set_members(one, 0..6);
    }
    world.run(5_000);
    assert!(world.all_agree());
}

#[test]
fn an_agent_that_lost_its_numbering_is_heard_again() {
    let mut world = World::new(5, 1, 20, DirectoryLimits::default());
    ring(&mut world);
    world.clock_ahead_ms[2] = 1_000_000_000;
    world.says[2] = "from the future".into();
    world.issue(2);
    world.run(2_000);
    assert!(world.all_agree());
    world.clock_ahead_ms[2] = 0;
    world.says[2] = "reinstalled".into();
    world.start(2);
    world.run(5_000);
    assert!(world.all_agree(), "{:?}", world.known(0));
}

#[test]
fn an_agent_that_is_away_from_all_others_catches_up_when_it_is_back() {
    let mut world = World::new(6, 1, 20, DirectoryLimits::default());
    ring(&mut world);
    world.run(2_000);
    world.cut(2, 3);
    world.cut(2, 1);
    for one in 0..6 {
        world.says[one] = format!("meanwhile {one}");
        world.issue(one);
    }
    world.run(2_000);
    assert!(!world.all_agree());
    world.link(2, 1);
    world.run(1_000);
    assert!(world.all_agree());
}

#[test]
fn many_agents_are_learnt_a_page_at_a_time() {
    let limits = DirectoryLimits {
        page_versions: 3,
        want_agents: 4,
        offers_bytes: 1_500,
        pending: 5,
        ..DirectoryLimits::default()
    };
    let mut world = World::new(60, 1, 5, limits);
    for one in 2..60 {
        world.link(0, one);
    }
    world.run(5_000);
    assert_eq!(world.known(0).len(), 59);
    world.link(0, 1);
    world.run(2_000);
    assert_eq!(world.known(1), world.said());
    assert!(world.messages["next"] > 0 && world.messages["want"] > 100, "{:?}", world.messages);
}

/// Something that happens, with the agents it happens to.
#[derive(Debug, Clone, Copy)]
enum Step {
    Link(usize, usize),
    Cut(usize, usize),
    Say(usize),
    Restart(usize),
    Clock(usize, u64),
    Strike(usize, usize),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Step> {
    let one = 0_usize..9;
    prop_oneof![
        4 => (one.clone(), 0_usize..9).prop_map(|(one, two)| Step::Link(one, two)),
        2 => (one.clone(), 0_usize..9).prop_map(|(one, two)| Step::Cut(one, two)),
        3 => one.clone().prop_map(Step::Say),
        1 => one.clone().prop_map(Step::Restart),
        1 => (one.clone(), 0_u64..100_000).prop_map(|(one, ahead)| Step::Clock(one, ahead)),
        1 => (one, 0_usize..9).prop_map(|(one, two)| Step::Strike(one, two)),
        3 => (0_u64..20_000).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    /// `World` also checks after every event that nothing older has come in a newer one's place, and `Directory::validate`.
    #[test]
    fn when_links_hold_again_all_agree(
        steps in proptest::collection::vec(steps(), 0..40), seed in any::<u64>(), slowest_ms in 1_u64..3_000, lost_percent in 0_u64..40,
        small in any::<bool>(),
    ) {
        let usual = DirectoryLimits::default();
        let tight = DirectoryLimits { page_versions: 2, want_agents: 2, pending: 3, offers_bytes: 1, ..usual };
        let mut world = World::new(9, seed, slowest_ms, if small { tight } else { usual });
        world.lost_percent = lost_percent;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Link(one, two) => world.link(one, two),
                Step::Cut(one, two) => world.cut(one, two),
                Step::Say(one) => {
                    world.says[one] = format!("{one} says {number}");
                    world.issue(one);
                }
                Step::Restart(one) => world.start(one),
                Step::Clock(one, ahead_ms) => world.clock_ahead_ms[one] = ahead_ms,
                Step::Strike(one, struck) => world.set_members(one, (0..9).filter(|other| *other != struck || one == struck)),
                Step::Pass(ms) => world.run(ms),
            }
        }
        world.lost_percent = 0;
        for one in 0..9 {
            world.set_members(one, 0..9);
        }
        ring(&mut world);
        world.run(QUIET_MS);
        for one in 0..9 {
            prop_assert_eq!(world.known(one), world.said(), "agent {}", one);
        }
        world.messages.clear();
        world.run(QUIET_MS);
        world.messages.remove("digest");
        prop_assert!(world.messages.is_empty(), "nothing changes and there is talk: {:?}", world.messages);
    }
}
