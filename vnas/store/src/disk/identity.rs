//! Whose directory this is: `store.json`, the lock against a second process, and whether the disk is still there.
//!
//! A directory without `store.json` is an unplugged disk or a bare mount point. It is never taken for an empty store,
//! nor filled: only a first start that says so makes a new one.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shoal_files::sync_directory;
use uuid::Uuid;

use super::system::disk_error;
use crate::StoreError;

/// The format of the directory; a newer one is refused.
const FORMAT_VERSION: u32 = 1;
const ID_FILE: &str = "store.json";
const LOCK_FILE: &str = "lock";
/// What a fresh file system may have in it and still be empty.
const NOT_OURS: [&str; 2] = ["lost+found", LOCK_FILE];

#[derive(Debug, Serialize, Deserialize)]
struct IdFile {
    version: u32,
    id: Uuid,
}

/// A directory that was found to be a store and is locked for us.
pub(crate) struct Identity {
    pub(crate) directory: PathBuf,
    pub(crate) id: Uuid,
    /// Device and inode of the id file: another disk at the same place is not ours.
    id_file: (u64, u64),
    _lock: File,
}

impl Identity {
    /// Opens a store that exists.
    pub(crate) fn open(directory: &Path) -> Result<Self, StoreError> {
        if !directory.join(ID_FILE).is_file() {
            return Err(StoreError::Unplugged(directory.display().to_string()));
        }
        Self::open_locked(directory, lock(directory)?)
    }

    fn open_locked(directory: &Path, lock: File) -> Result<Self, StoreError> {
        let path = directory.join(ID_FILE);
        let text = fs::read(&path).map_err(|error| disk_error("read", &path, &error))?;
        let version = serde_json::from_slice::<serde_json::Value>(&text)
            .ok()
            .and_then(|value| value.get("version")?.as_u64())
            .ok_or_else(|| StoreError::Invalid(format!("{} is not a store's id file", path.display())))?;
        if version > u64::from(FORMAT_VERSION) {
            return Err(StoreError::Invalid(format!(
                "the store {} was written by a newer version of Shoal (format {version}, this one reads up to \
                 {FORMAT_VERSION}); start that version instead",
                directory.display()
            )));
        }
        let content: IdFile = serde_json::from_slice(&text)
            .map_err(|error| StoreError::Invalid(format!("{} is not a store's id file: {error}", path.display())))?;
        // Whoever made it may have died before its name was durable, or that of the directory.
        sync_directory(directory)
            .and_then(|()| directory.parent().filter(|parent| parent.is_dir()).map_or(Ok(()), sync_directory))
            .map_err(|error| disk_error("sync", directory, &error))?;
        let id_file = device_and_inode(&path).map_err(|error| disk_error("look at", &path, &error))?;
        Ok(Self { directory: directory.to_owned(), id: content.id, id_file, _lock: lock })
    }

    /// Makes a new store in an empty or missing directory, then opens it. `prepare` lays out the rest before the id
    /// file makes it a store, so that a start cut short can be repeated.
    pub(crate) fn create(
        directory: &Path,
        prepare: impl FnOnce(&Path) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        shoal_files::create_directories(directory).map_err(|error| disk_error("create", directory, &error))?;
        let lock = lock(directory)?;
        refuse_foreign_content(directory)?;
        prepare(directory)?;
        let path = directory.join(ID_FILE);
        let write = || -> io::Result<()> {
            let content = serde_json::to_vec(&IdFile { version: FORMAT_VERSION, id: Uuid::new_v4() })?;
            let temporary = directory.join("store.json.tmp");
            let mut options = OpenOptions::new();
            let file = shoal_files::create(&temporary, options.write(true).create(true).truncate(true))?;
            shoal_files::write_at(&file, 0, &mut [IoSlice::new(&content)])?;
            shoal_files::sync(&file)?;
            shoal_files::rename(&temporary, &path)
        };
        write().map_err(|error| disk_error("create", &path, &error))?;
        Self::open_locked(directory, lock)
    }

    /// Is the id file of this very store still where it was? One system call.
    pub(crate) fn is_plugged(&self) -> bool {
        device_and_inode(&self.directory.join(ID_FILE)).is_ok_and(|found| found == self.id_file)
    }

    /// Error unless the store is still there: asked before anything is said to be missing.
    pub(crate) fn require_plugged(&self) -> Result<(), StoreError> {
        if self.is_plugged() { Ok(()) } else { Err(StoreError::Unplugged(self.directory.display().to_string())) }
    }

    /// An error of the disk, or that it is gone, which explains any.
    pub(crate) fn explain(&self, error: StoreError) -> StoreError {
        match error {
            StoreError::Io { .. } | StoreError::NotFound(_) | StoreError::Damaged { .. } => {
                self.require_plugged().err().unwrap_or(error)
            }
            other => other,
        }
    }
}

fn device_and_inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join(LOCK_FILE);
    let file = shoal_files::lock(&path).map_err(|error| disk_error("lock", &path, &error))?;
    file.ok_or_else(|| {
        StoreError::Invalid(format!(
            "the store {} is in use by another agent; stop that one first or name another directory",
            directory.display()
        ))
    })
}

/// A start cut short leaves only what `prepare` makes; any shard or segment in there means the id file was lost.
fn refuse_foreign_content(directory: &Path) -> Result<(), StoreError> {
    let failed = |error: io::Error| disk_error("list", directory, &error);
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let harmless = NOT_OURS.iter().any(|known| name == *known) || name == "store.json.tmp";
        if !harmless && holds_files(&directory.join(&name)).map_err(failed)? {
            return Err(StoreError::Invalid(format!(
                "{} is not empty ({}) and not a store: name another directory, or put its {ID_FILE} back",
                directory.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

fn holds_files(path: &Path) -> io::Result<bool> {
    if !path.is_dir() {
        return Ok(true);
    }
    for entry in fs::read_dir(path)? {
        if holds_files(&entry?.path())? {
            return Ok(true);
        }
    }
    Ok(false)
}
