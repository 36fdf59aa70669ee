//! The ledger's client side: submitting until a deadline, whoever leads, and waiting for a read point.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{AgentId, CommandId};
use openraft::ServerState;
use shoal_ledger::{Command, KvError, KvRead, LedgerClient, Outcome, Rejection, Submission, SubmitError};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout_at};

use crate::barrier::read_index_alone;
use crate::consensus::{Consensus, Shared};
use crate::propose::{COMMAND_LIMIT_BYTES, Pending, Refusal, Verdict};

/// A command without a verdict for this long is given up: longer than an election, so that writes survive one.
const SUBMIT_DEADLINE: Duration = Duration::from_secs(5);
/// A read point not reached for this long is given up.
const BARRIER_DEADLINE: Duration = Duration::from_secs(3);
/// Pause before another try, unless the leader changes first.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

#[async_trait]
impl LedgerClient for Consensus {
    async fn submit(&self, command: Command) -> Result<Outcome, SubmitError> {
        let id = CommandId(uuid::Uuid::new_v4().into_bytes());
        let submission = postcard::to_stdvec(&Submission { id, command })
            .map_err(|error| Rejection::Invalid(format!("the command cannot be encoded: {error}")))?;
        if submission.len() > COMMAND_LIMIT_BYTES {
            return Err(Rejection::TooMany("bytes in one command".to_owned()).into());
        }
        Ok(self.shared().submit(submission.into()).await??)
    }

    async fn barrier(&self) -> Result<(), SubmitError> {
        let shared = self.shared();
        // What is applied here is all there is, if nobody else can have acknowledged anything.
        if read_index_alone(shared).is_some() {
            return Ok(());
        }
        shared.barrier().await
    }

    fn view(&self) -> Result<Arc<dyn KvRead + Send + Sync>, KvError> {
        Ok(self.shared().state.view())
    }

    fn time_ms(&self) -> Result<u64, KvError> {
        self.shared().time_ms()
    }

    async fn changed(&self, after: u64) -> u64 {
        let mut position = self.shared().state.batch_position();
        let reached = position.wait_for(|position| *position > after).await.map(|position| *position);
        match reached {
            Ok(position) => position,
            // The state outlives every client.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Shared {
    /// Has a command agreed on and applied, trying again under its id as leaders come and go.
    async fn submit(&self, submission: Bytes) -> Result<Verdict, SubmitError> {
        let deadline = Instant::now() + SUBMIT_DEADLINE;
        loop {
            let mut leadership = self.raft.server_metrics();
            let leader = leadership.borrow_and_update().current_leader;
            let refusal = match leader {
                Some(leader) => {
                    let queue = if leader == self.agent { &self.propose } else { &self.forward };
                    let (reply, verdict) = oneshot::channel();
                    let pending = Pending { submission: submission.clone(), reply };
                    tokio::select! {
                        queued = queue.send(pending) => match queued {
                            Ok(()) => self.verdict(verdict, deadline).await,
                            Err(_) => Err(Refusal::Stopped("the agent stops".to_owned())),
                        },
                        reason = self.given_up(deadline) => Err(Refusal::NoQuorum(reason)),
                    }
                }
                None => Err(Refusal::NotLeader(None)),
            };
            match refusal {
                Ok(verdict) => return Ok(verdict),
                Err(refusal) => self.before_retry(refusal, &mut leadership, deadline).await?,
            }
        }
    }

    async fn verdict(
        &self,
        verdict: oneshot::Receiver<Result<Verdict, Refusal>>,
        deadline: Instant,
    ) -> Result<Verdict, Refusal> {
        tokio::select! {
            verdict = verdict => verdict.unwrap_or_else(|_| Err(Refusal::Stopped("the agent stops".to_owned()))),
            reason = self.given_up(deadline) => Err(Refusal::NoQuorum(reason)),
        }
    }

    /// Waits until everything acknowledged before the call is applied here.
    async fn barrier(&self) -> Result<(), SubmitError> {
        let deadline = Instant::now() + BARRIER_DEADLINE;
        loop {
            let mut leadership = self.raft.server_metrics();
            leadership.borrow_and_update();
            let answer = tokio::select! {
                answer = self.questions.ask(None) => answer,
                reason = self.given_up(deadline) => Err(Refusal::NoQuorum(reason)),
            };
            match answer {
                Ok(next) => {
                    let mut applied = self.state.applied_next();
                    let reached = timeout_at(deadline, applied.wait_for(|applied| *applied >= next)).await;
                    return match reached {
                        Ok(Ok(_)) => Ok(()),
                        _ => Err(SubmitError::NoQuorum("this agent is behind and does not catch up in time".into())),
                    };
                }
                Err(refusal) => self.before_retry(refusal, &mut leadership, deadline).await?,
            }
        }
    }

    /// Waits for a better time, or says why there is no use.
    async fn before_retry<T>(
        &self,
        refusal: Refusal,
        leadership: &mut tokio::sync::watch::Receiver<T>,
        deadline: Instant,
    ) -> Result<(), SubmitError> {
        match refusal {
            Refusal::NoQuorum(reason) => return Err(SubmitError::NoQuorum(reason)),
            Refusal::Stopped(reason) => return Err(KvError::Io(format!("consensus has stopped: {reason}")).into()),
            Refusal::NotLeader(_) | Refusal::Unreachable(_) => {}
        }
        tokio::select! {
            _ = leadership.changed() => Ok(()),
            () = sleep(RETRY_PAUSE) => Ok(()),
            reason = self.given_up(deadline) => Err(SubmitError::NoQuorum(reason)),
        }
    }

    /// Ends when there is no use in waiting: at the deadline, or when no quorum has been heard of for longer than an
    /// election takes, or too few voters are there for any election. Says why.
    pub(crate) async fn given_up(&self, deadline: Instant) -> String {
        /// How often is looked.
        const LOOK_EVERY: Duration = Duration::from_millis(100);
        loop {
            if self.hearing.quorum_lost_for().is_some_and(|lost| lost > self.election_limit) {
                return "no leader with enough followers has been heard of".to_owned();
            }
            if self.hearing.is_in_vain(self.quorum_doubted() && !self.may_have_quorum()) {
                return "too few of the agents that vote answer".to_owned();
            }
            if Instant::now() >= deadline {
                return "no answer in time from a leader with enough followers".to_owned();
            }
            tokio::time::sleep_until(deadline.min(Instant::now() + LOOK_EVERY)).await;
        }
    }

    /// Whether it is longer than usual that a quorum was heard of.
    fn quorum_doubted(&self) -> bool {
        let metrics = self.raft_metrics.borrow();
        let heard = match metrics.state {
            ServerState::Leader => metrics.millis_since_quorum_ack.map(Duration::from_millis),
            _ => self.hearing.leader_with_quorum_heard().map(|at| at.elapsed()),
        };
        heard.is_none_or(|ago| ago > self.hearing.doubt())
    }

    /// Whether enough voters to elect a leader are not known to be away.
    fn may_have_quorum(&self) -> bool {
        let metrics = self.raft_metrics.borrow();
        let sets = metrics.membership_config.membership().get_joint_config();
        let there = |agent: &&AgentId| **agent == self.agent || self.peers.may_answer(**agent);
        sets.iter().all(|voters| voters.iter().filter(there).count() * 2 > voters.len())
    }
}
