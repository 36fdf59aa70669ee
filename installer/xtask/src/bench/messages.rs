//! `cargo xtask bench messages`: messages between two agents, each on disk at both ends before it counts; the start of a program for
//! one message; hops in between.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use shoal_testkit::process::usage;
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

fn throughput(agents: &[AgentProcess], there: &str, callers: usize, options: &Options) -> Result<()> {
    let pids: Vec<u32> = agents.iter().map(AgentProcess::pid).collect();
    let text = "x".repeat(options.bytes);
    let (latencies, begin) = (Mutex::new(Vec::new()), Instant::now());
    let before = usage(&pids).cpu_s;
    let until = begin + Duration::from_secs(options.seconds);
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
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a caller panicked"))?)
    })?;
    let (took, cpu_s) = (begin.elapsed().as_secs_f64(), usage(&pids).cpu_s - before);
    let mut latencies = latencies.into_inner().map_err(|_| anyhow::anyhow!("a caller panicked"))?;
    latencies.sort_unstable();
    let at = |part: f64| latencies.get((latencies.len() as f64 * part) as usize).copied().unwrap_or_default();
    println!(
        "{callers} callers, each waits for each: {:.0} messages/s sent, kept at both ends and handled; p50 {:.1} ms, p99 {:.1} ms; {:.2} \
         CPU-ms each over both agents",
        latencies.len() as f64 / took,
        at(0.5).as_secs_f64() * 1e3,
        at(0.99).as_secs_f64() * 1e3,
        cpu_s * 1e3 / latencies.len().max(1) as f64,
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
