//! The members as takers and givers of shards, as the drive sees them: this agent's own store directly, the others
//! over the data channel.
//!
//! Nobody waits long for an agent that hangs: a request that takes longer than usual has its agent asked whether it
//! lives, and is given up when it does not say so. One that is merely slow is waited for.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{AgentId, ShardHash, ShardKey};
use shoal_care::drop_on_order;
use shoal_ledger::LedgerClient;
use shoal_net::{Lane, Network, NetworkError, Request, Response};
use shoal_placement::Candidate;
use shoal_store::{ShardStore, StoreError};
use shoal_volume::{PeerError, ShardPeers, Urgency};

use crate::config::Timing;
use crate::health::{Health, Presence};
use crate::proof;
use crate::rebuild::{self, RebuildRefusal, Rebuilder};
use crate::store_gate::{DropError, GuardedStore};
use crate::wire::{self, Method, ShardDelete, ShardGet, ShardPut, ShardRebuild, ShardRebuilt, Status};

/// How long a person waits for one agent that lives, at most.
const FOREGROUND_TIMEOUT: Duration = Duration::from_secs(15);
/// How long background work waits for one.
const BACKGROUND_TIMEOUT: Duration = Duration::from_secs(60);
/// How long is waited for an agent that did not answer lately: it is asked only when there is no other.
const SUSPECT_TIMEOUT: Duration = Duration::from_millis(700);

/// The members as takers and givers of shards.
pub(crate) struct Peers {
    agent: AgentId,
    store: Option<Arc<GuardedStore>>,
    network: Arc<dyn Network>,
    health: Arc<Health>,
    ledger: Arc<dyn LedgerClient>,
    timing: Timing,
    rebuilder: Option<Rebuilder>,
}

impl Peers {
    pub(crate) fn new(
        agent: AgentId,
        store: Option<Arc<GuardedStore>>,
        network: Arc<dyn Network>,
        health: Arc<Health>,
        ledger: Arc<dyn LedgerClient>,
        timing: Timing,
        rebuilder: Option<Rebuilder>,
    ) -> Self {
        Self { agent, store, network, health, ledger, timing, rebuilder }
    }

    /// Has an agent make a shard anew in its own store; answers when it is durable there.
    pub(crate) async fn rebuild(&self, agent: AgentId, asked: &ShardRebuild) -> Result<ShardRebuilt, PeerError> {
        if agent == self.agent {
            return self.rebuild_here(asked).await.map_err(|error| match &error {
                RebuildRefusal::Store(error) => store_error(agent, error),
                error => failed(agent, error),
            });
        }
        let request = wire::request(Method::ShardRebuild, asked).map_err(|error| failed(agent, &error))?;
        // In the foreground's lane, though nobody waits: the request is small, its answer is long in coming, and it is
        // made of others' answers in the background's lane. Two agents that fill each other's few background places with
        // such requests would wait for each other.
        let response = self.ask(agent, (Lane::Foreground, rebuild::ANSWER_TIMEOUT), request).await?;
        check(agent, &response)?;
        wire::done(&response).map_err(|error| failed(agent, &error))
    }

    /// Makes a shard anew in this agent's own store.
    pub(crate) async fn rebuild_here(&self, asked: &ShardRebuild) -> Result<ShardRebuilt, RebuildRefusal> {
        match &self.rebuilder {
            Some(rebuilder) => rebuilder.run(self, asked).await,
            None => Err(RebuildRefusal::NoStore),
        }
    }

    /// Whether this agent holds shards.
    pub(crate) fn holds_shards(&self) -> bool {
        self.store.is_some()
    }

    /// Whether this agent's own store is there and does not have this shard whole. A disk that is unplugged says nothing.
    pub(crate) async fn is_bad_here(&self, key: ShardKey, hash: ShardHash) -> bool {
        let Some(store) = &self.store else { return false };
        match store.verify(key).await {
            Ok(info) => info.hash != hash,
            Err(StoreError::NotFound(_) | StoreError::Damaged { .. } | StoreError::Io { .. }) => true,
            Err(StoreError::Unplugged(_) | StoreError::Full(_) | StoreError::Conflict(_) | StoreError::Invalid(_)) => {
                false
            }
        }
    }

    /// Asks an agent for a shard or to do something with one.
    async fn call(&self, agent: AgentId, urgency: Urgency, request: Request) -> Result<Response, PeerError> {
        let way = match urgency {
            Urgency::Foreground => (Lane::Foreground, FOREGROUND_TIMEOUT),
            Urgency::Background => (Lane::Background, BACKGROUND_TIMEOUT),
        };
        self.ask(agent, way, request).await
    }

    /// Asks an agent and watches that it lives meanwhile.
    async fn ask(
        &self,
        agent: AgentId,
        (lane, timeout): (Lane, Duration),
        request: Request,
    ) -> Result<Response, PeerError> {
        let unreachable = |reason: String| PeerError::Unreachable { agent, reason };
        let answer = match self.health.view_of(agent).presence {
            Presence::Up | Presence::Unheard => {
                let call = self.network.call(agent, lane, request, timeout);
                tokio::select! {
                    biased;
                    answer = call => answer,
                    () = self.watch(agent) => return Err(unreachable("it stopped answering".into())),
                }
            }
            Presence::Suspect => {
                self.health.probe(&self.network, agent);
                self.network.call(agent, lane, request, timeout.min(SUSPECT_TIMEOUT)).await
            }
            Presence::Absent => return Err(unreachable("it has not answered for long".into())),
        };
        answer.map_err(|error| {
            if matches!(error, NetworkError::Unreachable { .. } | NetworkError::Timeout { .. }) {
                self.health.suspect(&self.network, agent, &error.to_string());
            }
            match error {
                NetworkError::Unreachable { .. } | NetworkError::Timeout { .. } | NetworkError::UnknownPeer(_) => {
                    unreachable(error.to_string())
                }
                NetworkError::Busy(_) | NetworkError::TooLarge(_) => {
                    PeerError::Failed { agent, reason: error.to_string() }
                }
            }
        })
    }

    /// Returns when an agent is found not to live.
    async fn watch(&self, agent: AgentId) {
        tokio::time::sleep(self.timing.probe_after).await;
        let asked_again = self.timing.probe_after + self.timing.probe_timeout;
        loop {
            self.health.probe(&self.network, agent);
            if tokio::time::timeout(asked_again, self.health.gone(agent)).await.is_ok() {
                return;
            }
        }
    }

    fn local_store(&self) -> Result<&Arc<GuardedStore>, PeerError> {
        let none = || PeerError::Failed { agent: self.agent, reason: "this agent holds no shards".into() };
        self.store.as_ref().ok_or_else(none)
    }
}

#[async_trait]
impl ShardPeers for Peers {
    async fn put(
        &self,
        agent: AgentId,
        key: ShardKey,
        hash: ShardHash,
        data: Bytes,
        urgency: Urgency,
    ) -> Result<(), PeerError> {
        if agent == self.agent {
            let kept = self.local_store()?.put(key, data, Some(hash)).await;
            return kept.map(drop).map_err(|error| store_error(agent, &error));
        }
        let request = wire::request_with_body(Method::ShardPut, &ShardPut { key, hash }, data);
        let response = self.call(agent, urgency, request.map_err(|error| failed(agent, &error))?).await?;
        check(agent, &response)
    }

    async fn get(
        &self,
        agent: AgentId,
        key: ShardKey,
        range: Option<Range<u32>>,
        urgency: Urgency,
    ) -> Result<Bytes, PeerError> {
        if agent == self.agent {
            return self.local_store()?.get(key, range).await.map_err(|error| store_error(agent, &error));
        }
        let get = ShardGet { key, range: range.map(|range| (range.start, range.end)) };
        let request = wire::request(Method::ShardGet, &get).map_err(|error| failed(agent, &error))?;
        let response = self.call(agent, urgency, request).await?;
        check(agent, &response)?;
        Ok(response.body)
    }

    async fn delete(&self, agent: AgentId, key: ShardKey) -> Result<(), PeerError> {
        if agent == self.agent {
            let proof = proof::check(&self.ledger, key, agent, drop_on_order);
            return self.local_store()?.delete_proved(key, proof).await.map_err(|error| match &error {
                DropError::Store(error) => store_error(agent, error),
                DropError::Kept(reason) => failed(agent, reason),
            });
        }
        let delete = ShardDelete { key, position: self.ledger.changed(0).await };
        let request = wire::request(Method::ShardDelete, &delete).map_err(|error| failed(agent, &error))?;
        let response = self.call(agent, Urgency::Background, request).await?;
        check(agent, &response)
    }

    fn candidates(&self) -> Vec<Candidate> {
        self.health.candidates(&*self.network)
    }

    fn suspect(&self, agent: AgentId, reason: &str) {
        self.health.suspect(&self.network, agent, reason);
    }
}

fn check(agent: AgentId, response: &Response) -> Result<(), PeerError> {
    let Err(error) = wire::check(response) else { return Ok(()) };
    Err(match &error {
        wire::WireError::Refused { status: Status::Full, .. } => PeerError::Full(agent),
        wire::WireError::Refused { status: Status::NotFound, .. } => PeerError::NotFound(agent),
        wire::WireError::Refused { status: Status::Damaged, reason } => {
            PeerError::Damaged { agent, reason: reason.clone() }
        }
        wire::WireError::Refused { status: Status::NotReady, reason } => {
            PeerError::Unreachable { agent, reason: reason.clone() }
        }
        other => failed(agent, other),
    })
}

fn failed(agent: AgentId, error: &dyn std::fmt::Display) -> PeerError {
    PeerError::Failed { agent, reason: error.to_string() }
}

fn store_error(agent: AgentId, error: &StoreError) -> PeerError {
    match error {
        StoreError::Full(_) => PeerError::Full(agent),
        StoreError::NotFound(_) => PeerError::NotFound(agent),
        StoreError::Damaged { reason, .. } => PeerError::Damaged { agent, reason: reason.clone() },
        StoreError::Conflict(_) | StoreError::Unplugged(_) | StoreError::Invalid(_) | StoreError::Io { .. } => {
            failed(agent, error)
        }
    }
}
