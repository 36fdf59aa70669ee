//! What the keeper would do: a fresh look at every stripe, which changes nothing.

use std::time::Duration;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};
use shoal_care::{AgentFacts, Duty, Findings, Progress, Reason, Tally, Wanted};
use shoal_ledger::{AgentRecord, AgentState, KvError, KvRead, query};

use crate::AgentError;
use crate::context::AgentContext;
use crate::health::Presence;
use crate::keeping::WantedBook;

/// What the keeper would do now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairPlan {
    /// What a look at every stripe found.
    pub findings: Findings,
    /// Of the stripes that cannot be read, those of which too many shards are bad, whoever answers.
    #[serde(default)]
    pub damaged: u64,
    /// Stripes that would be worked on.
    pub stripes: u64,
    /// Bytes that would be written.
    pub bytes: u64,
    /// Bytes written a second lately; null while nothing was.
    pub rate_bytes_per_s: Option<u64>,
    /// Seconds that would take at this rate; null while it is not known.
    pub eta_s: Option<u64>,
}

/// What draining an agent would take.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DrainPlan {
    /// Which.
    pub agent: AgentId,
    /// Its name.
    pub name: String,
    /// Shards counted on there now.
    pub shards: u64,
    /// Their bytes.
    pub bytes: u64,
    /// What would be moved or cut anew because of it; the bytes are those to write.
    pub moves: Tally,
    /// What could not be placed for now.
    pub stuck: Tally,
    /// Other agents that hold shards and have not answered for seconds: what has no place may wait for them.
    #[serde(default)]
    pub suspects: Vec<String>,
    /// Seconds they may be silent before they count no more.
    #[serde(default)]
    pub absent_after_s: u64,
    /// Other agents that take shards.
    pub takers: usize,
    /// Bytes written a second lately; null while nothing was.
    pub rate_bytes_per_s: Option<u64>,
    /// Seconds that would take at this rate; null while it is not known.
    pub eta_s: Option<u64>,
}

/// What the keeper would do now.
pub(crate) async fn repair_plan(context: &AgentContext) -> Result<RepairPlan, AgentError> {
    let work = context.progress().await;
    let (view, health) = (context.ledger.view()?, context.health.clone());
    let look = move || shoal_care::plan(&*view, &health.facts(&*view)?, &wanted(&*view)?);
    let findings = blocking(look).await??;
    let damaged = context.status().await?.stripes.damaged;
    let all = findings.waiting.values().fold(Tally::default(), sum);
    let rate_bytes_per_s = rate(work.as_ref());
    let eta_s = eta_s(all.bytes, work.as_ref());
    Ok(RepairPlan { findings, damaged, stripes: all.stripes, bytes: all.bytes, rate_bytes_per_s, eta_s })
}

/// What draining an agent would take.
pub(crate) async fn drain_plan(context: &AgentContext, agent: AgentId, name: &str) -> Result<DrainPlan, AgentError> {
    let work = context.progress().await;
    let (view, health) = (context.ledger.view()?, context.health.clone());
    let name = name.to_owned();
    let suspects = suspects(context, &query::agents(&*view)?, agent);
    blocking(move || {
        let usage = query::agent_usage(&*view, agent)?;
        let facts = health.facts(&*view)?;
        let (moves, stuck) = because_of_drain(&*view, &facts, &wanted(&*view)?, agent)?;
        let takers = facts.iter().filter(|other| other.id != agent && other.duty() == Duty::Takes).count();
        let rate_bytes_per_s = rate(work.as_ref());
        let eta_s = eta_s(moves.bytes, work.as_ref());
        Ok(DrainPlan {
            agent,
            name,
            shards: usage.shards,
            bytes: usage.bytes,
            moves,
            stuck,
            suspects,
            absent_after_s: query::care_policy(&*view)?.absent_after_s,
            takers,
            rate_bytes_per_s,
            eta_s,
        })
    })
    .await?
}

/// Names of other agents that hold shards and have not answered for seconds, but not for so long that they count no more.
pub(crate) fn suspects(context: &AgentContext, members: &[AgentRecord], agent: AgentId) -> Vec<String> {
    let health = context.health.view();
    let is_suspect = |member: &&AgentRecord| {
        member.roles.store && member.id != agent && health.of(member.id).presence == Presence::Suspect
    };
    members.iter().filter(is_suspect).map(|member| member.name.clone()).collect()
}

/// What there would be to do beyond what there is without the drain, and what could not be placed.
fn because_of_drain(
    view: &dyn KvRead,
    facts: &[AgentFacts],
    wanted: &Wanted,
    agent: AgentId,
) -> Result<(Tally, Tally), KvError> {
    let with_state = |state: AgentState| -> Vec<AgentFacts> {
        let set =
            |one: &AgentFacts| AgentFacts { state: if one.id == agent { state } else { one.state }, ..one.clone() };
        facts.iter().map(set).collect()
    };
    let now = shoal_care::plan(view, &with_state(AgentState::Active), wanted)?;
    let then = shoal_care::plan(view, &with_state(AgentState::Draining), wanted)?;
    Ok((beyond(pressing(&then), pressing(&now)), beyond(then.stuck, now.stuck)))
}

/// What is done at least as urgently as a drain.
fn pressing(findings: &Findings) -> Tally {
    let counts = findings.waiting.iter().filter(|(reason, _)| **reason <= Reason::Drain);
    counts.map(|(_, tally)| tally).fold(Tally::default(), sum)
}

fn sum(all: Tally, one: &Tally) -> Tally {
    Tally { stripes: all.stripes + one.stripes, bytes: all.bytes.saturating_add(one.bytes) }
}

fn beyond(all: Tally, part: Tally) -> Tally {
    Tally { stripes: all.stripes.saturating_sub(part.stripes), bytes: all.bytes.saturating_sub(part.bytes) }
}

fn wanted(view: &dyn KvRead) -> Result<Wanted, KvError> {
    WantedBook::default().read(view, Duration::ZERO)
}

fn rate(work: Option<&Progress>) -> Option<u64> {
    work.map(|work| work.rate_bytes_per_s).filter(|rate| *rate > 0)
}

fn eta_s(bytes: u64, work: Option<&Progress>) -> Option<u64> {
    match bytes {
        0 => Some(0),
        _ => work.and_then(|work| work.eta_of(bytes)),
    }
}

async fn blocking<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, AgentError> {
    let looked = tokio::task::spawn_blocking(look).await;
    looked.map_err(|error| AgentError::Internal(format!("looking at the stripes: {error}")))
}
