//! Calling other members.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;

use crate::ConsensusTransport;
use crate::group::{self, GroupBook, Relation};
use crate::message::{MESSAGE_LIMIT_BYTES, Message, Reply, decode, encode};

/// The way to the other members. Clones share it.
#[derive(Clone)]
pub(crate) struct Peers {
    transport: Arc<dyn ConsensusTransport>,
    /// Whether this agent, leading, has heard from a quorum lately; told to followers with each append.
    quorum: Arc<AtomicBool>,
    /// Who did not answer the last time: asked last.
    silent: Arc<Mutex<BTreeSet<AgentId>>>,
    groups: Arc<GroupBook>,
}

/// Why a call has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("the message of {0} bytes is over the limit")]
    TooLarge(usize),
    #[error("{0}")]
    Unreachable(String),
}

impl Peers {
    pub(crate) fn new(transport: Arc<dyn ConsensusTransport>, groups: GroupBook) -> Self {
        Self { transport, quorum: Arc::default(), silent: Arc::default(), groups: Arc::new(groups) }
    }

    pub(crate) async fn call(&self, to: AgentId, message: &Message, timeout: Duration) -> Result<Reply, CallError> {
        let own = self.groups.own();
        let bytes = encode(own, message).map_err(CallError::Unreachable)?;
        if bytes.len() > MESSAGE_LIMIT_BYTES {
            return Err(CallError::TooLarge(bytes.len()));
        }
        // The transport keeps the time itself; this is for one that does not.
        let answer = tokio::time::timeout(timeout, self.transport.call(to, bytes, timeout)).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {} ms", timeout.as_millis())));
        self.note(to, answer.is_ok());
        let (theirs, reply) = decode(&answer.map_err(CallError::Unreachable)?).map_err(CallError::Unreachable)?;
        match self.groups.hear(&theirs) {
            Relation::Same => Ok(reply),
            relation => Err(CallError::Unreachable(group::refusal(relation, &own, &theirs))),
        }
    }

    /// Which group this member belongs to.
    pub(crate) fn groups(&self) -> &Arc<GroupBook> {
        &self.groups
    }

    /// Whether an agent is not known to be away.
    pub(crate) fn may_answer(&self, agent: AgentId) -> bool {
        self.transport.may_answer(agent)
    }

    /// Whether the last call to it failed.
    pub(crate) fn is_silent(&self, agent: AgentId) -> bool {
        self.silent.lock().unwrap_or_else(PoisonError::into_inner).contains(&agent)
    }

    pub(crate) fn set_quorum(&self, quorum: bool) {
        self.quorum.store(quorum, Ordering::Relaxed);
    }

    pub(crate) fn quorum(&self) -> bool {
        self.quorum.load(Ordering::Relaxed)
    }

    fn note(&self, agent: AgentId, answered: bool) {
        let mut silent = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            silent.remove(&agent);
        } else {
            silent.insert(agent);
        }
    }
}
