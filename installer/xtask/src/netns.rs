//! Hosts of their own (network namespaces), cables between them, and agents on them. Needs root and `ip`.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::steps::{installed, release_binary};

/// The password of the pools made here.
pub(crate) const PASSWORD: &str = "a-password-of-many-hosts";

/// What to run.
#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// The `shoal` to try; by default a release build of this tree.
    #[arg(long)]
    binary: Option<PathBuf>,
}

impl Options {
    /// To try this one.
    pub(crate) fn of(binary: PathBuf) -> Self {
        Self { binary: Some(binary) }
    }

    /// The program to try, wherever it is started from.
    pub(crate) fn binary(&self) -> Result<PathBuf> {
        let binary = self.binary.clone().map_or_else(release_binary, Ok)?;
        Ok(std::path::absolute(binary)?)
    }
}

/// Fails with a sentence where there can be no hosts.
pub(crate) fn ensure_possible() -> Result<()> {
    ensure!(installed("ip") || Path::new("/usr/sbin/ip").exists(), "`ip` is not installed (package iproute2)");
    ensure!(rustix::process::geteuid().is_root(), "hosts of their own need root");
    Ok(())
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("running ip")?;
    ensure!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A host of its own: a network namespace, gone when dropped.
pub(crate) struct Host {
    name: String,
    /// Of its agent.
    data: PathBuf,
}

impl Host {
    /// Makes a host that sees nobody yet; its agent's data is in `folder`.
    pub(crate) fn make(letter: char, folder: &Path) -> Result<Self> {
        let name = format!("shoal-{}-{letter}", std::process::id());
        ip(&["netns", "add", &name])?;
        let host = Self { name, data: folder.join(letter.to_string()) };
        host.run("ip", &["link", "set", "lo", "up"])?;
        Ok(host)
    }

    /// Lays a cable of that name to another host, with an address at each end; nothing else is reached through it.
    pub(crate) fn cable(&self, name: &str, address: Ipv4Addr, other: &Self, other_address: Ipv4Addr) -> Result<()> {
        ip(&["link", "add", name, "netns", &self.name, "type", "veth", "peer", "name", name, "netns", &other.name])?;
        for (host, address) in [(self, address), (other, other_address)] {
            host.run("ip", &["addr", "add", &format!("{address}/24"), "dev", name])?;
            host.run("ip", &["link", "set", name, "up"])?;
        }
        Ok(())
    }

    /// A command that will run on this host.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a program on this host; fails if it does, with what it said.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let output = self.command(Path::new(program)).args(arguments).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program} {arguments:?} on {}: {said}", self.name);
        }
        Ok(output)
    }

    /// Starts this host's agent: `shoal up` or `shoal join`, with what else these are told.
    pub(crate) fn start(&self, binary: &Path, arguments: &[&str]) -> Result<Agent> {
        let log = File::create(self.data.with_extension("log"))?;
        let mut command = self.command(binary);
        command.args(arguments).arg("--data").arg(&self.data).env("SHOAL_ADMIN_PASSWORD", PASSWORD);
        Ok(Agent(command.stdout(log.try_clone()?).stderr(log).spawn()?))
    }

    /// Runs a command of `shoal` that talks to this host's agent.
    pub(crate) fn shoal(&self, binary: &Path, arguments: &[&str]) -> Result<Output> {
        let data = self.data.display().to_string();
        let all: Vec<&str> = arguments.iter().copied().chain(["--data", &data]).collect();
        self.run(&binary.display().to_string(), &all)
    }

    /// What a command of `shoal` answers as JSON.
    pub(crate) fn json(&self, binary: &Path, arguments: &[&str]) -> Result<Value> {
        let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        Ok(serde_json::from_slice(&self.shoal(binary, &all)?.stdout)?)
    }

    /// How many agents of the pool are up, as its agent sees it.
    pub(crate) fn agents_up(&self, binary: &Path) -> Result<usize> {
        let status = self.json(binary, &["status"])?;
        let nodes = status["nodes"].as_array().context("a status without agents")?;
        Ok(nodes.iter().filter(|node| node["state"] == "up").count())
    }

    /// Writes a file to a path of this host's drive.
    pub(crate) fn put(&self, path: &str, file: &Path) -> Result<()> {
        self.curl(&["-T", &file.display().to_string()], path).map(drop)
    }

    /// Reads what is at a path of this host's drive.
    pub(crate) fn get(&self, path: &str) -> Result<Vec<u8>> {
        self.curl(&[], path)
    }

    fn curl(&self, arguments: &[&str], path: &str) -> Result<Vec<u8>> {
        let (url, user) = (format!("http://127.0.0.1:4918/{path}"), format!("admin:{PASSWORD}"));
        Ok(self.run("curl", &[&["-sSf", "-u", &user], arguments, &[&url]].concat())?.stdout)
    }

    /// The last lines of its agent's log.
    pub(crate) fn log_tail(&self) -> String {
        let log = std::fs::read_to_string(self.data.with_extension("log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// An agent that is killed when dropped.
pub(crate) struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
