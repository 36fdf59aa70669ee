//! Who the members are, for everything that talks to them: kept in step with the ledger, or, on an agent that holds
//! none, with what a member that has it says.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use shoal_ledger::{AgentRecord, AgentState, LedgerClient, query};
use shoal_net::{Lane, Network, Peer};
use tokio_util::sync::CancellationToken;

use crate::data_directory::{DataDirectory, KnownMember, Membership};
use crate::health::Health;
use crate::wire::{self, MemberList, Method};

/// After a change of the ledger the members are read again no sooner than this: most changes are about files.
const SETTLE: Duration = Duration::from_millis(100);
/// How often an agent without a ledger asks who is a member.
const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// How long it waits for the answer.
const ASK_TIMEOUT: Duration = Duration::from_secs(3);

/// The members as known now, and everyone who has to hear of changes.
pub(crate) struct MemberBook {
    network: Arc<dyn Network>,
    health: Arc<Health>,
    directory: Arc<DataDirectory>,
    state: Mutex<State>,
}

struct State {
    membership: Membership,
    records: Vec<AgentRecord>,
}

impl MemberBook {
    /// Starts with the members known from before.
    pub(crate) fn new(
        network: Arc<dyn Network>,
        health: Arc<Health>,
        directory: Arc<DataDirectory>,
        membership: Membership,
    ) -> Self {
        let records = membership.members.iter().map(record_of).collect::<Vec<_>>();
        let book = Self { network, health, directory, state: Mutex::new(State { membership, records }) };
        let (members, records) = {
            let state = book.state();
            (state.membership.members.clone(), state.records.clone())
        };
        book.network.set_peers(peers(&members, book.network.local()));
        book.health.set_members(&records);
        book
    }

    /// Members that hold the ledger, `but` for one.
    pub(crate) fn ledger_holders(&self, but: AgentId) -> Vec<AgentId> {
        let state = self.state();
        let holds = |member: &&KnownMember| (member.roles.mount || member.roles.vote) && member.id != but;
        state.membership.members.iter().filter(holds).map(|member| member.id).collect()
    }

    /// The others that hold the ledger, with where they are.
    pub(crate) fn known_ledger_holders(&self) -> Vec<KnownMember> {
        let holds = |member: &&KnownMember| member.roles.mount || member.roles.vote;
        let state = self.state();
        let others = state.membership.members.iter().filter(|member| member.id != self.network.local());
        others.filter(holds).cloned().collect()
    }

    /// Whether an agent is a member; this one is.
    pub(crate) fn is_member(&self, agent: AgentId) -> bool {
        agent == self.network.local() || self.state().membership.members.iter().any(|member| member.id == agent)
    }

    /// All members, this agent too.
    pub(crate) fn all(&self) -> Vec<AgentId> {
        let state = self.state();
        let mut all: Vec<AgentId> = state.membership.members.iter().map(|member| member.id).collect();
        let local = self.network.local();
        if !all.contains(&local) {
            all.push(local);
        }
        all
    }

    /// What is known of all members, this agent too.
    pub(crate) fn records(&self) -> Vec<AgentRecord> {
        self.state().records.clone()
    }

    /// Whether a member holds the ledger, and so has a say in it.
    pub(crate) fn holds_ledger(&self, agent: AgentId) -> bool {
        let state = self.state();
        let member = state.membership.members.iter().find(|member| member.id == agent);
        member.is_some_and(|member| member.roles.mount || member.roles.vote)
    }

    /// Follows the ledger until `shutdown`.
    pub(crate) async fn follow_ledger(self: Arc<Self>, ledger: Arc<dyn LedgerClient>, shutdown: CancellationToken) {
        let mut position = 0;
        loop {
            let changed = shutdown.run_until_cancelled(ledger.changed(position)).await;
            let Some(changed) = changed else { return };
            position = changed;
            self.health.set_position(position);
            let read = ledger
                .view()
                .and_then(|view| Ok((query::pool(&*view)?, query::agents(&*view)?, query::care_policy(&*view)?)));
            match read {
                Ok((Some(pool), records, care)) => {
                    self.health.set_absent_after(Duration::from_secs(care.absent_after_s));
                    self.update(pool.name, &records);
                }
                Ok((None, ..)) => {}
                Err(error) => tracing::warn!(%error, "the members cannot be read"),
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(SETTLE)).await.is_none() {
                return;
            }
        }
    }

    /// Asks members that hold the ledger until `shutdown`.
    pub(crate) async fn follow_others(self: Arc<Self>, shutdown: CancellationToken) {
        let mut turn = 0;
        loop {
            let holders = self.ledger_holders(self.network.local());
            if let Some(holder) = holders.get(turn % holders.len().max(1)) {
                match self.ask(*holder).await {
                    Some(list) => {
                        self.update(list.pool_name, &list.members.iter().map(record_of_wire).collect::<Vec<_>>())
                    }
                    None => turn = turn.wrapping_add(1),
                }
            }
            if shutdown.run_until_cancelled(tokio::time::sleep(ASK_INTERVAL)).await.is_none() {
                return;
            }
        }
    }

    async fn ask(&self, holder: AgentId) -> Option<MemberList> {
        let request = wire::request(Method::Members, &()).ok()?;
        let response = self.network.call(holder, Lane::Control, request, ASK_TIMEOUT).await.ok()?;
        wire::done(&response).ok()
    }

    /// An empty list is never believed: an agent is at least a member itself.
    fn update(&self, pool_name: String, records: &[AgentRecord]) {
        if records.is_empty() {
            return;
        }
        let members: Vec<KnownMember> = records.iter().map(KnownMember::from).collect();
        let mut state = self.state();
        let members_changed = state.membership.members != members || state.membership.pool_name != pool_name;
        let records_changed = state.records != records;
        if !members_changed && !records_changed {
            return;
        }
        state.records = records.to_vec();
        state.membership.members = members;
        state.membership.pool_name = pool_name;
        if let Some(own) = records.iter().find(|record| record.id == self.network.local()) {
            state.membership.roles = own.roles;
        }
        let membership = state.membership.clone();
        drop(state);
        if members_changed {
            self.network.set_peers(peers(&membership.members, self.network.local()));
            let directory = self.directory.clone();
            tokio::task::spawn_blocking(move || {
                if let Err(error) = directory.keep_membership(&membership) {
                    tracing::warn!(%error, "where the members are cannot be kept");
                }
            });
        }
        self.health.set_members(records);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn peers(members: &[KnownMember], local: AgentId) -> Vec<Peer> {
    members.iter().filter(|member| member.id != local).map(Peer::from).collect()
}

/// A member of whom no more is known than how to reach it.
fn record_of(member: &KnownMember) -> AgentRecord {
    AgentRecord {
        id: member.id,
        name: member.id.fingerprint(),
        control_addresses: member.control.clone(),
        data_addresses: member.data.clone(),
        roles: member.roles,
        state: AgentState::Active,
        site: String::new(),
        capacity_bytes: 0,
        version: String::new(),
        joined_ms: 0,
    }
}

fn record_of_wire(member: &wire::Member) -> AgentRecord {
    record_of(&KnownMember {
        id: member.id,
        control: member.control.clone(),
        data: member.data.clone(),
        roles: member.roles,
    })
}
