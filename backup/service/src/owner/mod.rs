//! This PC's own backup: what is kept goes into a repository here and from here to peers.
//!
//! ```text
//! stored      small files replaced as a whole; what is kept over restarts
//! passphrase  made here, strong, readable            kit     what a person needs to restore
//! books       all that is known, under one lock      status  what a person is told
//! clearing    holders are asked before anything is said: an owner that was set back would fork
//! together    catalogue and repository are brought together, whatever was cut short
//! schedule    when a run begins                      runs    a run        aging  archives go
//! room        the disk is full: what came to no archive is given up
//! requests    what became of a run that somebody asked for
//! watching    the continuous mode: changed files begin a run within seconds
//! peers       who holds copies                       copies  what peers lack is sent
//! full        holders without room, and those that have some again
//! proofs      challenges                             drills  restoring is tried, by another PC
//! answering   what others ask                        fetching  what this PC lost comes back
//! losses      what it damaged and nobody has is backed up again
//! ```
//!
//! Under its folder: `repo/` (restic's), `catalogue` and `catalogue.base`, `plan.json`, `state.json`, `passphrase`, `needs/`
//! (which packs an archive needs: worked out again if it is gone), `incoming/`.
//!
//! What must hold: nothing is said twice differently (no fork); nothing is taken back that an archive needs; what was
//! acknowledged is durable; a run, a crash, a full disk, a peer leave the repository as it was or better.

mod aging;
mod answering;
mod books;
mod clearing;
mod copies;
mod drills;
mod error;
mod fetching;
mod full;
mod kit;
mod losses;
mod passphrase;
mod peers;
mod proofs;
mod rate;
mod requests;
mod room;
mod runs;
mod schedule;
mod setting_up;
mod status;
mod stored;
mod tell;
#[cfg(test)]
mod tests;
mod together;
mod watching;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_archive::Engine;
use shoal_backup::Now;
use shoal_backup::catalogue::{Signer, Verifier};
use shoal_backup::peers::MachineId;
use shoal_backup::plan::Plan;
use shoal_backup::schedule::Mode;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::call::{Answer, Ask, CallError, Reply};
use crate::files::Objects;
use crate::network::{Machine, Network};
use books::{Books, Hand};

pub use drills::LocalDrill;
pub use error::OwnerError;
pub use kit::{Kit, KitPeer};
pub use passphrase::Passphrase;
pub use requests::{Asked, Requested};
pub use status::{
    AlertStatus, ArchiveStatus, LastRun, NextRun, OwnerStatus, PeerCopy, RunStatus, UnusablePeer, WaitsFor,
};

/// How often things are looked at. The defaults are for real PCs; tests hurry.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Everything that waits is looked at again after this time.
    pub tick: Duration,
    /// How long an answer to a small call is waited for.
    pub patience: Duration,
    /// Changed files are waited for to settle for this time before the continuous mode begins a run.
    pub settle: Duration,
    /// Peers are chosen anew after this time, on the steady clock.
    pub choose_every_ms: u64,
    /// A peer that has no room is asked again after this time.
    pub room_every_ms: u64,
    /// A peer's list of what it holds is taken anew after this time.
    pub report_every_ms: u64,
    /// Each peer is challenged after this time.
    pub challenge_every_ms: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            tick: Duration::from_secs(5),
            patience: Duration::from_secs(30),
            settle: Duration::from_secs(3),
            choose_every_ms: 5 * 60_000,
            room_every_ms: 30_000,
            report_every_ms: 60 * 60_000,
            challenge_every_ms: 10 * 60_000,
        }
    }
}

/// What an owner's side is made of.
pub struct OwnerParts {
    /// Its folder, `DATA/backup/own`; made if it is not there.
    pub folder: PathBuf,
    /// The agent's own data, which is never kept: it would be kept in itself.
    pub data: PathBuf,
    /// The other agents.
    pub network: Arc<dyn Network>,
    /// This machine.
    pub machine: Arc<dyn Machine>,
    /// Signs as this agent.
    pub signer: Arc<dyn Signer + Send + Sync>,
    /// Checks what agents signed.
    pub verifier: Arc<dyn Verifier + Send + Sync>,
    /// Which computer this is.
    pub machine_id: MachineId,
    /// Where it is, if somebody said.
    pub site: Option<String>,
    /// The PC's name, which archives carry.
    pub host: String,
    /// So much of the disk stays free for the PC's user: no run goes on beyond.
    pub reserve_bytes: u64,
    /// How often things are looked at.
    pub pace: Pace,
}

/// The repository and what is known of it.
struct Setup {
    engine: Arc<Engine>,
    passphrase: Passphrase,
    objects: Arc<Objects>,
    books: Mutex<Books>,
    /// Held by who changes the repository: a run, aging, fetching back.
    work: Arc<tokio::sync::Mutex<()>>,
}

impl Setup {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// This PC's own backup.
pub struct Owner {
    parts: OwnerParts,
    hand: Hand,
    setup: RwLock<Option<Arc<Setup>>>,
    /// Held while it is being set up.
    setting_up: tokio::sync::Mutex<()>,
    /// Something happened that the schedule may wait for.
    wake_schedule: Notify,
    /// Something happened that copying may wait for.
    wake_copies: Notify,
    /// Peers are to be chosen anew now.
    choose_now: AtomicBool,
    local_drill: OnceLock<Arc<dyn LocalDrill>>,
    rate: rate::Rate,
    dirty: watching::Dirty,
}

impl Owner {
    /// Opens the backup in a folder, or one that is to be set up. Blocks.
    ///
    /// # Errors
    /// What is there cannot be read, or a newer program wrote it.
    pub fn open(parts: OwnerParts) -> Result<Arc<Self>, OwnerError> {
        let hand = Hand { signer: Arc::clone(&parts.signer), verifier: Arc::clone(&parts.verifier) };
        let owner = Self {
            parts,
            hand,
            setup: RwLock::new(None),
            setting_up: tokio::sync::Mutex::default(),
            wake_schedule: Notify::new(),
            wake_copies: Notify::new(),
            choose_now: AtomicBool::new(false),
            local_drill: OnceLock::new(),
            rate: rate::Rate::default(),
            dirty: watching::Dirty::default(),
        };
        let setup = owner.open_setup()?;
        *owner.setup.write().unwrap_or_else(PoisonError::into_inner) = setup.map(Arc::new);
        Ok(Arc::new(owner))
    }

    /// Who restores a sample on this PC when nobody else can: only the first one counts.
    pub fn set_local_drill(&self, drill: Arc<dyn LocalDrill>) {
        let _ = self.local_drill.set(drill);
    }

    fn now(&self) -> Now {
        self.parts.machine.now()
    }

    fn own(&self) -> AgentId {
        self.parts.network.own()
    }

    fn setup(&self) -> Result<Arc<Setup>, OwnerError> {
        self.setup.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(OwnerError::NotSetUp)
    }

    /// Whether there is a backup.
    #[must_use]
    pub fn is_set_up(&self) -> bool {
        self.setup().is_ok()
    }

    /// What is kept, how often, on how many PCs.
    ///
    /// # Errors
    /// It is not set up.
    pub fn plan(&self) -> Result<Arc<Plan>, OwnerError> {
        Ok(Arc::clone(&self.setup()?.books().plan))
    }

    /// Another plan from now on. A run that is on ends with the old one. Blocks.
    ///
    /// # Errors
    /// It cannot be meant, or cannot be written.
    pub fn set_plan(&self, plan: Plan) -> Result<(), OwnerError> {
        plan.validate()?;
        let setup = self.setup()?;
        {
            let mut books = setup.books();
            books.set_plan(plan)?;
            books.room.forget();
        }
        self.dirty.plan_changed();
        self.choose_now.store(true, Ordering::Relaxed);
        self.wake_schedule.notify_one();
        self.wake_copies.notify_one();
        Ok(())
    }

    /// The repository.
    ///
    /// # Errors
    /// It is not set up.
    pub fn engine(&self) -> Result<Arc<Engine>, OwnerError> {
        Ok(Arc::clone(&self.setup()?.engine))
    }

    /// Opens the repository. Never logged.
    ///
    /// # Errors
    /// It is not set up.
    pub fn passphrase(&self) -> Result<Passphrase, OwnerError> {
        Ok(self.setup()?.passphrase.clone())
    }

    /// A run is wanted now. It waits for nothing but the one that is on. While a run that does as much is on, that one is it.
    ///
    /// # Errors
    /// It is not set up.
    pub fn ask_run(&self, mode: Mode) -> Result<Asked, OwnerError> {
        let setup = self.setup()?;
        let mut books = setup.books();
        let request = books.requests.begin(self.now().wall_ms);
        let on = books.run.as_ref().map(|run| (run.mode, run.archive));
        let is_that = match &mut books.run {
            Some(run) if run.mode >= mode => {
                run.requests.push(request);
                true
            }
            _ => {
                books.scheduler.ask(mode);
                books.asked_run = books.asked_run.max(Some(mode));
                books.requests.wait(request);
                false
            }
        };
        drop(books);
        self.wake_schedule.notify_one();
        Ok(Asked { request, on, is_that })
    }

    /// The run that is on ends without an archive. What it packed stays and is used by the next one.
    ///
    /// # Errors
    /// None is on.
    pub fn cancel_run(&self) -> Result<(), OwnerError> {
        let setup = self.setup()?;
        let books = setup.books();
        let run = books.run.as_ref().ok_or(OwnerError::NotRunning)?;
        run.cancel();
        Ok(())
    }

    /// Peace for so long: no run begins, the one that is on stands still, nothing is sent. `None`: no more peace.
    ///
    /// # Errors
    /// It is not set up.
    pub fn pause(&self, how_long: Option<Duration>) -> Result<(), OwnerError> {
        let setup = self.setup()?;
        let until = how_long
            .map(|for_ms| self.now().steady_ms.saturating_add(u64::try_from(for_ms.as_millis()).unwrap_or(u64::MAX)));
        setup.books().paused_until_ms = until;
        self.wake_schedule.notify_one();
        self.wake_copies.notify_one();
        Ok(())
    }

    /// Calls another agent, about small things.
    async fn call(&self, to: AgentId, ask: Ask, body: Bytes) -> Result<(Answer, Bytes), CallError> {
        self.parts.network.call(to, ask, body, self.parts.pace.patience).await
    }

    /// Answers a member.
    pub async fn answer(&self, from: AgentId, ask: Ask, body: Bytes) -> Reply {
        self.answer_member(from, ask, body).await
    }

    /// Does all that is to be done, until it is told to end. A run that is on then goes on after the next start.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        tokio::join!(
            Arc::clone(&self).run_schedule(shutdown.clone()),
            Arc::clone(&self).run_copies(shutdown.clone()),
            Arc::clone(&self).run_proofs(shutdown.clone()),
            Arc::clone(&self).run_drills(shutdown.clone()),
            Arc::clone(&self).run_watching(shutdown),
        );
    }
}

/// Runs what blocks on a thread made for that.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, OwnerError> + Send + 'static,
) -> Result<T, OwnerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        // It panicked, or the runtime ends; either way the work is not done.
        Err(error) => {
            tracing::error!(%error, "work on the backup broke off");
            Err(OwnerError::Ending)
        }
    }
}
