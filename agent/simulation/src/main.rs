//! Runs seeds: one with its trace, or many. `cargo xtask sim` calls this.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::Parser;
use shoal_simulation::{Bug, Counters, Report, run};

/// Seeds after which progress is printed.
const PROGRESS_EVERY: u64 = 500;

/// Runs the simulation.
#[derive(Parser)]
#[command(name = "cargo xtask sim", bin_name = "cargo xtask sim")]
struct Arguments {
    /// Runs this seed.
    #[arg(long, conflicts_with = "seeds", required_unless_present = "seeds")]
    seed: Option<u64>,
    /// Prints a line for each event of that seed.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Runs the seeds from A up to but not B.
    #[arg(long, value_name = "A..B", value_parser = range)]
    seeds: Option<(u64, u64)>,
    /// Seeds run at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Plants a bug (in a build with the feature `planted-bugs`).
    #[arg(long)]
    bug: Option<Bug>,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let parts = text.split_once("..").and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?)));
    parts.filter(|(from, to)| from < to).ok_or_else(|| format!("{text} is no range of seeds such as 0..1000"))
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.bug.is_some() && !cfg!(feature = "planted-bugs") {
        bail!("this build has no planted bugs; build it with --features planted-bugs");
    }
    match (arguments.seed, arguments.seeds) {
        (Some(seed), _) => one(seed, &arguments),
        (None, Some((from, to))) => many(from, to, &arguments),
        (None, None) => bail!("give --seed or --seeds"),
    }
}

fn one(seed: u64, arguments: &Arguments) -> Result<()> {
    let report = run(seed, arguments.bug, arguments.trace);
    println!("seed {seed}: hash {:016x}, {:.1} virtual seconds", report.hash, seconds(report.virtual_us));
    println!("{}", told(&report.counters));
    match report.violation {
        Some(violation) => bail!("seed {seed}: {}: {}", violation.checker, violation.what),
        None => Ok(()),
    }
}

/// What came of many seeds.
#[derive(Default)]
struct Sum {
    counters: Counters,
    virtual_us: u64,
    slowest_us: u64,
    failed: Vec<Report>,
}

fn many(from: u64, to: u64, arguments: &Arguments) -> Result<()> {
    let begin = Instant::now();
    let next = AtomicU64::new(from);
    let stop = AtomicBool::new(false);
    let sum = Mutex::new(Sum::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= to {
                        break;
                    }
                    let report = run(seed, arguments.bug, false);
                    note(&sum, report, seed + 1 - from, begin);
                }
            });
        }
    });
    let sum = sum.into_inner().unwrap_or_else(PoisonError::into_inner);
    let wall_s = begin.elapsed().as_secs_f64();
    let count = to - from;
    println!(
        "{count} seeds in {wall_s:.1} s ({:.1} a second), {:.1} virtual hours, the slowest to come right took {:.0} virtual seconds",
        count as f64 / wall_s,
        seconds(sum.virtual_us) / 3600.0,
        seconds(sum.slowest_us)
    );
    println!("{}", told(&sum.counters));
    if sum.failed.is_empty() {
        println!("no violation");
        return Ok(());
    }
    let first = sum.failed.iter().map(|report| report.seed).min().context("a failure")?;
    bail!("{} of {count} seeds violate an invariant, the first of them {first}", sum.failed.len());
}

fn note(sum: &Mutex<Sum>, report: Report, done: u64, begin: Instant) {
    let mut sum = sum.lock().unwrap_or_else(PoisonError::into_inner);
    sum.counters.add(&report.counters);
    sum.virtual_us += report.virtual_us;
    sum.slowest_us = sum.slowest_us.max(report.convergence_us);
    if let Some(violation) = &report.violation {
        let seed = report.seed;
        println!(
            "seed {seed}: {}: {}\n  replay: cargo xtask sim --seed {seed} --trace",
            violation.checker, violation.what
        );
        sum.failed.push(report);
    }
    if done.is_multiple_of(PROGRESS_EVERY) {
        println!("{done} seeds, {:.0} s, {} violations", begin.elapsed().as_secs_f64(), sum.failed.len());
    }
}

fn seconds(us: u64) -> f64 {
    us as f64 / 1e6
}

fn told(counters: &Counters) -> String {
    let list = |counts: &std::collections::BTreeMap<&'static str, u64>| {
        counts.iter().map(|(kind, count)| format!("{kind} {count}")).collect::<Vec<_>>().join(", ")
    };
    format!(
        "events {}, messages {}, ledger entries {}\nclients: {}\ncare: {}\nfaults: {}",
        counters.events,
        counters.messages,
        counters.entries,
        list(&counters.operations),
        list(&counters.care),
        list(&counters.faults)
    )
}
