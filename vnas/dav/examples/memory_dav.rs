//! A WebDAV door over agents and a ledger in memory, in one process: for trying clients and for the acceptance scripts.
//!
//! `cargo run -p shoal-dav --example memory_dav [ADDRESS]`; the only user is `user` with the password `secret`.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use async_trait::async_trait;
use dci_proto::{AgentId, PoolId};
use shoal_dav::{AuthFailure, Authenticator, Door, DoorConfig, Principal, Throttle, serve};
use shoal_ledger::{AgentRecord, AgentRoles, AgentState, Command, LocalLedger, VolumePolicy};
use shoal_volume::testing::MemoryPeers;
use shoal_volume::{Drive, DriveConfig};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const AGENTS: u8 = 6;
const FREE_BYTES: u64 = 4 << 30;

struct OneUser(Throttle);

#[async_trait]
impl Authenticator for OneUser {
    async fn authenticate(&self, user: &str, password: &str, remote: IpAddr) -> Result<Principal, AuthFailure> {
        if (user, password) == ("user", "secret") {
            return Ok(Principal { name: user.to_owned(), may_write: true });
        }
        let now = Instant::now();
        self.0.check(remote, user, now).map_err(AuthFailure::SlowDown)?;
        self.0.failed(remote, user, now);
        Err(AuthFailure::Wrong)
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn agent(id: AgentId, number: usize) -> AgentRecord {
    AgentRecord {
        id,
        name: format!("agent-{number}"),
        control_addresses: Vec::new(),
        data_addresses: Vec::new(),
        roles: AgentRoles::default(),
        state: AgentState::Active,
        site: String::new(),
        capacity_bytes: FREE_BYTES,
        version: "example".to_owned(),
        joined_ms: 0,
    }
}

fn ledger(agents: &[AgentId]) -> anyhow::Result<LocalLedger> {
    let ledger = LocalLedger::with_clock(now_ms);
    for (number, id) in agents.iter().enumerate() {
        let record = agent(*id, number + 1);
        if number == 0 {
            let (id, name) = (PoolId([1; 16]), "example".to_owned());
            ledger.submit_now(Command::CreatePool { id, name, survive: 2, first: record })?;
        } else {
            ledger.submit_now(Command::RequestJoin { agent: record })?;
            ledger.submit_now(Command::ApproveJoin { agent: *id })?;
        }
    }
    ledger.submit_now(Command::CreateVolume { name: "pool".to_owned(), policy: VolumePolicy::default() })?;
    Ok(ledger)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:4990".to_owned());
    let peers = Arc::new(MemoryPeers::new(AGENTS, FREE_BYTES));
    let agents = peers.agents();
    let first = *agents.first().context("there are no agents")?;
    let ledger = Arc::new(ledger(&agents)?);
    let drive = Drive::new(Arc::clone(&ledger) as _, peers, DriveConfig::new(first, 1, [7; 32]));
    let door = Door::new(drive, Arc::new(OneUser(Throttle::new())), DoorConfig::default());
    let listener = TcpListener::bind(&address).await.with_context(|| format!("listening on {address}"))?;
    println!("http://{}/pool/ user secret", listener.local_addr()?);
    let shutdown = CancellationToken::new();
    let (stop, ticks) = (shutdown.clone(), shutdown.clone());
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    // What the leader does in a pool: time passes, locks expire.
    tokio::spawn(async move {
        while !ticks.is_cancelled() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let _ = ledger.submit_now(Command::Tick);
        }
    });
    serve(listener, None, Arc::new(door), shutdown).await;
    Ok(())
}
