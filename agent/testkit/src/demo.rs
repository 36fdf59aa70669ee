//! A pool of real processes, started by `shoal demo`.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::Deserialize;

use crate::{HttpClient, wait_until};

/// How long a demo may take to come up, first start included.
const START_DEADLINE: Duration = Duration::from_secs(90);
/// How long a demo may take to stop after Ctrl-C.
const STOP_DEADLINE: Duration = Duration::from_secs(30);

/// `demo.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct DemoInfo {
    /// The volume's name.
    pub volume: String,
    /// Who may use the drive.
    pub user: String,
    /// Their password.
    pub password: String,
    /// URL of the drive at the first agent.
    pub dav: String,
    /// The agents, the first one first.
    pub agents: Vec<DemoAgent>,
}

/// One agent in `demo.json`.
#[derive(Debug, Clone, Deserialize)]
pub struct DemoAgent {
    /// Its id.
    pub id: String,
    /// Its nickname.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// URL of its drive.
    pub dav: String,
    /// URL of its API and page.
    pub api: String,
    /// Its data directory.
    pub data: PathBuf,
}

impl DemoAgent {
    /// Where its drive listens.
    ///
    /// # Errors
    /// If the URL holds no address.
    pub fn dav_address(&self) -> Result<SocketAddr> {
        address_of(&self.dav)
    }

    /// Where its API listens.
    ///
    /// # Errors
    /// If the URL holds no address.
    pub fn api_address(&self) -> Result<SocketAddr> {
        address_of(&self.api)
    }
}

fn address_of(url: &str) -> Result<SocketAddr> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let host = rest.split('/').next().unwrap_or(rest);
    host.parse().with_context(|| format!("no address in {url}"))
}

/// How to start one.
#[derive(Debug, Clone)]
pub struct DemoOptions {
    /// The `shoal` binary.
    pub binary: PathBuf,
    /// How many agents.
    pub agents: usize,
    /// Where they keep everything.
    pub directory: PathBuf,
    /// Port of the first agent's drive.
    pub dav_port: u16,
}

/// A running demo. Dropped, it and all its agents are killed.
pub struct DemoPool {
    options: DemoOptions,
    child: Child,
    info: DemoInfo,
}

impl DemoPool {
    /// Starts a demo (or resumes the one in that directory) and waits until its drive answers.
    ///
    /// # Errors
    /// If it does not come up, with what it printed.
    pub fn start(options: DemoOptions) -> Result<Self> {
        fs::create_dir_all(&options.directory)?;
        let json = options.directory.join("demo.json");
        // What an earlier run left must not be taken for this one's.
        let _ = fs::remove_file(&json);
        let log = File::create(options.directory.join("demo.out"))?;
        let child = Command::new(&options.binary)
            .arg("demo")
            .args(["--agents", &options.agents.to_string()])
            .arg("--dir")
            .arg(&options.directory)
            .args(["--dav", &format!("127.0.0.1:{}", options.dav_port)])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {}", options.binary.display()))?;
        let mut child = KillOnDrop(Some(child));
        let info = wait_until("the demo to write demo.json and answer", START_DEADLINE, || {
            if let Some(child) = child.0.as_mut()
                && let Some(status) = child.try_wait()?
            {
                bail!("the demo ended ({status}): {}", printed(&options.directory));
            }
            let Ok(text) = fs::read_to_string(&json) else { return Ok(None) };
            let info: DemoInfo = serde_json::from_str(&text)?;
            Ok(answers(&info)?.then_some(info))
        })
        .with_context(|| printed(&options.directory))?;
        let child = child.0.take().context("the demo is running")?;
        Ok(Self { options, child, info })
    }

    /// `demo.json` of this run.
    #[must_use]
    pub fn info(&self) -> &DemoInfo {
        &self.info
    }

    /// How it was started.
    #[must_use]
    pub fn options(&self) -> &DemoOptions {
        &self.options
    }

    /// One agent.
    #[must_use]
    pub fn agent(&self, index: usize) -> &DemoAgent {
        &self.info.agents[index]
    }

    /// All agents' processes, those killed included.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.info.agents.iter().map(|agent| agent.pid).collect()
    }

    /// A client of an agent's drive.
    ///
    /// # Errors
    /// If its URL holds no address.
    pub fn client(&self, index: usize, timeout: Duration) -> Result<HttpClient> {
        let address = self.agent(index).dav_address()?;
        Ok(HttpClient::new(address, &self.info.user, &self.info.password, timeout))
    }

    /// Sends an agent a signal: `KILL`, `STOP`, `CONT`.
    ///
    /// # Errors
    /// If it is not running.
    pub fn signal(&self, index: usize, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.agent(index).pid).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, signal).with_context(|| format!("signalling agent {index}"))
    }

    /// Ends an agent as a power cut would.
    ///
    /// # Errors
    /// If it is not running.
    pub fn kill(&self, index: usize) -> Result<()> {
        self.signal(index, Signal::KILL)
    }

    /// `status --json` as an agent tells it.
    ///
    /// # Errors
    /// If the command fails or prints no JSON.
    pub fn status(&self, index: usize) -> Result<serde_json::Value> {
        self.json(index, &["status"])
    }

    /// A command of `shoal` at an agent, with `--json`.
    ///
    /// # Errors
    /// If the command fails or prints no JSON.
    pub fn json(&self, index: usize, arguments: &[&str]) -> Result<serde_json::Value> {
        let output = Command::new(&self.options.binary)
            .args(arguments)
            .args(["--json", "--data"])
            .arg(&self.agent(index).data)
            .stdin(Stdio::null())
            .output()?;
        let command = arguments.join(" ");
        if !output.status.success() {
            bail!("shoal {command} ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("what shoal {command} --json printed"))
    }

    /// Stops it as Ctrl-C does and waits for its end; every agent must be gone.
    ///
    /// # Errors
    /// If it does not end in time, fails, or leaves an agent behind.
    pub fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process id")?;
        kill_process(pid, Signal::INT)?;
        let status = wait_until("the demo to stop", STOP_DEADLINE, || Ok(self.child.try_wait()?))?;
        if !status.success() {
            bail!("the demo ended with {status}: {}", printed(&self.options.directory));
        }
        wait_until("all agents to be gone", STOP_DEADLINE, || {
            Ok(self.info.agents.iter().all(|agent| !is_running(agent.pid)).then_some(()))
        })
    }

    /// Kills the demo and all its agents at once, as a power cut of the whole building would.
    pub fn kill_all(mut self) {
        self.kill_everything();
    }

    fn kill_everything(&mut self) {
        let _ = self.child.kill();
        for index in 0..self.info.agents.len() {
            let _ = self.kill(index);
        }
        let _ = self.child.wait();
        for agent in &self.info.agents {
            let _ =
                wait_until("a killed agent to be gone", STOP_DEADLINE, || Ok((!is_running(agent.pid)).then_some(())));
        }
    }
}

impl Drop for DemoPool {
    fn drop(&mut self) {
        self.kill_everything();
    }
}

/// Kills a demo that did not come up.
struct KillOnDrop(Option<Child>);

impl Drop for KillOnDrop {
    fn drop(&mut self) {
        if let Some(child) = self.0.as_mut() {
            // Ctrl-C first, so that it takes its agents along.
            if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::INT);
            }
            let _ = wait_until("the failed demo to stop", STOP_DEADLINE, || Ok(child.try_wait()?));
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn is_running(pid: u32) -> bool {
    let state = fs::read_to_string(format!("/proc/{pid}/stat"));
    state.is_ok_and(|stat| !stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with(['Z', 'X'])))
}

fn answers(info: &DemoInfo) -> Result<bool> {
    for agent in &info.agents {
        let mut client = HttpClient::new(agent.dav_address()?, &info.user, &info.password, Duration::from_secs(5));
        let path = format!("/{}/", info.volume);
        if client.request("OPTIONS", &path, &[], b"").map_or(0, |response| response.status) != 200 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn printed(directory: &Path) -> String {
    let text = fs::read_to_string(directory.join("demo.out")).unwrap_or_default();
    let tail: Vec<&str> = text.lines().rev().take(20).collect();
    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// A port from which on `count` consecutive ports are free on loopback now. Asked again, it gives others.
///
/// # Errors
/// If none is found.
pub fn free_port_base(count: u16) -> Result<u16> {
    const FIRST: u32 = 20_000;
    const RANGE: u32 = 12_000;
    static ASKED: AtomicU32 = AtomicU32::new(0);
    let salt = std::process::id().wrapping_mul(100);
    for _ in 0..RANGE / u32::from(count.max(1)) {
        let offset = salt.wrapping_add(ASKED.fetch_add(u32::from(count), Ordering::Relaxed)) % RANGE;
        let start = u16::try_from(FIRST + offset).unwrap_or(u16::MAX);
        let all_free = (start..start.saturating_add(count)).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok());
        if all_free {
            return Ok(start);
        }
    }
    bail!("no {count} consecutive free ports")
}
