//! The leader's side of submitting: commands of all callers, here and elsewhere, are collected while earlier entries
//! are on their way, and go into the log together.

use std::sync::Arc;

use bytes::Bytes;
use dci_proto::AgentId;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::error::{ClientWriteError, RaftError};
use shoal_ledger::{Outcome, Rejection};
use tokio::sync::{mpsc, oneshot};

use crate::consensus::Shared;
use crate::types::EncodedBatch;

/// Commands that wait, at most; more callers wait for room.
pub(crate) const QUEUE_COMMANDS: usize = 4096;
/// Commands of one entry, at most.
pub(crate) const BATCH_COMMANDS: usize = 1024;
/// Bytes of one entry, at most, unless a single command is larger.
pub(crate) const BATCH_BYTES: usize = 1024 * 1024;
/// Bytes of one command, at most: an entry with it must fit a message.
pub(crate) const COMMAND_LIMIT_BYTES: usize = 3 * 1024 * 1024;
/// Entries on their way at once. What comes meanwhile goes into the next one: with two, entries are half as large, and an
/// entry costs its messages, syncs and commits at every member whatever is in it (an eighth of a small file's work).
const ENTRIES_IN_FLIGHT: usize = 1;

/// A command's verdict.
pub(crate) type Verdict = Result<Outcome, Rejection>;

/// A command on its way.
pub(crate) struct Pending {
    /// A [`shoal_ledger::Submission`] in postcard.
    pub(crate) submission: Bytes,
    pub(crate) reply: oneshot::Sender<Result<Verdict, Refusal>>,
}

/// Why there is no verdict.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("this agent does not lead the ledger")]
    NotLeader(Option<AgentId>),
    #[error("the leader cannot be reached: {0}")]
    Unreachable(String),
    #[error("{0}")]
    NoQuorum(String),
    #[error("consensus has stopped: {0}")]
    Stopped(String),
}

/// Takes the next batch off a queue: what is there, within limits. `None` when the queue is closed.
pub(crate) async fn next_batch(queue: &mut Batches) -> Option<Vec<Pending>> {
    let mut batch = Vec::new();
    let mut bytes = 0;
    let mut next = match queue.left_over.take() {
        Some(pending) => Some(pending),
        None => Some(queue.receiver.recv().await?),
    };
    while let Some(pending) = next {
        let larger = bytes + pending.submission.len();
        if !batch.is_empty() && (larger > BATCH_BYTES || batch.len() >= BATCH_COMMANDS) {
            queue.left_over = Some(pending);
            break;
        }
        // Whoever has given up waiting need not be served.
        if !pending.reply.is_closed() {
            bytes = larger;
            batch.push(pending);
        }
        next = queue.receiver.try_recv().ok();
    }
    Some(batch)
}

/// A queue that is emptied in batches.
pub(crate) struct Batches {
    receiver: mpsc::Receiver<Pending>,
    left_over: Option<Pending>,
}

impl Batches {
    pub(crate) fn new() -> (mpsc::Sender<Pending>, Self) {
        let (sender, receiver) = mpsc::channel(QUEUE_COMMANDS);
        (sender, Self { receiver, left_over: None })
    }
}

/// Proposes what comes, until the queue is closed.
pub(crate) async fn run(shared: Arc<Shared>, mut queue: Batches) {
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            batch = next_batch(&mut queue), if in_flight.len() < ENTRIES_IN_FLIGHT => match batch {
                Some(batch) if !batch.is_empty() => in_flight.push(propose(Arc::clone(&shared), batch)),
                Some(_) => {}
                None => return,
            },
        }
    }
}

async fn propose(shared: Arc<Shared>, batch: Vec<Pending>) {
    let time_ms = match shared.stamp_ms().await {
        Ok(time_ms) => time_ms,
        Err(error) => return reply_all(batch, Err(Refusal::Stopped(error.to_string()))),
    };
    let encoded = encode_batch(time_ms, &batch);
    let answer = match shared.raft.client_write(encoded).await {
        Ok(response) => Ok(response.data),
        Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
            Err(Refusal::NotLeader(forward.leader_id))
        }
        Err(error) => Err(Refusal::Stopped(error.to_string())),
    };
    reply_all(batch, answer);
}

/// Hands each its verdict, or all the same refusal.
pub(crate) fn reply_all(batch: Vec<Pending>, answer: Result<Vec<Verdict>, Refusal>) {
    match answer {
        Ok(verdicts) => {
            let mut verdicts = verdicts.into_iter();
            for pending in batch {
                let verdict = verdicts.next().ok_or_else(|| Refusal::Unreachable("too few verdicts".to_owned()));
                // An error: the caller has given up.
                let _ = pending.reply.send(verdict);
            }
        }
        Err(refusal) => {
            for pending in batch {
                let _ = pending.reply.send(Err(refusal.clone()));
            }
        }
    }
}

/// A [`shoal_ledger::Batch`] in postcard, put together from submissions that are encoded already: postcard writes a
/// struct as its fields one after the other and a sequence as its length and its items.
fn encode_batch(time_ms: u64, batch: &[Pending]) -> EncodedBatch {
    let size = batch.iter().map(|pending| pending.submission.len()).sum::<usize>() + 2 * VARINT_LIMIT_BYTES;
    let mut bytes = Vec::with_capacity(size);
    push_varint(&mut bytes, time_ms);
    push_varint(&mut bytes, batch.len() as u64);
    for pending in batch {
        bytes.extend_from_slice(&pending.submission);
    }
    EncodedBatch(bytes.into())
}

const VARINT_LIMIT_BYTES: usize = 10;

fn push_varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

#[cfg(test)]
mod tests {
    use dci_proto::CommandId;
    use shoal_ledger::{Batch, Command, Submission};

    use super::*;

    #[test]
    fn a_batch_put_together_from_encoded_commands_reads_back_as_one() {
        let submissions: Vec<Submission> = (0..200)
            .map(|n| Submission { id: CommandId([n; 16]), command: Command::SetSurvive { survive: n } })
            .collect();
        let pending = |submission: &Submission| Pending {
            submission: postcard::to_stdvec(submission).expect("encodes").into(),
            reply: oneshot::channel().0,
        };
        let encoded = encode_batch(1_700_000_000_123, &submissions.iter().map(pending).collect::<Vec<_>>());
        let batch = Batch { time_ms: 1_700_000_000_123, submissions };
        assert_eq!(postcard::from_bytes::<Batch>(&encoded.0), Ok(batch));
    }
}
