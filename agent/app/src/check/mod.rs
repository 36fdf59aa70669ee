//! `shoal pool check`: whether the ledger agrees with the shards on the disks. Asks every agent that answers which shards it
//! has, page by page, and which it found or met as bad and could not mend yet, and holds that against the ledger's stripes. Reads no
//! shard; what an agent that answers does not have it is asked to make anew.
//!
//! The pool goes on meanwhile: what looks wrong is looked at once more in the ledger as it is at the end.

pub(crate) mod files;
mod pending;
mod shelf;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::{AgentId, ContentId, ShardKey, StripeId};
use serde::{Deserialize, Serialize};
use shoal_ledger::{AgentRecord, KvError, KvRead, StripeRecord, query};
use shoal_volume::BadShard;
use tokio::time::Instant;

use crate::AgentError;
use crate::context::AgentContext;
use shelf::Shelf;

/// Stripes of the ledger looked at in one step.
const STRIPES_AT_ONCE: usize = 500;
/// Stripes that look wrong and are looked at once more, at most; others count as they looked.
const SUSPECTS_LIMIT: usize = 10_000;
/// Lost contents, and such that lack shards, whose files are named, at most.
const NAMED_CONTENTS: usize = 10_000;
/// Pause between two steps: people go first.
const STEP_PAUSE: Duration = Duration::from_millis(2);

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckReport {
    /// The position of the ledger it was held against.
    pub(crate) position: u64,
    /// Whether that was known to be all that was acknowledged.
    pub(crate) fresh: bool,
    /// Stripes whose shards are all there.
    pub(crate) whole: u64,
    /// Stripes that can be read but lack shards.
    pub(crate) short: u64,
    /// Stripes that cannot be read from the agents that answer.
    pub(crate) lost: u64,
    /// Shards the ledger expects on agents that answer and that are not there.
    pub(crate) missing_shards: u64,
    /// Of these, how many their agents have been asked to make anew.
    #[serde(default)]
    pub(crate) taken_up: u64,
    /// Shards that were found missing, damaged or unreadable and could not be mended in place, or are not yet.
    #[serde(default)]
    pub(crate) bad_shards: u64,
    /// Members that hold shards and do not answer; what they have is not known.
    pub(crate) silent: Vec<String>,
    /// Shards that no stripe names, by agent: written after what the ledger knows, or on their way. They are kept for a
    /// day.
    pub(crate) unnamed: BTreeMap<String, u64>,
    /// Paths of files that cannot be read, the first hundred.
    pub(crate) lost_files: Vec<String>,
    /// How many those are in all.
    pub(crate) lost_files_total: u64,
    /// Paths of files that can be read and lack shards, the first hundred.
    #[serde(default)]
    pub(crate) short_files: Vec<String>,
    /// How many those are in all.
    #[serde(default)]
    pub(crate) short_files_total: u64,
    /// How long it took.
    pub(crate) took_ms: u64,
}

/// How far a check is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CheckState {
    /// Whether one runs.
    pub(crate) running: bool,
    /// Stripes looked at so far.
    pub(crate) stripes_done: u64,
    /// Stripes there are, roughly.
    pub(crate) stripes_total: u64,
    /// What the last one found.
    pub(crate) report: Option<CheckReport>,
    /// Why the last one could not be finished.
    pub(crate) failure: Option<String>,
}

/// The check of an agent: one at a time.
#[derive(Debug, Default)]
pub(crate) struct CheckBoard(Mutex<CheckState>);

impl CheckBoard {
    pub(crate) fn state(&self) -> CheckState {
        self.lock().clone()
    }

    /// Starts a check unless one runs.
    pub(crate) fn start(context: &Arc<AgentContext>) {
        {
            let mut state = context.check.lock();
            if state.running {
                return;
            }
            *state = CheckState { running: true, ..CheckState::default() };
        }
        let context = context.clone();
        tokio::spawn(async move {
            let shutdown = context.shutdown_token();
            let done = shutdown.run_until_cancelled(Check::run(&context)).await;
            let mut state = context.check.lock();
            state.running = false;
            match done {
                Some(Ok(report)) => state.report = Some(report),
                Some(Err(error)) => state.failure = Some(error.to_string()),
                None => state.failure = Some("the agent stops".to_owned()),
            }
        });
    }

    fn lock(&self) -> MutexGuard<'_, CheckState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Check<'a> {
    context: &'a AgentContext,
    shelves: BTreeMap<AgentId, Shelf>,
    /// Members that answer.
    answering: Vec<AgentId>,
    /// Shards they know as bad and the ledger may not.
    pending: BTreeSet<BadShard>,
    report: CheckReport,
    suspects: Vec<StripeId>,
    lost: BTreeSet<ContentId>,
    short: BTreeSet<ContentId>,
}

/// What a check finds of one stripe.
#[derive(Default)]
struct Found {
    /// Shards that are there, by all that is known.
    present: usize,
    /// Shards that should be on agents that answer and are not.
    missing: Vec<BadShard>,
    /// Shards that were found bad.
    bad: u64,
}

impl<'a> Check<'a> {
    async fn run(context: &'a AgentContext) -> Result<CheckReport, AgentError> {
        let begin = Instant::now();
        let fresh = context.ledger.barrier().await.is_ok();
        let view = context.ledger.view()?;
        let members = query::agents(&*view)?;
        let total = context.status().await?.stripes.total;
        context.check.lock().stripes_total = total;
        let answering: Vec<AgentId> =
            members.iter().map(|member| member.id).filter(|agent| context.health.answers(*agent)).collect();
        let stores = members.iter().filter(|member| member.roles.store);
        let (asked, silent): (Vec<&AgentRecord>, Vec<&AgentRecord>) =
            stores.partition(|member| context.health.answers(member.id));
        let mut check = Self {
            context,
            shelves: asked.iter().map(|member| (member.id, Shelf::new(member.id, context))).collect(),
            pending: pending::of_all(context, &answering).await,
            answering,
            report: CheckReport { position: query::position(&*view)?, fresh, ..CheckReport::default() },
            suspects: Vec::new(),
            lost: BTreeSet::new(),
            short: BTreeSet::new(),
        };
        check.compare(&view).await?;
        check.look_again().await?;
        let name = |id: &AgentId| {
            members.iter().find(|member| member.id == *id).map_or_else(|| id.to_string(), |member| member.name.clone())
        };
        let failed = check.shelves.values().filter(|shelf| shelf.failed()).map(Shelf::agent);
        let silent = silent.iter().map(|member| member.id).chain(failed).collect::<BTreeSet<_>>();
        let mut report = check.report;
        report.silent = silent.iter().map(name).collect();
        report.unnamed = check.shelves.values().map(|shelf| (name(&shelf.agent()), shelf.unnamed())).collect();
        report.unnamed.retain(|_, count| *count > 0);
        let view = context.ledger.view()?;
        let (lost, short) = (check.lost, check.short);
        let name = move || Ok::<_, KvError>((files::of_contents(&*view, &lost)?, files::of_contents(&*view, &short)?));
        let named = tokio::task::spawn_blocking(name).await;
        let (lost, short) = named.map_err(|error| AgentError::Internal(error.to_string()))??;
        (report.lost_files, report.lost_files_total) = lost;
        (report.short_files, report.short_files_total) = short;
        report.took_ms = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(report)
    }

    /// Goes through ledger and shelves side by side, both in the order of keys.
    async fn compare(&mut self, view: &Arc<dyn KvRead + Send + Sync>) -> Result<(), AgentError> {
        let mut after = None;
        loop {
            let page = read_page(view, after).await?;
            let Some((last, _)) = page.last() else { break };
            after = Some(*last);
            let upto = ShardKey { stripe: *last, index: u8::MAX };
            let mut found = BTreeSet::new();
            for (agent, shelf) in &mut self.shelves {
                let named = page_of(&page, *agent);
                found.extend(
                    shelf.take_upto(self.context, Some(upto), &named).await?.into_iter().map(|key| (*agent, key)),
                );
            }
            for (id, record) in &page {
                let bad = query::bad_places(&**view, *id, record)?;
                self.judge(*id, record, &bad, &|agent, key| found.contains(&(agent, key)));
            }
            self.context.check.lock().stripes_done += page.len() as u64;
            tokio::time::sleep(STEP_PAUSE).await;
        }
        for shelf in self.shelves.values_mut() {
            shelf.take_upto(self.context, None, &BTreeSet::new()).await?;
        }
        Ok(())
    }

    fn judge(&mut self, id: StripeId, record: &StripeRecord, bad: &[u8], has: &dyn Fn(AgentId, ShardKey) -> bool) {
        let found = self.count(id, record, bad, has);
        if !(found.missing.is_empty() && found.bad == 0) && self.suspects.len() < SUSPECTS_LIMIT {
            self.suspects.push(id);
            return;
        }
        self.note(record, &found);
    }

    fn count(&self, id: StripeId, record: &StripeRecord, bad: &[u8], has: &dyn Fn(AgentId, ShardKey) -> bool) -> Found {
        let mut found = Found::default();
        for (place, index) in record.shards.iter().zip(0u8..) {
            let Some(agent) = place.agent else { continue };
            let key = ShardKey { stripe: id, index };
            if bad.contains(&index) || self.pending.contains(&BadShard { key, agent }) {
                found.bad += 1;
            } else if has(agent, key) {
                found.present += 1;
            } else if self.shelves.get(&agent).is_some_and(|shelf| !shelf.failed()) {
                found.missing.push(BadShard { key, agent });
            }
        }
        found
    }

    /// Counts a stripe, and has made anew what is not where it should be.
    fn note(&mut self, record: &StripeRecord, found: &Found) {
        self.report.missing_shards += found.missing.len() as u64;
        self.report.bad_shards += found.bad;
        for shard in &found.missing {
            self.report.taken_up += u64::from(self.context.mender.add(*shard));
        }
        let contents = if found.present >= record.shards.len() {
            self.report.whole += 1;
            return;
        } else if found.present >= usize::from(record.k) {
            self.report.short += 1;
            &mut self.short
        } else {
            self.report.lost += 1;
            &mut self.lost
        };
        if contents.len() < NAMED_CONTENTS {
            contents.insert(record.content);
        }
    }

    /// What looked wrong may have been changed or removed since.
    async fn look_again(&mut self) -> Result<(), AgentError> {
        if !self.suspects.is_empty() {
            self.pending = pending::of_all(self.context, &self.answering).await;
        }
        for id in std::mem::take(&mut self.suspects) {
            let view = self.context.ledger.view()?;
            let Some(record) = query::stripe(&*view, id)? else { continue };
            let mut found = BTreeSet::new();
            for (place, index) in record.shards.iter().zip(0u8..) {
                let key = ShardKey { stripe: id, index };
                if let Some(agent) = place.agent
                    && let Some(shelf) = self.shelves.get(&agent)
                    && shelf.has(self.context, key).await
                {
                    found.insert((agent, key));
                }
            }
            let bad = query::bad_places(&*view, id, &record)?;
            let found = self.count(id, &record, &bad, &|agent, key| found.contains(&(agent, key)));
            self.note(&record, &found);
        }
        Ok(())
    }
}

fn page_of(page: &[(StripeId, StripeRecord)], agent: AgentId) -> BTreeSet<ShardKey> {
    let keys = page.iter().flat_map(|(id, record)| {
        let places = record.shards.iter().zip(0u8..);
        places.filter(|(place, _)| place.agent == Some(agent)).map(|(_, index)| ShardKey { stripe: *id, index })
    });
    keys.collect()
}

async fn read_page(
    view: &Arc<dyn KvRead + Send + Sync>,
    after: Option<StripeId>,
) -> Result<Vec<(StripeId, StripeRecord)>, AgentError> {
    let view = view.clone();
    let read = move || {
        let mut page = Vec::with_capacity(STRIPES_AT_ONCE);
        query::stripes(&*view, after, &mut |id, record| {
            page.push((id, record));
            page.len() < STRIPES_AT_ONCE
        })?;
        Ok::<_, AgentError>(page)
    };
    tokio::task::spawn_blocking(read).await.map_err(|error| AgentError::Internal(error.to_string()))?
}
