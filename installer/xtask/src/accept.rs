//! `cargo xtask accept`: real WebDAV clients and a conformance suite against a real pool — on the first agent's door,
//! on another's, on the first again with two agents killed, and while what they held is made anew and another is emptied.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use shoal_testkit::{DemoOptions, DemoPool, free_port_base};

use crate::bench::load::{self, Target};
use crate::steps::{release_binary, workspace_root};

/// What to run.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Folder of the scripts.
    #[arg(long, env = "SHOAL_ACCEPT_DIR")]
    scripts: Option<PathBuf>,
    /// Only scripts whose name starts with this, such as 06.
    #[arg(long)]
    only: Option<String>,
    /// Only on the first agent's door with everyone up.
    #[arg(long)]
    quick: bool,
    /// The `shoal` to try; by default a release build of this tree.
    #[arg(long)]
    binary: Option<PathBuf>,
}

impl Options {
    /// One round of them, with this `shoal`: all rounds take a quarter of what everything on every change may.
    pub(crate) fn quick(binary: PathBuf) -> Self {
        Self { binary: Some(binary), quick: true, ..Self::default() }
    }
}

/// A script and the environment it is run with.
struct Check {
    script: &'static str,
    environment: &'static [(&'static str, &'static str)],
    /// Warnings count as failures.
    strict: bool,
}

/// Those that are run while the volume is being looked after.
const UNDER_CARE: &[&str] = &["02", "06"];
/// Stored before, so that there is something to make anew and to move.
const STORED_BYTES: u64 = 1 << 30;

const CHECKS: &[Check] = &[
    Check { script: "01-litmus.sh", environment: &[], strict: false },
    Check { script: "02-rclone.sh", environment: &[], strict: false },
    Check { script: "02-rclone.sh", environment: &[("VENDOR", "owncloud")], strict: false },
    Check { script: "03-cadaver.sh", environment: &[], strict: false },
    Check { script: "04-davfs2.sh", environment: &[], strict: false },
    Check { script: "06-edge.sh", environment: &[], strict: true },
];

/// Where the scripts are, if they are here.
pub(crate) fn scripts(options: &Options) -> Option<PathBuf> {
    let folder = options.scripts.clone().unwrap_or_else(|| workspace_root().join("../shared/accept"));
    folder.join("lib.sh").is_file().then_some(folder)
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let folder = scripts(options).context("the acceptance scripts are not here; name their folder with --scripts")?;
    let directory = tempfile::tempdir()?;
    let pool = DemoPool::start(DemoOptions {
        binary: options.binary.clone().map_or_else(release_binary, Ok)?,
        agents: 6,
        directory: directory.path().join("demo"),
        dav_port: free_port_base(100)?,
    })?;
    let mut failures = Vec::new();
    let all = |check: &Check| options.only.as_ref().is_none_or(|only| check.script.starts_with(only.as_str()));
    round(&all, &folder, &pool, 0, "first door, all up", &mut failures);
    if !options.quick {
        round(&all, &folder, &pool, 3, "fourth door, all up", &mut failures);
        pool.kill(4)?;
        pool.kill(5)?;
        round(&all, &folder, &pool, 0, "first door, two of six killed", &mut failures);
        begin_care(&pool)?;
        let some = |check: &Check| all(check) && UNDER_CARE.iter().any(|prefix| check.script.starts_with(prefix));
        // Not on the first door: after the wrong passwords of the round before it lets nobody try more for a while.
        round(&some, &folder, &pool, 1, "second door, while repair and drain run", &mut failures);
        let work = pool.status(0)?["work"].clone();
        if work["done_bytes"].as_u64().unwrap_or(0) == 0 {
            failures.push(format!("repair and drain did nothing meanwhile: {work}"));
        }
        println!("repair and drain meanwhile: {work}");
    }
    if !failures.is_empty() {
        bail!("acceptance failed:\n  {}", failures.join("\n  "));
    }
    println!("accept: everything passed");
    Ok(())
}

/// Has what the killed agents held made anew, and a third agent emptied.
fn begin_care(pool: &DemoPool) -> Result<()> {
    let target = Target {
        address: pool.agent(0).dav_address()?,
        base: format!("/{}/", pool.info().volume),
        user: pool.info().user.clone(),
        password: pool.info().password.clone(),
    };
    load::put_large(&target, "stored", STORED_BYTES, 1)?;
    pool.json(0, &["policy", "set", "--absent-after", "5s"])?;
    pool.json(0, &["node", "drain", &pool.agent(3).name])?;
    Ok(())
}

fn round(
    wanted: &dyn Fn(&Check) -> bool,
    folder: &Path,
    pool: &DemoPool,
    agent: usize,
    name: &str,
    failures: &mut Vec<String>,
) {
    println!("== {name}: {}", pool.agent(agent).dav);
    for check in CHECKS.iter().filter(|check| wanted(check)) {
        if let Err(error) = one(check, folder, pool, agent) {
            failures.push(format!("{name}: {} {:?}: {error:#}", check.script, check.environment));
        }
    }
}

fn one(check: &Check, folder: &Path, pool: &DemoPool, agent: usize) -> Result<()> {
    let target = pool.agent(agent);
    let output = Command::new("bash")
        .arg(folder.join(check.script))
        .args([&target.dav, &pool.info().user, &pool.info().password])
        .env("SERVER_PID", target.pid.to_string())
        .envs(check.environment.iter().copied())
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {}", check.script))?;
    let text = String::from_utf8_lossy(&output.stdout);
    print!("{text}");
    let verdict = text.lines().rev().find(|line| line.starts_with("PASS") || line.starts_with("FAIL"));
    let verdict = verdict.with_context(|| format!("no verdict: {}", String::from_utf8_lossy(&output.stderr)))?;
    let count = |name: &str| {
        let value = verdict.split_whitespace().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        value.and_then(|value| value.parse::<u32>().ok()).with_context(|| format!("no {name} count in: {verdict}"))
    };
    let (failed, warned, skipped) = (count("failed")?, count("warned")?, count("skipped")?);
    // A check that was skipped because a client is missing has not passed.
    if !output.status.success() || failed > 0 || (check.strict && warned > 0) || count("passed")? == 0 {
        let seen = fs::read_to_string(pool.options().directory.join("demo.out")).unwrap_or_default();
        let tail: Vec<&str> = seen.lines().rev().take(5).collect();
        bail!("{verdict} (skipped {skipped}); the demo's last lines: {tail:?}");
    }
    Ok(())
}
