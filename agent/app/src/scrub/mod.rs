//! Every agent reads all its shards again, at idle pace over a set period or at once when asked, and has made anew what
//! is damaged, missing or not what the ledger knows.
//!
//! It walks what the ledger expects this agent to hold, so a shard that is gone is found as well as one that rotted. When
//! (and where it goes on after a restart) is decided by [`shoal_care::scrub`].

mod audit;
mod names;
pub mod overview;
pub mod record;
pub mod report;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use shoal_care::pace::Class;
use shoal_care::scrub::Step;
use shoal_ledger::LedgerClient;
use shoal_ledger::query::ExpectedShard;
use shoal_store::{ShardStore, StoreError};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::AgentError;
use crate::holdings::{Holdings, Share};
use crate::machine::{Background, Turn, Wake};
use crate::mend::Mender;
use crate::ticket::now_ms;
use crate::wire::ScrubAsk;
use record::{Record, Wrong};
use report::ScrubReport;

/// How far it is is kept at least this often while it reads.
const KEEP_INTERVAL: Duration = Duration::from_secs(2);
/// After something that keeps it from going on (no ledger to ask, an unplugged disk) it looks again this much later.
const TROUBLE_PAUSE: Duration = Duration::from_secs(15);
/// So many shards in a row the disk cannot read: that is the disk, not the shards.
const UNREADABLE_IN_A_ROW: u32 = 16;
/// Bytes read in one turn of background work, about.
const TURN_BYTES: u64 = 4 * 1024 * 1024;
/// Shards read in one turn, at most.
const TURN_SHARDS: u32 = 64;
/// While the mender has no room for a finding, it is asked again this often.
const ROOM_LOOK: Duration = Duration::from_millis(200);
/// Names of files are looked for at most this often while a scrub goes on: it reads all names there are.
const NAMES_INTERVAL: Duration = Duration::from_secs(300);
/// How much there is to read is asked anew this often.
const TOTAL_INTERVAL: Duration = Duration::from_secs(300);

/// What a scrub is made of.
pub(crate) struct ScrubParts {
    pub(crate) store: Arc<dyn ShardStore>,
    pub(crate) holdings: Arc<Holdings>,
    pub(crate) mender: Arc<Mender>,
    /// Where names of files are looked up; `None` on an agent that holds no ledger.
    pub(crate) ledger: Option<Arc<dyn LedgerClient>>,
    pub(crate) background: Arc<Background>,
    pub(crate) wake: Wake,
    /// Where it is kept how far it is.
    pub(crate) file: PathBuf,
}

/// Reads this agent's shards again.
pub(crate) struct Scrubber {
    parts: ScrubParts,
    record: Mutex<Record>,
    /// Bytes there are to read, and the period, as last heard.
    extent: Mutex<(u64, u64)>,
    problem: Mutex<Option<String>>,
    asked: Notify,
}

/// What is read next.
#[derive(Default)]
struct Ahead {
    round: u64,
    shards: VecDeque<ExpectedShard>,
    /// No page follows.
    last: bool,
    in_a_row: u32,
    kept: Option<Instant>,
    named: Option<Instant>,
    measured: Option<Instant>,
    turn: Option<(Turn, u64, u32)>,
}

impl Scrubber {
    pub(crate) fn new(parts: ScrubParts) -> Self {
        let record = Mutex::new(Record::read(&parts.file));
        Self { parts, record, extent: Mutex::default(), problem: Mutex::default(), asked: Notify::new() }
    }

    /// Has all shards read now.
    fn ask(&self) {
        {
            let mut record = self.record();
            record.scrub.ask(now_ms());
            record.forget_old();
        }
        self.asked.notify_one();
    }

    /// Does what another agent, or this one's API, asks, and says how it stands.
    pub(crate) fn answer(&self, ask: ScrubAsk) -> ScrubReport {
        if ask.start {
            self.ask();
        }
        self.report(ask.brief)
    }

    /// How it stands; `brief`: without the findings.
    fn report(&self, brief: bool) -> ScrubReport {
        self.settle_findings();
        let (total_bytes, period_s) = *self.extent.lock().unwrap_or_else(PoisonError::into_inner);
        let record = self.record();
        let (scrub, round) = (record.scrub, record.scrub.round());
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        let here = self.parts.mender.pending_here();
        ScrubReport {
            round: round.number,
            under_way: scrub.is_under_way(),
            asked: round.asked,
            permille: scrub.permille(total_bytes),
            eta_s: scrub.eta_s(now_ms(), total_bytes, period_s),
            begun_ms: round.begun_ms,
            shards: round.shards,
            bytes: round.bytes,
            total_bytes,
            found: round.found,
            resumed: round.resumed,
            last_ended_ms: scrub.done().and_then(|done| done.ended_ms),
            last_shards: scrub.done().map_or(0, |done| done.shards),
            unmended: count(here.len() + record.findings.iter().filter(|one| !one.taken).count()),
            untried: count(self.parts.mender.untried()),
            problem: self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            findings: if brief { Vec::new() } else { record.with_met(here) },
            findings_beyond: record.beyond,
        }
    }

    /// Scrubs until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let ended_well = self.begin();
        if !ended_well {
            tracing::info!("this agent did not end as it should have the last time");
        }
        let audits = async {
            // However it ended: a disk may have been changed meanwhile.
            self.audit().await;
            self.audit_after_sleeps().await;
        };
        shutdown.run_until_cancelled(async { tokio::join!(self.work(), audits) }).await;
        self.record().ended_well = true;
        self.keep();
    }

    /// Takes up what was left by the run before; answers whether that one ended in order.
    fn begin(&self) -> bool {
        let ended_well = {
            let mut record = self.record();
            record.scrub.resume();
            for finding in record.findings.iter_mut().filter(|finding| !finding.mended) {
                finding.taken = self.parts.mender.add_own(finding.key);
            }
            std::mem::replace(&mut record.ended_well, false)
        };
        self.keep();
        ended_well
    }

    async fn work(&self) {
        let mut ahead = Ahead::default();
        loop {
            let tried = self.go_on(&mut ahead).await;
            *self.problem.lock().unwrap_or_else(PoisonError::into_inner) =
                tried.as_ref().err().map(ToString::to_string);
            ahead.turn = None;
            let pause = match tried {
                Ok(pause) => pause,
                Err(error) => {
                    tracing::debug!(%error, "the scrub pauses");
                    ahead = Ahead { kept: ahead.kept, named: ahead.named, ..Ahead::default() };
                    TROUBLE_PAUSE
                }
            };
            if !pause.is_zero() {
                let _ = tokio::time::timeout(pause, self.asked.notified()).await;
            }
        }
    }

    /// A step of the scrub; answers how long to wait for the next.
    async fn go_on(&self, ahead: &mut Ahead) -> Result<Duration, AgentError> {
        if is_due(ahead.measured, TOTAL_INTERVAL) {
            self.measure(&self.parts.holdings.share(None).await?);
            ahead.measured = Some(Instant::now());
        }
        let (total_bytes, period_s) = *self.extent.lock().unwrap_or_else(PoisonError::into_inner);
        let step = self.record().scrub.step(now_ms(), total_bytes, period_s);
        match step {
            Step::Wait { ms } => {
                self.name_findings(ahead).await;
                Ok(Duration::from_millis(ms))
            }
            Step::Read { bytes } => self.read(ahead, bytes).await.map(|()| Duration::ZERO),
        }
    }

    /// Reads on, about so many bytes.
    async fn read(&self, ahead: &mut Ahead, bytes: u64) -> Result<(), AgentError> {
        let mut left = bytes;
        loop {
            let round = self.record().scrub.round();
            if round.number != ahead.round {
                let (kept, named, measured) = (ahead.kept, ahead.named, ahead.measured);
                *ahead = Ahead { round: round.number, kept, named, measured, ..Ahead::default() };
                self.record().forget_old();
            }
            let Some(shard) = ahead.shards.pop_front() else {
                if ahead.last {
                    self.end(ahead).await;
                    return Ok(());
                }
                let share = self.parts.holdings.share(round.cursor).await?;
                self.measure(&share);
                if let (true, Some(next)) = (share.page.shards.is_empty(), share.page.next) {
                    self.record().scrub.passed(next);
                }
                ahead.last = share.page.next.is_none();
                ahead.shards = share.page.shards.into();
                continue;
            };
            self.take_turn(ahead, round.asked, shard).await;
            let wrong = self.check(shard, ahead).await?;
            {
                let mut record = self.record();
                if record.scrub.round().number != ahead.round {
                    continue;
                }
                record.scrub.read(shard.key.stripe, u64::from(shard.bytes), wrong);
            }
            if is_due(ahead.kept, KEEP_INTERVAL) {
                self.keep();
                ahead.kept = Some(Instant::now());
            }
            left = left.saturating_sub(u64::from(shard.bytes));
            if left == 0 {
                return Ok(());
            }
        }
    }

    /// Goes on with the turn there is, or waits for the next. What somebody asked for goes on on battery too.
    async fn take_turn(&self, ahead: &mut Ahead, asked: bool, next: ExpectedShard) {
        if let Some((_, bytes, shards)) = &mut ahead.turn
            && *bytes < TURN_BYTES
            && *shards < TURN_SHARDS
        {
            *bytes += u64::from(next.bytes);
            *shards += 1;
            return;
        }
        ahead.turn = None;
        let class = if asked { Class::Repair } else { Class::Idle };
        ahead.turn = Some((self.parts.background.turn(class).await, u64::from(next.bytes), 1));
    }

    async fn end(&self, ahead: &mut Ahead) {
        let round = {
            let mut record = self.record();
            record.scrub.end(now_ms());
            record.scrub.round()
        };
        tracing::info!(shards = round.shards, bytes = round.bytes, found = round.found, "read all shards again");
        ahead.named = None;
        self.name_findings(ahead).await;
        self.keep();
    }

    /// Reads a shard again; answers whether it is bad.
    async fn check(&self, shard: ExpectedShard, ahead: &mut Ahead) -> Result<bool, AgentError> {
        let verified = self.parts.store.verify(shard.key).await.map(Some);
        let Some((wrong, detail)) = judge(shard, verified)? else {
            ahead.in_a_row = 0;
            return Ok(false);
        };
        // Mending takes turns too.
        ahead.turn = None;
        if wrong == Wrong::Unreadable {
            ahead.in_a_row += 1;
            if ahead.in_a_row >= UNREADABLE_IN_A_ROW {
                return Err(AgentError::Internal(format!("the disk does not read: {detail}")));
            }
        }
        Ok(self.found(shard, wrong, &detail).await)
    }

    /// Notes a bad shard and has it mended, if the ledger still counts on it here.
    async fn found(&self, shard: ExpectedShard, wrong: Wrong, detail: &str) -> bool {
        if let Ok(None) = self.parts.holdings.others(shard.key, self.parts.holdings.agent).await {
            return false;
        }
        tracing::warn!(key = %shard.key, ?wrong, detail, "a shard is bad");
        self.record().note(shard.key, wrong, detail, now_ms());
        // As long as there is hope for room, so that not everything is found and nothing mended.
        while !self.settle_findings() && self.parts.mender.untried() > 0 {
            tokio::time::sleep(ROOM_LOOK).await;
        }
        true
    }

    fn measure(&self, share: &Share) {
        *self.extent.lock().unwrap_or_else(PoisonError::into_inner) = (share.bytes, share.period_s);
    }

    /// Looks up the files of findings that have no names yet, where this agent can.
    async fn name_findings(&self, ahead: &mut Ahead) {
        let Some(ledger) = &self.parts.ledger else { return };
        let keys: Vec<_> = self.record().findings.iter().filter(|one| one.files.is_none()).map(|one| one.key).collect();
        if keys.is_empty() || !is_due(ahead.named, NAMES_INTERVAL) {
            return;
        }
        ahead.named = Some(Instant::now());
        match names::of_shards(ledger, keys).await {
            Ok(mut found) => {
                let mut record = self.record();
                for finding in record.findings.iter_mut().filter(|finding| finding.files.is_none()) {
                    finding.files = found.remove(&finding.key);
                    if let Some(files) = &finding.files {
                        tracing::warn!(key = %finding.key, files = ?files.names, more = files.more, "a bad shard is of these files");
                    }
                }
            }
            Err(error) => tracing::debug!(%error, "the files of bad shards are not known"),
        }
        self.keep();
    }

    /// Has findings mended and notes which are by now; answers whether all are at least taken up.
    fn settle_findings(&self) -> bool {
        let mut record = self.record();
        let mut all_taken = true;
        for finding in record.findings.iter_mut().filter(|finding| !finding.mended) {
            finding.taken = finding.taken || self.parts.mender.add_own(finding.key);
            all_taken &= finding.taken;
            if finding.taken {
                finding.reason = self.parts.mender.pending_reason(finding.key);
                finding.mended = finding.reason.is_none();
            }
        }
        all_taken
    }

    /// What cannot be kept is only read again after a restart.
    fn keep(&self) {
        self.settle_findings();
        let record = self.record().clone();
        if let Err(error) = record.keep(&self.parts.file) {
            tracing::warn!(%error, "how far the scrub is cannot be kept");
        }
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_due(last: Option<Instant>, interval: Duration) -> bool {
    last.is_none_or(|last| last.elapsed() >= interval)
}

/// What is wrong with a shard, by what the store says of it; an error if that is of the store and not the shard.
fn judge(
    shard: ExpectedShard,
    said: Result<Option<shoal_store::ShardInfo>, StoreError>,
) -> Result<Option<(Wrong, String)>, AgentError> {
    match said {
        Ok(Some(info)) if info.hash == shard.hash => Ok(None),
        Ok(Some(_)) => Ok(Some((Wrong::Other, "its hash is not the one the ledger has".to_owned()))),
        Ok(None) => Ok(Some((Wrong::Missing, "it is not there".to_owned()))),
        Err(StoreError::NotFound(_)) => Ok(Some((Wrong::Missing, "it is not there".to_owned()))),
        Err(StoreError::Damaged { reason, .. }) => Ok(Some((Wrong::Damaged, reason))),
        Err(error @ StoreError::Unplugged(_)) => Err(AgentError::Internal(error.to_string())),
        Err(error) => Ok(Some((Wrong::Unreadable, error.to_string()))),
    }
}
