//! Agents in this process, on loopback, each with a folder of its own.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "this is test code, though not in a #[test] itself")]

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use shoal::AgentContext;
use shoal::config::{AgentConfig, Timing};
use shoal::run::Agent;
use shoal::start::{Entry, FirstStart, start};
use shoal::ticket::Ticket;
use shoal::{AgentError, context::TICKET_LIFE_DEFAULT};
use shoal_ledger::{AgentRoles, Command, Guard, NodePath, query};
use shoal_volume::{DriveError, NewFile};
use tempfile::TempDir;
use tokio::time::Instant;

/// How long anything may take before a test says what it waited for in vain.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A folder that agents of one test live in.
pub(crate) struct Folder(TempDir);

impl Folder {
    /// A new one. `RUST_LOG` shows what the agents in it log.
    pub(crate) fn new() -> Self {
        let filter = tracing_subscriber::EnvFilter::try_from_default_env();
        let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("off"));
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// The configuration of an agent that lives here: free ports, no announcements, quick to notice things.
    pub(crate) fn config(&self, name: &str) -> AgentConfig {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let mut config = AgentConfig::new(self.0.path().join(name));
        config.name = name.to_owned();
        (config.dav, config.api, config.listen, config.announce) = (any, any, any, false);
        config.stores[0].reserve_bytes = 0;
        config.stores[0].cap_bytes = Some(256 * 1024 * 1024);
        config.timing = Timing {
            ping_interval: Duration::from_millis(300),
            membership_interval: Duration::from_millis(200),
            voter_trial: Duration::from_millis(100),
            tick_interval: Duration::from_millis(200),
            janitor_interval: Duration::from_millis(200),
            garbage_grace: Duration::ZERO,
            heartbeat: Duration::from_millis(150),
            election_timeout: (Duration::from_millis(700), Duration::from_millis(1100)),
            ..Timing::default()
        };
        config
    }

    /// Starts an agent that makes a pool.
    pub(crate) async fn found(&self, name: &str) -> (Agent, FirstStart) {
        let started = start(self.config(name), Entry::Usual).await.expect("the first agent starts");
        (started.agent, started.first.expect("a first start"))
    }

    /// Starts an agent that joins with a ticket.
    pub(crate) async fn join(&self, name: &str, ticket: Ticket) -> Result<Agent, AgentError> {
        start(self.config(name), Entry::Ticket(ticket)).await.map(|started| started.agent)
    }

    /// Starts `count` agents that are one pool with all its voters.
    pub(crate) async fn pool(&self, count: usize) -> Vec<Agent> {
        let mut agents = vec![self.found("agent-0").await.0];
        for index in 1..count {
            let ticket = invite(agents[0].context()).await;
            agents.push(self.join(&format!("agent-{index}"), ticket).await.expect("joins"));
        }
        let voters = match count {
            1 | 2 => 1,
            3 | 4 => 3,
            _ => 5,
        };
        for agent in &agents {
            let context = agent.context();
            wait_for("all voters and agents to be there", async || {
                let all_up = context.status().await.is_ok_and(|status| {
                    status.nodes.len() == count && status.nodes.iter().all(|node| node.state.answers())
                });
                all_up && context.quorum().agrees && context.quorum().voters.len() == voters
            })
            .await;
        }
        agents
    }
}

/// The configuration with which an agent comes back where it was.
pub(crate) fn same_place(context: &AgentContext) -> AgentConfig {
    AgentConfig {
        listen: context.control_addresses[0],
        data_listen: Some(context.data_addresses[0]),
        ..context.config.clone()
    }
}

pub(crate) async fn invite(context: &AgentContext) -> Ticket {
    context.invite("admin", AgentRoles::default(), TICKET_LIFE_DEFAULT).await.expect("an invitation")
}

/// Waits until `condition` holds.
pub(crate) async fn wait_for(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition().await {
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} in vain for {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn path(context: &AgentContext, name: &str) -> NodePath {
    let volumes = context.drive.as_ref().expect("a drive").volumes().expect("volumes");
    NodePath::new(volumes.first().expect("a volume").id, vec![name.to_owned()]).expect("a path")
}

pub(crate) fn guard() -> Guard {
    Guard { user: "admin".into(), ..Guard::default() }
}

/// Writes a file through an agent's drive.
pub(crate) async fn write(context: &AgentContext, name: &str, bytes: &Bytes) -> Result<(), DriveError> {
    let drive = context.drive.as_ref().expect("a drive");
    drive.refresh().await;
    let file = NewFile { size_bytes: Some(bytes.len() as u64), ..NewFile::default() };
    let mut writer = drive.create(&path(context, name), file, guard()).await?;
    writer.write(bytes.clone()).await?;
    writer.commit().await.map(drop)
}

/// Reads a file through an agent's drive.
pub(crate) async fn read(context: &AgentContext, name: &str) -> Result<Bytes, DriveError> {
    let drive = context.drive.as_ref().expect("a drive");
    drive.refresh().await;
    let node = drive.node(&path(context, name))?.expect("the file is there");
    let reader = drive.open(&node)?;
    let mut stream = reader.read(0..node.size_bytes);
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.into())
}

/// Removes a file, and all that the trash keeps.
pub(crate) async fn remove_for_good(context: &AgentContext, name: &str) {
    let drive = context.drive.as_ref().expect("a drive");
    let path = path(context, name);
    drive.remove(&path, guard()).await.expect("removed");
    context.ledger.barrier().await.expect("up to date");
    let trash = query::trash_oldest(&*context.ledger.view().expect("a view"), 0, 512).expect("reads");
    let ids = trash.iter().map(|entry| entry.id).collect();
    context.ledger.submit(Command::PurgeTrash { volume: path.volume, ids }).await.expect("purged");
}

/// Bytes that do not compress and differ by seed.
pub(crate) fn noise(seed: u8, length: usize) -> Bytes {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&[seed]).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// Ends an agent as losing its PC would; returns with what it could come back.
pub(crate) async fn cut_off(mut agent: Agent) -> AgentConfig {
    let config = same_place(agent.context());
    agent.cut_off().await;
    config
}
