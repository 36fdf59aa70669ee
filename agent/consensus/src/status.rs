//! How consensus stands, as told to people and to the rest of the agent.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use openraft::ServerState;
use tokio::time::Instant;

use crate::types::Metrics;

/// How consensus stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsensusStatus {
    /// Who leads, if that is known and it was heard lately.
    pub leader: Option<AgentId>,
    /// Whether this agent leads.
    pub is_leader: bool,
    /// Raft's term.
    pub term: u64,
    /// Who votes; during a change, of both the old and the new set.
    pub voters: BTreeSet<AgentId>,
    /// Who holds the ledger without a vote.
    pub learners: BTreeSet<AgentId>,
    /// The last entry applied here; 0 for none.
    pub applied: u64,
    /// The last entry in the log here; 0 for none.
    pub last_log: u64,
    /// Whether writing is possible as far as this agent knows: it leads and a quorum answered it lately, or it heard
    /// lately from a leader that says so of itself.
    pub quorum: bool,
}

impl ConsensusStatus {
    /// Whether they differ in more than how far the log has got.
    pub(crate) fn differs_from(&self, other: &Self) -> bool {
        let without_progress = |status: &Self| Self { applied: 0, last_log: 0, ..status.clone() };
        without_progress(self) != without_progress(other)
    }
}

/// When this agent last heard a leader, and since when writing is impossible.
pub(crate) struct Hearing {
    state: Mutex<HearingState>,
    /// A silence longer than this is noticed.
    patience: Duration,
}

struct HearingState {
    leader: Option<(AgentId, Instant)>,
    leader_with_quorum: Option<Instant>,
    quorum_lost: Option<Instant>,
    /// Since when, and until when, too few voters were seen to be there.
    too_few: Option<(Instant, Instant)>,
}

/// When too few voters have been there for this long, it is no hiccup.
const TOO_FEW_FOR: Duration = Duration::from_millis(250);

impl Hearing {
    pub(crate) fn new(patience: Duration) -> Self {
        let state =
            HearingState { leader: None, leader_with_quorum: None, quorum_lost: Some(Instant::now()), too_few: None };
        Self { state: Mutex::new(state), patience }
    }

    /// A leader was heard, and accepted.
    pub(crate) fn heard(&self, leader: AgentId, quorum: bool) {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.leader = Some((leader, now));
        if quorum {
            state.leader_with_quorum = Some(now);
            state.quorum_lost = None;
        } else {
            state.leader_with_quorum = None;
        }
    }

    /// When a leader was last heard.
    pub(crate) fn leader_heard(&self) -> Option<Instant> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).leader.map(|(_, at)| at)
    }

    /// When a leader that has a quorum was last heard.
    pub(crate) fn leader_with_quorum_heard(&self) -> Option<Instant> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).leader_with_quorum
    }

    /// A silence longer than this makes one ask who is there.
    pub(crate) fn doubt(&self) -> Duration {
        self.patience * 2 / 5
    }

    /// Takes note that too few voters are there now, or that this is not so; whether it has been so for long enough that
    /// waiting is in vain. Forgotten when nobody looks.
    pub(crate) fn is_in_vain(&self, too_few: bool) -> bool {
        let now = Instant::now();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let seen = state.too_few.filter(|(_, until)| now.duration_since(*until) < TOO_FEW_FOR);
        state.too_few = too_few.then(|| (seen.map_or(now, |(since, _)| since), now));
        state.too_few.is_some_and(|(since, _)| now.duration_since(since) >= TOO_FEW_FOR)
    }

    /// Since when writing is impossible, as far as is known.
    pub(crate) fn quorum_lost_for(&self) -> Option<Duration> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.quorum_lost.map(|since| since.elapsed())
    }

    /// Draws the status from Raft's metrics and from what was heard.
    pub(crate) fn status(&self, metrics: &Metrics) -> ConsensusStatus {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let membership = metrics.membership_config.membership();
        let is_leader = metrics.state == ServerState::Leader;
        let fresh = |at: Instant| at.elapsed() <= self.patience;
        let (leader, quorum) = if is_leader {
            let acknowledged = metrics.millis_since_quorum_ack.map(Duration::from_millis);
            (Some(metrics.id), acknowledged.is_some_and(|ago| ago <= self.patience))
        } else {
            let leader = state.leader.filter(|(agent, at)| Some(*agent) == metrics.current_leader && fresh(*at));
            (leader.map(|(agent, _)| agent), state.leader_with_quorum.is_some_and(fresh) && leader.is_some())
        };
        if quorum {
            state.quorum_lost = None;
        } else {
            state.quorum_lost.get_or_insert_with(Instant::now);
        }
        ConsensusStatus {
            leader,
            is_leader,
            term: metrics.current_term,
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            applied: metrics.last_applied.map_or(0, |id| id.index),
            last_log: metrics.last_log_index.unwrap_or(0),
            quorum,
        }
    }
}
