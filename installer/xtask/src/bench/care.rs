//! `cargo xtask bench care`: what it takes to look after the volume. A newcomer is given its share, an agent is lost with nobody
//! using the drive, and another one while people do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use shoal_testkit::process::usage;
use shoal_testkit::{AgentOptions, AgentProcess, free_port_base, start_pool, wait_until};

use super::Subject;
use super::load::{self, Target};

/// How long the volume may take to be whole again.
const WHOLE_DEADLINE: Duration = Duration::from_secs(60 * 60);
/// Silence after which an agent counts as lost.
const ABSENT_AFTER: &str = "10s";

/// Sizes of the loads.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// MiB stored before anything happens.
    #[arg(long, default_value_t = 5 * 1024)]
    stored_mib: u64,
    /// MiB read, and half as many written, in each round of the foreground.
    #[arg(long, default_value_t = 256)]
    foreground_mib: u64,
    /// Agents of the pool before another one joins.
    #[arg(long, default_value_t = 6)]
    agents: u16,
    #[command(flatten)]
    subject: Subject,
}

/// What the keepers of all agents have had done.
#[derive(Clone, Copy, Default)]
struct Work {
    shards: f64,
    recuts: f64,
    read_bytes: f64,
    written_bytes: f64,
}

struct Pool {
    agents: Vec<AgentProcess>,
    target: Target,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let (_temporary, folder) = options.subject.folder()?;
    let binary = options.subject.binary()?;
    let port = free_port_base(10 * (options.agents + 2))?;
    let prepare = |agent: &mut AgentOptions| {
        agent.arguments.extend(["--reserve".to_owned(), "1".to_owned()]);
        std::fs::create_dir_all(&agent.data)?;
        Ok(())
    };
    let agents = start_pool(&binary, &folder, port, options.agents, prepare)?;
    let target = target_of(&agents[0])?;
    let mut pool = Pool { agents, target };
    let policy = ["policy", "set", "--absent-after", ABSENT_AFTER, "--restripe-after", "1s", "--trash-keep", "0s"];
    pool.agents[0].json(&policy)?;
    load::put_large(&pool.target, "stored", options.stored_mib << 20, 1)?;
    println!("{} MiB in {} agents", options.stored_mib, options.agents);
    join(&mut pool, &binary, &folder, port + 10 * options.agents)?;
    lose(&mut pool, None)?;
    lose(&mut pool, Some(options.foreground_mib))
}

fn target_of(agent: &AgentProcess) -> Result<Target> {
    let volumes = agent.json(&["volume", "list"])?;
    let volume = volumes[0]["name"].as_str().context("a volume")?.to_owned();
    let (user, password) = AgentProcess::credentials();
    let (user, password) = (user.to_owned(), password.to_owned());
    Ok(Target { address: agent.dav_address(), base: format!("/{volume}/"), user, password })
}

/// Another agent joins and is given its share.
fn join(pool: &mut Pool, binary: &std::path::Path, folder: &std::path::Path, port: u16) -> Result<()> {
    let (before, total) = (work(&pool.agents)?, counted_bytes(&pool.agents[0], None)?);
    let begin = Instant::now();
    let options = AgentOptions {
        binary: binary.to_owned(),
        data: folder.join("newcomer"),
        port,
        ticket: Some(pool.agents[0].invite(&[])?),
        arguments: vec!["--reserve".to_owned(), "1".to_owned()],
    };
    pool.agents.push(AgentProcess::start(options)?);
    // Until the keeper has looked at the newcomer nothing waits, and all would seem done.
    wait_until("the newcomer to be given something", WHOLE_DEADLINE, || {
        Ok((counted_bytes(&pool.agents[0], pool.agents.last())? > 0.0).then_some(()))
    })?;
    whole(&pool.agents[0], pool.agents.len())?;
    let moved = work(&pool.agents)?.since(before);
    let fair = total / pool.agents.len() as f64;
    println!(
        "rebalance: {:.0} MB moved for a fair share of {:.0} MB (×{:.2}) in {:.1} s; {:.0} stripes cut anew",
        moved.written_bytes / 1e6,
        fair / 1e6,
        moved.written_bytes / fair.max(1.0),
        begin.elapsed().as_secs_f64(),
        moved.recuts
    );
    Ok(())
}

/// The last agent is lost for good; `foreground_mib`: while people use the drive.
fn lose(pool: &mut Pool, foreground_mib: Option<u64>) -> Result<()> {
    let quiet = foreground_mib.map(|mib| round(&pool.target, mib)).transpose()?;
    let lost = pool.agents.pop().context("an agent to lose")?;
    let bytes = counted_bytes(&pool.agents[0], Some(&lost))?;
    let all = pool.agents.len() + 1;
    let (before, cpu_before) = (work(&pool.agents)?, cpu_s(&pool.agents));
    lost.kill()?;
    let begin = Instant::now();
    let done = AtomicBool::new(false);
    let (took, mut rounds) = std::thread::scope(|scope| {
        let people = scope.spawn(|| -> Result<Vec<Duration>> {
            let mut rounds = Vec::new();
            while let (Some(mib), false) = (foreground_mib, done.load(Ordering::Relaxed)) {
                rounds.push(round(&pool.target, mib)?);
            }
            Ok(rounds)
        });
        let took = whole(&pool.agents[0], pool.agents.len()).map(|()| begin.elapsed());
        done.store(true, Ordering::Relaxed);
        (took, people.join().unwrap_or_else(|_| bail!("the foreground panicked")))
    });
    let (took, work) = (took?, work(&pool.agents)?.since(before));
    let beside = if foreground_mib.is_some() { "with people at work" } else { "with nobody at work" };
    println!(
        "repair after losing one of {all}, {beside}: {:.0} MB lost; read {:.2} and wrote {:.2} bytes a byte lost ({:.0} shards \
         rebuilt, {:.0} stripes cut anew); whole again {:.1} s after the kill, {ABSENT_AFTER} of which are patience; {:.1} CPU-s",
        bytes / 1e6,
        work.read_bytes / bytes.max(1.0),
        work.written_bytes / bytes.max(1.0),
        work.shards,
        work.recuts,
        took.as_secs_f64(),
        cpu_s(&pool.agents) - cpu_before
    );
    if let (Some(quiet), Ok(rounds)) = (quiet, &mut rounds) {
        rounds.sort_unstable();
        let median = rounds.get(rounds.len() / 2).copied().context("a round of the foreground")?;
        println!(
            "foreground meanwhile: {:.2} s a round against {:.2} s before, slowdown {:.0} % (an agent less included)",
            median.as_secs_f64(),
            quiet.as_secs_f64(),
            (median.as_secs_f64() / quiet.as_secs_f64() - 1.0) * 100.0
        );
    }
    rounds.map(drop)
}

/// One round of the foreground.
fn round(target: &Target, mib: u64) -> Result<Duration> {
    let begin = Instant::now();
    load::put_large(target, "foreground", mib << 20, 2)?;
    load::get_large(target, "foreground", mib << 20)?;
    Ok(begin.elapsed())
}

/// Waits until every stripe is whole on the agents that are up, and nothing waits.
fn whole(agent: &AgentProcess, up: usize) -> Result<()> {
    wait_until("the volume to be whole", WHOLE_DEADLINE, || {
        let status = agent.json(&["status"])?;
        let number = |value: &Value| value.as_u64().unwrap_or(u64::MAX);
        let stripes = &status["stripes"];
        let well = number(&stripes["healthy"]) == number(&stripes["total"]);
        let nodes = status["nodes"].as_array().context("nodes")?;
        let answering = nodes.iter().filter(|node| node["state"] == "up").count();
        let absent = nodes.iter().filter(|node| node["state"] == "absent").count();
        let work = &status["work"];
        let idle = work["waiting"].as_object().is_some_and(serde_json::Map::is_empty) && work["under_way"] == 0;
        Ok((well && idle && answering == up && answering + absent == nodes.len()).then_some(()))
    })
}

/// Bytes of shards the ledger counts on all agents for, or on one.
fn counted_bytes(agent: &AgentProcess, only: Option<&AgentProcess>) -> Result<f64> {
    let status = agent.json(&["status"])?;
    let nodes = status["nodes"].as_array().context("nodes")?;
    let name = only.and_then(|one| one.data().file_name()).map(|name| name.to_string_lossy().into_owned());
    let counts = nodes.iter().filter(|node| name.as_ref().is_none_or(|name| node["name"] == name.as_str()));
    Ok(counts.filter_map(|node| node["used_bytes"].as_f64()).sum())
}

impl Work {
    fn since(self, before: Self) -> Self {
        Self {
            shards: self.shards - before.shards,
            recuts: self.recuts - before.recuts,
            read_bytes: self.read_bytes - before.read_bytes,
            written_bytes: self.written_bytes - before.written_bytes,
        }
    }
}

/// Summed over all agents: whoever led counted.
fn work(agents: &[AgentProcess]) -> Result<Work> {
    let mut sum = Work::default();
    for agent in agents {
        let page = agent.api().request("GET", "/metrics", &[], b"")?.expect(&[200])?;
        let page = String::from_utf8_lossy(&page.body).into_owned();
        let value = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(&format!("shoal_keeping_{name}_total ")));
            line.and_then(|value| value.trim().parse::<f64>().ok()).unwrap_or(0.0)
        };
        sum.shards += value("shards");
        sum.recuts += value("recuts");
        sum.read_bytes += value("read_bytes");
        sum.written_bytes += value("written_bytes");
    }
    Ok(sum)
}

fn cpu_s(agents: &[AgentProcess]) -> f64 {
    usage(&agents.iter().map(AgentProcess::pid).collect::<Vec<_>>()).cpu_s
}
