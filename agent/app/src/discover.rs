//! Pools and agents on the local network: this agent announces itself and remembers whom it heard.
//!
//! What is heard is a hint: who it really is is proved when it is dialled, and being heard gives no rights.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dci_proto::{AgentId, PoolId};
use serde::Serialize;
use shoal_ledger::AgentRecord;
use shoal_net::{Announcement, Announcer, Found, browse};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::config::AgentConfig;
use crate::data_directory::Membership;

/// How long one look round takes.
const LOOK: Duration = Duration::from_secs(5);
/// Time between two looks round; people who want to know now use `shoal discover`.
const LOOK_INTERVAL: Duration = Duration::from_secs(120);
/// Who was not heard for this long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);
/// Agents remembered, at most.
const REMEMBERED: usize = 1024;

/// An agent heard on the local network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Discovered {
    /// Who it says it is.
    pub agent: AgentId,
    /// The end of its id, to compare by eye.
    pub fingerprint: String,
    /// Its name.
    pub name: String,
    /// Its pool's name; empty while it has none.
    pub pool: String,
    /// Whether that is this agent's own pool.
    pub same_pool: bool,
    /// Where it can be asked to let an agent in.
    pub addresses: Vec<SocketAddr>,
    /// The version it runs.
    pub version: String,
}

/// Announces this agent and remembers whom it heard.
pub(crate) struct Discovery {
    heard: Arc<Heard>,
    // Announces as long as it lives.
    _announcer: Option<Announcer>,
}

#[derive(Default)]
struct Heard {
    agents: Mutex<BTreeMap<AgentId, (Instant, Discovered)>>,
}

impl Discovery {
    /// Begins, unless the configuration says no. A network that does not do mDNS is no reason not to start.
    pub(crate) fn start(
        config: &AgentConfig,
        own: &AgentRecord,
        membership: &Membership,
        tasks: &mut JoinSet<()>,
        shutdown: &CancellationToken,
    ) -> Self {
        let heard = Arc::new(Heard::default());
        if !config.announce {
            return Self { heard, _announcer: None };
        }
        let announcer = Announcer::start(&announcement(own, membership));
        let announcer =
            announcer.inspect_err(|error| tracing::warn!(%error, "other agents cannot find this one by themselves"));
        tasks.spawn(look_round(heard.clone(), membership.pool, own.id, shutdown.clone()));
        Self { heard, _announcer: announcer.ok() }
    }

    /// Whom it heard lately, by name.
    pub(crate) fn seen(&self) -> Vec<Discovered> {
        let agents = self.heard.agents.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = agents.values().filter(|(at, _)| at.elapsed() < FORGOTTEN_AFTER);
        let mut seen: Vec<Discovered> = lately.map(|(_, agent)| agent.clone()).collect();
        seen.sort_by(|a, b| a.name.cmp(&b.name).then(a.agent.cmp(&b.agent)));
        seen
    }
}

fn announcement(own: &AgentRecord, membership: &Membership) -> Announcement {
    Announcement {
        agent: own.id,
        name: own.name.clone(),
        pool_id: Some(membership.pool),
        pool_name: membership.pool_name.clone(),
        control_port: own.control_addresses.first().map_or(0, SocketAddr::port),
        data_port: own.data_addresses.first().map_or(0, SocketAddr::port),
        version: own.version.clone(),
    }
}

async fn look_round(heard: Arc<Heard>, pool: PoolId, own: AgentId, shutdown: CancellationToken) {
    loop {
        match shutdown.run_until_cancelled(browse(LOOK)).await {
            Some(Ok(found)) => heard.remember(found, pool, own),
            Some(Err(error)) => tracing::debug!(%error, "nobody can be heard on the local network"),
            None => return,
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(LOOK_INTERVAL)).await.is_none() {
            return;
        }
    }
}

impl Heard {
    fn remember(&self, found: Vec<Found>, pool: PoolId, own: AgentId) {
        let now = Instant::now();
        let mut agents = self.agents.lock().unwrap_or_else(PoisonError::into_inner);
        agents.retain(|_, (at, _)| now.duration_since(*at) < FORGOTTEN_AFTER);
        for found in found {
            let said = found.announcement;
            if said.agent == own || (agents.len() >= REMEMBERED && !agents.contains_key(&said.agent)) {
                continue;
            }
            let discovered = Discovered {
                agent: said.agent,
                fingerprint: said.agent.fingerprint(),
                name: said.name,
                same_pool: said.pool_id == Some(pool),
                pool: said.pool_name,
                addresses: found.data_addresses,
                version: said.version,
            };
            agents.insert(said.agent, (now, discovered));
        }
    }
}
