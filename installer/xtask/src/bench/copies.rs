//! `cargo xtask bench copies`: what a backup to other agents costs. One agent with files, others that hold copies, all on this
//! computer: bytes over the wire to each holder for the bytes that are stored, time until all have everything, processor time.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;
use shoal_testkit::process::{Usage, usage};
use shoal_testkit::{AgentOptions, AgentProcess, free_port_base, start_pool, wait_until};

use super::Subject;
use crate::steps::{cargo, step};

/// How long copying may take.
const DEADLINE: Duration = Duration::from_secs(60 * 60);

/// Sizes.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Small files, 0.5 to 12 KiB, half of them text.
    #[arg(long, default_value_t = 50_000)]
    files: u64,
    /// MiB in large ones, half noise, half log text.
    #[arg(long, default_value_t = 2_048)]
    mib: u64,
    /// Agents that hold a copy.
    #[arg(long, default_value_t = 2)]
    peers: u16,
    #[command(flatten)]
    subject: Subject,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let (_temporary, folder) = options.subject.folder()?;
    let binary = options.subject.binary()?;
    let home = folder.join("home");
    let home_path = home.to_str().context("a folder whose name is text")?;
    let (small, large) = (options.files.to_string(), options.mib.to_string());
    files(&["--make", home_path, &small, &large])?;
    let count = options.peers + 1;
    let prepare = |agent: &mut AgentOptions| {
        agent.arguments.extend(["--reserve".to_owned(), "1".to_owned()]);
        Ok(())
    };
    let agents = start_pool(&binary, &folder, free_port_base(10 * count)?, count, prepare)?;
    let copies = options.peers.to_string();
    let what = ["backup", "init", "--root", home_path, "--copies", &copies, "--yes"];
    agents[0].json(&what)?;
    agents[0].json(&["backup", "set", "--schedule", "none"])?;
    println!("{} small files, {} MiB in large ones, {} holders", options.files, options.mib, options.peers);
    println!(
        "{:12}{:>12}{:>18}{:>8}{:>10}{:>14}{:>16}{:>10}",
        "", "stored MiB", "wire MiB a holder", "ratio", "clock s", "owner CPU s", "holder CPU s", "peak MiB"
    );
    back_up("first", &agents)?;
    back_up("no change", &agents)?;
    files(&["--change", home_path, &small])?;
    back_up("1 % changed", &agents)
}

/// Makes an archive, and waits until all holders have everything.
fn back_up(name: &str, agents: &[AgentProcess]) -> Result<()> {
    let owner = &agents[0];
    let before = (stored_bytes(owner)?, wire_bytes()?, used(&agents[..1]), used(&agents[1..]));
    let begun = Instant::now();
    let archives = archives(owner)?.len();
    owner.json(&["backup", "run"])?;
    wait_until("all copies", DEADLINE, || {
        let all = self::archives(owner)?;
        let is_whole = |archive: &Value| archive["copies"].as_u64() >= archive["copies_wanted"].as_u64();
        Ok((all.len() > archives && all.iter().all(is_whole)).then_some(()))
    })?;
    let clock_s = begun.elapsed().as_secs_f64();
    let peers = (agents.len() - 1) as f64;
    let stored = (stored_bytes(owner)? - before.0) as f64;
    let wire = wire_bytes()?.saturating_sub(before.1) as f64 / peers;
    let (own, held) = (used(&agents[..1]), used(&agents[1..]));
    println!(
        "{name:12}{:>12.1}{:>18.1}{:>8.3}{clock_s:>10.1}{:>14.1}{:>16.1}{:>10}",
        stored / f64::from(1 << 20),
        wire / f64::from(1 << 20),
        wire / stored.max(1.0),
        own.cpu_s - before.2.cpu_s,
        (held.cpu_s - before.3.cpu_s) / peers,
        own.peak_bytes.max(held.peak_bytes) >> 20
    );
    Ok(())
}

fn archives(owner: &AgentProcess) -> Result<Vec<Value>> {
    Ok(owner.json(&["archives"])?.as_array().cloned().unwrap_or_default())
}

fn stored_bytes(owner: &AgentProcess) -> Result<u64> {
    Ok(owner.json(&["backup", "status"])?["repository_bytes"].as_u64().unwrap_or(0))
}

fn used(agents: &[AgentProcess]) -> Usage {
    usage(&agents.iter().map(AgentProcess::pid).collect::<Vec<_>>())
}

/// Bytes that came in on the loopback device, with all heads, acknowledgements and whatever else agents say: run it with
/// nothing else on this computer that uses it.
fn wire_bytes() -> Result<u64> {
    let devices = fs::read_to_string("/proc/net/dev")?;
    let line = devices.lines().find_map(|line| line.trim().strip_prefix("lo:")).context("no loopback device")?;
    line.split_whitespace().next().and_then(|bytes| bytes.parse().ok()).context("no bytes of the loopback device")
}

/// What `cargo xtask bench backup` makes its files with.
fn files(arguments: &[&str]) -> Result<()> {
    let example = ["run", "--release", "--locked", "--quiet", "-p", "shoal-archive", "--example", "bench", "--"];
    step("files", cargo().args(example).args(arguments))
}
