//! Who holds the ledger and who votes on it, kept in step with who is a member. Run by the ledger's leader.
//!
//! Slow on purpose: one change at a time, and nobody gains or loses a vote over a hiccup. Which change is decided by
//! [`shoal_placement::voters`]; here it is only carried out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use dci_proto::AgentId;
use shoal_consensus::Consensus;
use shoal_ledger::{AgentRecord, AgentState, LedgerClient, query};
use shoal_placement::voters::{VoterCandidate, choose_voters};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::config::Timing;
use crate::health::Health;
use crate::status::QuorumView;

/// A copy of the ledger that is further behind than this many entries is not trusted with a vote yet.
const CAUGHT_UP_WITHIN: u64 = 1_000;

/// Who decides, as far as this agent knows.
pub(crate) fn quorum_view(consensus: &Consensus) -> QuorumView {
    let status = consensus.status();
    QuorumView { leader: status.leader, voters: status.voters, agrees: status.quorum }
}

/// Whether this agent leads and can get things agreed on.
pub(crate) fn is_leader(consensus: &Consensus, agent: AgentId) -> bool {
    let status = consensus.status();
    status.is_leader && status.quorum && status.leader == Some(agent)
}

/// Keeps membership.
pub(crate) struct MembershipKeeper {
    agent: AgentId,
    consensus: Consensus,
    ledger: Arc<dyn LedgerClient>,
    health: Arc<Health>,
    timing: Timing,
    started: Instant,
}

impl MembershipKeeper {
    pub(crate) fn new(
        agent: AgentId,
        consensus: Consensus,
        ledger: Arc<dyn LedgerClient>,
        health: Arc<Health>,
        timing: Timing,
    ) -> Self {
        Self { agent, consensus, ledger, health, timing, started: Instant::now() }
    }

    /// Keeps membership until `shutdown`, whenever this agent leads.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut health = self.health.changes();
        let mut leading = self.consensus.status_changes();
        let mut last_change: Option<Instant> = None;
        loop {
            let mut changed = false;
            if is_leader(&self.consensus, self.agent) {
                match shutdown.run_until_cancelled(self.step()).await {
                    Some(Ok(done)) => changed = done,
                    Some(Err(error)) => tracing::debug!(%error, "a change of membership did not go through"),
                    None => return,
                }
            }
            if changed {
                last_change = Some(Instant::now());
            }
            // A change is followed up soon, and when those it brought in have stood their trial; else whoever may have
            // changed something wakes us.
            let trial = self.timing.voter_trial;
            let pause = match last_change {
                _ if changed => trial / 10,
                Some(at) if at.elapsed() < trial * 3 => trial / 4,
                _ => self.timing.membership_interval,
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
                _ = health.changed(), if !changed => {}
                _ = leading.changed(), if !changed => {}
            }
        }
    }

    /// Makes one change, if one is due; true if it did.
    async fn step(&self) -> Result<bool, AgentError> {
        let failed = |error: &dyn std::fmt::Display| AgentError::Consensus(error.to_string());
        let status = self.consensus.status();
        let view = self.ledger.view()?;
        let members: BTreeMap<AgentId, AgentRecord> =
            query::agents(&*view)?.into_iter().map(|member| (member.id, member)).collect();
        let Some(pool) = query::pool(&*view)? else { return Ok(false) };
        drop(view);
        let holds = |id: &AgentId| members.get(id).is_some_and(|member| member.roles.mount || member.roles.vote);
        let present: BTreeSet<AgentId> = status.voters.union(&status.learners).copied().collect();

        if let Some(gone) = status.learners.iter().find(|id| !holds(id)) {
            tracing::info!(agent = %gone, "no longer holds the ledger");
            self.consensus.remove_member(*gone).await.map_err(|error| failed(&error))?;
            return Ok(true);
        }
        let newcomer = members.keys().find(|id| holds(id) && !present.contains(id) && self.health.answers(**id));
        if let Some(newcomer) = newcomer {
            tracing::info!(agent = %newcomer, "begins to hold the ledger");
            self.consensus.add_learner(*newcomer).await.map_err(|error| failed(&error))?;
            return Ok(true);
        }
        let candidates: Vec<VoterCandidate> = present
            .iter()
            .map(|id| self.voter_candidate(*id, members.get(id), &status.voters, status.applied))
            .collect();
        if let Some(voters) = choose_voters(&candidates, pool.survive) {
            tracing::info!(?voters, "the voters change");
            self.consensus.set_voters(voters).await.map_err(|error| failed(&error))?;
            return Ok(true);
        }
        Ok(false)
    }

    fn voter_candidate(
        &self,
        agent: AgentId,
        member: Option<&AgentRecord>,
        voters: &BTreeSet<AgentId>,
        applied: u64,
    ) -> VoterCandidate {
        let current = voters.contains(&agent);
        let own = agent == self.agent;
        let health = self.health.view_of(agent);
        let for_how_long = self.started.elapsed().saturating_sub(health.since);
        let up = match (own, health.answers(), current) {
            (true, ..) | (false, true, true) => true,
            (false, true, false) => {
                for_how_long >= self.timing.voter_trial && health.position.saturating_add(CAUGHT_UP_WITHIN) >= applied
            }
            (false, false, current) => current && for_how_long < self.timing.voter_patience,
        };
        VoterCandidate {
            agent,
            may_vote: member.is_some_and(|member| member.roles.vote && member.state != AgentState::Draining),
            up,
            current,
            uptime_score: u64::from(own || health.answers()),
            site: member.map(|member| member.site.clone()).unwrap_or_default(),
            full: !own && health.room.is_some_and(|room| room.free_bytes == 0),
        }
    }
}
