//! `cargo xtask bench messages`: messages between two agents, each on disk at both ends before it counts; the start of a program for
//! one message; hops in between.

mod socket;

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use shoal_testkit::process::{usage, with_descendants};
use shoal_testkit::{AgentProcess, free_port_base, start_pool};

use crate::steps::release_binary;

/// Sizes of the loads.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// How many callers at once, one round each.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 64, 200])]
    callers: Vec<usize>,
    /// Seconds of a round.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of text in a message.
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Messages that each start a program.
    #[arg(long, default_value_t = 100)]
    starts: usize,
    /// The `shoal` to measure; by default a release build of this tree.
    #[arg(long)]
    binary: Option<PathBuf>,
}

/// Takes messages and says nothing, so that only the messages are measured.
const SINK: &str = "type = \"sink\"\nversion = \"1.0.0\"\ndescription = \"Takes all\"\ncommand = [\"cat\"]\nmode = \"service\"\noutput = \"none\"\n\n[limits]\nqueue = 1000\n";
/// Begins anew for each message.
const START: &str =
    "type = \"start\"\nversion = \"1.0.0\"\ndescription = \"Ends at once\"\ncommand = [\"true\"]\nmode = \"oneshot\"\n";

pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let binary = options.binary.clone().map_or_else(release_binary, Ok)?;
    let port = free_port_base(20)?;
    let agents =
        start_pool(&binary, &folder.path().join("agents"), port, 2, |agent| Ok(std::fs::create_dir_all(&agent.data)?))?;
    for (name, manifest) in [("sink", SINK), ("start", START)] {
        let peerlet = folder.path().join(name);
        std::fs::create_dir_all(&peerlet)?;
        std::fs::write(peerlet.join("peerlet.toml"), manifest)?;
        agents[1].json(&["peerlet", "add", &peerlet.display().to_string()])?;
    }
    let own = agents[1].json(&["peerlet", "list"])?;
    let there = own["name"].as_str().context("a name")?;
    for callers in &options.callers {
        acknowledged(&agents, there, *callers, options)?;
    }
    for callers in &options.callers {
        throughput(&agents, there, *callers, options)?;
    }
    starts(&agents, there, options)
}

/// Sends one message and waits until it is dealt with.
fn ask(client: &mut shoal_testkit::HttpClient, kind: &str, there: &str, text: &str) -> Result<()> {
    let call = json!({ "type": kind, "to": { "agents": [there] }, "text": text, "timeout_s": 30 }).to_string();
    let headers = [("content-type", "application/json")];
    let answer = client.request("POST", "/api/v1/requests", &headers, call.as_bytes())?.expect(&[200])?;
    let events = String::from_utf8_lossy(&answer.body);
    ensure!(events.contains("\"finished\":true") && events.contains("\"handled\""), "not handled: {events}");
    Ok(())
}

/// Messages through the local socket, until they are on both disks and their sender knows.
fn acknowledged(agents: &[AgentProcess], there: &str, callers: usize, options: &Options) -> Result<()> {
    let text = "x".repeat(options.bytes);
    let what = "through the socket, on disk at both ends and acknowledged";
    measured(agents, callers, what, options, |until| socket::drive(agents[0].data(), there, &text, callers, until))
}

/// Messages over HTTP, until their program has dealt with them.
fn throughput(agents: &[AgentProcess], there: &str, callers: usize, options: &Options) -> Result<()> {
    let text = "x".repeat(options.bytes);
    measured(agents, callers, "over HTTP, on disk at both ends and handled", options, |until| {
        let latencies = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            let caller = || -> Result<()> {
                let mut client = agents[0].api();
                let mut own = Vec::new();
                while Instant::now() < until {
                    let sent = Instant::now();
                    ask(&mut client, "sink", there, &text)?;
                    own.push(sent.elapsed());
                }
                latencies.lock().map_err(|_| anyhow::anyhow!("a caller panicked"))?.extend(own);
                Ok(())
            };
            let threads: Vec<_> = (0..callers).map(|_| scope.spawn(caller)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a caller panicked"))?)
        })?;
        latencies.into_inner().map_err(|_| anyhow::anyhow!("a caller panicked"))
    })
}

/// Runs a load, which answers how long each message took, and prints what it took.
fn measured(
    agents: &[AgentProcess],
    callers: usize,
    what: &str,
    options: &Options,
    load: impl FnOnce(Instant) -> Result<Vec<Duration>>,
) -> Result<()> {
    let agents: Vec<u32> = agents.iter().map(AgentProcess::pid).collect();
    let all = with_descendants(&agents);
    let (before, begin) = ((usage(&agents).cpu_s, usage(&all).cpu_s), Instant::now());
    let mut latencies = load(begin + Duration::from_secs(options.seconds))?;
    let took = begin.elapsed().as_secs_f64();
    let each = |cpu_s: f64| cpu_s * 1e3 / latencies.len().max(1) as f64;
    let (own, programs) = (each(usage(&agents).cpu_s - before.0), each(usage(&all).cpu_s - before.1));
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or_default();
    println!(
        "{callers} callers, each waits for each, {what}: {:.0} messages/s; p50 {:.1} ms, p99 {:.1} ms; CPU-ms each: {own:.3} both \
         agents, {programs:.3} with the program",
        latencies.len() as f64 / took,
        at(0.5).as_secs_f64() * 1e3,
        at(0.99).as_secs_f64() * 1e3,
    );
    Ok(())
}

/// What it takes to start a program for a message, over what one costs that goes to a program that runs.
fn starts(agents: &[AgentProcess], there: &str, options: &Options) -> Result<()> {
    let mut client = agents[0].api();
    let mut round = |kind: &str| -> Result<Duration> {
        let mut took = Vec::new();
        for _ in 0..options.starts {
            let begin = Instant::now();
            ask(&mut client, kind, there, "")?;
            took.push(begin.elapsed());
        }
        took.sort_unstable();
        Ok(took[took.len() / 2])
    };
    let (running, started) = (round("sink")?, round("start")?);
    println!(
        "one message after the other: {:.1} ms to a program that runs, {:.1} ms to one that is started for it (`true`): {:.1} ms for the \
         start and its end",
        running.as_secs_f64() * 1e3,
        started.as_secs_f64() * 1e3,
        started.saturating_sub(running).as_secs_f64() * 1e3
    );
    Ok(())
}
