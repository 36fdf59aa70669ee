//! `cargo xtask chaos`: a pool of real processes under concurrent clients, while everything goes wrong that may.
//!
//! ```text
//! seed ─► plan of faults ─► hand ─► agents (processes, hosts, disks)
//!                                     ▲ drives on several mount points
//!                          clients ───┘ ─► history ─► linearizable? every acknowledged byte there?
//! ```
//!
//! At the end all faults heal, the pool must become healthy, and every file is read at several mount points. Any agent that
//! ends by itself, panics, serves a wrong byte or tells a story no single copy could tell is a violation.

mod agents;
mod client;
mod content;
mod damage;
mod disk;
mod faults;
mod host;
mod journal;
mod plan;
mod summary;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use agents::{Fleet, FleetOptions};
use client::{Client, PATHS, Shared};
use faults::Hand;
use journal::Journal;
use plan::Kind;

use crate::steps::{cargo, debug_binary, release_binary, step, workspace_root};

/// How often faults are looked after.
const TICK: Duration = Duration::from_millis(100);
/// Mount points at which every file is read at the end.
const LAST_DOORS: usize = 3;
/// How long the last read of a file may be refused.
const LAST_READ_DEADLINE: Duration = Duration::from_secs(60);
/// How often the pool is asked whether it is healthy.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How long things go wrong on every change; a release wants an hour.
const VERIFY_MINUTES: &str = "1";

/// What to run.
#[derive(clap::Parser)]
pub(crate) struct Options {
    /// How long things go wrong.
    #[arg(long, default_value_t = 5.0)]
    minutes: f64,
    /// How many agents.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(5..=16))]
    agents: u8,
    /// What the faults and the clients' deeds are drawn from; by the time when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// Kinds of faults.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::Kill, Kind::Stop, Kind::Full, Kind::Flip, Kind::Slow, Kind::Net])]
    faults: Vec<Kind>,
    /// How many clients.
    #[arg(long, default_value_t = 8)]
    clients: u32,
    /// Operations a second of all clients together, at most.
    #[arg(long, default_value_t = 16.0)]
    rate: f64,
    /// A `shoal` command to run once the pool is up; one the binary does not know is told and passed over.
    #[arg(long, default_values_t = ["policy set --absent-after 20s".to_owned()])]
    policy: Vec<String>,
    /// A further line of every `agent.toml`.
    #[arg(long)]
    setting: Vec<String>,
    /// How long the pool may take to be healthy after everything has healed, in seconds.
    #[arg(long, default_value_t = 300)]
    healthy_within_s: u64,
    /// A pool that does not become healthy is told, and no violation.
    #[arg(long)]
    allow_unhealthy: bool,
    /// With the binary users run, instead of the one developers do.
    #[arg(long)]
    release: bool,
    /// The `shoal` to try; by default a build of this tree.
    #[arg(long, conflicts_with = "release")]
    binary: Option<PathBuf>,
    /// Keep the work directory even if all is well.
    #[arg(long)]
    keep: bool,
}

impl Options {
    fn again(&self, seed: u64) -> String {
        let faults: Vec<String> = self.faults.iter().map(|kind| format!("{kind:?}").to_lowercase()).collect();
        let flags = [(self.release, " --release"), (self.allow_unhealthy, " --allow-unhealthy")];
        let flags: String = flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).collect();
        format!(
            "cargo xtask chaos --minutes {} --agents {} --seed {seed} --clients {} --rate {} --faults {}{flags}",
            self.minutes,
            self.agents,
            self.clients,
            self.rate,
            faults.join(",")
        )
    }
}

/// What is checked on every change: a short run of all kinds of faults, another one each time.
pub(crate) fn verify(binary: PathBuf) -> Result<()> {
    let options = <Options as clap::Parser>::parse_from(["chaos", "--minutes", VERIFY_MINUTES]);
    run(&Options { binary: Some(binary), ..options })
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let by_time = || std::time::UNIX_EPOCH.elapsed().map_or(1, |elapsed| elapsed.as_secs());
    let seed = options.seed.unwrap_or_else(by_time);
    let binary = options.binary.clone().map_or_else(|| build(options.release), Ok)?;
    let top = workspace_root().join("target/chaos");
    let folder = top.join(format!("{seed}-{}", std::process::id()));
    disk::sweep_stale(&top);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let journal = Journal::new(&folder)?;
    journal.tell(&format!("seed {seed}; work directory {}", folder.display()));
    let outcome = in_folder(options, seed, &binary, &folder, &journal);
    if let Err(error) = outcome {
        journal.violation(&format!("the run could not go on: {error:#}"));
    }
    let violations = journal.violations();
    if violations.is_empty() {
        journal.tell("chaos: no violation");
        if !options.keep {
            std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        }
        return Ok(());
    }
    let list: Vec<String> = violations.iter().take(20).map(|violation| format!("  {violation}")).collect();
    journal.tell(&format!("{} violations:\n{}", violations.len(), list.join("\n")));
    bail!("chaos found violations; all it left is in {}; again: {}", folder.display(), options.again(seed))
}

fn build(release: bool) -> Result<PathBuf> {
    if release {
        return release_binary();
    }
    step("build", cargo().args(["build", "--locked", "--package", "shoal", "--bin", "shoal"]))?;
    Ok(debug_binary())
}

/// The kinds of faults this machine allows; why others are left out is told.
fn possible(options: &Options, journal: &Journal) -> (Vec<Kind>, bool, bool) {
    let wanted = |kinds: &[Kind]| kinds.iter().any(|kind| options.faults.contains(kind));
    let mut kinds = options.faults.clone();
    let mut leave_out = |kind: Kind, reason: Option<&str>| {
        if let Some(reason) = reason
            && kinds.contains(&kind)
        {
            journal.tell(&format!("left out: {kind:?}: {reason}"));
            kinds.retain(|other| *other != kind);
        }
    };
    leave_out(Kind::Net, host::missing());
    leave_out(Kind::Full, disk::missing());
    let hosts = wanted(&[Kind::Net]) && host::missing().is_none();
    let disks = wanted(&[Kind::Full, Kind::Slow]) && disk::missing().is_none();
    if kinds.contains(&Kind::Slow) {
        let how = if disks && disk::Disk::can_slow() {
            "a limit of the block layer on the agent's loop device"
        } else {
            "stopping the agent every other moment: no limit can be set on a disk here"
        };
        journal.tell(&format!("slow disks are made by {how}"));
    }
    (kinds, hosts, disks)
}

fn in_folder(options: &Options, seed: u64, binary: &Path, folder: &Path, journal: &Journal) -> Result<()> {
    let (kinds, hosts, disks) = possible(options, journal);
    let count = usize::from(options.agents);
    let fleet = Fleet::start(&FleetOptions { binary, folder, count, hosts, disks, settings: &options.setting })?;
    journal.tell(&format!("{count} agents are up"));
    for policy in &options.policy {
        let words: Vec<&str> = policy.split_whitespace().collect();
        let output = fleet.shoal(&fleet.agents[0], &words)?;
        let said = String::from_utf8_lossy(if output.status.success() { &output.stdout } else { &output.stderr });
        journal.tell(&format!("shoal {policy}: {}", said.lines().next().unwrap_or_default()));
    }
    let can_scrub = fleet.shoal(&fleet.agents[0], &["scrub", "--help"])?.status.success();
    let length = Duration::from_secs_f64(options.minutes * 60.0);
    let plan = plan::draw(seed, length, count, &kinds);
    let shared = Shared::new(journal, fleet.agents.iter().map(agents::Agent::door).collect());
    let mut hand = Hand::new(fleet, journal, seed, can_scrub);
    let pace = Duration::from_secs_f64(f64::from(options.clients) / options.rate.max(0.1));
    let outcome = std::thread::scope(|scope| {
        for number in 0..options.clients {
            let client = Client::new(&shared, number, number as usize % count, seed);
            scope.spawn(move || client.run(pace));
        }
        let outcome = go_wrong(&mut hand, &plan, length);
        journal.tell("everything heals now");
        let healed = hand.heal();
        shared.stop.store(true, Ordering::Relaxed);
        outcome.and(healed)
    });
    outcome?;
    become_healthy(options, &hand, journal);
    if can_scrub {
        scrub(options, &hand, journal)?;
        // What it found may be more than was known.
        become_healthy(options, &hand, journal);
    }
    hand.fleet.power_cut().context("starting all agents again")?;
    journal.tell("all agents killed at once and started again: what is read now comes from disks");
    compare(&shared, journal, count);
    summary::judge(journal);
    for agent in &hand.fleet.agents {
        for panic in agent.panics() {
            journal.violation(&format!("agent {} panicked: {panic}", agent.index));
        }
    }
    summary::counts(journal, &shared);
    summary::faults(journal, &hand.spells, hand.skipped);
    summary::stalls(journal, &hand.spells);
    Ok(())
}

fn go_wrong(hand: &mut Hand<'_>, plan: &[plan::Fault], length: Duration) -> Result<()> {
    let begin = Instant::now();
    let mut plan = plan.iter().peekable();
    while begin.elapsed() < length {
        while let Some(fault) = plan.next_if(|fault| fault.at <= begin.elapsed()) {
            hand.begin(*fault);
        }
        hand.tend()?;
        std::thread::park_timeout(TICK);
    }
    Ok(())
}

/// Waits until the pool says that nothing is missing.
fn become_healthy(options: &Options, hand: &Hand<'_>, journal: &Journal) {
    let begin = Instant::now();
    let deadline = Duration::from_secs(options.healthy_within_s);
    let count = hand.fleet.agents.len();
    loop {
        let wrong = match hand.status() {
            Ok(status) => faults::unhealthy(&status, count),
            Err(error) => Some(format!("{error:#}")),
        };
        let took = begin.elapsed();
        match wrong {
            None => return journal.tell(&format!("healthy {:.1} s after everything healed", took.as_secs_f32())),
            Some(wrong) if took > deadline && options.allow_unhealthy => {
                return journal.tell(&format!("still unhealthy after {deadline:?}: {wrong}"));
            }
            Some(wrong) if took > deadline => {
                return journal.violation(&format!("still unhealthy after {deadline:?}: {wrong}"));
            }
            Some(_) => std::thread::park_timeout(ASK_EVERY),
        }
    }
}

/// Has every agent read its shards again; none may be left that could not be mended.
fn scrub(options: &Options, hand: &Hand<'_>, journal: &Journal) -> Result<()> {
    let output = hand.fleet.shoal(&hand.fleet.agents[0], &["scrub", "--wait"])?;
    let told = String::from_utf8_lossy(&output.stdout);
    told.lines().take(2 + hand.fleet.agents.len()).for_each(|line| journal.tell(&format!("scrub: {line}")));
    if !output.status.success() {
        let failed = format!("scrub: {}", String::from_utf8_lossy(&output.stderr).trim());
        if options.allow_unhealthy { journal.tell(&failed) } else { journal.violation(&failed) }
    }
    Ok(())
}

/// Reads every file at several mount points. What they answer goes into the histories, where it must fit what was
/// acknowledged.
fn compare(shared: &Shared<'_>, journal: &Journal, count: usize) {
    let groups: Vec<u32> = journal.recorder.groups().into_keys().collect();
    journal.tell(&format!("reading {} files at {LAST_DOORS} mount points each", groups.len() * usize::from(PATHS)));
    let mut unanswered = 0;
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..LAST_DOORS)
            .map(|round| {
                let groups = &groups;
                scope.spawn(move || {
                    let mut unanswered = Vec::new();
                    for door in 0..count {
                        let mut client = Client::new(shared, 1000 + round as u32, door, 0);
                        for group in groups.iter().filter(|group| (**group as usize + 2 * round) % count == door) {
                            for path in 0..PATHS {
                                if !client.get_surely(*group, path, LAST_READ_DEADLINE) {
                                    unanswered.push((*group, path, door));
                                }
                            }
                        }
                    }
                    unanswered
                })
            })
            .collect();
        for reader in readers {
            for (group, path, door) in reader.join().unwrap_or_default() {
                unanswered += 1;
                let file = char::from(b'a' + path);
                journal.violation(&format!("{}/{file} cannot be read at agent {door}", client::folder(group)));
            }
        }
    });
    let files = groups.len() * usize::from(PATHS);
    journal.tell(&format!(
        "read in the end: {files} files, each at {LAST_DOORS} mount points; {unanswered} reads unanswered"
    ));
}
