//! Every planted bug is found within a stated number of seeds. (That nothing is found without one is the run of the same
//! seeds in `cargo xtask verify`.)
#![cfg(feature = "planted-bugs")]

use shoal_simulation::{BUGS, Bug, run};

/// Seeds within which a bug is found.
fn within(bug: Bug) -> u64 {
    match bug {
        Bug::AckBeforeFsync | Bug::TwoShardsOneAgent | Bug::CountSuspect | Bug::ReadWithoutReadPoint => 20,
        Bug::DeleteSourceFirst | Bug::AbsenceIsProof => 40,
        Bug::WallClockGrace => 100,
        Bug::CopyUnverified | Bug::DropWithoutReadPoint => 1_000,
    }
}

#[test]
fn every_planted_bug_is_found_by_its_checker() {
    for (name, bug) in BUGS {
        let found = (0..within(*bug)).find_map(|seed| Some((seed, run(seed, Some(*bug), false).violation?)));
        let (seed, violation) = found.unwrap_or_else(|| panic!("{name} is not found within {} seeds", within(*bug)));
        println!("{name}: seed {seed}: {}: {}", violation.checker, violation.what);
        assert!(checkers(*bug).contains(&violation.checker), "{name} is found by {}", violation.checker);
        assert_eq!(run(seed, None, false).violation, None, "seed {seed} is well without it");
    }
}

/// Which checkers may find it: the one whose invariant it breaks, or what follows from it.
fn checkers(bug: Bug) -> &'static [&'static str] {
    match bug {
        Bug::AckBeforeFsync | Bug::CopyUnverified | Bug::CountSuspect => &["acked-survives"],
        Bug::TwoShardsOneAgent => &["one-agent-one-shard"],
        Bug::ReadWithoutReadPoint => &["names-linearizable"],
        Bug::WallClockGrace => &["absence-is-not-proof", "convergence"],
        Bug::DeleteSourceFirst | Bug::AbsenceIsProof => &["absence-is-not-proof"],
        Bug::DropWithoutReadPoint => &["absence-is-not-proof", "acked-survives"],
    }
}
