//! Several cores, each with rows of its own, and links that lose, double and mix up what they carry, while processes die and
//! disks fail: whatever happens, no law is broken; and once all is well again, all that is valid arrives.

use proptest::prelude::*;

use super::Limits;
use super::world::{AGENTS, KIND, Unkindness, World};

fn limits() -> Limits {
    let small = Limits { on_the_way: 4, on_the_way_unanswered: 2, unanswered: 3, ..Limits::default() };
    Limits { pending: 40, pending_of_sender: 20, ..small }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_lost_all_that_is_valid_arrives_once_and_in_order(
        seed in any::<u64>(), loses in 2u64..6, doubles in 2u64..6, dies in 5u64..40, disk_fails in 4u64..40, acts in 20u64..120,
    ) {
        let mut world = World::new(seed, Unkindness { loses, doubles, dies, disk_fails }, limits());
        world.trouble(acts);
        world.heal(true);
        // Twice the longest a message without sessions waits, and then its line.
        let until_ms = world.now_ms + 20 * 60 * 1_000;
        world.run(until_ms);
        world.check_all_arrived();
    }

    #[test]
    fn also_where_nobody_notices_that_links_work_again(seed in any::<u64>(), acts in 20u64..60) {
        let mut world = World::new(seed, Unkindness { loses: 2, doubles: 3, dies: 0, disk_fails: 0 }, limits());
        world.trouble(acts);
        world.away = [true; AGENTS];
        world.run(world.now_ms + 2 * 60 * 60 * 1_000);
        world.heal(false);
        world.run(world.now_ms + 2 * 60 * 60 * 1_000);
        world.check_all_arrived();
    }
}

#[test]
fn over_good_links_nothing_is_sent_twice() {
    let mut world = World::new(1, KIND, Limits::default());
    for at in (0..60).map(|number| number % AGENTS) {
        world.post(at);
        world.run(world.now_ms + 300);
    }
    // Copies and receipts take up to 3 s each here, so some are sent again; nothing is taken twice, nothing is left.
    world.run(world.now_ms + 60_000);
    world.check_all_arrived();
    assert!(world.new.len() > 60, "{} taken, {} sent again", world.new.len(), world.sent_again);
}
