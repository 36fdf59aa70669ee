//! Copies for others: takes them, catches up, proves them, reads them through for damage, drops what their owners deleted.
//!
//! ```text
//! answers   what others ask of a holder
//! held      the copy of one owner, and the folder it lies in
//! kept      what of a copy lies on the disk, and what of it was found damaged
//! room      how much is given to others' backups, and how much of that is taken
//! stored    what of a copy is kept over restarts beside catalogue and objects
//! peersync  catches up: the tail from the owner or from other holders, then what is lacking from the nearest
//! fetch     brings one object, and goes on where it broke off
//! scrub     reads what is held through, gently
//! drops     what was deleted goes after the grace time
//! uptime    how much of the last month this computer ran
//! status    what there is to say about it
//! ```
//!
//! What a peer says counts for nothing: objects are what their hash says, catalogues what their owner signed. A holder tells
//! nobody that it has something before that is durable. It cannot read what it holds.

mod answers;
mod drops;
mod error;
mod fetch;
mod held;
mod kept;
mod peersync;
mod room;
mod scrub;
mod status;
mod stored;
mod uptime;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::AgentId;
use shoal_backup::catalogue::Verifier;
use shoal_backup::peers::MachineId;
use shoal_backup::{Now, ObjectName};
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::call::{Ask, CallError, No, OWNERS_LIMIT, Reply};
use crate::files::{FilesError, make_folder};
use crate::network::{Answers, Machine, Network};

pub use error::HolderError;
pub use scrub::{ScrubAsked, ScrubStatus};
pub use status::{CopyStatus, HolderStatus, Liar};

use held::Held;
use room::Room;
use uptime::Uptime;

/// Calls answered at once. Each may hold a piece in memory, so this bounds that too: 128 MiB.
const ANSWERS_AT_ONCE: usize = 32;
/// Damage that the owner could not be told of yet is remembered for so many objects; what is beyond it sees for itself, from
/// the list of what is held.
const UNTOLD_LIMIT: usize = 4_096;
/// Liars that are remembered, at most.
const LIARS_LIMIT: usize = 64;

/// Checks signatures, from any thread.
pub(crate) type Verify = Arc<dyn Verifier + Send + Sync>;

/// What this computer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareSettings {
    /// Bytes for others' backups; 0: none.
    pub limit_bytes: u64,
    /// Bytes that stay free on the disk, whatever the share.
    pub reserve_bytes: u64,
    /// Which computer this is.
    pub machine: MachineId,
}

/// What a holder works with.
pub struct HolderParts {
    /// Where the copies lie. Made if it is not there.
    pub folder: PathBuf,
    /// The pool.
    pub network: Arc<dyn Network>,
    /// The machine.
    pub machine: Arc<dyn Machine>,
    /// Checks signatures.
    pub verifier: Verify,
    /// What this computer gives.
    pub share: ShareSettings,
    /// How long what an owner deleted is kept: [`shoal_backup::aging::GRACE_MS`], unless an admin says otherwise.
    pub grace_ms: u64,
}

/// Copies of others' backups.
#[derive(Clone)]
pub struct Holder {
    shared: Arc<Shared>,
}

struct Shared {
    folder: PathBuf,
    network: Arc<dyn Network>,
    machine: Arc<dyn Machine>,
    verifier: Verify,
    share: ShareSettings,
    grace_ms: u64,
    room: Arc<Room>,
    copies: Mutex<BTreeMap<AgentId, Arc<Held>>>,
    /// Folders that could not be read at the start, and why.
    broken: BTreeMap<AgentId, String>,
    /// Which agents hold copies of whom, as far as they said.
    holders: Mutex<BTreeMap<AgentId, BTreeSet<AgentId>>>,
    untold: Mutex<BTreeSet<Untold>>,
    liars: Mutex<BTreeMap<AgentId, Liar>>,
    scrubbed: Mutex<scrub::Scrubbed>,
    /// Whether a round is on that somebody asked for.
    scrubbing: tokio::sync::watch::Sender<bool>,
    uptime: Uptime,
    answering: Semaphore,
    /// Something is lacking, or is to be told.
    wake: Notify,
}

/// What somebody is yet to be told of an owner's object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Untold {
    to: AgentId,
    owner: AgentId,
    name: ObjectName,
    /// Who gave wrong bytes for it; `None`: it was damaged here.
    by: Option<AgentId>,
}

impl Holder {
    /// Opens what is held. Reads catalogues and lists objects, so it takes a moment: call it where blocking is allowed.
    ///
    /// # Errors
    /// The folder cannot be made or read. A copy that cannot be read is no error: the others work, and the status says so.
    pub fn open(parts: HolderParts) -> Result<Self, HolderError> {
        let HolderParts { folder, network, machine, verifier, share, grace_ms } = parts;
        let failed = |error| FilesError::Io { what: "open", path: folder.clone(), error };
        make_folder(&folder)?;
        let room = Arc::new(Room::new(folder.clone(), share));
        let now = machine.now();
        let (mut copies, mut broken) = (BTreeMap::new(), BTreeMap::new());
        for entry in std::fs::read_dir(&folder).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let Some(owner) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            match Held::open(&entry.path(), owner, Arc::clone(&verifier), Arc::clone(&room), now) {
                Ok(held) => _ = copies.insert(owner, Arc::new(held)),
                Err(error) => {
                    tracing::error!(%owner, %error, "the copy of a backup cannot be read");
                    broken.insert(owner, error.to_string());
                }
            }
        }
        let shared = Shared {
            uptime: Uptime::open(&folder.join("uptime")),
            folder,
            network,
            machine,
            verifier,
            share,
            grace_ms,
            room,
            copies: Mutex::new(copies),
            broken,
            holders: Mutex::default(),
            untold: Mutex::default(),
            liars: Mutex::default(),
            scrubbed: Mutex::default(),
            scrubbing: tokio::sync::watch::Sender::new(false),
            answering: Semaphore::new(ANSWERS_AT_ONCE),
            wake: Notify::new(),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Answers a member of the pool.
    ///
    /// # Errors
    /// A no, and why.
    pub async fn answer(&self, from: AgentId, ask: Ask, body: Bytes) -> Reply {
        let Ok(_permit) = self.shared.answering.try_acquire() else {
            return Err(CallError::no(No::Busy, "too many calls for backups are being answered"));
        };
        let shared = Arc::clone(&self.shared);
        match blocking(move || shared.answer(from, ask, &body)).await {
            Some(answer) => answer,
            None => Err(CallError::no(No::Failed, "the answer broke off")),
        }
    }

    /// Catches up, scrubs and drops until it is to end.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) {
        let work = async {
            tokio::join!(self.shared.keep_up(), self.shared.keep_dropping(), self.shared.keep_scrubbing());
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    /// Catches up once with all that it can reach, as [`Self::run`] does now and then. True if no copy lacks anything.
    pub async fn catch_up(&self) -> bool {
        self.shared.tell_owners().await;
        self.shared.look_for_holders(None).await;
        self.shared.catch_up_all().await
    }

    /// Drops once what is due, as [`Self::run`] does every hour.
    pub async fn drop_due(&self) {
        let shared = Arc::clone(&self.shared);
        let _ = blocking(move || shared.drop_due()).await;
    }

    /// Reads everything that it holds through once, without pauses, in the background. If that is on already, it does for this
    /// call too: there is one round at a time. Call it where blocking is allowed.
    pub fn begin_scrub(&self) -> ScrubAsked {
        let (begun, round) = self.shared.begin_round();
        let is_new = begun.is_some();
        if let Some(begun) = begun {
            let shared = Arc::clone(&self.shared);
            tokio::spawn(async move { shared.scrub_round(Some(begun)).await });
        }
        ScrubAsked { is_new, round }
    }

    /// The same, to its end. How many objects were damaged.
    pub async fn scrub(&self) -> u64 {
        self.begin_scrub();
        self.shared.end_of_round().await.damaged
    }

    /// What there is to say. Looks at the disk a little.
    #[must_use]
    pub fn status(&self) -> HolderStatus {
        self.shared.status()
    }

    /// The folder of an owner's copy, if one is held: a restic repository.
    #[must_use]
    pub fn repository(&self, owner: AgentId) -> Option<PathBuf> {
        let held = self.shared.held(owner).ok()?;
        Some(held.objects.folder().to_owned())
    }
}

#[async_trait]
impl Answers for Holder {
    async fn answer(&self, from: AgentId, ask: Ask, body: Bytes) -> Reply {
        Holder::answer(self, from, ask, body).await
    }
}

impl Shared {
    fn now(&self) -> Now {
        self.machine.now()
    }

    fn copies(&self) -> MutexGuard<'_, BTreeMap<AgentId, Arc<Held>>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All copies, to go through without keeping the list locked.
    fn all(&self) -> Vec<Arc<Held>> {
        self.copies().values().cloned().collect()
    }

    fn held(&self, owner: AgentId) -> Result<Arc<Held>, HolderError> {
        self.copies().get(&owner).cloned().ok_or(HolderError::NotHeld)
    }

    fn folder_of(&self, owner: AgentId) -> PathBuf {
        Path::new(&self.folder).join(owner.to_string())
    }

    /// Begins to hold a copy, or goes on with one that was released.
    fn hold(&self, owner: AgentId) -> Result<Arc<Held>, HolderError> {
        if self.share.limit_bytes == 0 {
            return Err(HolderError::Refused("this computer holds no backups of others"));
        }
        if self.broken.contains_key(&owner) {
            return Err(HolderError::Refused("the copy that is here cannot be read"));
        }
        let now = self.now();
        let mut copies = self.copies();
        if let Some(held) = copies.get(&owner).cloned() {
            drop(copies);
            held.access(now)?.set_released(false, now)?;
            return Ok(held);
        }
        if copies.len() >= OWNERS_LIMIT || !self.room.fits(1) {
            return Err(HolderError::Full);
        }
        let (verifier, room) = (Arc::clone(&self.verifier), Arc::clone(&self.room));
        let held = Arc::new(Held::open(&self.folder_of(owner), owner, verifier, room, now)?);
        copies.insert(owner, Arc::clone(&held));
        Ok(held)
    }

    /// Somebody is to be told of damage, or of wrong bytes.
    fn to_tell(&self, untold: Untold) {
        let mut all = self.untold.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < UNTOLD_LIMIT {
            all.insert(untold);
        }
        drop(all);
        self.wake.notify_one();
    }

    /// An agent gave bytes or entries that are not what it said.
    fn lied(&self, agent: AgentId, owner: AgentId, what: String) {
        tracing::warn!(%agent, %owner, what, "an agent gave something wrong for a backup, it is passed over");
        let mut liars = self.liars.lock().unwrap_or_else(PoisonError::into_inner);
        if liars.len() >= LIARS_LIMIT && !liars.contains_key(&agent) {
            return;
        }
        let at_ms = self.now().wall_ms;
        let liar = liars.entry(agent).or_insert_with(|| Liar { agent, owner, what: String::new(), times: 0, at_ms });
        (liar.owner, liar.what, liar.at_ms) = (owner, what, at_ms);
        liar.times = liar.times.saturating_add(1);
    }
}

/// Does what blocks where that is allowed; `None` if it broke off, by a bug or at the end of the program.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Some(done),
        Err(error) => {
            tracing::error!(%error, "work on a backup's files broke off");
            None
        }
    }
}
