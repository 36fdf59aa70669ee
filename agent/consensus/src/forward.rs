//! The other side of submitting, where this agent does not lead: commands are collected and travel to the leader
//! many to a message.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;

use crate::consensus::Shared;
use crate::message::{Message, Reply};
use crate::propose::{Batches, Pending, Refusal, Verdict, next_batch, reply_all};

/// Messages on their way to the leader at once.
const MESSAGES_IN_FLIGHT: usize = 2;
/// Time for the leader to answer. A leader that hangs is replaced before that, which ends the wait.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Forwards what comes, until the queue is closed.
pub(crate) async fn run(shared: Arc<Shared>, mut queue: Batches) {
    let mut in_flight = FuturesUnordered::new();
    loop {
        tokio::select! {
            Some(()) = in_flight.next(), if !in_flight.is_empty() => {}
            batch = next_batch(&mut queue), if in_flight.len() < MESSAGES_IN_FLIGHT => match batch {
                Some(batch) if !batch.is_empty() => in_flight.push(forward(Arc::clone(&shared), batch)),
                Some(_) => {}
                None => return,
            },
        }
    }
}

async fn forward(shared: Arc<Shared>, batch: Vec<Pending>) {
    let submissions = batch.iter().map(|pending| pending.submission.clone()).collect();
    let answer = ask_leader(&shared, &Message::Submit { submissions }, ANSWER_TIMEOUT).await;
    let answer: Result<Vec<Verdict>, Refusal> = match answer {
        Ok(Reply::Submitted(verdicts)) if verdicts.len() == batch.len() => Ok(verdicts),
        Ok(other) => Err(Refusal::Unreachable(format!("an answer that does not fit: {other:?}"))),
        Err(refusal) => Err(refusal),
    };
    reply_all(batch, answer);
}

/// Asks whoever leads; gives up as soon as somebody else does.
pub(crate) async fn ask_leader(shared: &Shared, message: &Message, timeout: Duration) -> Result<Reply, Refusal> {
    let mut leadership = shared.raft.server_metrics();
    let leader = leadership.borrow_and_update().current_leader;
    let Some(leader) = leader.filter(|leader| *leader != shared.agent) else {
        return Err(Refusal::NotLeader(leader));
    };
    tokio::select! {
        answer = shared.peers.call(leader, message, timeout) => match answer {
            Ok(Reply::NotLeader { leader }) => Err(Refusal::NotLeader(leader)),
            Ok(Reply::NoQuorum(reason)) => Err(Refusal::NoQuorum(reason)),
            Ok(Reply::Refused(reason)) => Err(Refusal::Unreachable(reason)),
            Ok(reply) => Ok(reply),
            Err(error) => Err(Refusal::Unreachable(error.to_string())),
        },
        _ = leadership.wait_for(|now| now.current_leader != Some(leader)) => {
            Err(Refusal::Unreachable(format!("{leader} leads no more")))
        }
    }
}
