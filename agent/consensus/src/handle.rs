//! Answering other members.

use std::sync::Arc;

use bytes::Bytes;
use dci_proto::AgentId;
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse};
use shoal_ledger::Submission;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::consensus::Shared;
use crate::group::{self, Group, Relation};
use crate::message::{Message, Reply, StatePiece, decode, encode};
use crate::propose::{BATCH_COMMANDS, COMMAND_LIMIT_BYTES, Pending, Refusal};
use crate::state::{IncomingState, StateTransfer};
use crate::types::{LogId, Raft, Snapshot, Vote};

/// How long another agent's commands are worked on before it is told to try again.
const SUBMIT_DEADLINE: std::time::Duration = std::time::Duration::from_secs(4);

/// A state on its way here.
pub(crate) struct Receiving {
    snapshot_id: String,
    from: AgentId,
    next_sequence: u64,
    incoming: IncomingState,
}

impl Shared {
    /// Answers a message. Whatever comes, there is an answer.
    pub(crate) async fn handle(&self, from: AgentId, message: &[u8]) -> Bytes {
        let reply = match decode::<Message>(message) {
            Ok((theirs, message)) => match self.is_of_our_group(theirs).await {
                Ok(()) => self.answer(from, message).await,
                Err(reason) => Reply::Refused(reason),
            },
            Err(reason) => Reply::Refused(reason),
        };
        let own = self.peers.groups().own();
        let refused = |reason: String| encode(own, &Reply::Refused(reason)).unwrap_or_default();
        encode(own, &reply).unwrap_or_else(refused)
    }

    /// A member whose ledger is empty joins whatever group speaks to it; others listen to their own only.
    async fn is_of_our_group(&self, theirs: Group) -> Result<(), String> {
        let groups = self.peers.groups();
        let own = groups.own();
        let relation = groups.hear(&theirs);
        match relation {
            Relation::Same => Ok(()),
            Relation::Newer if self.is_empty() => {
                let groups = Arc::clone(groups);
                let adopted = tokio::task::spawn_blocking(move || groups.adopt(theirs)).await;
                adopted.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
            }
            relation => Err(group::refusal(relation, &own, &theirs)),
        }
    }

    fn is_empty(&self) -> bool {
        self.state.view().applied.is_none() && self.log_store.last().is_none()
    }

    async fn answer(&self, from: AgentId, message: Message) -> Reply {
        match message {
            Message::Append { quorum, request } => self.append(from, quorum, request).await,
            Message::Vote(request) if speaks_for(from, &request.vote) => match self.raft.vote(request).await {
                Ok(response) => Reply::Vote(response),
                Err(error) => Reply::Refused(error.to_string()),
            },
            Message::StatePiece(piece) if speaks_for(from, &piece.vote) => self.receive(from, piece).await,
            Message::Vote(_) | Message::StatePiece(_) => Reply::Refused("another agent's vote".to_owned()),
            Message::Submit { submissions } => self.submit_for_other(submissions).await,
            Message::ReadIndex { vote } => match self.answer_read_index(from, vote).await {
                Ok(next) => Reply::ReadIndex { next },
                Err(refusal) => refusal.into(),
            },
            Message::Confirm { vote } => {
                Reply::Confirmed(self.log.vote().is_none_or(|mine| mine.leader_id <= vote.leader_id))
            }
            Message::MayStand { last_log } => Reply::MayStand(self.would_vote(last_log)),
            Message::Clock => Reply::Clock { wall_ms: self.clock.wall_ms() },
        }
    }

    async fn append(&self, from: AgentId, quorum: bool, request: AppendEntriesRequest<Raft>) -> Reply {
        if let Err(reason) = check_append(from, &request) {
            return Reply::Refused(reason);
        }
        match self.raft.append_entries(request).await {
            Ok(response) => {
                if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                    self.hearing.heard(from, quorum);
                }
                Reply::Append(response)
            }
            Err(error) => Reply::Refused(error.to_string()),
        }
    }

    async fn answer_read_index(&self, from: AgentId, vote: Option<Vote>) -> Result<u64, Refusal> {
        let leader = self.raft_metrics.borrow().current_leader;
        if leader != Some(self.agent) {
            return Err(Refusal::NotLeader(leader));
        }
        if self.hearing.quorum_lost_for().is_some_and(|lost| lost > self.election_limit) {
            return Err(Refusal::NoQuorum("the leader hears from too few voters".to_owned()));
        }
        self.questions.ask(vote.map(|vote| (from, vote))).await
    }

    async fn submit_for_other(&self, submissions: Vec<Bytes>) -> Reply {
        let leader = self.raft_metrics.borrow().current_leader;
        if leader != Some(self.agent) {
            return Reply::NotLeader { leader };
        }
        if submissions.len() > BATCH_COMMANDS {
            return Reply::Refused(format!("{} commands in one message", submissions.len()));
        }
        let deadline = Instant::now() + SUBMIT_DEADLINE;
        let mut verdicts = Vec::with_capacity(submissions.len());
        let mut waiting = Vec::with_capacity(submissions.len());
        for submission in submissions {
            // Checked here: what does not decode must never get into the log.
            if submission.len() > COMMAND_LIMIT_BYTES || !is_one_submission(&submission) {
                return Reply::Refused("a command that cannot be read".to_owned());
            }
            let (reply, verdict) = oneshot::channel();
            tokio::select! {
                _ = self.propose.send(Pending { submission, reply }) => waiting.push(verdict),
                reason = self.given_up(deadline) => return Reply::NoQuorum(reason),
            }
        }
        for verdict in waiting {
            tokio::select! {
                verdict = verdict => match verdict {
                    Ok(Ok(verdict)) => verdicts.push(verdict),
                    Ok(Err(refusal)) => return refusal.into(),
                    Err(_) => return Reply::Refused("the agent stops".to_owned()),
                },
                reason = self.given_up(deadline) => return Reply::NoQuorum(reason),
            }
        }
        Reply::Submitted(verdicts)
    }

    /// Takes up a piece of a state; with the last one the state is put in place.
    async fn receive(&self, from: AgentId, piece: StatePiece) -> Reply {
        match self.try_receive(from, piece).await {
            Ok(reply) => reply,
            Err(reason) => Reply::Refused(reason),
        }
    }

    async fn try_receive(&self, from: AgentId, piece: StatePiece) -> Result<Reply, String> {
        let mut receiving = self.receiving.lock().await;
        let vote = self.log.vote().unwrap_or_default();
        let wants = |next_sequence| Ok(Reply::StatePiece { vote, next_sequence });
        if vote.leader_id > piece.vote.leader_id {
            return wants(0);
        }
        if piece.sequence == 0 {
            *receiving = None;
            let state = self.state.clone();
            let begun = tokio::task::spawn_blocking(move || state.begin_incoming()).await;
            let incoming = begun.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            let snapshot_id = piece.meta.snapshot_id.clone();
            *receiving = Some(Receiving { snapshot_id, from, next_sequence: 0, incoming });
        }
        let Some(mut current) = receiving.take() else { return wants(0) };
        if current.from != from || current.snapshot_id != piece.meta.snapshot_id {
            *receiving = Some(current);
            return wants(0);
        }
        if piece.sequence != current.next_sequence {
            let next = current.next_sequence;
            *receiving = Some(current);
            return wants(next);
        }
        let rows = piece.rows;
        let write = move || current.incoming.write_piece(&rows).map(|()| current);
        let written = tokio::task::spawn_blocking(write).await.map_err(|error| error.to_string())?;
        let mut current = written.map_err(|error| error.to_string())?;
        current.next_sequence += 1;
        let next_sequence = current.next_sequence;
        let Some(total_rows) = piece.total_rows else {
            *receiving = Some(current);
            return wants(next_sequence);
        };
        if current.incoming.rows() != total_rows {
            return Err(format!("{} of {total_rows} rows of a state have come", current.incoming.rows()));
        }
        let snapshot = Box::new(StateTransfer::Incoming(Box::new(current.incoming)));
        let snapshot = Snapshot { meta: piece.meta, snapshot };
        let installed =
            self.raft.install_full_snapshot(piece.vote, snapshot).await.map_err(|error| error.to_string())?;
        Ok(Reply::StatePiece { vote: installed.vote, next_sequence })
    }
}

impl From<Refusal> for Reply {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotLeader(leader) => Self::NotLeader { leader },
            Refusal::NoQuorum(reason) => Self::NoQuorum(reason),
            Refusal::Unreachable(reason) | Refusal::Stopped(reason) => Self::Refused(reason),
        }
    }
}

/// A vote is only ever sent by whom it is for.
fn speaks_for(from: AgentId, vote: &Vote) -> bool {
    vote.leader_id.node_id == from
}

fn is_one_submission(bytes: &[u8]) -> bool {
    matches!(postcard::take_from_bytes::<Submission>(bytes), Ok((_, rest)) if rest.is_empty())
}

/// What openraft takes for granted of a message.
fn check_append(from: AgentId, request: &AppendEntriesRequest<Raft>) -> Result<(), String> {
    if !speaks_for(from, &request.vote) || !request.vote.committed {
        return Err("entries from an agent that does not lead".to_owned());
    }
    let sound = |id: &LogId| id.leader_id <= request.vote.leader_id && id.index < u64::MAX;
    if !request.prev_log_id.is_none_or(|id| sound(&id)) {
        return Err("a wrong position".to_owned());
    }
    let first = request.prev_log_id.map_or(0, |id| id.index + 1);
    let mut leader = request.prev_log_id.map(|id| id.leader_id);
    for (index, entry) in (first..).zip(&request.entries) {
        if entry.log_id.index != index || !sound(&entry.log_id) || Some(entry.log_id.leader_id) < leader {
            return Err("entries that do not follow each other".to_owned());
        }
        if let EntryPayload::Membership(membership) = &entry.payload
            && membership.get_joint_config().iter().all(|voters| voters.is_empty())
        {
            return Err("a membership without voters".to_owned());
        }
        leader = Some(entry.log_id.leader_id);
    }
    if request.leader_commit.is_some_and(|id| !sound(&id)) {
        return Err("a wrong commit position".to_owned());
    }
    Ok(())
}
