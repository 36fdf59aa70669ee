//! One stripe, or a range of it, from the agents that have its shards.
//!
//! The data shards that hold the range are asked for just that range. When one of them is known to be out of reach,
//! fails or takes longer than it usually does, the same column of other shards is asked for, and any `k` of these
//! give the bytes back. Whole copies (`k` = 1) are the same with one column.

mod sources;
mod waiting;

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use dci_proto::{AgentId, ShardKey, StripeId, shard_hash};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use shoal_ledger::StripeRecord;
use tokio::time::Instant;

use crate::codec::CodecError;
use crate::latency::Request;
use crate::shared::{Shared, work_on};
use crate::stats::{BadShard, add};
use crate::stripe::{ReadPlan, StripeError, open, plan_read};
use crate::{DriveError, PeerError, Urgency};
use sources::{Source, sources};

/// Bytes a piece may fall short of its column to be fetched as a column: then it also serves should another piece fail.
const PIECE_SLACK_BYTES: usize = 1024;

/// A stripe as the ledger knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stripe {
    pub(crate) id: StripeId,
    pub(crate) record: Arc<StripeRecord>,
}

/// Plain bytes of a stripe. Should what comes not be what was written, once more with every shard checked against its
/// hash, so that the false one is found and left out.
pub(crate) async fn fetch(shared: &Shared, stripe: &Stripe, range: Range<u32>) -> Result<Bytes, DriveError> {
    fetch_as(shared, stripe, range, Urgency::Foreground).await
}

/// As [`fetch`], for somebody who waits or for nobody.
pub(crate) async fn fetch_as(
    shared: &Shared,
    stripe: &Stripe,
    range: Range<u32>,
    urgency: Urgency,
) -> Result<Bytes, DriveError> {
    match Fetch::new(shared, stripe, range.clone(), false, urgency).run().await {
        Err(DriveError::Damaged(reason)) => {
            tracing::warn!(stripe = %stripe.id, reason, "a stripe does not open; checking each of its shards");
            let whole = Fetch::new(shared, stripe, 0..stripe.record.plain_bytes, true, urgency).run().await?;
            Ok(whole.slice(range.start as usize..range.end as usize))
        }
        result => result,
    }
}

/// A request that has not been answered yet.
struct Asked {
    id: usize,
    index: u8,
    agent: AgentId,
    range: Range<u32>,
    since: Instant,
    suspect: bool,
    /// Takes longer than usual: no longer counted on.
    late: bool,
}

type Answer = (usize, Result<Bytes, PeerError>);

struct Fetch<'a> {
    shared: &'a Shared,
    stripe: &'a Stripe,
    plan: ReadPlan,
    urgency: Urgency,
    /// Every shard is checked against its hash.
    checked: bool,
    /// Best first.
    sources: Vec<Source>,
    asked: Vec<Asked>,
    next_id: usize,
    answers: FuturesUnordered<BoxFuture<'a, Answer>>,
    pieces: Vec<(u8, Bytes)>,
    columns: Vec<(u8, Bytes)>,
    /// The longest an answer took.
    slowest: Option<Duration>,
    /// Shards known to be missing or damaged.
    bad: usize,
    last_error: Option<PeerError>,
}

impl<'a> Fetch<'a> {
    fn new(shared: &'a Shared, stripe: &'a Stripe, range: Range<u32>, checked: bool, urgency: Urgency) -> Self {
        let plan = plan_read(&stripe.record, range);
        Self {
            shared,
            stripe,
            plan,
            urgency,
            checked,
            sources: sources(shared, &stripe.record),
            asked: Vec::new(),
            next_id: 0,
            answers: FuturesUnordered::new(),
            pieces: Vec::new(),
            columns: Vec::new(),
            slowest: None,
            bad: 0,
            last_error: None,
        }
    }

    async fn run(mut self) -> Result<Bytes, DriveError> {
        self.begin();
        loop {
            if let Some(parts) = self.complete() {
                return self.open(parts).await;
            }
            if self.is_hopeless() {
                return Err(self.failure());
            }
            let wake = self.wake_at();
            tokio::select! {
                biased;
                Some((id, result)) = self.answers.next() => self.answered(id, result),
                () = tokio::time::sleep_until(wake) => self.look_after_late(),
            }
        }
    }

    fn k(&self) -> usize {
        usize::from(self.stripe.record.k)
    }

    /// Asks for the planned pieces where all their agents are well, else for the best columns.
    fn begin(&mut self) {
        let well = |index: u8| self.sources.iter().any(|source| source.index == index && source.well);
        if self.k() > 1 && !self.checked && self.plan.pieces.iter().all(|(index, _)| well(*index)) {
            for (index, range) in self.plan.pieces.clone() {
                if let Some(at) = self.sources.iter().position(|source| source.index == index) {
                    let all = self.plan.column.len() - range.len() <= PIECE_SLACK_BYTES;
                    self.ask(at, if all { self.plan.column.clone() } else { range });
                }
            }
            return;
        }
        self.ask_columns();
    }

    /// Asks for as many further columns as are wanting, of the best sources.
    fn ask_columns(&mut self) {
        let coming = self.asked.iter().filter(|asked| !asked.late && asked.range == self.plan.column).count();
        // To find the false one among them, all are wanted.
        let wanted = if self.checked { self.sources.len() } else { self.k() };
        let mut wanting = wanted.saturating_sub(self.columns.len() + coming);
        for late in [false, true] {
            for at in 0..self.sources.len() {
                let source = self.sources[at];
                if wanting > 0 && !source.failed && !source.asked_column && source.late == late {
                    self.ask(at, self.plan.column.clone());
                    wanting -= 1;
                }
            }
        }
    }

    fn ask(&mut self, at: usize, range: Range<u32>) {
        let id = self.next_id;
        self.next_id += 1;
        let source = &mut self.sources[at];
        source.asked_column |= range == self.plan.column;
        let Source { index, agent, suspect, .. } = *source;
        self.asked.push(Asked { id, index, agent, range: range.clone(), since: Instant::now(), suspect, late: false });
        let key = ShardKey { stripe: self.stripe.id, index };
        let wanted = self.wanted(&range);
        let part = (wanted != (0..self.stripe.record.shard_bytes)).then_some(wanted);
        let get = self.shared.peers.get(agent, key, part, self.urgency);
        self.answers.push(Box::pin(async move { (id, get.await) }));
    }

    fn answered(&mut self, id: usize, result: Result<Bytes, PeerError>) {
        let Some(at) = self.asked.iter().position(|asked| asked.id == id) else { return };
        let asked = self.asked.swap_remove(at);
        let result = result.and_then(|bytes| self.check(&asked, bytes));
        match result {
            Ok(bytes) => {
                let took = asked.since.elapsed();
                self.slowest = self.slowest.max(Some(took));
                self.shared.latencies.record(asked.agent, Request::Get, bytes.len(), took);
                let missing = self.pieces.iter().all(|(have, _)| *have != asked.index);
                if let Some(piece) = self.piece_of(asked.index, &asked.range).filter(|_| missing) {
                    self.pieces.push((asked.index, bytes.slice(piece)));
                }
                if asked.range == self.plan.column {
                    self.columns.push((asked.index, bytes));
                }
            }
            Err(error) => self.failed(&asked, error),
        }
    }

    /// Where the piece planned of a shard is in a range of it, if the range covers it.
    fn piece_of(&self, index: u8, range: &Range<u32>) -> Option<Range<usize>> {
        let (_, piece) = self.plan.pieces.iter().find(|(of, _)| *of == index)?;
        let covered = range.start <= piece.start && piece.end <= range.end;
        covered.then(|| (piece.start - range.start) as usize..(piece.end - range.start) as usize)
    }

    /// The giver has checked its own checksums; here the length, and where it matters the hash of the whole shard.
    fn check(&self, asked: &Asked, bytes: Bytes) -> Result<Bytes, PeerError> {
        let damaged = |reason: &str| PeerError::Damaged { agent: asked.agent, reason: reason.to_owned() };
        let wanted = self.wanted(&asked.range);
        if bytes.len() != wanted.len() {
            return Err(damaged("it gave another number of bytes"));
        }
        if !self.checked {
            return Ok(bytes);
        }
        let expected = self.stripe.record.shards.get(usize::from(asked.index)).map(|place| place.hash);
        if expected != Some(shard_hash(&bytes)) {
            return Err(damaged("its bytes do not match the ledger's hash"));
        }
        Ok(bytes.slice(asked.range.start as usize..asked.range.end as usize))
    }

    /// What a shard's agent is asked for to get a range of it: all of it where its hash is to be checked.
    fn wanted(&self, range: &Range<u32>) -> Range<u32> {
        if self.checked { 0..self.stripe.record.shard_bytes } else { range.clone() }
    }

    fn failed(&mut self, asked: &Asked, error: PeerError) {
        tracing::debug!(%error, stripe = %self.stripe.id, index = asked.index, "a shard cannot be had");
        if let Some(source) = self.sources.iter_mut().find(|source| source.index == asked.index) {
            source.failed = true;
        }
        match error {
            PeerError::NotFound(_) | PeerError::Damaged { .. } => {
                self.bad += 1;
                let key = ShardKey { stripe: self.stripe.id, index: asked.index };
                self.shared.counters.note_bad(BadShard { key, agent: asked.agent });
            }
            PeerError::Unreachable { .. } => self.shared.peers.suspect(asked.agent, "it did not give a shard"),
            PeerError::Full(_) | PeerError::Failed { .. } => {}
        }
        self.last_error = Some(error);
        self.ask_columns();
    }

    /// The parts that give the bytes, if they are all here.
    fn complete(&mut self) -> Option<Vec<(u8, Bytes)>> {
        if !self.checked && self.pieces.len() == self.plan.pieces.len() {
            return Some(std::mem::take(&mut self.pieces));
        }
        let awaited = self.checked && self.asked.iter().any(|asked| !asked.late);
        if self.columns.len() >= self.k() && !awaited {
            let mut columns = std::mem::take(&mut self.columns);
            columns.truncate(self.k());
            return Some(columns);
        }
        None
    }

    /// Whether neither the pieces nor `k` columns can come any more.
    fn is_hopeless(&self) -> bool {
        if self.asked.is_empty() {
            return true;
        }
        let coming = |index: u8| {
            self.pieces.iter().any(|(have, _)| *have == index)
                || self.asked.iter().any(|asked| asked.index == index && self.piece_of(index, &asked.range).is_some())
        };
        if !self.checked && self.plan.pieces.iter().all(|(index, _)| coming(*index)) {
            return false;
        }
        self.sources.iter().filter(|source| !source.failed).count() < self.k()
    }

    fn failure(&self) -> DriveError {
        let (k, shards) = (self.k(), self.stripe.record.shards.len());
        let left = self.sources.iter().filter(|source| !source.failed).count();
        if shards - self.bad.min(shards) < k {
            return DriveError::Damaged(format!("{} of {shards} shards of a chunk are lost, {k} are needed", self.bad));
        }
        let detail = self.last_error.as_ref().map(|error| format!("; {error}")).unwrap_or_default();
        DriveError::Unavailable(format!("{left} of {shards} shards of a chunk can be had, {k} are needed{detail}"))
    }

    async fn open(self, parts: Vec<(u8, Bytes)>) -> Result<Bytes, DriveError> {
        let (keys, record, plan) = (Arc::clone(&self.shared.keys), Arc::clone(&self.stripe.record), self.plan);
        let bytes = parts.iter().map(|(_, part)| part.len()).sum();
        let k = record.k;
        if k > 1 && parts.iter().any(|(index, _)| *index >= k) {
            add(&self.shared.counters.degraded_reads, 1);
        }
        drop(self.answers);
        work_on(bytes, move || open(&keys, &record, &plan, parts)).await?.map_err(open_failed)
    }
}

fn open_failed(error: StripeError) -> DriveError {
    match error {
        StripeError::Newer(_) | StripeError::Codec(CodecError::Unknown(_)) => {
            DriveError::Unavailable(error.to_string())
        }
        _ => DriveError::Damaged(error.to_string()),
    }
}
