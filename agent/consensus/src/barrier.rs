//! Linearizable reads: which position must be applied here to see all that was acknowledged anywhere.
//!
//! The leader answers with what it has applied, once a quorum of voters has said that it gave no greater vote. That is
//! enough: had anybody else been elected before the question came, one of that quorum would have voted for it; so
//! whatever was acknowledged before was applied here, or by an earlier leader whose entries this leader applied before
//! its own first one. No lease and so no clock is involved, and neither Raft's main loop, which may be busy with an
//! fsync.
//!
//! Questions share rounds: those that wait when a round begins are answered by it; later ones wait for the next, or
//! begin another when the one under way is slow. A question that comes from a voter brings that voter's confirmation
//! along.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::ServerState;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

use crate::consensus::Shared;
use crate::forward::ask_leader;
use crate::message::{Message, Reply};
use crate::propose::Refusal;
use crate::types::Vote;

/// A round under way longer than this no longer holds back the next.
const SLOW_ROUND: Duration = Duration::from_millis(5);
/// Rounds under way at once.
const ROUNDS: usize = 8;
/// Questions that wait for a round, at most.
const QUESTIONS: usize = 16 * 1024;
/// Time for one round, at the leader.
const ROUND_TIMEOUT: Duration = Duration::from_millis(500);
/// Time for the leader to answer another agent's question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);
/// When this many voters have not answered, the others are asked too.
const ASK_MORE_AFTER: Duration = Duration::from_millis(20);

/// Who waits for the next round.
#[derive(Default)]
pub(crate) struct Questions {
    waiting: Mutex<Vec<Question>>,
    wake: Notify,
}

struct Question {
    /// The vote of the voter who asks.
    confirmation: Option<(AgentId, Vote)>,
    reply: oneshot::Sender<Result<u64, Refusal>>,
}

impl Questions {
    /// One past the last entry that must have been applied to see all that was acknowledged before this call.
    pub(crate) async fn ask(&self, confirmation: Option<(AgentId, Vote)>) -> Result<u64, Refusal> {
        let (reply, answer) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if waiting.len() >= QUESTIONS {
                return Err(Refusal::Unreachable("too many requests wait".to_owned()));
            }
            waiting.push(Question { confirmation, reply });
        }
        self.wake.notify_one();
        answer.await.unwrap_or_else(|_| Err(Refusal::Stopped("the agent stops".to_owned())))
    }

    fn take(&self) -> Vec<Question> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|question| !question.reply.is_closed());
        std::mem::take(&mut waiting)
    }

    fn is_empty(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }
}

/// Runs rounds as questions come.
pub(crate) async fn run(shared: Arc<Shared>) {
    let mut rounds = JoinSet::new();
    let mut begun = Instant::now();
    loop {
        let may_begin = rounds.is_empty() || (rounds.len() < ROUNDS && begun.elapsed() >= SLOW_ROUND);
        if may_begin && !shared.questions.is_empty() {
            begun = Instant::now();
            rounds.spawn(round(Arc::clone(&shared), shared.questions.take()));
        }
        let waits_for_slow_round = !rounds.is_empty() && rounds.len() < ROUNDS && !shared.questions.is_empty();
        tokio::select! {
            () = shared.questions.wake.notified() => {}
            Some(_) = rounds.join_next() => {}
            () = sleep_until(begun + SLOW_ROUND), if waits_for_slow_round => {}
        }
    }
}

async fn round(shared: Arc<Shared>, questions: Vec<Question>) {
    let answer = if leads(&shared).is_some() {
        let confirmations: Vec<_> = questions.iter().filter_map(|question| question.confirmation).collect();
        let confirmed = tokio::time::timeout(ROUND_TIMEOUT, read_index(&shared, &confirmations)).await;
        confirmed.unwrap_or_else(|_| Err(Refusal::Unreachable("too few voters confirmed the leader".to_owned())))
    } else {
        let vote = shared.log.vote();
        match ask_leader(&shared, &Message::ReadIndex { vote }, ANSWER_TIMEOUT).await {
            Ok(Reply::ReadIndex { next }) => Ok(next),
            Ok(other) => Err(Refusal::Unreachable(format!("an answer that does not fit: {other:?}"))),
            Err(refusal) => Err(refusal),
        }
    };
    for question in questions {
        // An error: the caller has given up.
        let _ = question.reply.send(answer.clone());
    }
}

/// This agent's vote, if it leads by it as far as Raft's main loop has said.
fn leads(shared: &Shared) -> Option<Vote> {
    let metrics = shared.raft_metrics.borrow();
    (metrics.state == ServerState::Leader && metrics.vote.committed).then_some(metrics.vote)
}

/// The answer when no other voter need be asked.
pub(crate) fn read_index_alone(shared: &Shared) -> Option<u64> {
    let vote = leads(shared)?;
    let next = applied_under(shared, vote)?;
    is_quorum(&voters(shared), &BTreeSet::from([shared.agent])).then_some(next)
}

/// The leader's answer.
async fn read_index(shared: &Shared, confirmations: &[(AgentId, Vote)]) -> Result<u64, Refusal> {
    let vote = leads(shared).ok_or(Refusal::NotLeader(None))?;
    // Read after the questions came, before anybody confirms.
    let next = applied_under(shared, vote).ok_or(Refusal::NotLeader(None))?;
    let voters = voters(shared);
    let mut granted = BTreeSet::from([shared.agent]);
    granted.extend(confirmations.iter().filter(|(_, theirs)| theirs.leader_id <= vote.leader_id).map(|(who, _)| who));
    if is_quorum(&voters, &granted) {
        return Ok(next);
    }
    let mut others: Vec<AgentId> = voters.iter().flatten().copied().filter(|who| !granted.contains(who)).collect();
    others.sort_unstable();
    others.dedup();
    // Those who answered last time first: whoever hangs is asked only when the others are not enough.
    others.sort_by_key(|who| shared.peers.is_silent(*who));
    let lacking = voters.iter().map(|set| set.len() / 2 + 1).max().unwrap_or(1).saturating_sub(granted.len());
    let later = others.split_off(lacking.clamp(1, others.len().max(1)).min(others.len()));
    let mut asked: FuturesUnordered<_> = others.into_iter().map(|who| confirm(shared, who, vote)).collect();
    let mut later = Some(later);
    let hedge = sleep(ASK_MORE_AFTER);
    tokio::pin!(hedge);
    loop {
        let ask_more = tokio::select! {
            answer = asked.next(), if !asked.is_empty() => match answer {
                Some((who, true)) => {
                    granted.insert(who);
                    if is_quorum(&voters, &granted) {
                        return Ok(next);
                    }
                    false
                }
                Some((_, false)) | None => true,
            },
            () = &mut hedge, if later.is_some() => true,
            else => return Err(Refusal::Unreachable("too few voters confirmed the leader".to_owned())),
        };
        if ask_more || asked.is_empty() {
            asked.extend(later.take().unwrap_or_default().into_iter().map(|who| confirm(shared, who, vote)));
        }
    }
}

async fn confirm(shared: &Shared, who: AgentId, vote: Vote) -> (AgentId, bool) {
    let answer = shared.peers.call(who, &Message::Confirm { vote }, ROUND_TIMEOUT).await;
    (who, matches!(answer, Ok(Reply::Confirmed(true))))
}

/// One past what was applied, if that includes an entry of this very leadership, and this agent has given no greater
/// vote since.
fn applied_under(shared: &Shared, vote: Vote) -> Option<u64> {
    let still = shared.log.vote().is_some_and(|mine| mine.leader_id <= vote.leader_id);
    let applied = shared.state.view().applied?;
    let next = applied.index + 1;
    let complete = applied.leader_id == vote.leader_id && next >= shared.log.acknowledged_before_start(vote);
    (still && complete).then_some(next)
}

/// The sets of voters of which a majority each is needed. The log knows of a change before it is replicated, Raft's
/// metrics a moment later.
fn voters(shared: &Shared) -> Vec<BTreeSet<AgentId>> {
    let from_metrics = Arc::clone(&shared.raft_metrics.borrow().membership_config);
    match shared.log.membership() {
        Some((at, membership)) if Some(at) > *from_metrics.log_id() => membership.get_joint_config().clone(),
        _ => from_metrics.membership().get_joint_config().clone(),
    }
}

fn is_quorum(voters: &[BTreeSet<AgentId>], granted: &BTreeSet<AgentId>) -> bool {
    !voters.is_empty() && voters.iter().all(|set| set.intersection(granted).count() * 2 > set.len())
}
