//! An owner's objects, fetched from whoever holds a copy when they are needed.
//!
//! The catalogue, which the owner signed, says how long each object is; its name says what its bytes must be. Objects come in
//! pieces from the nearest source; what breaks off goes on where it was, from another one. A source whose bytes are not the
//! object's is named and not asked again. One source that is alive and has the object is enough.
//!
//! What was fetched stays until the recovery is closed, or until the disk wants the room for what is fetched next.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use bytes::Bytes;
use dci_proto::AgentId;
use shoal_archive::FetchObject;
use shoal_backup::catalogue::State;
use shoal_backup::peersync::{Candidate, nearest};
use shoal_backup::{Object, ObjectKind, ObjectName};
use tokio_util::sync::CancellationToken;

use super::RecoveryError;
use super::pool::{Pool, Source};
use crate::call::{Answer, Ask, CallError, No, PIECE_LIMIT_BYTES};
use crate::files::{FilesError, Objects};

/// Of a link that was too slow for a whole piece, less is asked at once, but not less than this.
const PIECE_LEAST_BYTES: u32 = 128 << 10;
/// Who does not answer is left alone so long at most, while others do.
const SILENT_AT_MOST: Duration = Duration::from_secs(600);
/// Objects that could not be had that are remembered, at most.
const FAILED_LIMIT: usize = 4_096;
/// Bytes of packs that are kept, at most: a restore goes through packs more or less in a row.
const KEPT_LIMIT_BYTES: u64 = 8 << 30;
/// What others who use the disk may count on.
const RESERVE_BYTES: u64 = 64 << 20;

/// A source that gave wrong bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Liar {
    /// Who.
    pub agent: AgentId,
    /// Whose backup it was to give.
    pub owner: AgentId,
    /// Of which object, if it was one.
    pub object: Option<ObjectName>,
}

/// Who is told of liars. Called from any thread.
pub type TellLiar = Arc<dyn Fn(Liar) + Send + Sync>;

/// An owner's objects.
pub(super) struct Fetching {
    owner: AgentId,
    pool: Arc<Pool>,
    objects: Objects,
    /// Whether packs are dropped to make room: not in a repository that is somebody's own.
    may_drop: bool,
    /// Whether the owner itself is a source.
    with_owner: bool,
    tell_liar: TellLiar,
    state: Mutex<Inner>,
    done: Condvar,
    fetched_bytes: AtomicU64,
    /// There was no room for something: what is needed, what was free.
    no_room: Mutex<Option<(u64, u64)>>,
}

#[derive(Default)]
struct Inner {
    sources: Vec<Source>,
    busy: BTreeMap<AgentId, usize>,
    liars: BTreeSet<AgentId>,
    /// Who did not answer: not asked before then while another one can be, and how often in a row.
    silent: BTreeMap<AgentId, (Instant, u32)>,
    /// What the owner's catalogue amounts to; `None`: not asked for yet.
    catalogue: Option<Arc<State>>,
    under_way: BTreeSet<ObjectName>,
    kept: VecDeque<(ObjectName, u64)>,
    /// What could not be had, when, and why: many files may lie in one pack, and not each of them waits for it.
    failed: BTreeMap<ObjectName, (Instant, String)>,
    /// The last object was waited for in vain: the next one is not waited for, until something comes.
    given_up: bool,
}

impl fmt::Debug for Fetching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fetching").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// Why an object cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotFetched {
    #[error("no copy gives it: {0}")]
    Nobody(String),
    #[error("it does not belong to the backup any more")]
    Unknown,
    #[error("the disk of {} has no room for it: {needed_bytes} bytes are needed, {free_bytes} are free", folder.display())]
    NoRoom { folder: PathBuf, needed_bytes: u64, free_bytes: u64 },
    #[error(transparent)]
    Files(#[from] FilesError),
    #[error("it was cancelled")]
    Cancelled,
}

/// What was tried for one object.
#[derive(Default)]
struct Tried {
    /// Who cannot give it, and why.
    refused: BTreeMap<AgentId, String>,
    /// Who is not asked for a while, and why.
    resting: BTreeMap<AgentId, (Instant, String)>,
    /// Who gave what is there.
    givers: BTreeSet<AgentId>,
    /// What came from several was wrong: all of it must come from one.
    from_one: bool,
}

impl Tried {
    fn said(&self, sources: &[Source]) -> String {
        let name = |agent: &AgentId| {
            let source = sources.iter().find(|source| source.agent == *agent);
            source.map_or_else(|| agent.to_string(), |source| source.name.clone())
        };
        let resting = self.resting.iter().map(|(agent, (_, why))| (agent, why));
        let said: Vec<String> =
            self.refused.iter().chain(resting).map(|(agent, why)| format!("{}: {why}", name(agent))).collect();
        if said.is_empty() { "no member that answers holds a copy".to_owned() } else { said.join("; ") }
    }
}

impl Fetching {
    pub(super) fn new(owner: AgentId, pool: Arc<Pool>, objects: Objects, tell_liar: TellLiar) -> Self {
        Self {
            owner,
            pool,
            objects,
            may_drop: false,
            with_owner: true,
            tell_liar,
            state: Mutex::default(),
            done: Condvar::new(),
            fetched_bytes: AtomicU64::new(0),
            no_room: Mutex::default(),
        }
    }

    /// Packs may be dropped again to make room.
    pub(super) fn may_drop(self) -> Self {
        Self { may_drop: true, ..self }
    }

    /// From others than the owner only.
    pub(super) fn without_owner(self, without: bool) -> Self {
        Self { with_owner: !without, ..self }
    }

    /// The error that there was no room for something that was fetched, if that was so.
    pub(super) fn was_there_room(&self) -> Result<(), RecoveryError> {
        let no_room = *self.no_room.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = || self.objects.folder().to_owned();
        no_room.map_or(Ok(()), |(needed_bytes, free_bytes)| {
            Err(RecoveryError::NoRoom { folder: folder(), needed_bytes, free_bytes })
        })
    }

    fn state(&self) -> MutexGuard<'_, Inner> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(super) fn owner(&self) -> AgentId {
        self.owner
    }

    /// Bytes that came.
    pub(super) fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn liars(&self) -> Vec<AgentId> {
        self.state().liars.iter().copied().collect()
    }

    pub(super) fn set_sources(&self, sources: Vec<Source>) {
        self.state().sources = sources;
    }

    pub(super) fn set_catalogue(&self, catalogue: Arc<State>) {
        self.state().catalogue = Some(catalogue);
    }

    /// What the owner said there is, as far as it is known here.
    pub(super) fn catalogue(&self) -> Option<Arc<State>> {
        self.state().catalogue.clone()
    }

    /// The number of its last word.
    pub(super) fn sequence(&self) -> u64 {
        self.catalogue().map_or(0, |catalogue| catalogue.sequence())
    }

    /// Sources that did not lie.
    pub(super) fn sources(&self) -> Vec<Source> {
        let state = self.state();
        state.sources.iter().filter(|source| !state.liars.contains(&source.agent)).cloned().collect()
    }

    /// Looks who has a copy now.
    pub(super) fn look_for_sources(&self) -> usize {
        let (sources, asked) = self.pool.handle.block_on(self.pool.sources(self.owner, self.with_owner));
        self.set_sources(sources);
        asked
    }

    /// Somebody begins anew: what could not be had before is tried again.
    pub(super) fn try_again(&self) {
        let mut state = self.state();
        state.failed.clear();
        state.given_up = false;
    }

    pub(super) fn found_liar(&self, agent: AgentId, object: Option<ObjectName>) {
        tracing::warn!(%agent, owner = %self.owner, ?object, "a copy of a backup gave wrong bytes and is not asked again");
        self.state().liars.insert(agent);
        (self.tell_liar)(Liar { agent, owner: self.owner, object });
        if let Some(name) = object {
            Pool::tell_of_wrong(&self.pool, self.owner, agent, name);
        }
    }

    /// What the catalogue says of an object. A catalogue that is not there yet is fetched.
    fn known(&self, name: &ObjectName, cancel: &CancellationToken) -> Result<Object, NotFetched> {
        let known = self.state().catalogue.clone();
        let catalogue = match known {
            Some(catalogue) => catalogue,
            None => self.fetch_catalogue(cancel)?,
        };
        catalogue.get(name).copied().ok_or(NotFetched::Unknown)
    }

    fn fetch_catalogue(&self, cancel: &CancellationToken) -> Result<Arc<State>, NotFetched> {
        self.look_for_sources();
        let mut sources = self.sources();
        sources.sort_by_key(|source| std::cmp::Reverse(source.standing.sequence));
        let mut said = Vec::new();
        for source in &sources {
            match self.pool.catalogue(self.owner, source.agent, cancel) {
                Ok(catalogue) => {
                    let catalogue = Arc::new(catalogue.state().clone());
                    self.set_catalogue(Arc::clone(&catalogue));
                    return Ok(catalogue);
                }
                Err(error) => {
                    if error.is_lie() {
                        self.found_liar(source.agent, None);
                    }
                    said.push(format!("{}: {error}", source.name));
                }
            }
        }
        let none = || "no member that answers holds a copy".to_owned();
        Err(NotFetched::Nobody(if said.is_empty() { none() } else { said.join("; ") }))
    }

    /// Puts an object in its place, also if there is something. Who comes while it is under way already waits for it.
    pub(super) fn fetch(
        &self,
        kind: ObjectKind,
        name: &ObjectName,
        cancel: &CancellationToken,
    ) -> Result<(), NotFetched> {
        let mut state = self.state();
        let mut waited = false;
        while state.under_way.contains(name) {
            waited = true;
            if cancel.is_cancelled() {
                return Err(NotFetched::Cancelled);
            }
            let wait = self.done.wait_timeout(state, self.pool.patience.rest);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        if waited && self.objects.path(kind, name).exists() {
            return Ok(());
        }
        let lately = state.failed.get(name).filter(|(when, _)| when.elapsed() < self.pool.patience.stall);
        if let Some((_, why)) = lately {
            return Err(NotFetched::Nobody(why.clone()));
        }
        state.under_way.insert(*name);
        drop(state);
        let _under_way = UnderWay { fetching: self, name: *name };
        let object = self.known(name, cancel)?;
        let fetched = self.transfer(&Object { kind, ..object }, cancel);
        let mut state = self.state();
        match &fetched {
            Err(NotFetched::Nobody(why)) => {
                if state.failed.len() >= FAILED_LIMIT {
                    state.failed.pop_first();
                }
                state.failed.insert(*name, (Instant::now(), why.clone()));
            }
            _ => _ = state.failed.remove(name),
        }
        drop(state);
        fetched
    }

    fn transfer(&self, object: &Object, cancel: &CancellationToken) -> Result<(), NotFetched> {
        let name = object.name;
        self.make_room(object.size_bytes)?;
        let mut tried = Tried::default();
        let mut piece_bytes = PIECE_LIMIT_BYTES;
        let mut moved = Instant::now();
        // Nobody remembers who gave what an earlier try left.
        let mut is_resumed = self.objects.have_bytes(&name)? > 0;
        loop {
            if cancel.is_cancelled() {
                return Err(NotFetched::Cancelled);
            }
            let have_bytes = self.objects.have_bytes(&name)?;
            if have_bytes > object.size_bytes {
                self.objects.discard(&name)?;
                is_resumed = false;
                continue;
            }
            if have_bytes == object.size_bytes {
                match self.objects.finish(object.kind, &name) {
                    Ok(_) => break,
                    Err(FilesError::WrongHash(_)) => {
                        self.blame(&mut tried, is_resumed, &name);
                        is_resumed = false;
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let Some(source) = self.choose(&mut tried, &name) else {
                let is_over = self.state().given_up || moved.elapsed() >= self.pool.patience.stall;
                if !self.may_come(&tried) || is_over && self.choose(&mut tried, &name).is_none() {
                    self.state().given_up = true;
                    return Err(NotFetched::Nobody(tried.said(&self.state().sources)));
                }
                if !self.pool.rest(self.pool.patience.rest, cancel) {
                    return Err(NotFetched::Cancelled);
                }
                continue;
            };
            let left = object.size_bytes - have_bytes;
            let length = u32::try_from(left).unwrap_or(u32::MAX).min(piece_bytes);
            let ask = Ask::Get { owner: self.owner, name, offset: have_bytes, length };
            *self.state().busy.entry(source).or_default() += 1;
            let reply = self.pool.call(source, ask, self.pool.patience.piece, cancel);
            self.state().busy.entry(source).and_modify(|busy| *busy = busy.saturating_sub(1));
            match reply.ok_or(NotFetched::Cancelled)? {
                Ok((Answer::Done, body)) if body.len() == length as usize => {
                    self.keep(&name, have_bytes, &body)?;
                    tried.givers.insert(source);
                    self.state().silent.remove(&source);
                    moved = Instant::now();
                }
                Ok(_) => _ = tried.refused.insert(source, "it gave something else".to_owned()),
                Err(CallError::No { no: No::Busy | No::Failed, reason }) => self.let_rest(&mut tried, source, reason),
                Err(error @ CallError::Unreachable(_)) => {
                    self.fell_silent(source);
                    piece_bytes = (piece_bytes / 2).max(PIECE_LEAST_BYTES);
                    self.let_rest(&mut tried, source, error.to_string());
                }
                Err(error) => _ = tried.refused.insert(source, error.to_string()),
            }
        }
        if object.kind == ObjectKind::Pack && self.may_drop {
            self.state().kept.push_back((name, object.size_bytes));
        }
        Ok(())
    }

    fn keep(&self, name: &ObjectName, offset: u64, body: &Bytes) -> Result<(), NotFetched> {
        self.objects.write_piece(name, offset, body)?;
        self.fetched_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        self.state().given_up = false;
        Ok(())
    }

    /// Each time it is left alone for twice as long.
    fn fell_silent(&self, source: AgentId) {
        let mut state = self.state();
        let (until, times) = state.silent.entry(source).or_insert((Instant::now(), 0));
        let rest = self.pool.patience.rest.saturating_mul(1 << (*times).min(16)).min(SILENT_AT_MOST);
        (*until, *times) = (Instant::now() + rest, *times + 1);
    }

    fn let_rest(&self, tried: &mut Tried, source: AgentId, why: String) {
        tried.resting.insert(source, (Instant::now() + self.pool.patience.rest, why));
    }

    /// What came is wrong. One who gave all of it is a liar; of several, nobody knows which.
    fn blame(&self, tried: &mut Tried, is_resumed: bool, name: &ObjectName) {
        let mut givers = std::mem::take(&mut tried.givers).into_iter();
        match (givers.next(), givers.next()) {
            (Some(liar), None) if !is_resumed => self.found_liar(liar, Some(*name)),
            _ => tried.from_one = true,
        }
    }

    /// Whom to ask now.
    fn choose(&self, tried: &mut Tried, name: &ObjectName) -> Option<AgentId> {
        let now = Instant::now();
        let state = self.state();
        let may = |source: &&Source| {
            let agent = &source.agent;
            let is_out = state.liars.contains(agent) || tried.refused.contains_key(agent);
            let rests = tried.resting.get(agent).is_some_and(|(until, _)| *until > now);
            !is_out && !rests && (!tried.from_one || tried.givers.is_empty() || tried.givers.contains(agent))
        };
        let candidate = |source: &Source| Candidate {
            agent: source.agent,
            distance_ms: source.distance_ms,
            busy: state.busy.get(&source.agent).copied().unwrap_or(0),
        };
        let answers = |source: &&Source| state.silent.get(&source.agent).is_none_or(|(until, _)| *until <= now);
        let found = nearest(state.sources.iter().filter(may).filter(answers).map(candidate), name)
            .or_else(|| nearest(state.sources.iter().filter(may).map(candidate), name));
        drop(state);
        if found.is_none() && tried.from_one && !tried.givers.is_empty() {
            // The one that had begun is gone: another one begins anew.
            tried.givers.clear();
            let _ = self.objects.discard(name);
        }
        found
    }

    /// Whether waiting may help. Looks again who has a copy.
    fn may_come(&self, tried: &Tried) -> bool {
        self.look_for_sources();
        let sources = self.sources();
        // Who does not answer now is not in the list, but may come back.
        let comes_back = |agent: &AgentId| !self.state().liars.contains(agent);
        sources.iter().any(|source| !tried.refused.contains_key(&source.agent)) || tried.resting.keys().any(comes_back)
    }

    /// Packs that were fetched first go, if the disk wants the room.
    fn make_room(&self, size_bytes: u64) -> Result<(), NotFetched> {
        loop {
            let kept: u64 = self.state().kept.iter().map(|(_, bytes)| bytes).sum();
            let (free_bytes, needed_bytes) =
                (self.pool.free_bytes(self.objects.folder()), size_bytes.saturating_add(RESERVE_BYTES));
            let fits = free_bytes >= needed_bytes;
            if fits && (!self.may_drop || kept.saturating_add(size_bytes) <= KEPT_LIMIT_BYTES.max(size_bytes)) {
                return Ok(());
            }
            let Some((oldest, _)) = self.state().kept.pop_front() else {
                let folder = self.objects.folder().to_owned();
                *self.no_room.lock().unwrap_or_else(PoisonError::into_inner) = Some((needed_bytes, free_bytes));
                return Err(NotFetched::NoRoom { folder, needed_bytes, free_bytes });
            };
            self.objects.remove(&oldest)?;
        }
    }
}

/// An object is under way, until this is dropped.
struct UnderWay<'a> {
    fetching: &'a Fetching,
    name: ObjectName,
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.fetching.state().under_way.remove(&self.name);
        self.fetching.done.notify_all();
    }
}

/// Fetches for somebody who may cancel.
#[derive(Debug)]
pub(super) struct For {
    pub(super) fetching: Arc<Fetching>,
    pub(super) cancel: CancellationToken,
}

impl FetchObject for For {
    fn fetch(&self, kind: ObjectKind, name: &ObjectName) -> io::Result<()> {
        self.fetching.fetch(kind, name, &self.cancel).map_err(io::Error::other)
    }
}
