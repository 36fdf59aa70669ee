//! Who holds the ledger and who votes. Only the leader changes that.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dci_proto::AgentId;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, EmptyNode};
use tokio::time::{Instant, sleep, timeout_at};

use crate::ConsensusError;
use crate::consensus::Consensus;

/// A change of the membership not agreed on in this time is reported as failed; it may still happen.
const CHANGE_DEADLINE: Duration = Duration::from_secs(10);
/// Pause before a change is tried again while another is under way.
const CHANGE_PAUSE: Duration = Duration::from_millis(50);

impl Consensus {
    /// Lets an agent hold the ledger, without a vote. It may be behind for a while. No effect on a member.
    ///
    /// # Errors
    /// If this agent does not lead, or the quorum does not agree in time.
    pub async fn add_learner(&self, agent: AgentId) -> Result<(), ConsensusError> {
        if self.status().voters.contains(&agent) {
            return self.check_leads();
        }
        self.change(ChangeMembers::AddNodes(BTreeMap::from([(agent, EmptyNode {})]))).await
    }

    /// Takes the ledger, and the vote, from an agent. No effect on one that has neither.
    ///
    /// # Errors
    /// If this agent does not lead, it is the last voter, or the quorum does not agree in time.
    pub async fn remove_member(&self, agent: AgentId) -> Result<(), ConsensusError> {
        self.check_leads()?;
        let status = self.status();
        if status.voters.contains(&agent) {
            let rest = status.voters.into_iter().filter(|voter| *voter != agent).collect();
            self.set_voters(rest).await?;
        } else if !status.learners.contains(&agent) {
            return Ok(());
        }
        self.change(ChangeMembers::RemoveNodes(BTreeSet::from([agent]))).await
    }

    /// Sets who votes. All of them must be members; whoever votes no more stays a learner.
    ///
    /// # Errors
    /// If this agent does not lead, one of them is no member, or the quorum does not agree in time.
    pub async fn set_voters(&self, voters: BTreeSet<AgentId>) -> Result<(), ConsensusError> {
        self.check_leads()?;
        if voters.is_empty() {
            return Err(ConsensusError::NoVoters);
        }
        self.change(ChangeMembers::ReplaceAllVoters(voters)).await
    }

    fn check_leads(&self) -> Result<(), ConsensusError> {
        let leader = self.shared().raft_metrics.borrow().current_leader;
        if leader == Some(self.shared().agent) { Ok(()) } else { Err(ConsensusError::NotLeader { leader }) }
    }

    async fn change(&self, change: ChangeMembers<AgentId, EmptyNode>) -> Result<(), ConsensusError> {
        let deadline = Instant::now() + CHANGE_DEADLINE;
        let changed = loop {
            let changing = self.shared().raft.change_membership(change.clone(), true);
            let changed = timeout_at(deadline, changing)
                .await
                .map_err(|_| ConsensusError::NoQuorum { seconds: CHANGE_DEADLINE.as_secs() })?;
            match &changed {
                // A change before this one, or a leader that is new, is soon done.
                Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(
                    ChangeMembershipError::InProgress(_),
                ))) if Instant::now() < deadline => sleep(CHANGE_PAUSE).await,
                _ => break changed,
            }
        };
        changed.map(drop).map_err(|error| match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                ConsensusError::NotLeader { leader: forward.leader_id }
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                ChangeMembershipError::InProgress(_) => ConsensusError::ChangeUnderWay,
                ChangeMembershipError::EmptyMembership(_) => ConsensusError::NoVoters,
                ChangeMembershipError::LearnerNotFound(error) => ConsensusError::NotAMember(error.node_id),
            },
            RaftError::Fatal(error) => ConsensusError::Stopped(error.to_string()),
        })
    }
}
