//! [`Repository`] over `rustic_core`, with a folder of this PC as the repository.
//!
//! ```text
//! isolate   the fence round every call
//! files     the folder: what is read, written and removed
//! locks     who may work on it at the same time
//! back_up   an archive is made
//! equal     whether an archive would be equal to the one before
//! listing   what is in an archive
//! contents  pieces of files
//! needs     which objects an archive needs
//! forget    archives go, and packs that nothing needs
//! give_up   what a run wrote that came to no archive goes
//! check     whether all is there
//! ```
//!
//! Faults of the engine (0.13) that are fenced off here and in the walker: it only logs what it could not read or pack (the
//! walker counts, [`files::Files`] remembers failed writes, and the snapshot is ours to write); it panics (isolate); it
//! compares inodes only when told to ignore them (`back_up`); it takes a parent only of the same paths unless told
//! otherwise; it would keep a cache in the user's home folder. What is left: a panic in a job of its thread pool would end
//! the process; only parsing of checked and authenticated bytes is done there.

mod back_up;
mod check;
mod contents;
mod equal;
mod files;
mod forget;
mod give_up;
mod isolate;
mod listing;
mod locks;
mod needs;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustic_core::repofile::{MasterKey, SnapshotFile, SnapshotId};
use rustic_core::{
    ConfigOptions, Credentials, Id, IndexedFullStatus, KeyOptions, OpenStatus, RepositoryBackends, RepositoryOptions,
};
use shoal_backup::plan::PathBytes;
use shoal_backup::{ObjectName, sha256};

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::fetch::FetchObject;
use crate::repository::{
    ArchiveName, BackUp, BackedUp, Checked, Forgotten, Listing, Needs, Objects, ReadContents, Repository,
};
use crate::watch::Watch;
use files::Files;
pub(crate) use isolate::isolated;
use locks::Lock;

/// Size of packs: small enough that a bad one costs little and that one comes free sometimes, large enough that a catalogue
/// of them stays short.
const PACK_SIZE: &str = "16MiB";
/// Size of packs of folders.
const TREE_PACK_SIZE: &str = "4MiB";
/// How hard zstd tries.
const COMPRESSION_LEVEL: i32 = 1;

type Open = rustic_core::Repository<OpenStatus>;
type Indexed = rustic_core::Repository<IndexedFullStatus>;

/// A repository in a folder, opened.
pub struct Engine {
    folder: PathBuf,
    key: MasterKey,
    fetch: Option<Arc<dyn FetchObject>>,
}

impl fmt::Debug for Engine {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// The engine's name for an object.
pub(crate) fn object_name(id: &Id) -> ObjectName {
    id.to_hex().as_str().parse().unwrap_or_default()
}

fn id_of(name: &ObjectName) -> Id {
    name.to_string().parse().unwrap_or_default()
}

fn sha256_of(bytes: &[u8]) -> ObjectName {
    ObjectName(sha256(&[bytes]))
}

fn backends(files: &Arc<Files>) -> RepositoryBackends {
    let files: Arc<Files> = Arc::clone(files);
    RepositoryBackends::new(files, None)
}

fn unopened(files: &Arc<Files>) -> Result<rustic_core::Repository<()>, ArchiveError> {
    let options = RepositoryOptions::default().no_cache(true);
    rustic_core::Repository::new(&options, &backends(files)).map_err(ArchiveError::engine("open the repository"))
}

impl Engine {
    /// Makes a repository in this folder, which is made too, locked with this passphrase.
    ///
    /// # Errors
    /// There is one already, or the folder cannot be written to.
    pub fn init(folder: &Path, passphrase: &str, host: &str) -> Result<Self, ArchiveError> {
        if folder.join("config").exists() {
            return Err(ArchiveError::AlreadyThere(folder.to_owned()));
        }
        std::fs::create_dir_all(folder).map_err(|error| ArchiveError::io("make", folder, error))?;
        let files = Arc::new(Files::new(folder, None));
        let key = isolated("make a repository", || {
            let mut options = ConfigOptions::default();
            options.set_compression = Some(COMPRESSION_LEVEL);
            options.set_datapack_size = PACK_SIZE.parse().ok();
            options.set_datapack_size_limit = PACK_SIZE.parse().ok();
            options.set_treepack_size = TREE_PACK_SIZE.parse().ok();
            options.set_treepack_size_limit = TREE_PACK_SIZE.parse().ok();
            let key = KeyOptions::default().hostname(host.to_owned()).with_created(true);
            let made = unopened(&files)?.init(&Credentials::password(passphrase), &key, &options);
            Ok(made.map_err(ArchiveError::engine("make a repository"))?.key())
        })?;
        Ok(Self { folder: folder.to_owned(), key, fetch: None })
    }

    /// Opens the repository in this folder.
    ///
    /// # Errors
    /// There is none, the passphrase is wrong, or it is damaged.
    pub fn open(folder: &Path, passphrase: &str) -> Result<Self, ArchiveError> {
        Self::open_over(folder, passphrase, None)
    }

    /// Opens the repository in this folder, of which parts may be missing: what is read and is not there, or is not what its
    /// name says, is fetched into its place first. Configuration, keys, indexes and snapshots must be there, because nothing
    /// else says which there are. Only for reading: it makes no archives and forgets none.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(folder: &Path, passphrase: &str, fetch: Arc<dyn FetchObject>) -> Result<Self, ArchiveError> {
        Self::open_over(folder, passphrase, Some(fetch))
    }

    /// The same repository, for reading: see [`Self::open_with`].
    #[must_use]
    pub fn with_fetch(&self, fetch: Arc<dyn FetchObject>) -> Self {
        Self { folder: self.folder.clone(), key: self.key.clone(), fetch: Some(fetch) }
    }

    fn open_over(folder: &Path, passphrase: &str, fetch: Option<Arc<dyn FetchObject>>) -> Result<Self, ArchiveError> {
        if !folder.join("config").exists() {
            return Err(ArchiveError::NoRepository(folder.to_owned()));
        }
        let files = Arc::new(Files::new(folder, fetch.clone()));
        let key = isolated("open the repository", || {
            let opened = unopened(&files)?.open(&Credentials::password(passphrase));
            match opened {
                Ok(opened) => Ok(opened.key()),
                Err(error) if error.is_incorrect_password() => Err(ArchiveError::WrongKey(folder.to_owned())),
                Err(error) => Err(ArchiveError::engine("open the repository")(error)),
            }
        })?;
        Ok(Self { folder: folder.to_owned(), key, fetch })
    }

    /// The folder that it is in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn files(&self) -> Arc<Files> {
        Arc::new(Files::new(&self.folder, self.fetch.clone()))
    }

    /// A repository of which parts may be missing is not written to.
    fn may_write(&self) -> Result<(), ArchiveError> {
        if self.fetch.is_none() { Ok(()) } else { Err(ArchiveError::OnlyRead(self.folder.clone())) }
    }

    fn opened(&self, files: &Arc<Files>) -> Result<Open, ArchiveError> {
        let opened = unopened(files)?.open(&Credentials::Masterkey(self.key.clone()));
        opened.map_err(ArchiveError::engine("open the repository"))
    }

    fn indexed(&self, files: &Arc<Files>) -> Result<Indexed, ArchiveError> {
        self.opened(files)?.to_indexed().map_err(ArchiveError::engine("read the index"))
    }
}

/// The snapshot of this name.
fn snapshot(repository: &Open, archive: &ArchiveName) -> Result<SnapshotFile, ArchiveError> {
    let id = SnapshotId::from(id_of(archive));
    let known = repository.list::<SnapshotId>().map_err(ArchiveError::engine("list the archives"))?;
    if !known.into_iter().any(|known| known == id) {
        return Err(ArchiveError::NoArchive(*archive));
    }
    let mut file: SnapshotFile = repository.get_file(&id).map_err(ArchiveError::engine("read the archive"))?;
    file.id = id;
    Ok(file)
}

/// All archives, the oldest first.
fn archives(repository: &Open) -> Result<Vec<Archive>, ArchiveError> {
    let snapshots = repository.get_all_snapshots().map_err(ArchiveError::engine("list the archives"))?;
    let mut archives: Vec<Archive> = snapshots.iter().map(Archive::of).collect();
    archives.sort_by_key(|archive| (archive.number, archive.made_ms, archive.name));
    Ok(archives)
}

impl Repository for Engine {
    fn back_up(&self, what: &BackUp, watch: &Arc<Watch>) -> Result<BackedUp, ArchiveError> {
        self.may_write()?;
        let _lock = Lock::to_write(&self.folder)?;
        let files = self.files();
        let made = isolated("back up", || self.make_archive(&files, what, watch));
        made.map_err(|error| if files.is_full() { ArchiveError::Full(self.folder.clone()) } else { error })
    }

    fn archives(&self) -> Result<Vec<Archive>, ArchiveError> {
        let _lock = Lock::to_read(&self.folder)?;
        isolated("list the archives", || archives(&self.opened(&self.files())?))
    }

    fn list(&self, archive: &ArchiveName) -> Result<Listing, ArchiveError> {
        self.list_archive(archive, &[])
    }

    fn list_ticked(&self, archive: &ArchiveName, ticked: &[PathBytes]) -> Result<Listing, ArchiveError> {
        self.list_archive(archive, ticked)
    }

    fn contents(&self) -> Result<Arc<dyn ReadContents>, ArchiveError> {
        Ok(Arc::new(self.read_contents()?))
    }

    fn check(&self, read: bool) -> Result<Checked, ArchiveError> {
        let _lock = Lock::to_read(&self.folder)?;
        isolated("check the repository", || self.check_all(read))
    }

    fn forget(&self, archives: &[ArchiveName]) -> Result<Forgotten, ArchiveError> {
        self.may_write()?;
        let _lock = Lock::to_drop(&self.folder)?;
        isolated("forget archives", || self.forget_archives(archives))
    }

    fn give_up(&self) -> Result<Forgotten, ArchiveError> {
        self.may_write()?;
        let _lock = Lock::to_drop(&self.folder)?;
        isolated("give up what is unfinished", || self.give_up_unfinished())
    }

    fn objects(&self) -> Result<Objects, ArchiveError> {
        let _lock = Lock::to_read(&self.folder)?;
        self.files().objects().map_err(|error| ArchiveError::io("list", &self.folder, error))
    }

    fn needs(&self, archive: &ArchiveName) -> Result<Needs, ArchiveError> {
        let _lock = Lock::to_read(&self.folder)?;
        isolated("read the archive", || self.needs_of(archive))
    }
}
