//! What this agent says of itself in the ledger, kept true: addresses, capacity, version.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dci_proto::AgentId;
use shoal_ledger::{AgentRecord, Command, LedgerClient, query};
use shoal_net::{Lane, Network};
use tokio_util::sync::CancellationToken;

use crate::health::Health;
use crate::members::MemberBook;
use crate::wire::{self, Method};

/// Time between two looks.
const INTERVAL: Duration = Duration::from_secs(20);
/// Capacity follows the disk's free space and is told anew when it differs by more than one part in this many.
const CAPACITY_STEP: u64 = 50;
/// How long a member with a ledger may take to pass it on.
const PASS_ON_TIMEOUT: Duration = Duration::from_secs(5);

/// Keeps an agent's record true.
pub(crate) struct Renewal {
    pub(crate) agent: AgentId,
    /// As it was at this start; capacity is filled in.
    pub(crate) own: AgentRecord,
    pub(crate) health: Arc<Health>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) members: Arc<MemberBook>,
    /// `None` on an agent that holds no ledger.
    pub(crate) ledger: Option<Arc<dyn LedgerClient>>,
    pub(crate) told: OnceLock<()>,
}

impl Renewal {
    /// Renews until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        loop {
            if shutdown.run_until_cancelled(self.renew()).await.is_none() {
                return;
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    async fn renew(&self) {
        let agent = AgentRecord { capacity_bytes: self.health.self_report().room.capacity_bytes, ..self.own.clone() };
        let Some(ledger) = &self.ledger else {
            // What it said at this start stays true until it ends: ports and cards seldom change under a running agent.
            if self.told.get().is_none() && self.pass_on(&agent).await {
                let _ = self.told.set(());
            }
            return;
        };
        let known = ledger.view().and_then(|view| query::agent(&*view, self.agent)).ok().flatten();
        if !known.is_some_and(|known| differs(&known, &agent)) {
            return;
        }
        if let Err(error) = ledger.submit(Command::UpdateAgent { agent }).await {
            tracing::debug!(%error, "this agent's record could not be renewed yet");
        }
    }

    async fn pass_on(&self, agent: &AgentRecord) -> bool {
        for holder in self.members.ledger_holders(self.agent) {
            let Ok(request) = wire::request(Method::Renew, agent) else { return false };
            let answer = self.network.call(holder, Lane::Control, request, PASS_ON_TIMEOUT).await;
            if answer.is_ok_and(|response| wire::check(&response).is_ok()) {
                return true;
            }
        }
        false
    }
}

fn differs(known: &AgentRecord, own: &AgentRecord) -> bool {
    known.control_addresses != own.control_addresses
        || known.data_addresses != own.data_addresses
        || known.version != own.version
        || known.capacity_bytes.abs_diff(own.capacity_bytes) > known.capacity_bytes / CAPACITY_STEP
}

#[cfg(test)]
mod tests {
    use shoal_ledger::{AgentRoles, AgentState};

    use super::*;

    #[test]
    fn what_changed_is_told_and_what_flickers_is_not() {
        let known = AgentRecord {
            id: AgentId([1; 32]),
            name: "one".into(),
            control_addresses: vec!["10.0.0.1:1".parse().expect("address")],
            data_addresses: Vec::new(),
            roles: AgentRoles::default(),
            state: AgentState::Active,
            site: String::new(),
            capacity_bytes: 1000,
            version: "1".into(),
            joined_ms: 5,
        };
        assert!(!differs(&known, &AgentRecord { capacity_bytes: 1015, joined_ms: 0, ..known.clone() }));
        assert!(differs(&known, &AgentRecord { capacity_bytes: 500, ..known.clone() }));
        assert!(differs(&known, &AgentRecord { version: "2".into(), ..known.clone() }));
        assert!(differs(&known, &AgentRecord { control_addresses: Vec::new(), ..known.clone() }));
    }
}
