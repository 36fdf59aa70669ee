//! Agents on hosts of their own: a network namespace each, all of them at one switch. Needs root, `ip` and `nft`.
//!
//! Packets are dropped where they arrive, so a cut is silent and may be one-way. Delay is `netem`'s where the kernel has
//! it, else what a narrow link (`tbf`) makes of it.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use shoal_testkit::Connector;

use crate::steps::installed;

/// What the names of all namespaces of chaos runs begin with; then comes the process that made them.
const PREFIX: &str = "shoal-chaos-";
/// The name of the network card in every namespace.
const CARD: &str = "cable";

/// One host.
pub(super) struct Host {
    name: String,
    pub(super) address: Ipv4Addr,
    /// Nothing from these arrives.
    deaf_to: BTreeSet<Ipv4Addr>,
    /// So many of a hundred packets are lost.
    lost_percent: u8,
}

/// The switch all hosts are at; gone, with the hosts, when dropped.
pub(super) struct Network {
    switch: String,
    pub(super) hosts: Vec<Host>,
}

/// Why there can be no hosts here; `None` if there can.
pub(super) fn missing() -> Option<&'static str> {
    let there = |program: &str| installed(program) || PathBuf::from("/usr/sbin").join(program).exists();
    if !rustix::process::geteuid().is_root() {
        Some("network faults need root")
    } else if !there("ip") || !there("nft") || !there("tc") {
        Some("network faults need `ip`, `tc` (package iproute2) and `nft` (package nftables)")
    } else {
        None
    }
}

impl Network {
    pub(super) fn make(count: usize) -> Result<Self> {
        sweep();
        let switch = format!("{PREFIX}{}-switch", std::process::id());
        run("ip", &["netns", "add", &switch])?;
        let mut network = Self { switch: switch.clone(), hosts: Vec::new() };
        run("ip", &["-n", &switch, "link", "add", "bridge", "type", "bridge"])?;
        run("ip", &["-n", &switch, "link", "set", "bridge", "up"])?;
        for index in 0..count {
            let name = format!("{PREFIX}{}-{index}", std::process::id());
            let address = Ipv4Addr::new(10, 87, 0, u8::try_from(index + 1).context("at most 254 hosts")?);
            run("ip", &["netns", "add", &name])?;
            network.hosts.push(Host { name: name.clone(), address, deaf_to: BTreeSet::new(), lost_percent: 0 });
            let port = format!("port{index}");
            run("ip", &["link", "add", CARD, "netns", &name, "type", "veth", "peer", "name", &port, "netns", &switch])?;
            run("ip", &["-n", &switch, "link", "set", &port, "master", "bridge", "up"])?;
            run("ip", &["-n", &name, "link", "set", "lo", "up"])?;
            run("ip", &["-n", &name, "addr", "add", &format!("{address}/24"), "dev", CARD])?;
            run("ip", &["-n", &name, "link", "set", CARD, "up"])?;
            run("ip", &["-n", &name, "route", "add", "default", "dev", CARD])?;
        }
        network.hosts.iter().try_for_each(Host::apply)?;
        Ok(network)
    }

    /// Cuts, or mends, the way from one host to another.
    pub(super) fn cut(&mut self, from: usize, to: usize, cut: bool) -> Result<()> {
        let from = self.hosts.get(from).context("a host")?.address;
        let to = self.hosts.get_mut(to).context("a host")?;
        if cut {
            to.deaf_to.insert(from)
        } else {
            to.deaf_to.remove(&from)
        };
        to.apply()
    }

    /// Loses so many of a hundred packets to a host.
    pub(super) fn lose(&mut self, host: usize, percent: u8) -> Result<()> {
        let host = self.hosts.get_mut(host).context("a host")?;
        host.lost_percent = percent;
        host.apply()
    }

    /// Makes a host's link slow, or as it was.
    pub(super) fn slow(&self, host: usize, slow: bool) -> Result<&'static str> {
        let name = &self.hosts.get(host).context("a host")?.name;
        if !slow {
            run("tc", &["-n", name, "qdisc", "del", "dev", CARD, "root"])?;
            return Ok("as it was");
        }
        let late = ["-n", name, "qdisc", "replace", "dev", CARD, "root", "netem", "delay", "80ms", "40ms"];
        if run("tc", &late).is_ok() {
            return Ok("80 ± 40 ms late");
        }
        let narrow = ["-n", name, "qdisc", "replace", "dev", CARD, "root", "tbf"];
        let width = ["rate", "6mbit", "burst", "32kbit", "latency", "400ms"];
        run("tc", &[&narrow[..], &width[..]].concat())?;
        Ok("6 Mbit/s, up to 400 ms late")
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in &self.hosts {
            let _ = run("ip", &["netns", "del", &host.name]);
        }
        let _ = run("ip", &["netns", "del", &self.switch]);
    }
}

impl Host {
    /// A command that will run on this host.
    pub(super) fn command(&self, program: &std::path::Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// How to connect from this host, to servers on its loopback for instance.
    pub(super) fn connector(&self) -> Connector {
        let space = PathBuf::from("/run/netns").join(&self.name);
        Arc::new(move |address, timeout| {
            let space = space.clone();
            // A thread of its own goes there and does not come back; the connection does.
            let there = std::thread::spawn(move || {
                let space = File::open(space)?;
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
                TcpStream::connect_timeout(&address, timeout)
            });
            there.join().unwrap_or_else(|_| Err(std::io::Error::other("the thread that connects panicked")))
        })
    }

    fn apply(&self) -> Result<()> {
        let mut rules = String::from(
            "table inet chaos\ndelete table inet chaos\ntable inet chaos {\n chain arriving {\n  \
             type filter hook input priority 0; policy accept;\n  iifname \"lo\" accept\n",
        );
        for address in &self.deaf_to {
            rules.push_str(&format!("  ip saddr {address} drop\n"));
        }
        if self.lost_percent > 0 {
            rules.push_str(&format!("  numgen random mod 100 < {} drop\n", self.lost_percent));
        }
        rules.push_str(" }\n}\n");
        let mut command = self.command("nft".as_ref());
        let mut child = command.args(["-f", "-"]).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("nft's input")?.write_all(rules.as_bytes())?;
        let output = child.wait_with_output()?;
        ensure!(output.status.success(), "nft on {}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        Ok(())
    }
}

/// Removes what runs left behind that were ended from outside.
fn sweep() {
    for entry in std::fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(|pid| !PathBuf::from("/proc").join(pid).exists()) {
            let _ = run("ip", &["netns", "del", &name]);
        }
    }
}

/// Runs a program to its end.
pub(super) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
