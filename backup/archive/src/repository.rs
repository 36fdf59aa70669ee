//! What the rest of backup asks of an engine.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use shoal_backup::plan::{PathBytes, Plan};
use shoal_backup::schedule::Mode;
use shoal_backup::{ArchiveId, ObjectKind, ObjectName};

use crate::archive::Archive;
use crate::entry::{ContentId, Entry};
use crate::error::ArchiveError;
use crate::walk::Problems;
use crate::watch::Watch;

/// The entries of an archive, in [`shoal_backup::recovery::tree_order`]. A folder that cannot be read is an error in its
/// place; what comes after it comes nevertheless.
pub type Listing = Box<dyn Iterator<Item = Result<Entry, ArchiveError>> + Send>;

/// What is backed up.
#[derive(Debug, Clone)]
pub struct BackUp {
    /// The folders and what in them is kept.
    pub plan: Arc<Plan>,
    /// The PC's name.
    pub host: String,
    /// The number of the new archive.
    pub number: ArchiveId,
    /// How. A delta trusts files whose size, times and inode are those of the parent; a snapshot is made with `reread`.
    pub mode: Mode,
    /// The archive that unchanged files are taken from; `None`: the newest one of this host.
    pub parent: Option<ArchiveName>,
    /// Read every file, whatever the parent says.
    pub reread: bool,
    /// No archive is made that would be equal to the parent in everything.
    pub only_changes: bool,
}

/// An archive's name: that of its snapshot object.
pub type ArchiveName = ObjectName;

/// A backup that was made.
#[derive(Debug, Clone)]
pub struct BackedUp {
    /// The new archive; the parent, if nothing changed.
    pub archive: Archive,
    /// Whether it is new: see [`BackUp::only_changes`].
    pub is_new: bool,
    /// What could not be read as it was.
    pub problems: Problems,
    /// Objects that are new, in the order in which they were written.
    pub added: Vec<StoredObject>,
    /// Objects that went: indexes that others took the place of.
    pub removed: Vec<ObjectName>,
}

/// An object of the repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredObject {
    /// What it is for.
    pub kind: ObjectKind,
    /// The SHA-256 of its bytes.
    pub name: ObjectName,
    /// Its length.
    pub size_bytes: u64,
}

/// All objects of the repository.
pub type Objects = Vec<StoredObject>;

/// What an archive needs to be read, beside configuration and key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Needs {
    /// Packs with its folders and files.
    pub packs: BTreeSet<ObjectName>,
    /// Indexes that list these packs.
    pub indexes: BTreeSet<ObjectName>,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// Objects that are not what their name says. Only looked for when contents are read.
    pub damaged: Vec<ObjectName>,
    /// What is wrong, in sentences.
    pub errors: Vec<String>,
}

impl Checked {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged.is_empty() && self.errors.is_empty()
    }
}

/// What forgetting archives, or giving up what runs left, did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Forgotten {
    /// Indexes that list what stays.
    pub added: Vec<StoredObject>,
    /// Snapshots, old indexes, packs that no archive needs any more.
    pub removed: Vec<ObjectName>,
    /// Bytes that came free.
    pub freed_bytes: u64,
}

/// Reads contents of files.
pub trait ReadContents: Send + Sync + fmt::Debug {
    /// A piece of a file. Its bytes have been checked against its name.
    ///
    /// # Errors
    /// [`ArchiveError::Damaged`], with the pack that it should be in.
    fn read(&self, id: &ContentId) -> Result<Bytes, ArchiveError>;
}

/// A repository of archives.
///
/// To be correct, an implementation must make an archive visible only after everything that it needs is durable; must leave a
/// repository that holds what it held before, whenever it is stopped; and must not panic, whatever is in the repository.
/// Backups and forgetting exclude each other: the later one gets [`ArchiveError::Busy`].
pub trait Repository: Send + Sync {
    /// Makes an archive.
    ///
    /// # Errors
    /// Cancelled, busy, the disk full, no root readable; then there is no new archive. What was packed already stays and is
    /// used by the next try, unless it is given up ([`Self::give_up`]).
    fn back_up(&self, what: &BackUp, watch: &Arc<Watch>) -> Result<BackedUp, ArchiveError>;

    /// All archives, the oldest first: by number; those of other programs before, by time.
    ///
    /// # Errors
    /// The repository cannot be read.
    fn archives(&self) -> Result<Vec<Archive>, ArchiveError>;

    /// What is in an archive.
    ///
    /// # Errors
    /// There is none of that name, or the repository cannot be read.
    fn list(&self, archive: &ArchiveName) -> Result<Listing, ArchiveError>;

    /// What is in an archive of these and what is in them, with the folders above them; none: everything. May have more than
    /// that, if leaving it out is no less work.
    ///
    /// # Errors
    /// As [`Self::list`].
    fn list_ticked(&self, archive: &ArchiveName, ticked: &[PathBytes]) -> Result<Listing, ArchiveError> {
        let _ = ticked;
        self.list(archive)
    }

    /// For reading files.
    ///
    /// # Errors
    /// The repository cannot be read.
    fn contents(&self) -> Result<Arc<dyn ReadContents>, ArchiveError>;

    /// Whether all is there. `read`: reads every object and compares it with its name.
    ///
    /// # Errors
    /// The repository cannot be opened. What is wrong in it is no error but an answer.
    fn check(&self, read: bool) -> Result<Checked, ArchiveError>;

    /// Forgets archives, and drops packs that no other archive needs any part of. Packs that are partly needed stay as they
    /// are: they are on other PCs under this name.
    ///
    /// # Errors
    /// There is no such archive, somebody else is at work, the repository is damaged; then no pack is dropped.
    fn forget(&self, archives: &[ArchiveName]) -> Result<Forgotten, ArchiveError>;

    /// Removes what runs wrote that did not come to an archive: indexes that list nothing any archive needs, then packs that
    /// neither an archive needs nor an index lists. Writes nothing, so that it works on a full disk.
    ///
    /// # Errors
    /// Somebody else is at work, or what the archives need cannot be read as a whole; then nothing is removed.
    fn give_up(&self) -> Result<Forgotten, ArchiveError>;

    /// All objects.
    ///
    /// # Errors
    /// The repository cannot be read.
    fn objects(&self) -> Result<Objects, ArchiveError>;

    /// What an archive needs. Does not change while the archive is there, but for the indexes.
    ///
    /// # Errors
    /// There is no such archive, or a part of it is missing.
    fn needs(&self, archive: &ArchiveName) -> Result<Needs, ArchiveError>;
}
