//! `cargo xtask hosts`: two agents on two hosts (network namespaces joined by a cable) find each other by mDNS, join,
//! and share a file (D12). Needs root and `ip`.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use shoal_testkit::wait_until;

use crate::steps::{installed, release_binary};

/// How long each step may take.
const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// A host of its own: a network namespace, gone when dropped.
struct Host {
    name: String,
    address: Ipv4Addr,
}

impl Host {
    fn make(letter: char, address: Ipv4Addr) -> Result<Self> {
        let host = Self { name: format!("shoal-{}-{letter}", std::process::id()), address };
        ip(&["netns", "add", &host.name])?;
        host.run("ip", &["link", "set", "lo", "up"])?;
        Ok(host)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program).stdin(Stdio::null());
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Result<Output> {
        let output = self.command(program).args(arguments).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            bail!("{program} {arguments:?} on {}: {said}", self.name);
        }
        Ok(output)
    }

    fn shoal(&self, binary: &Path, data: &Path, arguments: &[&str]) -> Result<Output> {
        let data = data.display().to_string();
        let all: Vec<&str> = arguments.iter().copied().chain(["--data", &data]).collect();
        self.run(&binary.display().to_string(), &all)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// An agent that is killed when dropped.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("running ip")?;
    ensure!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

pub(crate) fn run() -> Result<()> {
    ensure!(installed("ip") || Path::new("/usr/sbin/ip").exists(), "`ip` is not installed (package iproute2)");
    let binary = release_binary()?;
    let folder = tempfile::tempdir()?;
    let a = Host::make('a', Ipv4Addr::new(10, 77, 0, 1))?;
    let b = Host::make('b', Ipv4Addr::new(10, 77, 0, 2))?;
    let cable = format!("shoal{}", std::process::id() % 100_000);
    ip(&["link", "add", &cable, "netns", &a.name, "type", "veth", "peer", "name", &cable, "netns", &b.name])?;
    for host in [&a, &b] {
        host.run("ip", &["addr", "add", &format!("{}/24", host.address), "dev", &cable])?;
        host.run("ip", &["link", "set", &cable, "up"])?;
        host.run("ip", &["route", "add", "default", "dev", &cable])?;
    }
    let (data_a, data_b) = (folder.path().join("a"), folder.path().join("b"));
    let start = |host: &Host, data: &Path, arguments: &[&str]| -> Result<Agent> {
        let log = std::fs::File::create(data.with_extension("log"))?;
        let mut command = host.command(&binary.display().to_string());
        command.args(arguments).arg("--data").arg(data).env("SHOAL_ADMIN_PASSWORD", "two-hosts-one-drive");
        Ok(Agent(command.stdout(log.try_clone()?).stderr(log).spawn()?))
    };

    let _agent_a = start(&a, &data_a, &["up", "--name", "first"])?;
    wait_until("the first agent to be up", STEP_DEADLINE, || a.shoal(&binary, &data_a, &["status"]).map(|_| Some(())))?;
    let address = wait_until("the second host to discover the first", STEP_DEADLINE, || {
        let output = b.shoal(&binary, &data_b, &["discover", "--seconds", "2", "--json"])?;
        Ok(discovered(&serde_json::from_slice(&output.stdout)?, IpAddr::V4(a.address)))
    })?;
    println!("discovered: the first agent at {address}");

    let _agent_b = start(&b, &data_b, &["join", &address, "--name", "second"])?;
    let fingerprint = wait_until("the second agent to ask", STEP_DEADLINE, || {
        let nodes: Value = serde_json::from_slice(&a.shoal(&binary, &data_a, &["nodes", "--json"])?.stdout)?;
        Ok(nodes["waiting"][0]["fingerprint"].as_str().map(str::to_owned))
    })?;
    a.shoal(&binary, &data_a, &["node", "approve", &fingerprint])?;
    println!("approved: {fingerprint}");
    wait_until("both agents to be up", STEP_DEADLINE, || {
        let status: Value = serde_json::from_slice(&b.shoal(&binary, &data_b, &["status", "--json"])?.stdout)?;
        let up = status["nodes"].as_array().map(|nodes| nodes.iter().filter(|node| node["state"] == "up").count());
        Ok((up == Some(2)).then_some(()))
    })?;

    let file = folder.path().join("file");
    std::fs::write(&file, shoal_testkit::RandomBytes::new(1).take(9_000_000))?;
    let (url, user) = ("http://127.0.0.1:4918/pool/file", "admin:two-hosts-one-drive");
    a.run("curl", &["-sSf", "-u", user, "-T", &file.display().to_string(), url])?;
    let read = b.run("curl", &["-sSf", "-u", user, url])?.stdout;
    ensure!(read == std::fs::read(&file)?, "the second host reads other bytes than the first wrote");
    println!("hosts: discovered by mDNS, joined, shared a file of {} bytes", read.len());
    Ok(())
}

/// The data-channel address, on that host, that was announced.
fn discovered(answer: &Value, host: IpAddr) -> Option<String> {
    let host = host.to_string();
    answer.as_array()?.iter().find_map(|found| {
        let addresses = found["data_addresses"].as_array()?;
        addresses.iter().filter_map(Value::as_str).find(|text| text.starts_with(&format!("{host}:"))).map(str::to_owned)
    })
}
