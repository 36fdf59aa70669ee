//! A running agent as its doors see it: what the API, the CLI's page and the metrics are built on.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use dci_proto::AgentId;
use shoal_care::Progress;
use shoal_consensus::{Consensus, Headroom};
use shoal_dav::DoorStats;
use shoal_ledger::{
    AgentRecord, AgentRoles, AgentState, Command, JoinRequest, LedgerClient, Outcome, PoolRecord, query,
};
use shoal_net::Network;
use shoal_store::ShardStore;
use shoal_volume::Drive;
use tokio_util::sync::CancellationToken;

use crate::audit::AuditLog;
use crate::auth::Credentials;
use crate::backup::Backups;
use crate::check::CheckBoard;
use crate::config::AgentConfig;
use crate::discover::{Discovered, Discovery};
use crate::error::AgentError;
use crate::files::Files;
use crate::health::Health;
use crate::keeping::{KeepingBoard, ask_leader};
use crate::machine::{Background, Wake};
use crate::member_list::MemberList;
use crate::mend::Mender;
use crate::messages::Messages;
use crate::scrub::Scrubber;
use crate::status::{QuorumView, StatusReport};
use crate::status_board::StatusBoard;
use crate::ticket::Ticket;
use crate::tls::DoorTls;

/// Seconds a ticket is good for unless said otherwise: a day.
pub const TICKET_LIFE_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// The longest life a ticket may be given: 30 days.
pub const TICKET_LIFE_LIMIT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A running agent. Shared as `Arc<AgentContext>`.
pub struct AgentContext {
    /// Who it is.
    pub agent: AgentId,
    /// What it was started with; ports are the ones it got.
    pub config: AgentConfig,
    /// What it does in the pool.
    pub roles: AgentRoles,
    /// Where the drive is served; `None` without the mount role.
    pub dav_address: Option<SocketAddr>,
    /// What the drive's door has counted.
    pub dav_stats: Option<Arc<DoorStats>>,
    /// Where other agents reach its control network.
    pub control_addresses: Vec<SocketAddr>,
    /// Where other agents reach its data channel.
    pub data_addresses: Vec<SocketAddr>,
    /// The pool's truth. On an agent that holds no ledger every call answers with a sentence that says so.
    pub ledger: Arc<dyn LedgerClient>,
    pub(crate) member_list: MemberList,
    /// The ledger's replication; `None` on an agent that neither mounts nor votes.
    pub consensus: Option<Consensus>,
    /// The drive; `None` without the mount role.
    pub drive: Option<Drive>,
    /// This agent's own shards; without the store role an empty store that takes nothing.
    pub store: Arc<dyn ShardStore>,
    /// Who answers.
    pub health: Arc<Health>,
    /// The way to other agents.
    pub network: Arc<dyn Network>,
    /// Gives turns for background work.
    pub background: Arc<Background>,
    /// Tells when this machine slept or hung.
    pub wake: Wake,
    /// Who may sign in; shared by the doors so that a password is hashed once.
    pub credentials: Arc<Credentials>,
    /// What this agent was told to do that needs a right of its own, and what came of it.
    pub audit: AuditLog,
    /// Certificate and key for doors that listen beyond loopback.
    pub tls: DoorTls,
    /// Has bad shards made anew.
    pub(crate) mender: Arc<Mender>,
    /// Reads its shards again; `None` without the store role.
    pub(crate) scrubber: Option<Arc<Scrubber>>,
    pub(crate) status: StatusBoard,
    pub(crate) headroom: Arc<Headroom>,
    pub(crate) check: CheckBoard,
    pub(crate) keeping: Arc<KeepingBoard>,
    /// Messages and peerlets, or why there are none.
    pub(crate) messages: Result<Arc<Messages>, String>,
    /// Files sent and received, or why there are none.
    pub(crate) files: Result<Arc<Files>, String>,
    /// Backups, or why there are none.
    pub(crate) backups: Result<Arc<Backups>, String>,
    pub(crate) discovery: Discovery,
    /// Cancelled when this agent is no member any more.
    pub(crate) struck_off: CancellationToken,
    pub(crate) shutdown: CancellationToken,
}

impl AgentContext {
    /// Its nickname as the ledger has it; the configured one where the ledger cannot be read.
    #[must_use]
    pub fn name(&self) -> String {
        self.own_record().ok().flatten().map_or_else(|| self.config.name.clone(), |record| record.name)
    }

    /// Where it keeps everything.
    #[must_use]
    pub fn data(&self) -> &Path {
        &self.config.data
    }

    /// The pool.
    ///
    /// # Errors
    /// If the local copy of the ledger cannot be read or has no pool yet.
    pub fn pool(&self) -> Result<PoolRecord, AgentError> {
        query::pool(&*self.ledger.view()?)?.ok_or(AgentError::NoPoolYet)
    }

    /// This agent as the ledger has it.
    ///
    /// # Errors
    /// If the local copy of the ledger cannot be read.
    pub fn own_record(&self) -> Result<Option<AgentRecord>, AgentError> {
        Ok(query::agent(&*self.ledger.view()?, self.agent)?)
    }

    /// The members.
    ///
    /// # Errors
    /// If the local copy of the ledger cannot be read.
    pub fn members(&self) -> Result<Vec<AgentRecord>, AgentError> {
        Ok(self.member_list.read(&*self.ledger)?.records.clone())
    }

    /// Names of the members; none where the ledger cannot be read.
    pub(crate) fn names(&self) -> Arc<BTreeMap<AgentId, String>> {
        self.member_list.read(&*self.ledger).map(|members| members.names.clone()).unwrap_or_default()
    }

    /// A member by its name, its id or its fingerprint.
    ///
    /// # Errors
    /// If there is none, or the local copy of the ledger cannot be read.
    pub fn member(&self, name_or_id: &str) -> Result<AgentRecord, AgentError> {
        let id = name_or_id.parse::<AgentId>().ok();
        let is_meant = |record: &&AgentRecord| {
            record.name == name_or_id || Some(record.id) == id || record.id.fingerprint() == name_or_id
        };
        let members = self.member_list.read(&*self.ledger)?;
        let found = members.records.iter().find(is_meant).cloned();
        found.ok_or_else(|| AgentError::UnknownAgent(name_or_id.chars().take(80).collect()))
    }

    /// How the pool stands. Cheap to ask often: stripes are recounted only after changes, and seldom.
    ///
    /// # Errors
    /// If the local copy of the ledger cannot be read.
    pub async fn status(&self) -> Result<StatusReport, AgentError> {
        self.status.report(self).await
    }

    /// What is done to keep the volume whole, as the agent that leads tells it; `None` if it does not say so in time.
    pub async fn progress(&self) -> Option<Progress> {
        match (self.keeping.progress(), self.quorum().leader) {
            (Some(own), _) => Some(own),
            (None, Some(leader)) if leader != self.agent => ask_leader(&self.network, leader).await,
            (None, _) => None,
        }
    }

    /// Who decides about changes, as far as this agent knows.
    #[must_use]
    pub fn quorum(&self) -> QuorumView {
        self.consensus.as_ref().map(crate::membership::quorum_view).unwrap_or_default()
    }

    /// Makes a ticket with which one agent can join.
    ///
    /// # Errors
    /// If the ledger cannot take it.
    pub async fn invite(&self, issued_by: &str, roles: AgentRoles, life: Duration) -> Result<Ticket, AgentError> {
        crate::ticket::issue(self, issued_by, roles, life.min(TICKET_LIFE_LIMIT)).await
    }

    /// Agents that asked to join without a ticket.
    ///
    /// # Errors
    /// If the local copy of the ledger cannot be read.
    pub fn join_requests(&self) -> Result<Vec<JoinRequest>, AgentError> {
        Ok(query::join_requests(&*self.ledger.view()?)?)
    }

    /// Lets in an agent that asked, named by its id, fingerprint or name.
    ///
    /// # Errors
    /// If none asked under that name, or the ledger cannot take it.
    pub async fn approve_join(&self, name_or_id: &str) -> Result<AgentRecord, AgentError> {
        let request = self.join_request(name_or_id)?;
        match self.ledger.submit(Command::ApproveJoin { agent: request.agent.id }).await? {
            Outcome::Agent(record) => Ok(record),
            _ => Ok(request.agent),
        }
    }

    /// Turns away an agent that asked.
    ///
    /// # Errors
    /// If none asked under that name, or the ledger cannot take it.
    pub async fn reject_join(&self, name_or_id: &str) -> Result<(), AgentError> {
        let request = self.join_request(name_or_id)?;
        self.ledger.submit(Command::RejectJoin { agent: request.agent.id }).await?;
        Ok(())
    }

    /// Pauses, resumes or drains a member.
    ///
    /// # Errors
    /// If there is no such member, or the ledger cannot take it.
    pub async fn set_agent_state(&self, name_or_id: &str, state: AgentState) -> Result<(), AgentError> {
        let agent = self.member(name_or_id)?.id;
        self.ledger.submit(Command::SetAgentState { agent, state }).await?;
        Ok(())
    }

    /// Strikes a member off.
    ///
    /// # Errors
    /// If there is no such member, stripes still count on it and it is not forced, or the ledger cannot take it.
    pub async fn remove_agent(&self, name_or_id: &str, force: bool) -> Result<(), AgentError> {
        let agent = self.member(name_or_id)?.id;
        self.ledger.submit(Command::RemoveAgent { agent, force }).await?;
        Ok(())
    }

    /// Pools and agents seen on the local network lately.
    #[must_use]
    pub fn discovered(&self) -> Vec<Discovered> {
        self.discovery.seen()
    }

    /// Asks the agent to stop; what runs it then ends it cleanly.
    pub fn shutdown(&self) {
        self.shutdown.cancel();
    }

    /// Fires when the agent is to stop; doors stop taking requests then.
    #[must_use]
    pub fn shutdown_token(&self) -> CancellationToken {
        self.shutdown.child_token()
    }

    fn join_request(&self, name_or_id: &str) -> Result<JoinRequest, AgentError> {
        let is_meant = |request: &JoinRequest| {
            request.agent.id.to_string() == name_or_id
                || request.agent.id.fingerprint() == name_or_id
                || request.agent.name == name_or_id
        };
        let mut meant = self.join_requests()?.into_iter().filter(is_meant);
        match (meant.next(), meant.next()) {
            (Some(request), None) => Ok(request),
            (Some(_), Some(_)) => Err(AgentError::AmbiguousName(name_or_id.chars().take(80).collect())),
            _ => Err(AgentError::NobodyAsked(name_or_id.chars().take(80).collect())),
        }
    }
}
