//! The file of a mailbox: a redb database, with the version of what is in it.
//!
//! Commits are redb's plain ones, with one sync: after a crash it then walks the whole file before it opens, 0.15 s for 80 MB. Its
//! quick repair would save that and sync twice each time.
//!
//! All changes go through [`Disk::write`], whole or not at all and durable when it returns. A write that failed leaves redb
//! unwilling to go on, so the file is closed and opened anew before the next one ([`Disk::mend`]); a number in each
//! transaction tells then whether the one that failed has become durable after all.

pub(crate) mod encoding;
#[cfg(test)]
mod full;
mod tables;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use redb::{Builder, Database, ReadTransaction, ReadableDatabase};

use crate::MailboxError;
use crate::error::DiskError;

pub(crate) use tables::{ENDED, LOG, PENDING, RECEIVED, SENT, Tables, WAITING};

/// The newest version of what is in the file.
pub(crate) const FORMAT_VERSION: u64 = 1;
/// Memory the database may keep pages in.
const CACHE_BYTES: usize = 32 * 1024 * 1024;

/// Opens the file, or makes an empty one.
pub(crate) type OpenFile = Box<dyn Fn(&Builder, &Path) -> Result<Database, redb::DatabaseError> + Send + Sync>;

/// A mailbox's file.
pub(crate) struct Disk {
    path: PathBuf,
    open_file: OpenFile,
    /// `None` while it could not be opened anew.
    database: RwLock<Option<Database>>,
    /// A write failed.
    broken: AtomicBool,
}

/// A write that failed.
pub(crate) struct WriteFailed {
    pub(crate) error: MailboxError,
    /// The number of the transaction, if it may have become durable all the same.
    pub(crate) in_doubt: Option<u64>,
}

impl Disk {
    /// Opens the file, or makes an empty one.
    pub(crate) fn open(path: &Path) -> Result<Self, MailboxError> {
        Self::open_with(
            path,
            Box::new(|builder, path| builder.create_with_backend(shoal_files::Backend::create(path)?)),
        )
    }

    pub(crate) fn open_with(path: &Path, open_file: OpenFile) -> Result<Self, MailboxError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |error: std::io::Error| MailboxError::Io { action, path, reason: error.to_string() }
        };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        shoal_files::create_directories(folder).map_err(io("make the folder", folder))?;
        if !path.exists() {
            create(path, &open_file)?;
        }
        // The name, also where a process that died had no time to make it durable.
        shoal_files::sync_directory(folder).map_err(io("sync the folder", folder))?;
        let database = open_database(path, &open_file)?;
        Ok(Self {
            path: path.to_owned(),
            open_file,
            database: RwLock::new(Some(database)),
            broken: AtomicBool::new(false),
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Changes rows. Durable when this returns; nothing is changed if `change` fails. Blocking.
    pub(crate) fn write<T>(
        &self,
        change: impl FnOnce(&mut Tables<'_>) -> Result<T, DiskError>,
    ) -> Result<T, WriteFailed> {
        let mut number = None;
        let result = self.with(|database| {
            let transaction = database.begin_write()?;
            let mut tables = Tables::open(&transaction)?;
            let changed = change(&mut tables)?;
            number = tables.finish()?;
            // What changes nothing needs no sync.
            if number.is_some() {
                transaction.commit()?
            } else {
                transaction.abort()?
            }
            Ok(changed)
        });
        result.map_err(|error| {
            let failed = matches!(error, DiskError::Database(_));
            self.broken.fetch_or(failed, Ordering::Relaxed);
            WriteFailed { error: error.on("write", &self.path), in_doubt: number }
        })
    }

    /// Reads what is durable. Blocking.
    pub(crate) fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction) -> Result<T, DiskError>,
    ) -> Result<T, MailboxError> {
        self.with(|database| read(&database.begin_read()?)).map_err(|error| error.on("read", &self.path))
    }

    /// Opens the file anew if a write failed; answers the number of the last transaction then. Blocking.
    pub(crate) fn mend(&self) -> Result<Option<u64>, MailboxError> {
        if !self.broken.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
        *database = None;
        let opened = open_database(&self.path, &self.open_file)?;
        let number = tables::transactions(&opened).map_err(|error| error.on("read", &self.path))?;
        *database = Some(opened);
        self.broken.store(false, Ordering::Relaxed);
        Ok(Some(number))
    }

    fn with<T>(&self, use_it: impl FnOnce(&Database) -> Result<T, DiskError>) -> Result<T, DiskError> {
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(redb::Error::PreviousIo)?;
        // The database gives up with a panic on some damage.
        let used = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| use_it(database)));
        used.unwrap_or_else(|_| Err(redb::Error::Corrupted("the database gave up on it".into()).into()))
    }
}

/// Makes an empty file: beside, then put in place, since a database cut short while it is made is none that redb would open.
fn create(path: &Path, open_file: &OpenFile) -> Result<(), MailboxError> {
    let beside = path.with_extension("new");
    let io = |error: std::io::Error| DiskError::from(redb::Error::Io(error)).on("create", path);
    if beside.exists() {
        shoal_files::remove(&beside).map_err(io)?;
    }
    drop(open_database(&beside, open_file)?);
    shoal_files::rename(&beside, path).map_err(io)
}

fn open_database(path: &Path, open_file: &OpenFile) -> Result<Database, MailboxError> {
    // The database gives up with a panic on some damage.
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| try_open(path, open_file)));
    let damaged =
        |_| Err(MailboxError::Damaged { path: path.to_owned(), reason: "the database cannot read it".into() });
    opened.unwrap_or_else(damaged)
}

fn try_open(path: &Path, open_file: &OpenFile) -> Result<Database, MailboxError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    let database = open_file(&builder, path).map_err(|error| DiskError::from(error).on("open", path))?;
    let found = tables::prepare(&database).map_err(|error| error.on("open", path))?;
    if found > FORMAT_VERSION {
        return Err(MailboxError::NewerVersion { path: path.to_owned(), found, known: FORMAT_VERSION });
    }
    Ok(database)
}
