//! What this agent does when another one asks: one place takes every request, checks it and hands it on.
//!
//! The network has proved who asks and that they are a member. Still nothing is taken on trust that can be checked: a
//! shard's bytes must have the announced hash, and nothing is dropped without proof.

use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::message::GroupName;
use dci_proto::{AgentId, ShardKey};
use serde::Serialize;
use shoal_care::drop_on_order;
use shoal_consensus::Consensus;
use shoal_ledger::{AgentRecord, Command, KvError, KvRead, LedgerClient, query};
use shoal_net::{Handler, Lane, Network, Request, Response};
use shoal_store::{SHARD_LIMIT_BYTES, ShardStore, StoreError};

use crate::backup::Backups;
use crate::copies::CopyShelf;
use crate::files::Files;
use crate::health::{Health, report};
use crate::holdings;
use crate::keeping::{KeepingBoard, Recutter, recut_here};
use crate::machine::Foreground;
use crate::members::MemberBook;
use crate::mend::Mender;
use crate::messages::{Messages, permission};
use crate::peers::Peers;
use crate::proof::{self, KeepReason};
use crate::rebuild::RebuildRefusal;
use crate::scrub::Scrubber;
use crate::store_gate::{DropError, GuardedStore};
use crate::wire::{
    self, BadPlace, CopyPiece, Member, MemberList, Method, SHARD_LIST_LIMIT, ScrubAsk, ShardDelete, ShardGet,
    ShardList, ShardNeed, ShardPage, ShardPut, ShardRebuild, ShardsExpected, ShardsFound, Status, StripeRecut,
};

/// What requests are answered with; there once the agent has started.
pub(crate) struct Parts {
    pub(crate) agent: AgentId,
    pub(crate) store: Option<Arc<GuardedStore>>,
    pub(crate) consensus: Option<Consensus>,
    pub(crate) ledger: Option<Arc<dyn LedgerClient>>,
    pub(crate) health: Arc<Health>,
    pub(crate) members: Arc<MemberBook>,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) scrubber: Option<Arc<Scrubber>>,
    pub(crate) mender: Arc<Mender>,
    pub(crate) copies: Option<Arc<CopyShelf>>,
    pub(crate) foreground: Arc<Foreground>,
    pub(crate) keeping: Arc<KeepingBoard>,
    /// There once the drive is open.
    pub(crate) recutter: OnceLock<Arc<Recutter>>,
    /// There once the mailbox is open.
    pub(crate) messages: OnceLock<Arc<Messages>>,
    /// There once files can be sent.
    pub(crate) files: OnceLock<Arc<Files>>,
    /// There once backups are open.
    pub(crate) backups: OnceLock<Arc<Backups>>,
}

/// Answers other agents. Until it has its parts, and after it has given them up, it says that it is not ready.
#[derive(Clone, Default)]
pub(crate) struct AgentHandler {
    parts: Arc<RwLock<Option<Arc<Parts>>>>,
}

impl AgentHandler {
    /// Gives it what it answers with.
    pub(crate) fn set(&self, parts: Parts) {
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(parts));
    }

    /// From here on it can cut stripes anew.
    pub(crate) fn set_recutter(&self, recutter: Arc<Recutter>) {
        if let Some(parts) = self.parts() {
            let _ = parts.recutter.set(recutter);
        }
    }

    /// From here on it takes messages.
    pub(crate) fn set_messages(&self, messages: Arc<Messages>) {
        if let Some(parts) = self.parts() {
            let _ = parts.messages.set(messages);
        }
    }

    /// From here on it gives pieces of files.
    pub(crate) fn set_files(&self, files: Arc<Files>) {
        if let Some(parts) = self.parts() {
            let _ = parts.files.set(files);
        }
    }

    /// From here on it answers about backups.
    pub(crate) fn set_backups(&self, backups: Arc<Backups>) {
        if let Some(parts) = self.parts() {
            let _ = parts.backups.set(backups);
        }
    }

    /// Takes that away again: the parts know the network, which knows this handler.
    pub(crate) fn clear(&self) {
        *self.parts.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn parts(&self) -> Option<Arc<Parts>> {
        self.parts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl Handler for AgentHandler {
    async fn handle(&self, from: AgentId, lane: Lane, request: Request) -> Response {
        let Some(parts) = self.parts() else {
            return wire::refusal(Status::NotReady, "this agent is starting or ending");
        };
        let Some(method) = Method::of(request.method) else {
            return wire::refusal(Status::Unknown, "this agent does not know that request; it may be older");
        };
        // A rebuild goes in that lane for another reason than that somebody waits; messages are no shards.
        let is_shard = !matches!(
            method,
            Method::ShardRebuild
                | Method::Scrub
                | Method::Messages
                | Method::Neighbours
                | Method::Permission
                | Method::OwnGroups
                | Method::Directory
                | Method::FilePiece
                | Method::Audit
                | Method::Backup
        );
        if lane == Lane::Foreground && is_shard {
            parts.foreground.count_shard();
        }
        match (method, lane) {
            (Method::Consensus, Lane::Control) => parts.consensus(from, request.body).await,
            (Method::Ping, Lane::Control) => parts.ping(from, &request),
            (Method::Members, Lane::Control) => parts.members(),
            (Method::Renew, Lane::Control) => parts.renew(from, &request).await,
            (Method::Progress, Lane::Control) => wire::answer(&parts.keeping.progress()),
            (Method::Consensus | Method::Ping | Method::Members | Method::Renew | Method::Progress, _) => {
                wire::refusal(Status::Refused, "that goes on the control network only")
            }
            (_, Lane::Control) => wire::refusal(Status::Refused, "that goes on the data channel only"),
            (Method::ShardPut, _) => parts.shard_put(request).await,
            (Method::ShardGet, _) => parts.shard_get(&request).await,
            (Method::ShardDelete, _) => parts.shard_delete(from, &request).await,
            (Method::ShardNeeded, _) => parts.shard_needed(from, &request).await,
            (Method::ShardList, _) => parts.shard_list(&request).await,
            (Method::CopyPiece, _) => parts.copy_piece(request).await,
            (Method::ShardRebuild, _) => parts.shard_rebuild(&request).await,
            (Method::StripeRecut, _) => parts.stripe_recut(&request).await,
            (Method::ShardsExpected, _) => {
                let Ok(asked) = wire::decode::<ShardsExpected>(&request.head) else { return malformed() };
                parts.looked_up(move |view| holdings::share_of(view, from, asked.after)).await
            }
            (Method::ShardOthers, _) => {
                let Ok(key) = wire::decode::<ShardKey>(&request.head) else { return malformed() };
                parts.looked_up(move |view| holdings::others_of(view, key, from)).await
            }
            (Method::Scrub, _) => parts.scrub(&request),
            (Method::ShardsFound, _) => parts.shards_found(from, &request).await,
            (Method::ShardsPending, _) => parts.shards_pending(),
            (Method::Messages, _) => match parts.messages.get() {
                Some(messages) => messages.arrive(from, request.body).await,
                None => wire::refusal(Status::NotReady, "this agent is starting"),
            },
            (Method::Directory, _) => match parts.messages.get() {
                Some(messages) => messages.hear(from, request.body).await,
                None => wire::refusal(Status::NotReady, "this agent is starting"),
            },
            (Method::Neighbours, _) => parts.neighbours(from, &request),
            (Method::Permission, _) => parts.permission(&request).await,
            (Method::FilePiece, _) => match (parts.files.get(), wire::decode(&request.head)) {
                (Some(files), Ok(asked)) => files.piece(from, asked).await,
                (Some(_), Err(_)) => malformed(),
                (None, _) => wire::refusal(Status::NotReady, "this agent is starting"),
            },
            (Method::Audit, _) => match (parts.messages.get(), wire::decode(&request.head)) {
                (Some(messages), Ok(asked)) => messages.tell_audit(asked).await,
                (Some(_), Err(_)) => malformed(),
                (None, _) => wire::refusal(Status::NotReady, "this agent is starting"),
            },
            (Method::Backup, _) => match (parts.backups.get(), wire::decode(&request.head)) {
                (Some(backups), Ok(ask)) => backups.answer(from, ask, request.body).await,
                (Some(_), Err(_)) => malformed(),
                (None, _) => wire::refusal(Status::NotReady, "this agent is starting, or has no backups"),
            },
            (Method::OwnGroups, _) => parts.looked_up(move |view| groups_of(view, from)).await,
        }
    }
}

impl Parts {
    /// Agents that only store shards have no say in the ledger and get nothing of it.
    async fn consensus(&self, from: AgentId, message: Bytes) -> Response {
        match &self.consensus {
            Some(_) if !self.members.holds_ledger(from) => {
                wire::refusal(Status::Refused, "that is for agents that hold the ledger")
            }
            Some(consensus) => wire::answer_bytes(consensus.handle(from, message).await),
            None => wire::refusal(Status::Refused, "this agent holds no ledger"),
        }
    }

    fn ping(&self, from: AgentId, request: &Request) -> Response {
        match report::decode(&request.head) {
            Ok(report) => {
                self.health.heard(from, Some(report));
                report::answer(&self.health.self_report())
            }
            Err(error) => wire::refusal(Status::Unknown, &error.to_string()),
        }
    }

    fn members(&self) -> Response {
        let Some(ledger) = &self.ledger else { return wire::refusal(Status::Refused, "this agent holds no ledger") };
        let list = ledger.view().and_then(|view| Ok((query::pool(&*view)?, query::agents(&*view)?)));
        match list {
            Ok((Some(pool), agents)) => {
                let member = |agent: AgentRecord| Member {
                    id: agent.id,
                    control: agent.control_addresses,
                    data: agent.data_addresses,
                    roles: agent.roles,
                };
                let members = agents.into_iter().map(member).collect();
                wire::answer(&MemberList { pool_name: pool.name, members })
            }
            Ok((None, _)) => wire::refusal(Status::NotReady, "this agent has not heard from its pool yet"),
            Err(error) => wire::refusal(Status::Failed, &error.to_string()),
        }
    }

    /// Everyone speaks for themselves only.
    async fn renew(&self, from: AgentId, request: &Request) -> Response {
        let Some(ledger) = &self.ledger else { return wire::refusal(Status::Refused, "this agent holds no ledger") };
        let Ok(agent) = wire::decode::<AgentRecord>(&request.head) else { return malformed() };
        if agent.id != from {
            return wire::refusal(Status::Refused, "that is another agent's record");
        }
        match ledger.submit(Command::UpdateAgent { agent }).await {
            Ok(_) => wire::answer(&()),
            Err(error) => wire::refusal(Status::Failed, &error.to_string()),
        }
    }

    async fn shard_put(&self, request: Request) -> Response {
        let Some(store) = &self.store else { return no_store() };
        let Ok(put) = wire::decode::<ShardPut>(&request.head) else { return malformed() };
        if request.body.len() > SHARD_LIMIT_BYTES as usize {
            return wire::refusal(Status::Refused, "the shard is over the limit");
        }
        match store.put(put.key, request.body, Some(put.hash)).await {
            Ok(_) => wire::answer(&()),
            Err(error) => store_refusal(&error),
        }
    }

    async fn shard_get(&self, request: &Request) -> Response {
        let Some(store) = &self.store else { return no_store() };
        let Ok(get) = wire::decode::<ShardGet>(&request.head) else { return malformed() };
        match store.get(get.key, get.range.map(|(from, to)| from..to)).await {
            Ok(bytes) => wire::answer_bytes(bytes),
            Err(error) => store_refusal(&error),
        }
    }

    async fn shard_delete(&self, from: AgentId, request: &Request) -> Response {
        let Some(store) = &self.store else { return no_store() };
        let Ok(delete) = wire::decode::<ShardDelete>(&request.head) else { return malformed() };
        let proof = async {
            match &self.ledger {
                Some(ledger) => proof::check(ledger, delete.key, self.agent, drop_on_order).await,
                None => {
                    let witnesses = self.members.ledger_holders(self.agent);
                    proof::check_with_witnesses(&self.network, &witnesses, from, delete).await
                }
            }
        };
        match store.delete_proved(delete.key, proof).await {
            Ok(()) => wire::answer(&()),
            Err(DropError::Kept(reason)) => wire::refusal(Status::Refused, &reason.to_string()),
            Err(DropError::Store(error)) => store_refusal(&error),
        }
    }

    async fn shard_list(&self, request: &Request) -> Response {
        let Some(store) = &self.store else { return no_store() };
        let Ok(ShardList { after, limit }) = wire::decode::<ShardList>(&request.head) else { return malformed() };
        let limit = usize::try_from(limit).unwrap_or(SHARD_LIST_LIMIT).min(SHARD_LIST_LIMIT);
        match store.list(after, limit).await {
            Ok(shards) => wire::answer(&ShardPage { keys: shards.into_iter().map(|shard| shard.key).collect() }),
            Err(error) => store_refusal(&error),
        }
    }

    /// Asked by a holder without a ledger, about a shard of its own.
    async fn shard_needed(&self, holder: AgentId, request: &Request) -> Response {
        let Some(ledger) = &self.ledger else { return wire::refusal(Status::Refused, "this agent holds no ledger") };
        let Ok(asked) = wire::decode::<ShardDelete>(&request.head) else { return malformed() };
        match proof::check(ledger, asked.key, holder, drop_on_order).await {
            Ok(()) => wire::answer(&ShardNeed { needed: false }),
            Err(KeepReason::Kept(_) | KeepReason::Needed) => wire::answer(&ShardNeed { needed: true }),
            Err(error) => wire::refusal(Status::Failed, &error.to_string()),
        }
    }

    async fn shard_rebuild(&self, request: &Request) -> Response {
        let Ok(asked) = wire::decode::<ShardRebuild>(&request.head) else { return malformed() };
        let rebuilt = self.peers.rebuild_here(&asked).await;
        // If it is counted on here, whoever asked has found it bad: this agent goes on trying, and says so if it cannot.
        if matches!(rebuilt, Err(RebuildRefusal::Store(_) | RebuildRefusal::Rebuild(_) | RebuildRefusal::TooLong)) {
            self.mender.add_own(asked.key);
        }
        match rebuilt {
            Ok(rebuilt) => wire::answer(&rebuilt),
            Err(RebuildRefusal::Store(error)) => store_refusal(&error),
            Err(error) => wire::refusal(error.status(), &error.to_string()),
        }
    }

    fn shards_pending(&self) -> Response {
        let place = |shard: shoal_volume::BadShard| BadPlace { agent: shard.agent, key: shard.key };
        let pending: Vec<BadPlace> = self.mender.pending().into_iter().map(place).collect();
        match wire::encode(&pending) {
            Ok(pending) => wire::answer_bytes(pending),
            Err(error) => wire::refusal(Status::Failed, &error.to_string()),
        }
    }

    fn neighbours(&self, from: AgentId, request: &Request) -> Response {
        let Ok(theirs) = wire::decode::<Vec<AgentId>>(&request.head) else { return malformed() };
        match self.messages.get() {
            Some(messages) => wire::answer(&messages.swap_neighbours(from, theirs)),
            None => wire::refusal(Status::NotReady, "this agent is starting"),
        }
    }

    async fn permission(&self, request: &Request) -> Response {
        let Some(ledger) = &self.ledger else { return wire::refusal(Status::Refused, "this agent holds no ledger") };
        let Ok(question) = wire::decode::<permission::Question>(&request.head) else { return malformed() };
        wire::answer(&permission::answer(ledger, question).await)
    }

    async fn stripe_recut(&self, request: &Request) -> Response {
        let Ok(asked) = wire::decode::<StripeRecut>(&request.head) else { return malformed() };
        let Some(recutter) = self.recutter.get() else {
            return wire::refusal(Status::NotReady, "this agent is starting");
        };
        match recut_here(recutter, &asked).await {
            Ok(done) => wire::answer(&done),
            Err(error) => wire::refusal(Status::Failed, &error.to_string()),
        }
    }

    /// What this agent's own copy of the ledger says, to an agent that has none.
    async fn looked_up<T: Serialize + Send + 'static>(
        &self,
        look_up: impl FnOnce(&dyn KvRead) -> Result<T, KvError> + Send + 'static,
    ) -> Response {
        let Some(ledger) = &self.ledger else { return wire::refusal(Status::Refused, "this agent holds no ledger") };
        let view = match ledger.view() {
            Ok(view) => view,
            Err(error) => return wire::refusal(Status::Failed, &error.to_string()),
        };
        match tokio::task::spawn_blocking(move || look_up(&*view)).await {
            Ok(Ok(found)) => wire::answer(&found),
            Ok(Err(error)) => wire::refusal(Status::Failed, &error.to_string()),
            Err(error) => wire::refusal(Status::Failed, &error.to_string()),
        }
    }

    /// Everyone speaks for the shards on their own disks only.
    async fn shards_found(&self, holder: AgentId, request: &Request) -> Response {
        let Some(ledger) = &self.ledger else { return wire::refusal(Status::Refused, "this agent holds no ledger") };
        let Ok(found) = wire::decode::<ShardsFound>(&request.head) else { return malformed() };
        match holdings::take_found(ledger, holder, found).await {
            Ok(noted) => wire::answer(&noted),
            Err(error) => wire::refusal(Status::Failed, &error.to_string()),
        }
    }

    fn scrub(&self, request: &Request) -> Response {
        let Some(scrubber) = &self.scrubber else { return no_store() };
        let Ok(ask) = wire::decode::<ScrubAsk>(&request.head) else { return malformed() };
        match wire::encode(&scrubber.answer(ask)) {
            Ok(report) => wire::answer_bytes(report),
            Err(error) => wire::refusal(Status::Failed, &error.to_string()),
        }
    }

    async fn copy_piece(&self, request: Request) -> Response {
        let Some(copies) = &self.copies else { return no_store() };
        let Ok(piece) = wire::decode::<CopyPiece>(&request.head) else { return malformed() };
        match copies.take(piece, request.body).await {
            Ok(()) => wire::answer(&()),
            Err(error) => wire::refusal(Status::Refused, &error.to_string()),
        }
    }
}

/// The names of the groups an agent is in.
fn groups_of(view: &dyn KvRead, agent: AgentId) -> Result<Vec<GroupName>, KvError> {
    let groups = query::groups(view)?.into_iter();
    Ok(groups.filter(|group| group.agents.contains(&agent)).map(|group| group.name).collect())
}

fn no_store() -> Response {
    wire::refusal(Status::Refused, "this agent holds no shards")
}

fn malformed() -> Response {
    wire::refusal(Status::Unknown, "the request does not decode")
}

fn store_refusal(error: &StoreError) -> Response {
    let status = match error {
        StoreError::Full(_) => Status::Full,
        StoreError::NotFound(_) => Status::NotFound,
        StoreError::Damaged { .. } => Status::Damaged,
        StoreError::Conflict(_) | StoreError::Invalid(_) => Status::Refused,
        StoreError::Unplugged(_) | StoreError::Io { .. } => Status::Failed,
    };
    wire::refusal(status, &error.to_string())
}
