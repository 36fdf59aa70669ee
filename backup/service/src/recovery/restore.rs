//! One restore, in the background: what there is to do is looked at first, then done; what somebody asks for meanwhile comes
//! first.
//!
//! Nothing of it is kept over a restart: begun again, it finds what is restored already and leaves that alone.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use shoal_archive::{Archive, ArchiveError, Engine, Failures, First, Outcome, Preview, Repository, Restore, Watch};
use shoal_backup::plan::PathBytes;
use shoal_backup::recovery::{Action, RestoreQueue, Step, Totals, Work};
use shoal_backup::{ArchiveId, ObjectName, eta_ms};
use tokio_util::sync::CancellationToken;

use super::RecoveryError;
use super::request::RestoreRequest;
use super::session::Session;
use super::view::{
    ArchiveView, FailureView, FailuresView, NAMED_FAILURES, NAMED_STEPS, PlanView, RestoreState, RestoreView, StepView,
};

/// Archives that are put one over the other, at most: each is read at the same time.
pub const ARCHIVES_LIMIT: usize = 128;

/// What is restored, worked out.
pub(super) struct Chosen {
    /// The oldest first.
    pub(super) archives: Vec<Archive>,
    pub(super) restore: Restore,
}

impl Chosen {
    /// Which archives a request means.
    pub(super) fn new(engine: &Engine, request: &RestoreRequest) -> Result<Self, RecoveryError> {
        let all = engine.archives()?;
        let last = request.archive.find(&all)?.clone();
        let mut archives = vec![last.clone()];
        if request.up_to {
            // Another PC's archives, or another program's, are no earlier state of these files.
            let number = last.number.ok_or_else(|| {
                let why = "another program made this archive: it has no number, and so no archives before it";
                RecoveryError::BadRequest(why.to_owned())
            })?;
            archives = all
                .into_iter()
                .filter(|archive| archive.host == last.host && archive.number.is_some_and(|it| it <= number))
                .collect();
            if archives.len() > ARCHIVES_LIMIT {
                return Err(RecoveryError::TooManyArchives(number.0));
            }
        }
        let restore = Restore {
            archives: archives.iter().map(|archive| archive.name).collect(),
            target: request.target.clone().unwrap_or_else(|| PathBuf::from("/")),
            ticked: request.ticked(),
            existing: request.existing,
        };
        Ok(Self { archives, restore })
    }

    fn names(&self) -> &[ObjectName] {
        &self.restore.archives
    }

    /// Looks at what there is to do. `each`: a step, after it was counted.
    fn preview(
        &self,
        engine: &Engine,
        watch: &Watch,
        each: &mut (dyn FnMut(&Step) + Send),
    ) -> Result<(Preview, Vec<PathBytes>), ArchiveError> {
        let mut not_found: BTreeSet<PathBytes> = self.restore.ticked.iter().cloned().collect();
        let mut see = |step: &Step| {
            not_found.remove(&step.found.entry.path);
            each(step);
        };
        let preview = self.restore.preview(engine, watch, &mut see)?;
        not_found.remove(&PathBytes::from("/"));
        Ok((preview, not_found.into_iter().collect()))
    }

    /// What it would do.
    pub(super) fn plan(&self, engine: &Engine, cancelled: &Arc<AtomicBool>) -> Result<PlanView, RecoveryError> {
        let mut steps = Vec::new();
        let mut more_steps = false;
        let mut each = |step: &Step| {
            if step.action == Action::Unchanged {
                return;
            }
            more_steps |= steps.len() >= NAMED_STEPS;
            if !more_steps {
                steps.push(StepView::of(step, self.names()));
            }
        };
        let watch = Watch::new(Arc::clone(cancelled), |_| {});
        let (preview, not_found) = self.preview(engine, &watch, &mut each)?;
        Ok(PlanView {
            archives: self.archives.iter().map(ArchiveView::from).collect(),
            totals: preview.totals.into(),
            free_bytes: preview.free_bytes,
            fits: preview.fits(),
            steps,
            more_steps,
            not_found,
            failures: FailuresView::of(&preview.failures, NAMED_FAILURES),
        })
    }
}

/// A restore.
pub(super) struct Job {
    id: u64,
    session: Mutex<Option<Arc<Session>>>,
    owner: dci_proto::AgentId,
    is_own: bool,
    chosen: Chosen,
    cancelled: Arc<AtomicBool>,
    cancel: CancellationToken,
    began_ms: u64,
    fetched_before: u64,
    /// Bytes of what was asked for, and entries.
    asked_bytes: AtomicU64,
    asked_restored: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    state: RestoreState,
    queue: RestoreQueue,
    asked: usize,
    totals: Option<Totals>,
    not_found: Vec<PathBytes>,
    watch: Option<Arc<Watch>>,
    outcome: Option<Outcome>,
    error: Option<String>,
    ended_ms: Option<u64>,
    fetched_bytes: u64,
    liars: Vec<dci_proto::AgentId>,
}

impl Job {
    pub(super) fn new(id: u64, session: Arc<Session>, chosen: Chosen, began_ms: u64) -> Self {
        Self {
            id,
            owner: session.owner,
            is_own: session.is_own,
            fetched_before: session.fetching.fetched_bytes(),
            session: Mutex::new(Some(session)),
            chosen,
            cancelled: Arc::default(),
            cancel: CancellationToken::new(),
            began_ms,
            asked_bytes: AtomicU64::new(0),
            asked_restored: AtomicU64::new(0),
            inner: Mutex::new(Inner {
                state: RestoreState::Waiting,
                queue: RestoreQueue::default(),
                asked: 0,
                totals: None,
                not_found: Vec::new(),
                watch: None,
                outcome: None,
                error: None,
                ended_ms: None,
                fetched_bytes: 0,
                liars: Vec::new(),
            }),
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn session(&self) -> Option<Arc<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn has_ended(&self) -> bool {
        self.inner().state.has_ended()
    }

    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
        self.cancel.cancel();
    }

    pub(super) fn cancellation(&self) -> CancellationToken {
        self.cancel.clone()
    }

    /// Somebody wants this first.
    pub(super) fn ask_first(&self, path: PathBytes) -> Result<(), RecoveryError> {
        let ticked = &self.chosen.restore.ticked;
        if !ticked.is_empty() && !ticked.iter().any(|ticked| path.is_within(ticked)) {
            return Err(RecoveryError::NotTicked(path));
        }
        let mut inner = self.inner();
        if inner.state.has_ended() {
            return Ok(());
        }
        if !inner.queue.ask(path) {
            return Err(RecoveryError::Busy);
        }
        inner.asked += 1;
        Ok(())
    }

    /// Does it. Blocks.
    pub(super) fn run(&self, now_ms: impl Fn() -> u64) {
        let done = self.session().map(|session| self.carry_out(&session));
        if let Some(session) = self.session.lock().unwrap_or_else(PoisonError::into_inner).take() {
            session.touch();
            let mut inner = self.inner();
            inner.fetched_bytes = session.fetching.fetched_bytes().saturating_sub(self.fetched_before);
            inner.liars = session.fetching.liars();
        }
        self.end(done.unwrap_or(Err(ArchiveError::Cancelled)), now_ms());
    }

    fn carry_out(&self, session: &Session) -> Result<Outcome, ArchiveError> {
        let engine = session.engine(&self.cancel);
        self.inner().state = RestoreState::Planning;
        let watch = Watch::new(Arc::clone(&self.cancelled), |_| {});
        let (preview, not_found) = self.chosen.preview(&engine, &watch, &mut |_| {})?;
        let watch = Arc::new(Watch::new(Arc::clone(&self.cancelled), |_| {}));
        {
            let mut inner = self.inner();
            inner.state = RestoreState::Running;
            inner.totals = Some(preview.totals);
            inner.not_found = not_found;
            inner.watch = Some(Arc::clone(&watch));
        }
        self.chosen.restore.run_with(&engine, &watch, &mut Asked { job: self, engine: &engine })
    }

    fn end(&self, done: Result<Outcome, ArchiveError>, now_ms: u64) {
        let is_cancelled = self.cancelled.load(Ordering::Relaxed);
        let mut inner = self.inner();
        inner.queue.background_done();
        inner.ended_ms = Some(now_ms);
        inner.asked = 0;
        let (outcome, error) = match done {
            Ok(outcome) => {
                let stopped = outcome.stopped.as_ref().map(ToString::to_string);
                (Some(outcome), stopped)
            }
            Err(error) => (None, Some(error.to_string())),
        };
        let is_whole = outcome.as_ref().is_some_and(Outcome::is_complete) && inner.not_found.is_empty();
        inner.state = match &error {
            Some(_) if is_cancelled => RestoreState::Cancelled,
            Some(_) => RestoreState::Failed,
            None if is_whole => RestoreState::Done,
            None => RestoreState::DoneWithFailures,
        };
        inner.outcome = outcome;
        inner.error = error;
        tracing::info!(restore = self.id, state = ?inner.state, "a restore ended");
    }

    pub(super) fn failures(&self, limit: usize) -> FailuresView {
        let inner = self.inner();
        let none = Failures::default();
        let failures = inner.outcome.as_ref().map_or(&none, |outcome| &outcome.failures);
        let mut view = FailuresView::of(failures, limit);
        if inner.outcome.is_some() {
            view.count += inner.not_found.len() as u64;
            let missing = inner.not_found.iter().map(|path| FailureView {
                path: Some(path.clone()),
                why: format!("{path} is not in the archive: `shoal archives find` says in which archives a name is"),
                pack: None,
            });
            view.named.splice(..0, missing);
            view.named.truncate(limit);
        }
        view
    }

    pub(super) fn view(&self) -> RestoreView {
        let failures = self.failures(NAMED_FAILURES);
        let fetching = self.session().map(|session| Arc::clone(&session.fetching));
        let inner = self.inner();
        let progress = inner.watch.as_ref().map(|watch| watch.progress()).unwrap_or_default();
        let bytes_done = progress.bytes + self.asked_bytes.load(Ordering::Relaxed);
        let totals = inner.totals.map(super::view::TotalsView::from);
        let has_ended = inner.state.has_ended();
        let elapsed_ms = progress.elapsed_ms.max(1);
        let bytes_per_s = if has_ended { 0 } else { bytes_done.saturating_mul(1_000) / elapsed_ms };
        let left = totals.map(|totals| totals.written_bytes().saturating_sub(bytes_done));
        let restored = inner.outcome.as_ref().map_or(0, |outcome| outcome.restored);
        RestoreView {
            id: self.id,
            owner: self.owner,
            is_own: self.is_own,
            archive: self.chosen.archives.last().map(ArchiveView::from),
            archives: self.chosen.archives.len(),
            target: self.chosen.restore.target.clone(),
            state: inner.state,
            totals,
            files_done: progress.files,
            bytes_done,
            fetched_bytes: fetching
                .as_ref()
                .map_or(inner.fetched_bytes, |fetching| fetching.fetched_bytes().saturating_sub(self.fetched_before)),
            bytes_per_s,
            eta_ms: left.filter(|_| !has_ended).and_then(|left| eta_ms(bytes_done, left, elapsed_ms)),
            asked: inner.asked,
            began_ms: self.began_ms,
            ended_ms: inner.ended_ms,
            restored: restored + self.asked_restored.load(Ordering::Relaxed),
            failures,
            error: inner.error.clone(),
            liars: fetching.map_or_else(|| inner.liars.clone(), |fetching| fetching.liars()),
        }
    }

    /// The number of the archive, for who has no more.
    pub(super) fn archive_number(&self) -> Option<ArchiveId> {
        self.chosen.archives.last().and_then(|archive| archive.number)
    }
}

/// What somebody asked for.
struct Asked<'a> {
    job: &'a Job,
    engine: &'a Engine,
}

impl First for Asked<'_> {
    fn waits(&mut self) -> bool {
        matches!(self.job.inner().queue.next(), Work::Asked(_))
    }

    /// What cannot be restored now the rest tries again, and tells of it.
    fn run(&mut self) {
        loop {
            let Work::Asked(path) = self.job.inner().queue.next() else { return };
            let restore = Restore { ticked: vec![path.clone()], ..self.job.chosen.restore.clone() };
            let watch = Watch::new(Arc::clone(&self.job.cancelled), |_| {});
            match restore.run(self.engine, &watch) {
                Ok(outcome) => _ = self.job.asked_restored.fetch_add(outcome.restored, Ordering::Relaxed),
                Err(error) => tracing::warn!(%path, %error, "what was asked for first could not be restored yet"),
            }
            self.job.asked_bytes.fetch_add(watch.progress().bytes, Ordering::Relaxed);
            let mut inner = self.job.inner();
            inner.queue.asked_done(&path);
            inner.asked = inner.asked.saturating_sub(1);
        }
    }
}
