//! The agents of a run: processes that are killed, stopped and started again, each on its own host and disk where the
//! machine can give it those.

use std::fs::{self, DirBuilder, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use shoal_testkit::{Connector, HttpClient, HttpResponse, free_port_base, wait_until};

use super::disk::Disk;
use super::host::Network;

/// How long an agent may take to come up, and the pool to be complete.
const START_DEADLINE: Duration = Duration::from_secs(120);
/// How long the answer to a question about the pool may take.
const ASK_DEADLINE: Duration = Duration::from_secs(4);
/// Who uses the drive.
const USER: &str = "admin";
/// Their password.
const PASSWORD: &str = "chaos is a ladder";
/// Lines of an agent's log that are told when it ended.
const TOLD_LINES: usize = 6;

/// One agent.
pub(super) struct Agent {
    pub(super) index: usize,
    binary: PathBuf,
    pub(super) data: PathBuf,
    /// Its store directory.
    pub(super) store: PathBuf,
    log: PathBuf,
    dav: SocketAddr,
    api: SocketAddr,
    listen: SocketAddr,
    connector: Option<Connector>,
    pub(super) disk: Option<Disk>,
    /// Whether all it has lies on that disk, the ledger too; else only its shards do.
    pub(super) all_on_disk: bool,
    child: Option<Child>,
    /// Held open while the agent shall run, so that it ends with this run whatever happens.
    _lifeline: Option<ChildStdin>,
    stopped: bool,
}

/// All agents of a run. The network outlives the agents on it.
pub(super) struct Fleet {
    pub(super) agents: Vec<Agent>,
    pub(super) network: Option<Network>,
}

/// What a fleet is made of.
pub(super) struct FleetOptions<'a> {
    pub(super) binary: &'a Path,
    pub(super) folder: &'a Path,
    pub(super) count: usize,
    pub(super) hosts: bool,
    pub(super) disks: bool,
    /// Further lines of every `agent.toml`.
    pub(super) settings: &'a [String],
}

impl Fleet {
    /// Starts a pool and waits until all its agents take part.
    pub(super) fn start(options: &FleetOptions<'_>) -> Result<Self> {
        let network = options.hosts.then(|| Network::make(options.count)).transpose()?;
        let mut fleet = Self { agents: Vec::new(), network };
        let port = free_port_base(u16::try_from(10 * options.count)?)?;
        for index in 0..options.count {
            let mut agent = fleet.prepare(options, index, port + 10 * u16::try_from(index)?)?;
            let ticket = fleet.agents.first().map(|first| fleet.invite(first)).transpose()?;
            agent.spawn(fleet.network.as_ref(), ticket.as_deref())?;
            wait_until("an agent to come up", START_DEADLINE, || {
                if let Some(ended) = agent.ended()? {
                    bail!("{ended}");
                }
                Ok(agent.answers().then_some(()))
            })?;
            fleet.agents.push(agent);
        }
        fleet.wait_until_complete()?;
        Ok(fleet)
    }

    /// Kills all agents at once, starts them again and waits until all take part.
    pub(super) fn power_cut(&mut self) -> Result<()> {
        self.agents.iter_mut().try_for_each(Agent::kill)?;
        (0..self.agents.len()).try_for_each(|index| self.restart(index))?;
        self.wait_until_complete()
    }

    fn wait_until_complete(&self) -> Result<()> {
        wait_until("all agents of the pool to take part", START_DEADLINE, || {
            let status = self.first()?.status()?;
            let complete = up_in(&status) == self.agents.len() && status["survives_writing"].as_u64() >= Some(2);
            Ok(complete.then_some(()))
        })
    }

    fn prepare(&self, options: &FleetOptions<'_>, index: usize, port: u16) -> Result<Agent> {
        let data = options.folder.join(format!("agent-{index}"));
        let disk = options.disks.then(|| Disk::make(&options.folder.join(format!("disk-{index}")))).transpose()?;
        // Every third has its ledger on the small disk too.
        let all_on_disk = disk.is_some() && index % 3 == 2;
        let data = match &disk {
            Some(disk) if all_on_disk => disk.mount().join("data"),
            _ => data,
        };
        let store = match &disk {
            Some(disk) if !all_on_disk => disk.mount().join("store-0"),
            _ => data.join("store-0"),
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&data)?;
        let mut settings = format!("version = 1\ngarbage_grace_s = 20\ncache_bytes = {}\n", 32 << 20);
        settings.extend(options.settings.iter().map(|line| format!("{line}\n")));
        settings.push_str(&format!(
            "[[store]]\ndirectory = {:?}\nreserve_bytes = {}\n",
            store.display().to_string(),
            64 << 20
        ));
        fs::write(data.join("agent.toml"), settings)?;
        let host = self.network.as_ref().and_then(|network| network.hosts.get(index));
        let (port, listen) = match host {
            Some(host) => (4918, host.address.into()),
            None => (port, [127, 0, 0, 1].into()),
        };
        Ok(Agent {
            index,
            binary: options.binary.to_owned(),
            data,
            store,
            log: options.folder.join(format!("agent-{index}.log")),
            dav: SocketAddr::from(([127, 0, 0, 1], port)),
            api: SocketAddr::from(([127, 0, 0, 1], port + 1)),
            listen: SocketAddr::new(listen, port + 2),
            connector: host.map(|host| host.connector()),
            disk,
            all_on_disk,
            child: None,
            _lifeline: None,
            stopped: false,
        })
    }

    fn invite(&self, agent: &Agent) -> Result<String> {
        let output = self.shoal(agent, &["invite", "--json"])?;
        let answer: Value = serde_json::from_slice(&output.stdout).context("invite --json")?;
        Ok(answer["ticket"].as_str().context("no ticket")?.to_owned())
    }

    /// Runs a `shoal` command against an agent.
    pub(super) fn shoal(&self, agent: &Agent, arguments: &[&str]) -> Result<Output> {
        let mut command = agent.command(self.network.as_ref());
        Ok(command.args(arguments).arg("--data").arg(&agent.data).stdin(Stdio::null()).output()?)
    }

    /// Starts an agent again.
    pub(super) fn restart(&mut self, index: usize) -> Result<()> {
        let agent = self.agents.get_mut(index).context("an agent")?;
        agent.spawn(self.network.as_ref(), None)
    }

    fn first(&self) -> Result<&Agent> {
        self.agents.first().context("a pool has agents")
    }
}

/// How many agents answer, as a status says.
pub(super) fn up_in(status: &Value) -> usize {
    status["nodes"].as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["state"] == "up").count())
}

impl Agent {
    pub(super) fn command(&self, network: Option<&Network>) -> Command {
        match network.and_then(|network| network.hosts.get(self.index)) {
            Some(host) => host.command(&self.binary),
            None => Command::new(&self.binary),
        }
    }

    fn spawn(&mut self, network: Option<&Network>, ticket: Option<&str>) -> Result<()> {
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = self.command(network);
        match ticket {
            Some(ticket) => command.arg("join").env("SHOAL_TICKET", ticket),
            None => command.arg("up"),
        };
        command
            .args(["--name", &format!("agent-{}", self.index), "--dav", &self.dav.to_string()])
            .args(["--api", &self.api.to_string(), "--listen", &self.listen.to_string()])
            .args(["--no-announce", "--end-with-stdin", "--data"])
            .arg(&self.data)
            .env("SHOAL_ADMIN_PASSWORD", PASSWORD)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", self.binary.display()))?;
        self._lifeline = child.stdin.take();
        self.child = Some(child);
        self.stopped = false;
        Ok(())
    }

    /// How it ended and what it said last, if it ended without being killed here.
    pub(super) fn ended(&mut self) -> Result<Option<String>> {
        let Some(child) = self.child.as_mut() else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.child = None;
        Ok(Some(format!("agent {} ended ({status}); its last lines:\n{}", self.index, self.last_lines())))
    }

    fn last_lines(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(TOLD_LINES).collect();
        lines.into_iter().rev().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
    }

    /// Lines of its log in which it panicked.
    pub(super) fn panics(&self) -> Vec<String> {
        let text = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        text.lines().filter(|line| line.contains("panicked at")).map(str::to_owned).collect()
    }

    pub(super) fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Ends it as a power cut would.
    pub(super) fn kill(&mut self) -> Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        self.stopped = false;
        Ok(())
    }

    /// Stops it in its tracks, or lets it go on.
    pub(super) fn stop(&mut self, stop: bool) -> Result<()> {
        let pid = self.child.as_ref().and_then(|child| Pid::from_raw(i32::try_from(child.id()).ok()?));
        if let Some(pid) = pid
            && stop != self.stopped
        {
            kill_process(pid, if stop { Signal::STOP } else { Signal::CONT })?;
            self.stopped = stop;
        }
        Ok(())
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    fn client_of(&self, address: SocketAddr, deadline: Duration) -> HttpClient {
        let client = HttpClient::new(address, USER, PASSWORD, deadline);
        match &self.connector {
            Some(connector) => client.with_connector(connector.clone()),
            None => client,
        }
    }

    /// How to reach its drive.
    pub(super) fn door(&self) -> Door {
        Door { address: self.dav, connector: self.connector.clone() }
    }

    pub(super) fn answers(&self) -> bool {
        let health = self.client_of(self.api, ASK_DEADLINE).request("GET", "/healthz", &[], b"");
        health.is_ok_and(|response| response.status == 200)
    }

    /// `status --json` as it tells it.
    pub(super) fn status(&self) -> Result<Value> {
        self.ask("status")
    }

    /// The name of the agent that leads the ledger, as this one knows it.
    pub(super) fn leader(&self) -> Result<String> {
        let nodes = self.ask("nodes")?;
        let leader = nodes["nodes"].as_array().and_then(|nodes| nodes.iter().find(|node| node["leader"] == true));
        Ok(leader.and_then(|leader| leader["name"].as_str()).context("nobody leads")?.to_owned())
    }

    fn ask(&self, what: &str) -> Result<Value> {
        let mut client = self.client_of(self.api, ASK_DEADLINE);
        let answer = client.request("GET", &format!("/api/v1/{what}"), &[], b"")?;
        ensure!(answer.status == 200, "agent {}: {what}: status {}", self.index, answer.status);
        serde_json::from_slice(&answer.body).with_context(|| format!("{what} of agent {}", self.index))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.kill();
    }
}

/// One mount point: what a client needs to use an agent's drive.
#[derive(Clone)]
pub(super) struct Door {
    address: SocketAddr,
    connector: Option<Connector>,
}

impl Door {
    pub(super) fn client(&self, deadline: Duration) -> HttpClient {
        let client = HttpClient::new(self.address, USER, PASSWORD, deadline);
        match &self.connector {
            Some(connector) => client.with_connector(connector.clone()),
            None => client,
        }
    }

    /// `http://HOST:PORT`, as a MOVE's destination begins.
    pub(super) fn base(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The beginning of an answer's body, for a message.
pub(super) fn said(response: &HttpResponse) -> String {
    String::from_utf8_lossy(response.body.get(..response.body.len().min(200)).unwrap_or_default()).into_owned()
}
