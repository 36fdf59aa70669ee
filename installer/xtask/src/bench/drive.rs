//! `cargo xtask bench drive`.

use std::time::{Duration, Instant};

use anyhow::Result;
use shoal_testkit::process::usage;

use super::Subject;
use super::load::{self, Taken};
use super::servers::{self, Server, Shoal};
use super::table::{Row, print};

/// Sizes of the loads.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// MiB of the large file.
    #[arg(long, default_value_t = 1024)]
    large_mib: u64,
    /// Small files written by 16 clients, then listed.
    #[arg(long, default_value_t = 10_000)]
    small: usize,
    /// Seconds a quiet pool is watched; 0 leaves it out.
    #[arg(long, default_value_t = 60)]
    idle_s: u64,
    /// Agents of the Shoal pool.
    #[arg(long, default_value_t = 6)]
    agents: usize,
    /// Only Shoal, no other server.
    #[arg(long)]
    alone: bool,
    #[command(flatten)]
    subject: Subject,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let (_temporary, directory) = options.subject.folder()?;
    let mut rows = Vec::new();
    {
        let shoal = Shoal::start(options.subject.binary()?, &directory, options.agents)?;
        if options.idle_s > 0 {
            rows.push(idle(&shoal, Duration::from_secs(options.idle_s)));
        }
        loads(&shoal, options, &mut rows)?;
        println!("{}", shoal.pool().status(0)?["verdict"]);
    }
    if !options.alone {
        for server in [servers::nginx(&directory), servers::apache(&directory)].into_iter().flatten() {
            match server {
                Ok(server) => loads(&server, options, &mut rows)?,
                Err(error) => println!("left out: {error:#}"),
            }
        }
    }
    print(&rows);
    Ok(())
}

/// Watches a server to which nobody speaks.
fn idle(server: &dyn Server, time: Duration) -> Row {
    let pids = server.pids();
    let before = usage(&pids);
    let begin = Instant::now();
    while let Some(rest) = time.checked_sub(begin.elapsed()) {
        std::thread::park_timeout(rest);
    }
    let after = usage(&pids);
    let agents = pids.len().max(1) as f64;
    let minutes = begin.elapsed().as_secs_f64() / 60.0;
    Row {
        load: "idle",
        server: server.name().to_owned(),
        figures: vec![
            ("CPU-s/min an agent", (after.cpu_s - before.cpu_s) / minutes / agents),
            ("MB an agent", after.resident_bytes as f64 / 1e6 / agents),
        ],
    }
}

fn loads(server: &dyn Server, options: &Options, rows: &mut Vec<Row>) -> Result<()> {
    let target = server.target();
    let (bytes, gib) = (options.large_mib << 20, options.large_mib as f64 / 1024.0);
    let mib_a_second = |taken: &Taken| options.large_mib as f64 * 1.048_576 / taken.wall.as_secs_f64();

    let (taken, cpu_s) = measured(server, || load::put_large(&target, "large", bytes, 1))?;
    rows.push(row(server, "PUT large", vec![("CPU-s/GiB", cpu_s / gib), ("MB/s", mib_a_second(&taken))]));
    let (taken, cpu_s) = measured(server, || load::get_large(&target, "large", bytes))?;
    rows.push(row(server, "GET large", vec![("CPU-s/GiB", cpu_s / gib), ("MB/s", mib_a_second(&taken))]));

    load::make_folder(&target, "small/")?;
    let (taken, cpu_s) = measured(server, || load::put_small(&target, "small/f", 16, options.small))?;
    rows.push(rates(server, "PUT 4 KiB, 16 clients", &taken, cpu_s));
    load::make_folder(&target, "one/")?;
    let (taken, cpu_s) = measured(server, || load::put_small(&target, "one/file", 1, options.small / 20))?;
    rows.push(rates(server, "PUT 4 KiB, 1 client", &taken, cpu_s));
    let (taken, cpu_s) =
        measured(server, || load::get_small(&target, "small/f", options.small, 16, options.small * 2))?;
    rows.push(rates(server, "GET 4 KiB, 16 clients", &taken, cpu_s));
    let (taken, cpu_s) = measured(server, || load::list(&target, "small/", options.small))?;
    rows.push(row(server, "PROPFIND", vec![("CPU-s", cpu_s), ("ms", taken.wall.as_secs_f64() * 1e3)]));

    let peak = usage(&server.pids()).peak_bytes as f64 / 1e6;
    rows.push(row(server, "peak memory", vec![("MB, largest process", peak)]));
    Ok(())
}

fn measured(server: &dyn Server, load: impl FnOnce() -> Result<Taken>) -> Result<(Taken, f64)> {
    let before = usage(&server.pids());
    let taken = load()?;
    let after = usage(&server.pids());
    Ok((taken, after.cpu_s - before.cpu_s))
}

fn row(server: &dyn Server, load: &'static str, figures: Vec<(&'static str, f64)>) -> Row {
    println!("{} {load}: {figures:?}", server.name());
    Row { load, server: server.name().to_owned(), figures }
}

fn rates(server: &dyn Server, load: &'static str, taken: &Taken, cpu_s: f64) -> Row {
    let count = taken.latencies.len() as f64;
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    row(
        server,
        load,
        vec![
            ("a second", count / taken.wall.as_secs_f64()),
            ("CPU-ms each", cpu_s * 1e3 / count),
            ("p50 ms", milliseconds(taken.percentile(0.5))),
            ("p99 ms", milliseconds(taken.percentile(0.99))),
        ],
    )
}
