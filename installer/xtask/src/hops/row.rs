//! The row: hosts `a`, `b`, `c`, `d`, with a cable and a network of its own between each two neighbours, and an agent on
//! each. Nothing is passed on from one cable to the next but by agents.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use shoal_testkit::wait_until;
use tempfile::TempDir;

use crate::netns::{Agent, Host};

/// The hosts' letters, which are their agents' names too.
const LETTERS: [char; 4] = ['a', 'b', 'c', 'd'];
/// The cable between the ends.
const SPARE: &str = "spare";
/// How long each step may take.
const STEP_DEADLINE: Duration = Duration::from_secs(90);

/// Hosts in a row with an agent on each; all gone when dropped.
pub(super) struct Row {
    binary: PathBuf,
    // Agents end before their hosts, hosts before the folder.
    agents: Vec<Agent>,
    hosts: Vec<Host>,
    folder: TempDir,
}

/// Makes the row: each agent joins with a ticket of its neighbour, and all are up at every host.
pub(super) fn row(binary: &Path) -> Result<Row> {
    let folder = tempfile::tempdir()?;
    let hosts = LETTERS.iter().map(|letter| Host::make(*letter, folder.path())).collect::<Result<Vec<_>>>()?;
    for (number, pair) in hosts.windows(2).enumerate() {
        let network = u8::try_from(number + 1)?;
        let address = |host| Ipv4Addr::new(10, 78, network, host);
        pair[0].cable(&format!("cable{network}"), address(1), &pair[1], address(2))?;
    }

    // Between the two ends, and pulled: the row is a ring only when it is plugged in.
    let (first, last) = (&hosts[0], &hosts[hosts.len() - 1]);
    first.cable(SPARE, Ipv4Addr::new(10, 78, 100, 1), last, Ipv4Addr::new(10, 78, 100, 2))?;
    for host in [first, last] {
        host.run("ip", &["link", "set", SPARE, "down"])?;
    }
    for host in &hosts {
        host.run("sh", &["-c", "echo 0 > /proc/sys/net/ipv4/ip_forward"])?;
    }
    let mut row = Row { binary: binary.to_owned(), agents: Vec::new(), hosts, folder };
    let joined = (0..row.len()).try_for_each(|number| row.join(number));
    row.told(joined)?;
    let up = row.all_up();
    row.told(up)?;
    Ok(row)
}

impl Row {
    /// How many hosts there are.
    pub(super) fn len(&self) -> usize {
        self.hosts.len()
    }

    /// The host of that number, counted from one end.
    pub(super) fn host(&self, number: usize) -> &Host {
        &self.hosts[number]
    }

    /// Where files for the hosts may lie.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Runs a command of `shoal` that talks to the agent of a host.
    pub(super) fn shoal(&self, number: usize, arguments: &[&str]) -> Result<Output> {
        self.hosts[number].shoal(&self.binary, arguments)
    }

    /// What a command of `shoal` at a host answers as JSON.
    pub(super) fn json(&self, number: usize, arguments: &[&str]) -> Result<Value> {
        self.hosts[number].json(&self.binary, arguments)
    }

    /// Plugs the cable between the two ends in, or pulls it.
    pub(super) fn spare_cable(&self, plugged: bool) -> Result<()> {
        let state = if plugged { "up" } else { "down" };
        for number in [0, self.len() - 1] {
            self.hosts[number].run("ip", &["link", "set", SPARE, state])?;
        }
        Ok(())
    }

    /// Has the next agent join over its neighbour, the first one make the pool.
    fn join(&mut self, number: usize) -> Result<()> {
        let name = LETTERS[number].to_string();
        let ticket = match number.checked_sub(1) {
            Some(neighbour) => {
                let invited = self.json(neighbour, &["invite"])?;
                Some(invited["ticket"].as_str().context("an invitation without a ticket")?.to_owned())
            }
            None => None,
        };
        let entry = ticket.as_deref().map_or_else(|| vec!["up"], |ticket| vec!["join", ticket]);
        let agent =
            self.hosts[number].start(&self.binary, &[&entry[..], &["--name", &name, "--no-announce"]].concat())?;
        self.agents.push(agent);
        wait_until(&format!("agent {name} to serve"), STEP_DEADLINE, || self.shoal(number, &["status"]).map(Some))?;
        println!("hops: {name} has joined");
        Ok(())
    }

    /// Every agent is up as every other sees it, though the ends see no address of each other.
    fn all_up(&self) -> Result<()> {
        for number in 0..self.len() {
            wait_until(&format!("host {number} to see all agents up"), STEP_DEADLINE, || {
                let up = self.hosts[number].agents_up(&self.binary)?;
                Ok((up == self.len()).then_some(()))
            })?;
        }
        let last = Ipv4Addr::new(10, 78, u8::try_from(self.len() - 1)?, 2).to_string();
        let seen = self.hosts[0].run("ip", &["route", "get", &last]).is_ok();
        ensure!(!seen, "the first host has a way to the last without anyone in between: the row proves nothing");
        Ok(())
    }

    /// Adds what the agents said last to a failure.
    pub(super) fn told<T>(&self, result: Result<T>) -> Result<T> {
        result.with_context(|| {
            let tails = LETTERS.iter().zip(&self.hosts).map(|(letter, host)| format!("{letter}: {}", host.log_tail()));
            tails.collect::<Vec<_>>().join("\n\n")
        })
    }
}
