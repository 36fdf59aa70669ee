//! When to stand for election: openraft's own timer is off, this one asks first.
//!
//! Raft's plain rule (a silence, then a greater term) lets a voter that hung, slept or was cut off depose a leader that
//! everybody else is content with: its greater term stops the leader, and the pool stalls for an election. So here
//!
//! - silence counts only while this process runs: after a pause it listens before it speaks, and
//! - it asks a quorum of voters first whether they miss a leader too and its log is no shorter than theirs (the
//!   pre-vote of Ongaro's thesis, §9.6).
//!
//! None of this touches safety: who is elected, and whose entries count, is decided by Raft's votes as ever.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use dci_proto::AgentId;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::ServerState;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::consensus::Shared;
use crate::message::{Message, Reply};
use crate::types::{LogId, Metrics, Vote};

/// How often the silence is measured.
const LOOK_EVERY: Duration = Duration::from_millis(150);
/// Of the time between two looks no more than this counts as silence: the rest this process did not run.
const COUNTED_AT_MOST: Duration = Duration::from_millis(300);
/// Time for a voter to say whether it misses a leader.
const ANSWER_TIMEOUT: Duration = Duration::from_millis(500);

/// When to stand.
#[derive(Debug, Clone)]
pub(crate) struct Timeouts {
    /// A leader silent for a time in this range is missed.
    pub(crate) leader: Range<Duration>,
    /// After a vote that brought no leader, the next one is tried after a time in this range.
    pub(crate) again: Range<Duration>,
}

/// Stands for election when it is time, until the task is ended.
pub(crate) async fn run(shared: Arc<Shared>, timeouts: Timeouts) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silence = Silence::new(&timeouts);
    loop {
        ticks.tick().await;
        let (vote, waits_for_leader) = {
            let metrics = shared.raft_metrics.borrow();
            (metrics.vote, metrics.state != ServerState::Leader && is_voter(&metrics, shared.agent))
        };
        let signs = Signs { vote, leader_heard: shared.hearing.leader_heard() };
        if !waits_for_leader {
            silence.end(signs, &timeouts);
            continue;
        }
        if !silence.lasts(signs, &timeouts) {
            continue;
        }
        // Whoever leads soon knows the time then.
        shared.clock.ask_now();
        if !may_stand(&shared).await {
            continue;
        }
        tracing::info!("standing for election as the ledger's leader");
        if shared.raft.trigger().elect().await.is_err() {
            return;
        }
        silence.end(signs, &timeouts);
    }
}

/// What shows that the others go on.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Signs {
    vote: Vote,
    leader_heard: Option<Instant>,
}

/// How long there has been no sign.
struct Silence {
    last: Option<Signs>,
    looked: Instant,
    lasted: Duration,
    limit: Duration,
}

impl Silence {
    fn new(timeouts: &Timeouts) -> Self {
        let limit = pick(&timeouts.leader);
        Self { last: None, looked: Instant::now(), lasted: Duration::ZERO, limit }
    }

    fn end(&mut self, signs: Signs, timeouts: &Timeouts) {
        self.looked = Instant::now();
        self.lasted = Duration::ZERO;
        self.limit = pick(if signs.vote.committed { &timeouts.leader } else { &timeouts.again });
        self.last = Some(signs);
    }

    /// Whether it has lasted long enough to stand.
    fn lasts(&mut self, signs: Signs, timeouts: &Timeouts) -> bool {
        if self.last != Some(signs) {
            self.end(signs, timeouts);
            return false;
        }
        self.lasted += self.looked.elapsed().min(COUNTED_AT_MOST);
        self.looked = Instant::now();
        self.lasted >= self.limit
    }
}

fn pick(range: &Range<Duration>) -> Duration {
    let span = range.end.saturating_sub(range.start);
    // A random number from what is here already: no two are the same.
    let random = uuid::Uuid::new_v4().as_u128() as u32;
    range.start + span.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

fn is_voter(metrics: &Metrics, agent: AgentId) -> bool {
    metrics.membership_config.membership().voter_ids().any(|voter| voter == agent)
}

/// Whether a quorum of voters would have this agent lead.
async fn may_stand(shared: &Shared) -> bool {
    let sets = shared.raft_metrics.borrow().membership_config.membership().get_joint_config().clone();
    let voters: BTreeSet<AgentId> = sets.iter().flatten().copied().collect();
    let mut willing = BTreeSet::from([shared.agent]);
    let enough =
        |willing: &BTreeSet<AgentId>| sets.iter().all(|voters| voters.intersection(willing).count() * 2 > voters.len());
    let message = Message::MayStand { last_log: shared.log_store.last() };
    let asked = voters.iter().filter(|voter| **voter != shared.agent);
    let mut answers: FuturesUnordered<_> =
        asked.map(|voter| async { (*voter, shared.peers.call(*voter, &message, ANSWER_TIMEOUT).await) }).collect();
    while !enough(&willing) {
        match answers.next().await {
            Some((voter, Ok(Reply::MayStand(true)))) => {
                willing.insert(voter);
            }
            Some(_) => {}
            None => return false,
        }
    }
    true
}

impl Shared {
    /// Whether this agent misses a leader and would vote for one whose log is this long.
    pub(crate) fn would_vote(&self, last_log: Option<LogId>) -> bool {
        let leads = self.raft_metrics.borrow().state == ServerState::Leader;
        let content = self.hearing.leader_heard().is_some_and(|at| at.elapsed() < self.content_for);
        !leads && !content && last_log >= self.log_store.last()
    }
}
