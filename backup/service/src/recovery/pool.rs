//! The pool as recovery sees it: members and, if this PC holds copies itself, this PC too. Calls block.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use futures::StreamExt;
use shoal_backup::ObjectName;
use shoal_backup::catalogue::{BASE_LIMIT_BYTES, Base, Catalogue, CatalogueError, Tail, Verifier};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::call::{
    Answer, Ask, CallError, HeldFor, OWNERS_LIMIT, PIECE_LIMIT_BYTES, Reply, Standing, entries_from_bytes,
};
use crate::network::{Answers, Machine, Member, Network};

/// Members that are asked at the same time.
const ASKED_AT_ONCE: usize = 32;
/// Members that are asked at all.
const MEMBERS_LIMIT: usize = 4_096;

/// How long is waited for others.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For a small answer.
    pub small: Duration,
    /// For a piece of an object.
    pub piece: Duration,
    /// Until an object is given up of which nothing comes.
    pub stall: Duration,
    /// Until a member that did not answer, or was busy, is asked again.
    pub rest: Duration,
    /// How long it is taken for true who has which copy, before archives are named again.
    pub fresh: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            small: Duration::from_secs(10),
            piece: Duration::from_secs(60),
            stall: Duration::from_secs(180),
            rest: Duration::from_secs(3),
            fresh: Duration::from_secs(10),
        }
    }
}

/// One that holds a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) agent: AgentId,
    pub(super) name: String,
    pub(super) distance_ms: u64,
    pub(super) standing: Standing,
}

/// The pool.
pub(super) struct Pool {
    network: Arc<dyn Network>,
    /// This PC's own answers, if it holds copies.
    local: Option<Arc<dyn Answers>>,
    verifier: Arc<dyn Verifier + Send + Sync>,
    machine: Arc<dyn Machine>,
    pub(super) patience: Patience,
    pub(super) handle: Handle,
}

impl Pool {
    pub(super) fn new(
        network: Arc<dyn Network>,
        local: Option<Arc<dyn Answers>>,
        verifier: Arc<dyn Verifier + Send + Sync>,
        machine: Arc<dyn Machine>,
        patience: Patience,
    ) -> Self {
        Self { network, local, verifier, machine, patience, handle: Handle::current() }
    }

    /// Bytes that are free here; as many as there can be, if that cannot be found out: then the disk says no.
    pub(super) fn free_bytes(&self, folder: &Path) -> u64 {
        self.machine.free_bytes(folder).unwrap_or(u64::MAX)
    }

    pub(super) fn own(&self) -> AgentId {
        self.network.own()
    }

    /// All whom one can ask, this PC among them if it holds copies: without those that are away, unless all are.
    fn askable(&self) -> Vec<Member> {
        let mut members = self.network.members();
        if members.iter().any(|member| member.away_ms.is_none()) {
            members.retain(|member| member.away_ms.is_none());
        }
        members.sort_by_key(|member| (member.distance_ms, member.agent));
        members.truncate(MEMBERS_LIMIT);
        if self.local.is_some() {
            let name = "this PC".to_owned();
            let (agent, site, addresses) = (self.own(), None, Vec::new());
            members.insert(0, Member { agent, name, site, away_ms: None, distance_ms: 0, addresses });
        }
        members
    }

    pub(super) fn name_of(&self, agent: AgentId) -> Option<String> {
        if agent == self.own() {
            return Some("this PC".to_owned());
        }
        self.network.members().into_iter().find(|member| member.agent == agent).map(|member| member.name)
    }

    async fn ask(&self, to: AgentId, ask: Ask, patience: Duration) -> Reply {
        match &self.local {
            Some(local) if to == self.own() => {
                let answered = tokio::time::timeout(patience, local.answer(to, ask, Bytes::new())).await;
                answered.unwrap_or_else(|_| Err(CallError::Unreachable("this PC itself does not answer".into())))
            }
            _ => self.network.call(to, ask, Bytes::new(), patience).await,
        }
    }

    /// Tells whoever answers of an owner and the member that gave wrong bytes: both may look into it.
    pub(super) fn tell_of_wrong(pool: &Arc<Self>, owner: AgentId, agent: AgentId, name: ObjectName) {
        let told = Arc::clone(pool);
        pool.handle.spawn(async move {
            let mut asks = vec![(agent, Ask::Doubt { owner, name })];
            if owner != told.own() {
                asks.push((owner, Ask::Suspect { agent, name }));
            }
            for (to, ask) in asks {
                if let Err(error) = told.ask(to, ask, told.patience.small).await {
                    tracing::debug!(%owner, %to, %error, "somebody was not told of wrong bytes");
                }
            }
        });
    }

    /// Asks, and waits. `None`: cancelled.
    pub(super) fn call(&self, to: AgentId, ask: Ask, patience: Duration, cancel: &CancellationToken) -> Option<Reply> {
        self.handle.block_on(async {
            tokio::select! {
                biased;
                () = cancel.cancelled() => None,
                reply = self.ask(to, ask, patience) => Some(reply),
            }
        })
    }

    /// Waits; false: cancelled.
    pub(super) fn rest(&self, for_: Duration, cancel: &CancellationToken) -> bool {
        self.handle.block_on(async { tokio::time::timeout(for_, cancel.cancelled()).await.is_err() })
    }

    async fn ask_all<T>(&self, ask: impl Fn() -> Ask, read: impl Fn(Member, Reply) -> Option<T>) -> (Vec<T>, usize) {
        let members = self.askable();
        let asked = members.len();
        let calls = members.into_iter().map(|member| {
            let ask = ask();
            async move {
                let reply = self.ask(member.agent, ask, self.patience.small).await;
                (member, reply)
            }
        });
        let replies = futures::stream::iter(calls).buffer_unordered(ASKED_AT_ONCE);
        let read = replies.filter_map(|(member, reply)| std::future::ready(read(member, reply)));
        (read.collect().await, asked)
    }

    /// Who holds a copy of this owner's backup, the nearest first, with the owner itself or without; and how many were asked.
    pub(super) async fn sources(&self, owner: AgentId, with_owner: bool) -> (Vec<Source>, usize) {
        let ask = || Ask::Standing { owner };
        let read = |member: Member, reply: Reply| match reply {
            Ok((Answer::Standing(standing), _)) if standing.holds && standing.sequence > 0 => {
                Some(Source { agent: member.agent, name: member.name, distance_ms: member.distance_ms, standing })
            }
            _ => None,
        };
        let (mut sources, asked) = self.ask_all(ask, read).await;
        sources.retain(|source| with_owner || source.agent != owner);
        sources.sort_by_key(|source| (source.distance_ms, source.agent));
        (sources, asked)
    }

    /// Which copies each that answers holds.
    pub(super) async fn owners(&self) -> Vec<(AgentId, Vec<HeldFor>)> {
        let read = |member: Member, reply: Reply| {
            let (_, body) = reply.ok()?;
            let mut held: Vec<HeldFor> = postcard::from_bytes(&body).ok()?;
            held.truncate(OWNERS_LIMIT);
            Some((member.agent, held))
        };
        self.ask_all(|| Ask::Owners, read).await.0
    }

    /// The owner's catalogue, as this source has it; every entry of it is the owner's word.
    pub(super) fn catalogue(
        &self,
        owner: AgentId,
        source: AgentId,
        cancel: &CancellationToken,
    ) -> Result<Catalogue, NoCatalogue> {
        let mut catalogue = Catalogue::new(owner);
        loop {
            let after = catalogue.state().sequence();
            let reply = self.call(source, Ask::Tail { owner, after }, self.patience.piece, cancel);
            let (answer, body) = reply.ok_or(NoCatalogue::Cancelled)??;
            let Answer::Tail { base, more } = answer else {
                return Err(NoCatalogue::other("an answer to something else"));
            };
            let base = match base {
                Some((sequence, size_bytes)) => Some(self.base(owner, source, (sequence, size_bytes), cancel)?),
                None => None,
            };
            let tail = Tail { base, entries: entries_from_bytes(&body)?, more };
            catalogue.take_in(&tail, &*self.verifier)?;
            if !more {
                return Ok(catalogue);
            }
            if catalogue.state().sequence() <= after {
                return Err(NoCatalogue::other("more of the same without end"));
            }
        }
    }

    fn base(
        &self,
        owner: AgentId,
        source: AgentId,
        (sequence, size_bytes): (u64, u64),
        cancel: &CancellationToken,
    ) -> Result<Base, NoCatalogue> {
        if size_bytes > BASE_LIMIT_BYTES as u64 {
            return Err(NoCatalogue::other("a base that is too large"));
        }
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < size_bytes {
            let ask = Ask::BasePiece { owner, sequence, offset: bytes.len() as u64 };
            let reply = self.call(source, ask, self.patience.piece, cancel);
            let (_, piece) = reply.ok_or(NoCatalogue::Cancelled)??;
            if piece.is_empty() || piece.len() > PIECE_LIMIT_BYTES as usize {
                return Err(NoCatalogue::other("pieces of a base that are none"));
            }
            bytes.extend_from_slice(&piece);
        }
        Ok(Base::from_bytes(&bytes)?)
    }
}

/// Why a source's catalogue is of no use.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoCatalogue {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("it sent {0}")]
    Other(&'static str),
    #[error("it was cancelled")]
    Cancelled,
}

impl NoCatalogue {
    fn other(what: &'static str) -> Self {
        Self::Other(what)
    }

    /// Whether the one who sent it is to blame.
    pub(super) fn is_lie(&self) -> bool {
        matches!(
            self,
            Self::Other(_) | Self::Catalogue(CatalogueError::BadSignature(_) | CatalogueError::Malformed { .. })
        )
    }
}
