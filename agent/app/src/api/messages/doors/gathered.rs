//! A request for those who take one answer: all that came of it until it was done or the time was over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use dci_proto::message::Envelope;
use dci_proto::{AgentId, MessageId};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::super::super::Api;
use super::super::super::caller::Caller;
use super::super::super::failure::Failure;
use super::super::ask;
use super::super::types::{SendRequest, StateView};
use super::super::views::{self, Names};
use crate::messages::{SendError, Sent, Watched};

/// Replies held in memory until their answers are written, in KiB, for all who wait together.
const HELD_LIMIT_KIB: usize = 32 * 1024;
/// Replies of one answer, at most.
const REPLIES_LIMIT: usize = 10_000;
/// Seconds that answers are waited for, at most.
pub(super) const WAIT_LIMIT_S: u64 = 3_600;

static HELD: Semaphore = Semaphore::const_new(HELD_LIMIT_KIB);

/// What came of a request.
pub(super) struct Gathered {
    pub(super) names: Arc<Names>,
    pub(super) sent: Vec<Sent>,
    pub(super) states: Vec<(MessageId, StateView)>,
    pub(super) replies: Vec<Arc<Envelope>>,
    /// Every recipient has dealt with it and all replies are here; otherwise the time was over.
    pub(super) finished: bool,
    /// Replies that were too many or too large together; they are in the log.
    pub(super) left_out: usize,
    _held: Vec<SemaphorePermit<'static>>,
}

impl Gathered {
    /// A reply's message and sender.
    pub(super) fn of(reply: &Envelope) -> (MessageId, AgentId) {
        (reply.message.in_reply_to.unwrap_or(reply.message.id), reply.message.from.agent)
    }
}

/// Sends messages and waits.
pub(super) async fn ask(
    api: &Api,
    caller: &Caller,
    request: &SendRequest,
    wait: Duration,
) -> Result<Gathered, Failure> {
    let (mut watch, sent) = ask::begin(api, caller, request, wait.min(Duration::from_secs(WAIT_LIMIT_S))).await?;
    let mut gathered = Gathered {
        names: api.names(),
        sent,
        states: Vec::new(),
        replies: Vec::new(),
        finished: false,
        left_out: 0,
        _held: Vec::new(),
    };
    let mut told = BTreeMap::new();
    let stopping = api.agent.shutdown_token();
    while let Some(Some(watched)) = stopping.run_until_cancelled(watch.next()).await {
        match watched {
            Watched::State { message, recipient } => {
                told.insert((message, recipient.agent), recipient);
            }
            Watched::Reply(reply) => {
                let kib = u32::try_from(reply.message.body.as_xml().len() / 1024 + 1).unwrap_or(u32::MAX);
                match HELD.try_acquire_many(kib) {
                    Ok(held) if gathered.replies.len() < REPLIES_LIMIT => {
                        gathered._held.push(held);
                        gathered.replies.push(reply);
                    }
                    _ => gathered.left_out += 1,
                }
            }
            Watched::Done { finished } => gathered.finished = finished,
        }
    }
    gathered.finished &= gathered.left_out == 0;
    let mailbox = api.messages()?.mailbox();
    for one in &gathered.sent {
        // All recipients are there, those too of whom nothing was told. What this agent itself is told of sooner than its mailbox
        // has noted it as the sender.
        for kept in mailbox.states(one.id).await.map_err(SendError::from)?.unwrap_or_default() {
            let told = told.remove(&(one.id, kept.agent)).filter(|_| !kept.status.state.is_final());
            gathered.states.push((one.id, views::state(&gathered.names, &told.unwrap_or(kept))));
        }
    }
    Ok(gathered)
}
