//! Archives looked at and restored: this PC's own, or anybody's with the recovery kit, from whoever holds a copy.
//!
//! ```text
//! request   whose archives, which, what of it, where to
//! view      what is told
//! pool      who holds copies; the owner's catalogue
//! fetching  objects that are not here come from the nearest holder, checked; liars are left aside
//! session   a repository that is open: all but packs is here, packs come when they are read
//! browse    archives, files in them, differences, names
//! restore   one restore in the background; what is asked for comes first
//! drill     a sample restored, compared and removed
//! ```
//!
//! For another's backup, everything but packs is fetched into `DATA/backup/recover/OWNER` when it is opened, and packs as they
//! are needed; it is removed when nobody has used it for a while. For the own backup, the repository of this PC is read, and
//! a pack that is missing or damaged in it is fetched into its place. A passphrase is held no longer than it takes to open.

mod browse;
mod drill;
mod error;
mod fetching;
mod pool;
mod request;
mod restore;
mod session;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_archive::{Engine, Repository};
use shoal_backup::catalogue::Verifier;
use shoal_backup::drill::DrillResult;
use shoal_backup::plan::PathBytes;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroize;

use crate::call::{Answer, Ask, CallError, Drill, No, Reply};
use crate::network::{Answers, Machine, Network};
use crate::owner::LocalDrill;

pub use browse::PAGE_LIMIT;
pub use drill::DRILL_MINUTES;
pub use error::RecoveryError;
pub use fetching::{Liar, TellLiar};
pub use pool::Patience;
pub use request::{ArchiveRef, RestoreRequest, TICKED_LIMIT, Which};
pub use restore::ARCHIVES_LIMIT;
pub use view::{
    ArchiveView, Change, DiffPage, DifferenceView, FailureView, FailuresView, FileView, FilesPage, FindPage, FoundView,
    NAMED_FAILURES, NAMED_STEPS, OwnerView, PlanView, RestoreState, RestoreView, SourceView, StepAction, StepView,
    SumView, TotalsView,
};

use pool::Pool;
use restore::{Chosen, Job};
use session::Session;

/// Repositories that are open at the same time.
pub const SESSIONS_LIMIT: usize = 8;
/// Restores that work at the same time; others wait.
pub const RESTORES_AT_ONCE: usize = 3;
/// Restores that have not ended.
pub const RESTORES_LIMIT: usize = 32;
/// Restores that are remembered when they have ended.
const ENDED_LIMIT: usize = 64;
/// A repository that was not used for so long is closed, and what was fetched is removed.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// How often that is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Bytes of a drill's request, at most.
const DRILL_LIMIT_BYTES: usize = 64 << 10;

/// What recovery works with.
pub struct RecoveryParts {
    /// `DATA/backup/recover`: what is fetched. Nothing else may be in it.
    pub folder: PathBuf,
    /// The pool.
    pub network: Arc<dyn Network>,
    /// Checks what owners signed.
    pub verifier: Arc<dyn Verifier + Send + Sync>,
    /// The machine.
    pub machine: Arc<dyn Machine>,
    /// This PC's own repository, once it has one.
    pub own: Arc<dyn Fn() -> Option<Arc<Engine>> + Send + Sync>,
    /// The copies that this PC holds itself: its holder.
    pub local: Option<Arc<dyn Answers>>,
    /// Whether this PC holds a copy for an owner.
    pub holds_copy_of: Arc<dyn Fn(AgentId) -> bool + Send + Sync>,
    /// Is told of members that gave wrong bytes.
    pub tell_liar: TellLiar,
    /// How long is waited for others.
    pub patience: Patience,
}

/// Looks at archives and restores them.
pub struct Recovery {
    folder: PathBuf,
    pool: Arc<Pool>,
    machine: Arc<dyn Machine>,
    own: Arc<dyn Fn() -> Option<Arc<Engine>> + Send + Sync>,
    holds_copy_of: Arc<dyn Fn(AgentId) -> bool + Send + Sync>,
    tell_liar: TellLiar,
    sessions: Mutex<BTreeMap<Option<AgentId>, Slot>>,
    jobs: Mutex<Jobs>,
    gate: Arc<Semaphore>,
    drills: Arc<Semaphore>,
    cancel: CancellationToken,
}

/// Where a repository is, once it is open; who opens it holds this.
type Slot = Arc<tokio::sync::Mutex<Option<Arc<Session>>>>;

#[derive(Default)]
struct Jobs {
    last: u64,
    jobs: VecDeque<Arc<Job>>,
}

impl Recovery {
    /// Begins. What an earlier start fetched is removed.
    ///
    /// # Errors
    /// The folder cannot be made or cleared.
    pub fn open(parts: RecoveryParts) -> Result<Arc<Self>, RecoveryError> {
        let folder = parts.folder;
        match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(RecoveryError::io("clear", &folder)(error));
            }
            _ => {}
        }
        std::fs::create_dir_all(&folder).map_err(RecoveryError::io("make", &folder))?;
        Ok(Arc::new(Self {
            folder,
            pool: Arc::new(Pool::new(
                parts.network,
                parts.local,
                parts.verifier,
                Arc::clone(&parts.machine),
                parts.patience,
            )),
            machine: parts.machine,
            own: parts.own,
            holds_copy_of: parts.holds_copy_of,
            tell_liar: parts.tell_liar,
            sessions: Mutex::default(),
            jobs: Mutex::default(),
            gate: Arc::new(Semaphore::new(RESTORES_AT_ONCE)),
            drills: Arc::new(Semaphore::new(1)),
            cancel: CancellationToken::new(),
        }))
    }

    /// Closes repositories that nobody uses any more, until the shutdown; then ends all restores.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        while tokio::time::timeout(LOOK_EVERY, shutdown.cancelled()).await.is_err() {
            self.close_unused(IDLE).await;
        }
        self.cancel.cancel();
        self.jobs().jobs.iter().for_each(|job| job.cancel());
    }

    /// Closes the repository of an owner and removes what was fetched of it.
    ///
    /// # Errors
    /// [`RecoveryError::Busy`] while a restore uses it.
    pub async fn close(&self, owner: AgentId) -> Result<(), RecoveryError> {
        let Some(slot) = self.sessions().get(&Some(owner)).cloned() else { return Ok(()) };
        let mut open = slot.lock().await;
        if open.as_ref().is_some_and(|session| Arc::strong_count(session) > 1) {
            return Err(RecoveryError::Busy);
        }
        let closed = open.take();
        blocking(move || {
            drop(closed);
            Ok(())
        })
        .await
    }

    async fn close_unused(&self, idle: Duration) {
        let slots: Vec<(Option<AgentId>, Slot)> =
            self.sessions().iter().map(|(key, slot)| (*key, Arc::clone(slot))).collect();
        for (key, slot) in slots {
            let Ok(mut open) = slot.try_lock() else { continue };
            let is_used = |session: &Arc<Session>| Arc::strong_count(session) > 1 || session.idle() < idle;
            if open.as_ref().is_some_and(is_used) {
                continue;
            }
            let closed = open.take();
            // Removed while it is held, so that nobody opens it meanwhile.
            let _ = blocking(move || {
                drop(closed);
                Ok(())
            })
            .await;
            drop(open);
            let mut sessions = self.sessions();
            // One is this function's, one the map's: nobody waits for it.
            if Arc::strong_count(&slot) == 2 {
                sessions.remove(&key);
            }
        }
    }

    fn sessions(&self) -> MutexGuard<'_, BTreeMap<Option<AgentId>, Slot>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn job(&self, id: u64) -> Result<Arc<Job>, RecoveryError> {
        self.jobs().jobs.iter().find(|job| job.id() == id).cloned().ok_or(RecoveryError::NoRestore(id))
    }

    fn slot(&self, key: Option<AgentId>) -> Result<Slot, RecoveryError> {
        let mut sessions = self.sessions();
        if !sessions.contains_key(&key) && sessions.len() >= SESSIONS_LIMIT {
            return Err(RecoveryError::Busy);
        }
        Ok(Arc::clone(sessions.entry(key).or_default()))
    }

    /// The repository, opened if it is not yet.
    async fn session(&self, which: &Which) -> Result<Arc<Session>, RecoveryError> {
        match which {
            Which::Own => {
                let engine = (self.own)().ok_or(RecoveryError::NoOwnBackup)?;
                let slot = self.slot(None)?;
                let mut open = slot.lock().await;
                if let Some(session) = open.as_ref().filter(|session| session.is_over(&engine)) {
                    return Ok(Arc::clone(session));
                }
                let session = Arc::new(Session::own(&self.pool, &engine, Arc::clone(&self.tell_liar)));
                *open = Some(Arc::clone(&session));
                Ok(session)
            }
            Which::Kit { owner, passphrase } => {
                let (owner, passphrase) = (*owner, passphrase.clone());
                if self.sessions().len() >= SESSIONS_LIMIT {
                    self.close_unused(Duration::ZERO).await;
                }
                let slot = self.slot(Some(owner))?;
                let mut open = slot.lock_owned().await;
                let (pool, tell_liar) = (Arc::clone(&self.pool), Arc::clone(&self.tell_liar));
                let cancel = self.cancel.child_token();
                if let Some(session) = open.as_ref().map(Arc::clone) {
                    return blocking(move || {
                        // Held, so that one at a time looks.
                        let _open = open;
                        session.check(&passphrase)?;
                        session.catch_up(&pool, &cancel);
                        Ok(session)
                    })
                    .await;
                }
                let folder = self.folder.join(owner.to_string());
                let session = blocking(move || {
                    let session = Session::over_copies(&pool, owner, &passphrase, (folder, false), tell_liar, &cancel)?;
                    let session = Arc::new(session);
                    *open = Some(Arc::clone(&session));
                    Ok(session)
                });
                session.await
            }
        }
    }

    /// Does something with a repository. When the caller goes away, nothing more is fetched for it.
    async fn with<T: Send + 'static>(
        &self,
        which: &Which,
        what: impl FnOnce(&Engine) -> Result<T, RecoveryError> + Send + 'static,
    ) -> Result<T, RecoveryError> {
        let session = self.session(which).await?;
        let cancel = self.cancel.child_token();
        let _guard = cancel.clone().drop_guard();
        blocking(move || {
            let done = what(&session.engine(&cancel));
            session.touch();
            done
        })
        .await
    }

    /// Who holds a copy of an owner's backup and answers, the nearest first.
    pub async fn sources(&self, owner: AgentId) -> Vec<SourceView> {
        let key = if owner == self.pool.own() { None } else { Some(owner) };
        let slot = self.sessions().get(&key).cloned();
        let session = slot.and_then(|slot| slot.try_lock().ok().and_then(|open| open.clone()));
        let liars = session.map(|session| session.fetching.liars()).unwrap_or_default();
        let view = |source: pool::Source| SourceView {
            agent: source.agent,
            name: source.name,
            distance_ms: source.distance_ms,
            standing: source.standing,
            is_liar: liars.contains(&source.agent),
        };
        self.pool.sources(owner, true).await.0.into_iter().map(view).collect()
    }

    /// Whose backups can be seen in the pool.
    pub async fn owners(&self) -> Vec<OwnerView> {
        let mut owners: BTreeMap<AgentId, (u64, OwnerView)> = BTreeMap::new();
        for (holder, held) in self.pool.owners().await {
            for held in held {
                let (owner, standing) = (held.owner, held.standing);
                let new = || OwnerView { owner, name: None, archives: 0, held_bytes: 0, holders: Vec::new() };
                let (sequence, view) = owners.entry(owner).or_insert_with(|| (0, new()));
                if standing.sequence >= *sequence {
                    (*sequence, view.archives, view.held_bytes) =
                        (standing.sequence, held.archives, standing.held_bytes);
                }
                if !view.holders.contains(&holder) {
                    view.holders.push(holder);
                }
            }
        }
        let named = |(_, view): (u64, OwnerView)| OwnerView { name: self.pool.name_of(view.owner), ..view };
        owners.into_values().map(named).collect()
    }

    /// All archives, the oldest first.
    ///
    /// # Errors
    /// There is no copy, the passphrase is wrong, the repository is damaged; so for all below.
    pub async fn archives(&self, which: &Which) -> Result<Vec<ArchiveView>, RecoveryError> {
        self.with(which, |engine| Ok(engine.archives()?.iter().map(ArchiveView::from).collect())).await
    }

    /// What is in a folder of an archive (`/`: the top), after a name or path of it.
    ///
    /// # Errors
    /// There is no such archive or folder, or see [`Self::archives`].
    pub async fn files(
        &self,
        which: &Which,
        archive: ArchiveRef,
        folder: PathBytes,
        after: Option<PathBytes>,
        limit: usize,
    ) -> Result<FilesPage, RecoveryError> {
        self.with(which, move |engine| browse::files(engine, &archive, &folder, after.as_ref(), limit)).await
    }

    /// What differs between an earlier and a later archive, after a path.
    ///
    /// # Errors
    /// There is no such archive, or see [`Self::archives`].
    pub async fn diff(
        &self,
        which: &Which,
        before: ArchiveRef,
        after: ArchiveRef,
        behind: Option<PathBytes>,
        limit: usize,
    ) -> Result<DiffPage, RecoveryError> {
        self.with(which, move |engine| browse::diff(engine, &before, &after, behind.as_ref(), limit)).await
    }

    /// Where a name is found: in which archives, in which versions.
    ///
    /// # Errors
    /// The pattern is none, or see [`Self::archives`].
    pub async fn find(&self, which: &Which, pattern: String, limit: usize) -> Result<FindPage, RecoveryError> {
        self.with(which, move |engine| browse::find(engine, &pattern, limit)).await
    }

    /// What a restore would do. Nothing is done.
    ///
    /// # Errors
    /// The request cannot be meant, there is no such archive, or see [`Self::archives`].
    pub async fn plan(&self, request: &RestoreRequest) -> Result<PlanView, RecoveryError> {
        request.validate()?;
        let request = request.clone();
        let cancelled = Arc::new(AtomicBool::new(false));
        let _guard = SetOnDrop(Arc::clone(&cancelled));
        let which = request.which.clone();
        self.with(&which, move |engine| Chosen::new(engine, &request)?.plan(engine, &cancelled)).await
    }

    /// Begins a restore; its number.
    ///
    /// # Errors
    /// As [`Self::plan`]; too many are under way. What goes wrong later is in [`Self::restores`].
    pub async fn restore(self: &Arc<Self>, request: &RestoreRequest) -> Result<u64, RecoveryError> {
        request.validate()?;
        if self.jobs().jobs.iter().filter(|job| !job.has_ended()).count() >= RESTORES_LIMIT {
            return Err(RecoveryError::Busy);
        }
        let session = self.session(&request.which).await?;
        let (engine, asked) = (session.engine(&self.cancel.child_token()), request.clone());
        let chosen = blocking(move || Chosen::new(&engine, &asked)).await?;
        let began_ms = self.machine.now().wall_ms;
        let job = {
            let mut jobs = self.jobs();
            jobs.last += 1;
            let job = Arc::new(Job::new(jobs.last, session, chosen, began_ms));
            jobs.jobs.push_back(Arc::clone(&job));
            let ended = jobs.jobs.iter().filter(|job| job.has_ended()).count();
            if let Some(oldest) = jobs.jobs.iter().position(|job| job.has_ended()).filter(|_| ended > ENDED_LIMIT) {
                jobs.jobs.remove(oldest);
            }
            job
        };
        let id = job.id();
        tracing::info!(restore = id, archive = ?job.archive_number(), "a restore begins");
        let (gate, machine) = (Arc::clone(&self.gate), Arc::clone(&self.machine));
        tokio::spawn(async move {
            let cancelled = job.cancellation();
            let permit = tokio::select! {
                permit = gate.acquire_owned() => permit.ok(),
                () = cancelled.cancelled() => None,
            };
            let work = move || {
                job.run(|| machine.now().wall_ms);
                Ok(())
            };
            if let Err(error) = blocking(work).await {
                tracing::error!(restore = id, %error, "a restore ended without saying how");
            }
            drop(permit);
        });
        Ok(id)
    }

    /// All restores that are under way or ended lately, the oldest first.
    #[must_use]
    pub fn restores(&self) -> Vec<RestoreView> {
        let jobs: Vec<Arc<Job>> = self.jobs().jobs.iter().cloned().collect();
        jobs.iter().map(|job| job.view()).collect()
    }

    /// One of them.
    ///
    /// # Errors
    /// There is no such restore.
    pub fn restored(&self, id: u64) -> Result<RestoreView, RecoveryError> {
        Ok(self.job(id)?.view())
    }

    /// What a restore did not bring back: all that was noted of it.
    ///
    /// # Errors
    /// There is no such restore.
    pub fn failures(&self, id: u64) -> Result<FailuresView, RecoveryError> {
        Ok(self.job(id)?.failures(usize::MAX))
    }

    /// Has this path, and all in it, come before the rest of a restore.
    ///
    /// # Errors
    /// There is no such restore, the path is not part of it, or too much is asked for already.
    pub fn ask_first(&self, id: u64, path: PathBytes) -> Result<(), RecoveryError> {
        self.job(id)?.ask_first(path)
    }

    /// Ends a restore. What is restored stays; begun again, it goes on from there.
    ///
    /// # Errors
    /// There is no such restore.
    pub fn cancel(&self, id: u64) -> Result<(), RecoveryError> {
        self.job(id)?.cancel();
        Ok(())
    }

    /// Restores a sample of an owner's backup from the copies of others, compares, and removes everything.
    async fn try_drill(&self, owner: AgentId, mut drill: Drill) -> Result<(DrillResult, u64), RecoveryError> {
        let tried = match Arc::clone(&self.drills).try_acquire_owned() {
            Err(_) => Err(RecoveryError::Busy),
            Ok(permit) => {
                let (pool, tell_liar) = (Arc::clone(&self.pool), Arc::clone(&self.tell_liar));
                let folder = self.folder.join(format!("drill-{owner}"));
                let (cancelled, cancel) = (Arc::new(AtomicBool::new(false)), self.cancel.child_token());
                let (ours, token) = (SetOnDrop(Arc::clone(&cancelled)), cancel.clone());
                let _guard = cancel.clone().drop_guard();
                let mut own = drill.clone();
                let work = blocking(move || {
                    let done = drill::carry_out(&pool, owner, &own, folder, tell_liar, &cancelled, &token);
                    own.passphrase.zeroize();
                    drop(permit);
                    done
                });
                tokio::pin!(work);
                let patience = Duration::from_secs(60 * DRILL_MINUTES);
                match tokio::time::timeout(patience, &mut work).await {
                    Ok(done) => done,
                    Err(_) => {
                        cancel.cancel();
                        drop(ours);
                        // Until it has removed everything, no other one begins.
                        work.await.and(Err(RecoveryError::TookTooLong(DRILL_MINUTES)))
                    }
                }
            }
        };
        drill.passphrase.zeroize();
        tried
    }

    async fn answer_drill(&self, from: AgentId, body: Bytes) -> Reply {
        let drill = if body.len() > DRILL_LIMIT_BYTES { None } else { serde_json::from_slice::<Drill>(&body).ok() };
        if let Ok(mut body) = body.try_into_mut() {
            body.as_mut().zeroize();
        }
        let mut drill = drill.ok_or_else(|| CallError::no(No::Refused, "this is no drill"))?;
        if (self.holds_copy_of)(from) {
            drill.passphrase.zeroize();
            let why = "this PC holds a copy for you: who holds must not read, so another one must try the restore";
            return Err(CallError::no(No::Refused, why));
        }
        let (result, took_ms) = self.try_drill(from, drill).await.map_err(|error| refusal(&error))?;
        Ok((Answer::Drilled { result, took_ms }, Bytes::new()))
    }
}

/// Why a drill could not be tried, as the owner gets it.
fn refusal(error: &RecoveryError) -> CallError {
    let no = match error {
        RecoveryError::Busy => No::Busy,
        RecoveryError::NoSource { .. } => No::NotFound,
        RecoveryError::WrongPassphrase(_) => No::Refused,
        _ => No::Failed,
    };
    CallError::no(no, error.to_string())
}

/// For an owner who finds nobody else to do it: a sample of this PC's own backup, from the copies of others.
#[async_trait]
impl LocalDrill for Recovery {
    async fn drill(&self, drill: Drill) -> Result<(DrillResult, u64), CallError> {
        self.try_drill(self.pool.own(), drill).await.map_err(|error| refusal(&error))
    }
}

#[async_trait]
impl Answers for Recovery {
    /// Answers [`Ask::Drill`].
    async fn answer(&self, from: AgentId, ask: Ask, body: Bytes) -> Reply {
        match ask {
            Ask::Drill => self.answer_drill(from, body).await,
            _ => Err(CallError::no(No::Refused, "only drills are for recovery")),
        }
    }
}

/// Says to whoever works that it is not wanted any more.
struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// On a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, RecoveryError> + Send + 'static,
) -> Result<T, RecoveryError> {
    tokio::task::spawn_blocking(work).await.map_err(|error| RecoveryError::Inside(error.to_string()))?
}
