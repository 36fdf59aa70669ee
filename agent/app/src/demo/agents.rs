//! The processes of a demo.

use std::fs::{self, DirBuilder, File};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::{Child, ChildStdin, Command};

use super::{AgentEntry, DemoOptions, PORT_STEP, SETTLE_DEADLINE, START_DEADLINE, STOP_DEADLINE, VOLUME};
use crate::api::types::{InviteAnswer, LocalCredentials};
use crate::cli::CliError;
use crate::status::StatusReport;

/// A verdict on a pool that is not whole is believed when it has stayed the same for this long: the first ones are of agents that
/// have not heard of each other yet.
const STEADY_FOR: Duration = Duration::from_secs(2);
/// How often an agent that is coming up is asked whether it is.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// Bytes of a disk's free space that a demo leaves alone, at least.
const RESERVE_BYTES: u64 = 1 << 30;

/// One agent of the demo.
struct DemoAgent {
    name: String,
    data: PathBuf,
    dav: SocketAddr,
    api: SocketAddr,
    listen: SocketAddr,
    child: Option<Child>,
    /// Held open while the agent shall run; kept apart from the child, whose `wait` would close it.
    lifeline: Option<ChildStdin>,
    pid: u32,
    id: String,
}

/// All agents of the demo.
pub(super) struct Fleet {
    binary: PathBuf,
    password: String,
    cap_bytes: u64,
    agents: Vec<DemoAgent>,
    verdict: String,
}

impl Fleet {
    pub(super) fn new(options: &DemoOptions, directory: &Path, password: &str) -> Result<Self, CliError> {
        let binary = std::env::current_exe().map_err(|error| CliError::Failed(format!("where am I? {error}")))?;
        let mut agents = Vec::new();
        for index in 0..options.agents {
            let port = |offset: u16| {
                let step = u16::try_from(index).ok().and_then(|i| i.checked_mul(PORT_STEP));
                let port = step.and_then(|step| options.dav.port().checked_add(step)?.checked_add(offset));
                port.map(|port| SocketAddr::new(options.dav.ip(), port))
                    .ok_or_else(|| CliError::Usage("--dav: too few ports above it for that many agents".into()))
            };
            agents.push(DemoAgent {
                name: format!("agent-{}", index + 1),
                data: directory.join(format!("agent-{}", index + 1)),
                dav: port(0)?,
                api: port(1)?,
                listen: port(2)?,
                child: None,
                lifeline: None,
                pid: 0,
                id: String::new(),
            });
        }
        // All agents share one disk here: each may have its part of it, so that the sum is true.
        let free_bytes = crate::config::free_bytes(directory)?;
        let count = u64::try_from(options.agents.max(1)).unwrap_or(1);
        let cap_bytes = free_bytes.saturating_sub(RESERVE_BYTES) / count;
        Ok(Self { binary, password: password.to_owned(), cap_bytes, agents, verdict: String::new() })
    }

    /// Starts the first agent, then the others: those that are new join with a ticket each, all at the same time.
    pub(super) async fn start(&mut self) -> Result<(), CliError> {
        let fresh = !self.agents[0].data.join("agent.toml").exists();
        self.spawn(0, None)?;
        // A pool that is resumed may need more than its first agent before it agrees on anything.
        for index in 1..self.agents.len() {
            if self.agents[index].data.join("agent.toml").exists() && !fresh {
                self.spawn(index, None)?;
            }
        }
        self.wait_for(0).await?;
        for index in 1..self.agents.len() {
            if self.agents[index].child.is_none() {
                let ticket = self.invite().await?;
                self.spawn(index, Some(&ticket))?;
            }
        }
        for index in 1..self.agents.len() {
            self.wait_for(index).await?;
        }
        self.wait_until_settled().await
    }

    fn spawn(&mut self, index: usize, ticket: Option<&str>) -> Result<(), CliError> {
        let agent = &mut self.agents[index];
        // The ledger in it holds names and small files in clear: nobody else may look.
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&agent.data)
            .and_then(|()| File::options().create(true).append(true).open(agent.data.join("agent.log")))
            .and_then(|log| {
                let mut command = Command::new(&self.binary);
                match ticket {
                    // Not as an argument: everyone on this computer can read those.
                    Some(ticket) => command.arg("join").env("SHOAL_TICKET", ticket),
                    None => command.arg("up"),
                };
                command
                    .args(["--name", &agent.name, "--dav", &agent.dav.to_string(), "--api", &agent.api.to_string()])
                    .args(["--listen", &agent.listen.to_string(), "--cap", &self.cap_bytes.to_string()])
                    // No announcement: a demo on one machine is nobody else's pool to join.
                    .args(["--no-announce", "--end-with-stdin"])
                    // Each stands for a computer of its own: else none would hold copies of another's backup.
                    .env(crate::config::MACHINE_VARIABLE, &agent.name)
                    .arg("--data")
                    .arg(&agent.data)
                    .env("SHOAL_ADMIN_PASSWORD", &self.password)
                    .stdin(Stdio::piped())
                    .stdout(log.try_clone()?)
                    .stderr(log)
                    // Ctrl-C goes to the supervisor alone, which ends the agents in order.
                    .process_group(0);
                command.spawn()
            })
            .map(|mut child| {
                agent.lifeline = child.stdin.take();
                agent.pid = child.id().unwrap_or(0);
                agent.child = Some(child);
            })
            .map_err(|error| CliError::Failed(format!("cannot start {}: {error}", agent.name)))
    }

    /// Waits until an agent answers, and learns its id.
    async fn wait_for(&mut self, index: usize) -> Result<(), CliError> {
        let begin = Instant::now();
        loop {
            let agent = &mut self.agents[index];
            if let Some(status) = agent.child.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
                let reason = format!("{} ended ({status}): {}", agent.name, last_line(&agent.data));
                let code =
                    status.code().and_then(|code| u8::try_from(code).ok()).filter(|code| *code != 0).unwrap_or(1);
                return Err(CliError::AgentEnded { reason, code });
            }
            if let Some(id) = ask_id(agent).await {
                agent.id = id;
                return Ok(());
            }
            if begin.elapsed() > START_DEADLINE {
                let (name, seconds) = (&agent.name, START_DEADLINE.as_secs());
                let last = last_line(&agent.data);
                return Err(CliError::Failed(format!("{name} did not come up within {seconds} s: {last}")));
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    async fn invite(&self) -> Result<String, CliError> {
        let body = serde_json::json!({ "expires_s": 600 });
        let answer: InviteAnswer = call(&self.agents[0], "POST", "invite", Some(body)).await?;
        Ok(answer.ticket)
    }

    /// Waits until all agents that are members take part and the ledger votes as widely as it will; says so when
    /// that does not come about. A pool that was hurt before it was stopped goes on hurt.
    async fn wait_until_settled(&mut self) -> Result<(), CliError> {
        let begin = Instant::now();
        let mut said_since = begin;
        loop {
            if let Ok(report) = call::<StatusReport>(&self.agents[0], "GET", "status", None).await {
                let up = report.nodes.iter().filter(|node| node.state.answers()).count();
                if self.verdict != report.verdict {
                    (self.verdict, said_since) = (report.verdict, Instant::now());
                }
                let sound = report.stripes.healthy == report.stripes.total || said_since.elapsed() >= STEADY_FOR;
                if up == report.nodes.len() && report.survives_writing >= expected_survival(up) && sound {
                    return Ok(());
                }
            }
            if begin.elapsed() > SETTLE_DEADLINE {
                eprintln!("Not all agents take part yet; going on.");
                return Ok(());
            }
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    pub(super) fn verdict(&self) -> &str {
        &self.verdict
    }

    pub(super) fn entries(&self) -> Vec<AgentEntry> {
        let entry = |agent: &DemoAgent| AgentEntry {
            id: agent.id.clone(),
            name: agent.name.clone(),
            pid: agent.pid,
            dav: format!("http://{}/{VOLUME}/", agent.dav),
            api: format!("http://{}/", agent.api),
            data: agent.data.clone(),
        };
        self.agents.iter().map(entry).collect()
    }

    /// Says when an agent ends by itself; returns when none is left.
    pub(super) async fn watch(&mut self) {
        loop {
            let waiting = self.agents.iter_mut().filter_map(|agent| {
                let name = agent.name.clone();
                agent.child.as_mut().map(|child| Box::pin(async move { (name, child.wait().await) }))
            });
            let waiting: Vec<_> = waiting.collect();
            if waiting.is_empty() {
                return;
            }
            let ((name, status), ..) = futures::future::select_all(waiting).await;
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            eprintln!("{name} has ended ({how}); the others go on.");
            for agent in &mut self.agents {
                if agent.name == name {
                    agent.child = None;
                }
            }
        }
    }

    /// Ends all agents, gently first.
    pub(super) async fn end(&mut self) {
        for agent in &mut self.agents {
            // The end of its standard input is what `--end-with-stdin` waits for.
            agent.lifeline = None;
        }
        let begin = Instant::now();
        for agent in &mut self.agents {
            let Some(child) = agent.child.as_mut() else { continue };
            let rest = STOP_DEADLINE.saturating_sub(begin.elapsed());
            if tokio::time::timeout(rest, child.wait()).await.is_err() {
                eprintln!("{} does not end; killing it.", agent.name);
                let _ = child.kill().await;
            }
            agent.child = None;
        }
    }
}

/// How many agents may go without writing stopping, at most, for a ledger over that many.
fn expected_survival(agents: usize) -> u32 {
    match agents {
        0..=2 => 0,
        3 | 4 => 1,
        _ => 2,
    }
}

async fn ask_id(agent: &DemoAgent) -> Option<String> {
    let health: serde_json::Value = call(agent, "GET", "self", None).await.ok()?;
    Some(health.get("id")?.as_str()?.to_owned())
}

/// Calls an agent's API with its local credentials.
async fn call<T: serde::de::DeserializeOwned + Send + 'static>(
    agent: &DemoAgent,
    method: &'static str,
    path: &'static str,
    body: Option<serde_json::Value>,
) -> Result<T, CliError> {
    let file = agent.data.join(LocalCredentials::FILE_NAME);
    let name = agent.name.clone();
    let work = move || -> Result<T, String> {
        let text = fs::read_to_string(file).map_err(|error| error.to_string())?;
        let credentials: LocalCredentials = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}/api/v1/{path}", credentials.api))
            .header("Authorization", format!("Bearer {}", credentials.token))
            .header("Content-Type", "application/json");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let request = request.body(body).map_err(|error| error.to_string())?;
        let timeout = Some(Duration::from_secs(10));
        let client = ureq::Agent::config_builder().timeout_global(timeout).proxy(None).build().new_agent();
        let mut response = client.run(request).map_err(|error| error.to_string())?;
        response.body_mut().read_json().map_err(|error| error.to_string())
    };
    let answer = tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string()).flatten();
    answer.map_err(|error| CliError::Failed(format!("{name}: {error}")))
}

fn last_line(data: &Path) -> String {
    let log = fs::read_to_string(data.join("agent.log")).unwrap_or_default();
    let line = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    format!("{line} (all of it: {})", data.join("agent.log").display())
}
