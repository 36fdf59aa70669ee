//! The database files: one in use, named by its generation; a received state takes over as the next generation.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use openraft::EntryPayload;
use redb::{Builder, Database, Durability, ReadableDatabase, TableDefinition};
use serde::{Deserialize, Serialize};
use shoal_ledger::{Batch, KvError, Outcome, Rejection};
use tokio::sync::watch;

use super::incoming::IncomingState;
use super::view::{StateView, StateWriter, store_error};
use crate::files::sync_directory;
use crate::types::{Entry, LogId, SnapshotMeta, StoredMembership};
use crate::{ConsensusError, Headroom};

pub(super) const ROWS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("ledger");
const APPLIED: TableDefinition<'static, &str, &[u8]> = TableDefinition::new("applied");
/// A state that is not in place yet.
const INCOMING: &str = "incoming.redb";
const APPLIED_KEY: &str = "applied";
/// Version of what this crate adds to the state. The ledger's rows carry their own.
const FORMAT_VERSION: u32 = 1;

/// Results of one entry's commands.
pub(crate) type EntryResults = Vec<Result<Outcome, Rejection>>;

/// How much of the state survives a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct DurablePosition {
    /// One past the last entry that does.
    pub(crate) next: u64,
    /// The store has failed; it will not get further.
    pub(crate) failed: bool,
}

/// What the state knows about itself, stored beside the rows at each checkpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Applied {
    pub(super) last: Option<LogId>,
    pub(super) membership: StoredMembership,
}

struct Current {
    database: Database,
    path: PathBuf,
    generation: u64,
    applied: Applied,
}

/// The state.
pub(crate) struct StateStore {
    directory: PathBuf,
    cache_bytes: usize,
    current: Mutex<Current>,
    view: RwLock<Arc<StateView>>,
    /// One past the last entry applied.
    applied_next: watch::Sender<u64>,
    /// The position of the last batch applied.
    batch_position: watch::Sender<u64>,
    durable: watch::Sender<DurablePosition>,
    headroom: Arc<Headroom>,
}

impl StateStore {
    /// Opens the state in `directory`, or makes an empty one. Blocking.
    pub(crate) fn open(directory: &Path, cache_bytes: usize, headroom: Arc<Headroom>) -> Result<Self, ConsensusError> {
        let generation = match keep_newest(directory)? {
            Some(newest) => newest,
            None => make_first(directory, cache_bytes)?,
        };
        let path = file_path(directory, generation);
        let database = open_database(&path, cache_bytes)?;
        let applied = read_applied(&database, &path)?;
        let view = open_view(&database, &applied)?;
        shoal_ledger::query::check_format(&view).map_err(|error| ConsensusError::Format(error.to_string()))?;
        let next = applied.last.map_or(0, |id| id.index + 1);
        Ok(Self {
            directory: directory.to_owned(),
            cache_bytes,
            current: Mutex::new(Current { database, path, generation, applied }),
            view: RwLock::new(Arc::new(view)),
            applied_next: watch::Sender::new(next),
            batch_position: watch::Sender::new(next.saturating_sub(1)),
            durable: watch::Sender::new(DurablePosition { next, failed: false }),
            headroom,
        })
    }

    /// The state as it is now.
    pub(crate) fn view(&self) -> Arc<StateView> {
        Arc::clone(&self.view.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn applied_next(&self) -> watch::Receiver<u64> {
        self.applied_next.subscribe()
    }

    pub(crate) fn batch_position(&self) -> watch::Receiver<u64> {
        self.batch_position.subscribe()
    }

    pub(crate) fn durable(&self) -> watch::Receiver<DurablePosition> {
        self.durable.subscribe()
    }

    /// Notes that nothing will become durable any more.
    pub(crate) fn set_failed(&self) {
        self.durable.send_modify(|durable| durable.failed = true);
    }

    /// Applies entries in one transaction, not yet durable. Blocking. After an error nothing of them is applied.
    pub(crate) fn apply(&self, entries: &[Entry]) -> Result<Vec<EntryResults>, KvError> {
        self.headroom.before_write();
        let mut current = self.lock();
        let mut applied = current.applied.clone();
        let mut results = Vec::with_capacity(entries.len());
        let mut transaction = current.database.begin_write().map_err(store_error)?;
        transaction.set_durability(Durability::None).map_err(store_error)?;
        let mut batch_position = None;
        {
            let mut rows = StateWriter(transaction.open_table(ROWS).map_err(store_error)?);
            for entry in entries {
                applied.last = Some(entry.log_id);
                results.push(match &entry.payload {
                    EntryPayload::Blank => Vec::new(),
                    EntryPayload::Membership(membership) => {
                        applied.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                        Vec::new()
                    }
                    EntryPayload::Normal(encoded) => {
                        let batch: Batch = postcard::from_bytes(&encoded.0).map_err(|error| KvError::Corrupt {
                            table: "log",
                            reason: format!("entry {}: {error}", entry.log_id.index),
                        })?;
                        batch_position = Some(entry.log_id.index);
                        shoal_ledger::apply(&mut rows, entry.log_id.index, &batch)?
                    }
                });
            }
        }
        transaction.commit().map_err(store_error)?;
        current.applied = applied;
        self.publish(&current, batch_position)?;
        Ok(results)
    }

    /// Makes everything applied so far durable, and answers up to where that is. Blocking.
    pub(crate) fn checkpoint(&self) -> Result<Option<LogId>, KvError> {
        self.headroom.before_write();
        let current = self.lock();
        let next = current.applied.last.map_or(0, |id| id.index + 1);
        if self.durable.borrow().next < next {
            write_applied(&current.database, &current.applied)?;
            self.durable.send_modify(|durable| durable.next = next);
        }
        Ok(current.applied.last)
    }

    /// Begins an empty state beside the one in use. Blocking.
    pub(crate) fn begin_incoming(&self) -> Result<IncomingState, ConsensusError> {
        self.headroom.before_write();
        IncomingState::create(&self.directory.join(INCOMING), self.cache_bytes / 4)
    }

    /// Puts a received state in place of the one in use. Blocking; durable when this returns.
    pub(crate) fn install(&self, incoming: IncomingState, meta: &SnapshotMeta) -> Result<(), ConsensusError> {
        let mut current = self.lock();
        let applied = Applied { last: meta.last_log_id, membership: meta.last_membership.clone() };
        let received = incoming.finish(&applied)?;
        let generation = current.generation + 1;
        let path = file_path(&self.directory, generation);
        shoal_files::rename(&received, &path).map_err(ConsensusError::io("put in place", &path))?;
        sync_directory(&self.directory)?;
        let database = open_database(&path, self.cache_bytes)?;
        let old = std::mem::replace(&mut *current, Current { database, path, generation, applied });
        let position = meta.last_log_id.map(|id| id.index);
        self.publish(&current, position)?;
        let next = position.map_or(0, |index| index + 1);
        self.durable.send_modify(|durable| durable.next = next);
        // Readers may hold views of the old file; where that keeps it from being removed, the next start does.
        drop(old.database);
        if let Err(error) = shoal_files::remove(&old.path) {
            tracing::debug!(path = %old.path.display(), %error, "the state that was replaced stays for now");
        }
        Ok(())
    }

    /// Begins a new group's ledger from what is here: at a position beyond all that went before, with other members.
    /// Blocking; durable when this returns.
    pub(crate) fn begin_generation(&self, last: LogId, membership: StoredMembership) -> Result<(), KvError> {
        let mut current = self.lock();
        let transaction = current.database.begin_write().map_err(store_error)?;
        {
            let mut rows = StateWriter(transaction.open_table(ROWS).map_err(store_error)?);
            shoal_ledger::leap(&mut rows, last.index)?;
        }
        transaction.commit().map_err(store_error)?;
        current.applied = Applied { last: Some(last), membership };
        write_applied(&current.database, &current.applied)?;
        self.publish(&current, Some(last.index))?;
        self.durable.send_modify(|durable| durable.next = last.index + 1);
        Ok(())
    }

    fn publish(&self, current: &Current, batch_position: Option<u64>) -> Result<(), KvError> {
        let view = open_view(&current.database, &current.applied)?;
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(view);
        self.applied_next.send_replace(current.applied.last.map_or(0, |id| id.index + 1));
        if let Some(position) = batch_position {
            self.batch_position.send_replace(position);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_path(directory: &Path, generation: u64) -> PathBuf {
    directory.join(format!("state-{generation:010}.redb"))
}

/// Finds the newest state and removes older ones and what was being received.
fn keep_newest(directory: &Path) -> Result<Option<u64>, ConsensusError> {
    let mut generations = Vec::new();
    let listing = std::fs::read_dir(directory).map_err(ConsensusError::io("list", directory))?;
    for entry in listing {
        let entry = entry.map_err(ConsensusError::io("list", directory))?;
        let name = entry.file_name();
        let Some(stem) = name.to_str().and_then(|name| name.strip_suffix(".redb")) else { continue };
        if name == INCOMING {
            shoal_files::remove(&entry.path()).map_err(ConsensusError::io("remove", entry.path()))?;
        } else if let Some(generation) = stem.strip_prefix("state-").and_then(|number| number.parse::<u64>().ok()) {
            generations.push(generation);
        }
    }
    // A state put in place by a process that died right then may not be there durably; the one before must not go first.
    sync_directory(directory)?;
    generations.sort_unstable();
    let newest = generations.pop();
    for old in generations {
        let path = file_path(directory, old);
        shoal_files::remove(&path).map_err(ConsensusError::io("remove", &path))?;
    }
    Ok(newest)
}

/// Makes an empty state, of generation 1: beside, then put in place, since a database cut short while it is made is none
/// that redb would ever open.
fn make_first(directory: &Path, cache_bytes: usize) -> Result<u64, ConsensusError> {
    const FIRST: u64 = 1;
    let beside = directory.join(INCOMING);
    drop(open_database(&beside, cache_bytes)?);
    let path = file_path(directory, FIRST);
    shoal_files::rename(&beside, &path).map_err(ConsensusError::io("put in place", &path))?;
    sync_directory(directory)?;
    Ok(FIRST)
}

pub(super) fn open_database(path: &Path, cache_bytes: usize) -> Result<Database, ConsensusError> {
    let open = || {
        let backend = shoal_files::Backend::create(path)?;
        let database = Builder::new().set_cache_size(cache_bytes).create_with_backend(backend)?;
        // So that a view of an empty state has its table.
        let transaction = database.begin_write()?;
        transaction.open_table(ROWS)?;
        transaction.open_table(APPLIED)?;
        transaction.commit()?;
        Ok::<_, redb::Error>(database)
    };
    open().map_err(|error| match error {
        redb::Error::DatabaseAlreadyOpen => ConsensusError::InUse(path.to_owned()),
        redb::Error::UpgradeRequired(found) => {
            ConsensusError::damaged(path, format!("it is in the old database format {found}"))
        }
        redb::Error::Io(source) => ConsensusError::Io { action: "open the state", path: path.to_owned(), source },
        other => ConsensusError::damaged(path, other.to_string()),
    })
}

fn read_applied(database: &Database, path: &Path) -> Result<Applied, ConsensusError> {
    let read = || {
        let table = database.begin_read()?.open_table(APPLIED)?;
        Ok::<_, redb::Error>(table.get(APPLIED_KEY)?.map(|value| value.value().to_vec()))
    };
    let Some(bytes) = read().map_err(store_error)? else { return Ok(Applied::default()) };
    let undecodable = |error| ConsensusError::damaged(path, format!("its position does not decode ({error})"));
    let (found, rest) = postcard::take_from_bytes::<u32>(&bytes).map_err(undecodable)?;
    if found > FORMAT_VERSION {
        return Err(ConsensusError::NewerVersion { path: path.to_owned(), found, known: FORMAT_VERSION });
    }
    postcard::from_bytes(rest).map_err(undecodable)
}

/// Commits durably, with all that was committed before without being durable.
pub(super) fn write_applied(database: &Database, applied: &Applied) -> Result<(), KvError> {
    let bytes = postcard::to_stdvec(&(FORMAT_VERSION, applied)).map_err(|error| KvError::Io(error.to_string()))?;
    let write = || {
        let mut transaction = database.begin_write()?;
        // Otherwise redb reads the whole file after a crash before it opens.
        transaction.set_quick_repair(true);
        transaction.open_table(APPLIED)?.insert(APPLIED_KEY, bytes.as_slice())?;
        transaction.commit()?;
        Ok::<_, redb::Error>(())
    };
    write().map_err(store_error)
}

fn open_view(database: &Database, applied: &Applied) -> Result<StateView, KvError> {
    let table = database.begin_read().map_err(store_error)?.open_table(ROWS).map_err(store_error)?;
    Ok(StateView::new(table, applied.last, applied.membership.clone()))
}
