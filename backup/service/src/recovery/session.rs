//! A repository that is open for recovery: this PC's own, or another's of which objects come from its holders.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use dci_proto::AgentId;
use shoal_archive::{ArchiveError, Engine};
use shoal_backup::catalogue::Catalogue;
use shoal_backup::{Object, ObjectKind, sha256};
use tokio_util::sync::CancellationToken;

use super::RecoveryError;
use super::fetching::{Fetching, For, NotFetched, TellLiar};
use super::pool::Pool;
use crate::files::Objects;

/// Small objects that are fetched at the same time.
const FETCHED_AT_ONCE: usize = 8;

/// An open repository.
pub(super) struct Session {
    pub(super) owner: AgentId,
    pub(super) is_own: bool,
    pub(super) fetching: Arc<Fetching>,
    engine: Engine,
    /// This PC's own repository, if it is that.
    over: Option<Arc<Engine>>,
    /// What the passphrase hashes to with a salt of this session; `None`: no passphrase was asked for.
    passphrase: Option<([u8; 32], [u8; 32])>,
    used: Mutex<Instant>,
    /// When it was last looked who has which copy.
    looked: Mutex<Instant>,
    /// Removed when it is closed.
    folder: Option<PathBuf>,
}

impl Session {
    /// Over this PC's own repository.
    pub(super) fn own(pool: &Arc<Pool>, own: &Arc<Engine>, tell_liar: TellLiar) -> Self {
        let objects = Objects::open(own.folder());
        let owner = pool.own();
        let fetching = Arc::new(Fetching::new(owner, Arc::clone(pool), objects, tell_liar));
        let fetch = Arc::new(For { fetching: Arc::clone(&fetching), cancel: CancellationToken::new() });
        Self {
            owner,
            is_own: true,
            fetching,
            engine: own.with_fetch(fetch),
            over: Some(Arc::clone(own)),
            passphrase: None,
            used: Mutex::new(Instant::now()),
            looked: Mutex::new(Instant::now()),
            folder: None,
        }
    }

    /// Over what others hold: all but packs is fetched into `folder`, which is removed when the session ends. From holders only, or from
    /// the owner too if it answers. Blocks.
    pub(super) fn over_copies(
        pool: &Arc<Pool>,
        owner: AgentId,
        passphrase: &str,
        (folder, only_holders): (PathBuf, bool),
        tell_liar: TellLiar,
        cancel: &CancellationToken,
    ) -> Result<Self, RecoveryError> {
        let folder = Folder(folder);
        let repository = folder.0.join("repo");
        std::fs::create_dir_all(&repository).map_err(RecoveryError::io("make", &repository))?;
        let objects = Objects::create(&repository)?;
        let fetching = Fetching::new(owner, Arc::clone(pool), objects, tell_liar).may_drop();
        let fetching = Arc::new(fetching.without_owner(only_holders));
        fetch_first(pool, &fetching, cancel)?;
        let fetch = Arc::new(For { fetching: Arc::clone(&fetching), cancel: CancellationToken::new() });
        let engine = Engine::open_with(&repository, passphrase, fetch).map_err(|error| match error {
            ArchiveError::WrongKey(_) => RecoveryError::WrongPassphrase(owner),
            error => error.into(),
        })?;
        let salt: [u8; 32] = rand::random();
        let folder = folder.keep();
        Ok(Self {
            owner,
            is_own: false,
            fetching,
            engine,
            over: None,
            passphrase: Some((salt, sha256(&[&salt, passphrase.as_bytes()]))),
            used: Mutex::new(Instant::now()),
            looked: Mutex::new(Instant::now()),
            folder: Some(folder),
        })
    }

    /// Whether this passphrase opens it too. Blocks.
    pub(super) fn check(&self, passphrase: &str) -> Result<(), RecoveryError> {
        if self.passphrase.is_none_or(|(salt, hash)| sha256(&[&salt, passphrase.as_bytes()]) == hash) {
            return Ok(());
        }
        Engine::open(self.engine.folder(), passphrase).map(drop).map_err(|error| match error {
            ArchiveError::WrongKey(_) => RecoveryError::WrongPassphrase(self.owner),
            error => error.into(),
        })
    }

    /// Takes in the archives that were made since it was opened, and leaves out those that are gone. Who looked a moment ago does not look
    /// again. If nobody answers, what is here stands. Blocks.
    pub(super) fn catch_up(&self, pool: &Pool, cancel: &CancellationToken) {
        {
            let mut looked = self.looked.lock().unwrap_or_else(PoisonError::into_inner);
            if self.is_own || looked.elapsed() < pool.patience.fresh {
                return;
            }
            *looked = Instant::now();
        }
        let known = self.fetching.sequence();
        self.fetching.look_for_sources();
        let sources = self.fetching.sources();
        if sources.iter().all(|source| source.standing.sequence <= known) {
            return;
        }
        if let Err(error) =
            fetch_first(pool, &self.fetching, cancel).and_then(|()| leave_out_what_is_gone(&self.fetching))
        {
            tracing::warn!(owner = %self.owner, %error, "newer archives cannot be taken in");
        }
    }

    /// Whether it is this repository of this PC.
    pub(super) fn is_over(&self, engine: &Arc<Engine>) -> bool {
        self.over.as_ref().is_some_and(|over| Arc::ptr_eq(over, engine))
    }

    /// For reading; what must be fetched is not waited for after `cancel`.
    pub(super) fn engine(&self, cancel: &CancellationToken) -> Engine {
        self.touch();
        self.fetching.try_again();
        self.engine.with_fetch(Arc::new(For { fetching: Arc::clone(&self.fetching), cancel: cancel.clone() }))
    }

    pub(super) fn touch(&self) {
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    pub(super) fn idle(&self) -> std::time::Duration {
        self.used.lock().unwrap_or_else(PoisonError::into_inner).elapsed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(folder) = self.folder.take() {
            drop(Folder(folder));
        }
    }
}

/// A folder that goes when this does.
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.0.as_os_str().is_empty() {
            return;
        }
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(folder = %self.0.display(), %error, "what a restore fetched could not be removed");
            }
            _ => {}
        }
    }
}

/// Fetches the catalogue and all objects but packs. The newest catalogue of which all of that can be had; if there is none,
/// the one that lacks the least.
fn fetch_first(pool: &Pool, fetching: &Fetching, cancel: &CancellationToken) -> Result<(), RecoveryError> {
    let owner = fetching.owner();
    let asked = fetching.look_for_sources();
    let mut sources = fetching.sources();
    if sources.is_empty() {
        return Err(RecoveryError::NoSource { owner, asked });
    }
    sources.sort_by_key(|source| (std::cmp::Reverse(source.standing.sequence), source.distance_ms));
    let mut said = Vec::new();
    let mut best: Option<(usize, Catalogue)> = None;
    for source in sources {
        let is_same = |known: &Catalogue| known.state().sequence() == source.standing.sequence;
        if best.as_ref().is_some_and(|(_, known)| is_same(known)) {
            continue;
        }
        match pool.catalogue(owner, source.agent, cancel) {
            Ok(catalogue) if catalogue.state().is_empty() => said.push(format!("{}: it is empty", source.name)),
            Ok(catalogue) => {
                fetching.set_catalogue(Arc::new(catalogue.state().clone()));
                let lacking = fetch_all(fetching, &catalogue, cancel)?;
                let count = lacking.len();
                said.extend(lacking);
                if best.as_ref().is_none_or(|(least, _)| count < *least) {
                    best = Some((count, catalogue));
                }
                if count == 0 {
                    return Ok(());
                }
            }
            Err(error) => {
                if error.is_lie() {
                    fetching.found_liar(source.agent, None);
                }
                said.push(format!("{}: {error}", source.name));
            }
        }
    }
    said.truncate(10);
    match best {
        Some((_, catalogue)) if fetching.objects().folder().join("config").exists() => {
            tracing::warn!(%owner, said = said.join("; "), "no copy has all of the newest archives");
            fetching.set_catalogue(Arc::new(catalogue.state().clone()));
            Ok(())
        }
        _ => Err(RecoveryError::NoUsableCopy { owner, why: said.join("; ") }),
    }
}

/// Removes snapshots and indexes that the catalogue does not know any more: they would lead to what nobody has.
fn leave_out_what_is_gone(fetching: &Fetching) -> Result<(), RecoveryError> {
    let Some(catalogue) = fetching.catalogue() else { return Ok(()) };
    for object in fetching.objects().list()? {
        let is_listing = matches!(object.kind, ObjectKind::Index | ObjectKind::Snapshot);
        if is_listing && catalogue.get(&object.name).is_none() {
            fetching.objects().remove(&object.name)?;
        }
    }
    Ok(())
}

/// Fetches all objects but packs; says what cannot be had. Where there is no room for one there is none for the others.
fn fetch_all(
    fetching: &Fetching,
    catalogue: &Catalogue,
    cancel: &CancellationToken,
) -> Result<Vec<String>, RecoveryError> {
    let is_there = |object: &Object| fetching.objects().path(object.kind, &object.name).exists();
    let wanted: Vec<Object> = catalogue
        .state()
        .iter()
        .map(|(_, object)| *object)
        .filter(|object| object.kind != ObjectKind::Pack && !is_there(object))
        .collect();
    let next = Mutex::new(wanted.iter());
    let (lacking, no_room) = (Mutex::new(Vec::new()), Mutex::new(None));
    let work = || {
        loop {
            if no_room.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
                return;
            }
            let object = next.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(object) = object else { return };
            match fetching.fetch(object.kind, &object.name, cancel) {
                Ok(()) | Err(NotFetched::Unknown) => {}
                Err(NotFetched::NoRoom { folder, needed_bytes, free_bytes }) => {
                    let error = RecoveryError::NoRoom { folder, needed_bytes, free_bytes };
                    *no_room.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
                Err(error) => {
                    let what = format!("{} {:?}: {error}", object.kind.folder(), object.name);
                    lacking.lock().unwrap_or_else(PoisonError::into_inner).push(what);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..FETCHED_AT_ONCE.min(wanted.len()) {
            scope.spawn(work);
        }
    });
    match no_room.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(lacking.into_inner().unwrap_or_else(PoisonError::into_inner)),
    }
}
