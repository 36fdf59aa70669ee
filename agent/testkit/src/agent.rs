//! Single agents as processes of their own, started by `shoal up` and `shoal join`: for pools a demo cannot make.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{HttpClient, wait_until};

/// How long an agent may take to come up.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long a pool may take until all its agents take part.
const SETTLE_DEADLINE: Duration = Duration::from_secs(60);
/// How long one request may take.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);
/// The first user of every pool made here.
const USER: &str = "admin";
/// Their password.
const PASSWORD: &str = "correct horse battery staple";

/// How to start one.
#[derive(Debug, Clone)]
pub struct AgentOptions {
    /// The `shoal` binary.
    pub binary: PathBuf,
    /// Its data directory; what it says goes to a file of that name with `.log` after it.
    pub data: PathBuf,
    /// Port of its drive; API, control network and data channel take the next three.
    pub port: u16,
    /// What to join with; `None`: `shoal up`.
    pub ticket: Option<String>,
    /// Further arguments, such as `--cap`.
    pub arguments: Vec<String>,
}

impl AgentOptions {
    fn name(&self) -> String {
        self.data.file_name().map_or_else(|| "agent".into(), |name| name.to_string_lossy().into_owned())
    }

    fn address(&self, offset: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port + offset))
    }

    fn log(&self) -> PathBuf {
        self.data.with_extension("log")
    }

    /// The command as it will be run.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        match &self.ticket {
            Some(ticket) => command.arg("join").arg(ticket),
            None => command.arg("up"),
        };
        command
            .args([
                "--name",
                &self.name(),
                "--dav",
                &self.address(0).to_string(),
                "--api",
                &self.address(1).to_string(),
            ])
            .args(["--listen", &self.address(2).to_string(), "--no-announce", "--end-with-stdin", "--data"])
            .arg(&self.data)
            .args(&self.arguments)
            // Each stands for a computer of its own: else none would hold copies of another's backup.
            .env("SHOAL_MACHINE", self.name())
            .env("SHOAL_ADMIN_PASSWORD", PASSWORD);
        command
    }

    /// Runs it expecting that it ends by itself, and returns how.
    ///
    /// # Errors
    /// If it cannot be run or goes on running.
    pub fn refused(&self) -> Result<Output> {
        let mut child = self.command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let ended = wait_until("an agent that must not start to end", START_DEADLINE, || Ok(child.try_wait()?));
        if ended.is_err() {
            let _ = child.kill();
        }
        let output = child.wait_with_output()?;
        ended.map(|_| output)
    }
}

/// A running agent. Dropped, it is killed.
pub struct AgentProcess {
    options: AgentOptions,
    child: Child,
    /// Held open while the agent shall run, so that it ends with the test whatever happens.
    _lifeline: Option<ChildStdin>,
}

impl AgentProcess {
    /// Starts an agent and waits until its API answers.
    ///
    /// # Errors
    /// If it does not come up, with what it said.
    pub fn start(options: AgentOptions) -> Result<Self> {
        let log = File::options().create(true).append(true).open(options.log())?;
        let mut command = options.command();
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut child = command.spawn().with_context(|| format!("cannot start {}", options.binary.display()))?;
        let lifeline = child.stdin.take();
        let mut agent = Self { options, child, _lifeline: lifeline };
        let said = agent.options.log();
        wait_until("an agent to come up", START_DEADLINE, || {
            if let Some(status) = agent.child.try_wait()? {
                bail!("it ended ({status})");
            }
            let health = agent.api().request("GET", "/healthz", &[], b"");
            Ok(health.is_ok_and(|response| response.status == 200).then_some(()))
        })
        .with_context(|| fs::read_to_string(said).unwrap_or_default())?;
        Ok(agent)
    }

    /// How it was started.
    #[must_use]
    pub fn options(&self) -> &AgentOptions {
        &self.options
    }

    /// Its data directory.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.options.data
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether its process still runs.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Where its drive would listen.
    #[must_use]
    pub fn dav_address(&self) -> SocketAddr {
        self.options.address(0)
    }

    /// A client of its drive.
    #[must_use]
    pub fn client(&self) -> HttpClient {
        HttpClient::new(self.dav_address(), USER, PASSWORD, ANSWER_DEADLINE)
    }

    /// Who may use the drive and the API of the agents started here, and their password.
    #[must_use]
    pub fn credentials() -> (&'static str, &'static str) {
        (USER, PASSWORD)
    }

    /// A client of its API.
    #[must_use]
    pub fn api(&self) -> HttpClient {
        HttpClient::new(self.options.address(1), USER, PASSWORD, ANSWER_DEADLINE)
    }

    /// Runs a `shoal` command against it.
    ///
    /// # Errors
    /// If it cannot be run.
    pub fn shoal(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = Command::new(&self.options.binary);
        // Before the rest, which may end with another program's arguments.
        Ok(command.arg("--data").arg(&self.options.data).args(arguments).stdin(Stdio::null()).output()?)
    }

    /// Runs a `shoal` command against it with `--json` and reads what it prints.
    ///
    /// # Errors
    /// If the command fails or prints no JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<serde_json::Value> {
        let output = self.shoal(&[arguments, &["--json"]].concat())?;
        if !output.status.success() {
            bail!("shoal {arguments:?} ({}): {}", output.status, String::from_utf8_lossy(&output.stderr));
        }
        serde_json::from_slice(&output.stdout).with_context(|| format!("shoal {arguments:?} --json"))
    }

    /// A ticket of its pool.
    ///
    /// # Errors
    /// If it gives none.
    pub fn invite(&self, arguments: &[&str]) -> Result<String> {
        let answer = self.json(&[&["invite"], arguments].concat())?;
        Ok(answer["ticket"].as_str().context("no ticket")?.to_owned())
    }

    /// Ends it as a power cut would; returns with what it could come back.
    ///
    /// # Errors
    /// If it does not end.
    pub fn kill(mut self) -> Result<AgentOptions> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(AgentOptions { ticket: None, ..self.options.clone() })
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a pool of that many agents in a folder; returns when all take part. `prepare` is given each agent's options
/// before it starts.
///
/// # Errors
/// If it does not come up.
pub fn start_pool(
    binary: &Path,
    folder: &Path,
    first_port: u16,
    count: u16,
    mut prepare: impl FnMut(&mut AgentOptions) -> Result<()>,
) -> Result<Vec<AgentProcess>> {
    let mut agents: Vec<AgentProcess> = Vec::new();
    for index in 0..count {
        let ticket = agents.first().map(|first| first.invite(&[])).transpose()?;
        let mut options = AgentOptions {
            binary: binary.to_owned(),
            data: folder.join(format!("agent-{index}")),
            port: first_port + 10 * index,
            ticket,
            arguments: Vec::new(),
        };
        prepare(&mut options)?;
        agents.push(AgentProcess::start(options)?);
    }
    for agent in &agents {
        wait_until_settled(agent, agents.len())?;
    }
    Ok(agents)
}

/// Waits until an agent sees so many answer, and as many of them vote as will.
///
/// # Errors
/// If that does not come about.
pub fn wait_until_settled(agent: &AgentProcess, count: usize) -> Result<()> {
    let may_go = match count {
        0..=2 => 0,
        3 | 4 => 1,
        _ => 2,
    };
    wait_until("all agents of a pool to take part", SETTLE_DEADLINE, || {
        let status = agent.json(&["status"])?;
        let up =
            status["nodes"].as_array().map_or(0, |nodes| nodes.iter().filter(|node| node["state"] == "up").count());
        Ok((up == count && status["survives_writing"].as_u64() >= Some(may_go)).then_some(()))
    })
}
