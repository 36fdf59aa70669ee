//! The census of stripes, kept between questions so that asking for the status is cheap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use dci_proto::AgentId;
use shoal_care::Progress;
use shoal_consensus::Consensus;
use shoal_ledger::query::BadShards;
use shoal_ledger::{AgentRecord, KvError, KvRead, query};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::AgentError;
use crate::census::Census;
use crate::context::AgentContext;
use crate::outlook::DrainStatus;
use crate::outlook::drain::{DrainInput, drain_status};
use crate::outlook::plan::suspects;
use crate::recover::swap;
use crate::room;
use crate::status::{self, StatusInput, StatusReport, TrashStatus};

/// After a count the next waits at least this long.
const RECOUNT_PAUSE: Duration = Duration::from_millis(500);
/// And at least this many times as long as the count took: counting costs 2 % of one core at most.
const RECOUNT_PAUSE_FACTOR: u32 = 50;

/// Reports how the pool stands.
#[derive(Default)]
pub(crate) struct StatusBoard {
    counted: Mutex<Option<Counted>>,
}

#[derive(Clone)]
struct Counted {
    census: Arc<Census>,
    position: u64,
    reachable: Arc<BTreeSet<AgentId>>,
    pending: BadShards,
    at: Instant,
    took: Duration,
}

impl StatusBoard {
    /// Reports; counts stripes anew if the ledger changed since the last count and that was long enough ago.
    pub(crate) async fn report(&self, context: &AgentContext) -> Result<StatusReport, AgentError> {
        let view = context.ledger.view()?;
        let pool = query::pool(&*view)?.ok_or(AgentError::NoPoolYet)?;
        let members = query::agents(&*view)?;
        let position = query::position(&*view)?;
        let answering = members.iter().map(|member| member.id).filter(|agent| context.health.gives(*agent));
        let reachable: Arc<BTreeSet<AgentId>> = Arc::new(answering.collect());
        let unreported = context.mender.unreported().into_iter();
        let pending: BadShards = unreported.map(|shard| (shard.agent, shard.key)).collect();
        let told = pending.len();
        let counted = self.count(view.clone(), position, reachable.clone(), pending).await?;
        let health = context.health.view_with_own();
        let quorum = context.quorum();
        let work = context.progress().await;
        let trash = query::trash_totals(&*view)?;
        let mut report = status::report(&StatusInput {
            agent: context.agent,
            pool: &pool,
            members: &members,
            health: &health,
            quorum: &quorum,
            census: counted.census.judge(&|agent| reachable.contains(&agent)),
            without: &counted.census.without_each(&|agent| reachable.contains(&agent)),
            drains: &drains(context, &*view, &members, work.as_ref())?,
            work,
            trash: TrashStatus { files: trash.files, bytes: trash.bytes },
            absent_after_s: query::care_policy(&*view)?.absent_after_s,
        });
        report.tell_bad_shards(told);
        report.tell_here(room::refusal(&context.headroom));
        report.tell_here(swap::lost_end(context.data()));
        let twin = context.consensus.as_ref().and_then(Consensus::twin);
        report.tell_here(twin.map(|_| {
            "this pool was recovered twice, from two agents: each carries on a pool of its own, and an admin must say which \
             one stays (stop the others and give them an empty --data directory)"
                .to_owned()
        }));
        Ok(report)
    }

    async fn count(
        &self,
        view: Arc<dyn KvRead + Send + Sync>,
        position: u64,
        reachable: Arc<BTreeSet<AgentId>>,
        pending: BadShards,
    ) -> Result<Counted, AgentError> {
        let mut kept = self.counted.lock().await;
        if let Some(counted) = kept.as_ref() {
            let same = counted.position == position
                && counted.pending == pending
                && (!counted.census.depends_on_reachability() || counted.reachable == reachable);
            let pause = RECOUNT_PAUSE.max(counted.took * RECOUNT_PAUSE_FACTOR);
            if same || counted.at.elapsed() < pause {
                return Ok(counted.clone());
            }
        }
        let begin = Instant::now();
        let (judges, bad) = (reachable.clone(), pending.clone());
        let count = move || Census::take(&*view, &bad, &|agent| judges.contains(&agent));
        let counting = tokio::task::spawn_blocking(count).await;
        let census = counting.map_err(|error| AgentError::Internal(format!("counting stripes: {error}")))??;
        let at = Instant::now();
        let (census, took) = (Arc::new(census), at.duration_since(begin));
        let counted = Counted { census, position, reachable, pending, at, took };
        *kept = Some(counted.clone());
        Ok(counted)
    }
}

/// How far the emptying of agents is.
fn drains(
    context: &AgentContext,
    view: &dyn KvRead,
    members: &[AgentRecord],
    work: Option<&Progress>,
) -> Result<BTreeMap<AgentId, DrainStatus>, KvError> {
    let mut drains = BTreeMap::new();
    for member in members {
        if let Some(drain) = drain_of(context, view, member.id, work)? {
            drains.insert(member.id, drain);
        }
    }
    Ok(drains)
}

/// How far the emptying of an agent is; `None` unless it is emptied.
pub(crate) fn drain_of(
    context: &AgentContext,
    view: &dyn KvRead,
    agent: AgentId,
    work: Option<&Progress>,
) -> Result<Option<DrainStatus>, KvError> {
    let Some(record) = query::drain(view, agent)? else { return Ok(None) };
    Ok(Some(drain_status(&DrainInput {
        record,
        usage: query::agent_usage(view, agent)?,
        unreadable: unreadable_on(view, agent)?,
        suspects: suspects(context, &query::agents(view)?, agent),
        absent_after_s: query::care_policy(view)?.absent_after_s,
        certified: query::certificate(view, agent)?.is_some(),
        answers: context.health.answers(agent),
        quorum: context.quorum().agrees,
        now_ms: context.ledger.time_ms()?,
        work,
    })))
}

/// Shards on an agent whose stripes cannot be read whoever answers, as the ledger has too many of the others as bad.
fn unreadable_on(view: &dyn KvRead, agent: AgentId) -> Result<u64, KvError> {
    let bad = query::bad_shards_of_all(view)?;
    let stripes: BTreeSet<_> = bad.iter().map(|(_, key)| key.stripe).collect();
    let mut unreadable = 0;
    for stripe in stripes {
        let Some(record) = query::stripe(view, stripe)? else { continue };
        let placed = record.shards.iter().filter(|place| place.agent.is_some()).count();
        let sound = placed.saturating_sub(shoal_care::bad_places(&bad, stripe, &record).len());
        let here = record.shards.iter().any(|place| place.agent == Some(agent));
        unreadable += u64::from(here && sound < usize::from(record.k));
    }
    Ok(unreadable)
}
