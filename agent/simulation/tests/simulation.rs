//! The simulation itself: it repeats itself, and finds nothing where nothing is planted.

use shoal_simulation::run;

/// Seeds run here; `cargo xtask verify` runs more of them, optimised.
const SEEDS: u64 = 12;

#[test]
fn one_seed_gives_one_history_and_another_seed_another() {
    let hashes: Vec<u64> = (0..6).map(|seed| run(seed, None, false).hash).collect();
    let again: Vec<u64> = (0..6).map(|seed| run(seed, None, false).hash).collect();
    assert_eq!(hashes, again);
    let mut distinct = hashes.clone();
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), hashes.len());
}

#[test]
fn no_seed_violates_an_invariant_and_the_runs_are_not_empty() {
    let mut written = 0;
    let mut faults = 0;
    for seed in 0..SEEDS {
        let report = run(seed, None, false);
        assert_eq!(report.violation, None, "replay: cargo xtask sim --seed {seed} --trace");
        written += report.counters.operations.get("written").copied().unwrap_or(0);
        faults += report.counters.faults.values().sum::<u64>();
    }
    assert!(written > 10 * SEEDS && faults > 5 * SEEDS, "{written} files written, {faults} faults");
}
