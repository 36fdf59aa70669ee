//! `cargo xtask bench scrub`: what reading all shards again costs, and how much people notice of it.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use shoal_testkit::process::usage;

use super::servers::{Server, Shoal};
use super::{Subject, load};

/// Sizes of the loads.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// MiB stored before the scrub.
    #[arg(long, default_value_t = 1024)]
    stored_mib: u64,
    /// MiB read, and half as many written, in each round of the foreground.
    #[arg(long, default_value_t = 256)]
    foreground_mib: u64,
    /// Rounds of the foreground, by turns with and without a scrub.
    #[arg(long, default_value_t = 6)]
    rounds: u32,
    /// Agents of the pool.
    #[arg(long, default_value_t = 6)]
    agents: usize,
    #[command(flatten)]
    subject: Subject,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let (_temporary, directory) = options.subject.folder()?;
    let shoal = Shoal::start(options.subject.binary()?, &directory, options.agents)?;
    let target = shoal.target();
    load::put_large(&target, "stored", options.stored_mib << 20, 1)?;
    load::put_large(&target, "read", options.foreground_mib << 20, 2)?;

    let (before, begin) = (usage(&shoal.pids()).cpu_s, Instant::now());
    let bytes = scrub(&shoal)?;
    let (cpu_s, wall) = (usage(&shoal.pids()).cpu_s - before, begin.elapsed());
    let mb = bytes as f64 / 1e6;
    println!(
        "scrub alone: {mb:.0} MB of shards in {:.1} s, {:.0} MB/s, {cpu_s:.2} CPU-s, {:.0} MB per CPU second (what the idle \
         pool uses included)",
        wall.as_secs_f64(),
        mb / wall.as_secs_f64(),
        mb / cpu_s.max(0.01)
    );
    let (without, with, read) = foreground(&shoal, options)?;
    println!(
        "foreground ({} MiB read, {} MiB written a round): {:.2} s without, {:.2} s with a scrub beside it, slowdown {:.1} %; \
         the scrub read {:.0} MB meanwhile",
        options.foreground_mib,
        options.foreground_mib / 2,
        without.as_secs_f64(),
        with.as_secs_f64(),
        (with.as_secs_f64() / without.as_secs_f64() - 1.0) * 100.0,
        read as f64 / 1e6
    );
    Ok(())
}

/// Medians of the rounds without and with a scrub, and bytes it read beside them.
fn foreground(shoal: &Shoal, options: &Options) -> Result<(Duration, Duration, u64)> {
    let target = shoal.target();
    let (mut without, mut with, read) = (Vec::new(), Vec::new(), AtomicU64::new(0));
    for round in 0..options.rounds {
        let load = || -> Result<Duration> {
            let begin = Instant::now();
            load::get_large(&target, "read", options.foreground_mib << 20)?;
            load::put_large(&target, "written", options.foreground_mib << 19, 3 + u64::from(round))?;
            Ok(begin.elapsed())
        };
        if round % 2 == 0 {
            without.push(load()?);
            continue;
        }
        let done = AtomicBool::new(false);
        let (took, scrubbed) = std::thread::scope(|scope| {
            let scrubs = scope.spawn(|| keep_scrubbing(shoal, &done, &read));
            let took = load();
            done.store(true, Ordering::Relaxed);
            (took, scrubs.join().unwrap_or_else(|_| bail!("the scrubbing thread panicked")))
        });
        scrubbed?;
        with.push(took?);
    }
    Ok((median(&mut without), median(&mut with), read.load(Ordering::Relaxed)))
}

/// Has a scrub under way all the time, until `done`.
fn keep_scrubbing(shoal: &Shoal, done: &AtomicBool, read: &AtomicU64) -> Result<()> {
    let mut before = 0;
    while !done.load(Ordering::Relaxed) {
        let overview = ask(shoal, &["--status"])?;
        let under_way = reports(&overview).any(|report| report["under_way"] == true && report["asked"] == true);
        let bytes = bytes_of(&overview);
        read.fetch_add(bytes.saturating_sub(before), Ordering::Relaxed);
        before = bytes;
        if !under_way {
            ask(shoal, &[])?;
            before = 0;
        }
    }
    Ok(())
}

/// A scrub of all agents to its end; the bytes it read.
fn scrub(shoal: &Shoal) -> Result<u64> {
    let overview = ask(shoal, &["--wait"])?;
    let found: u64 = reports(&overview).filter_map(|report| report["found"].as_u64()).sum();
    if found > 0 {
        bail!("it found {found} bad shards: {overview}");
    }
    Ok(bytes_of(&overview))
}

fn ask(shoal: &Shoal, arguments: &[&str]) -> Result<Value> {
    let pool = shoal.pool();
    let mut command = Command::new(&pool.options().binary);
    command.arg("scrub").args(arguments).args(["--json", "--data"]).arg(&pool.agent(0).data);
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("shoal scrub {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    serde_json::from_slice(&output.stdout).context("shoal scrub --json")
}

fn reports(overview: &Value) -> impl Iterator<Item = &Value> {
    overview["agents"].as_array().into_iter().flatten().map(|agent| &agent["report"])
}

fn bytes_of(overview: &Value) -> u64 {
    reports(overview).filter_map(|report| report["bytes"].as_u64()).sum()
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}
