//! The repository's files in a folder of this PC, as restic lays them out; the engine reads and writes through this.
//!
//! Every file is written under `tmp/`, made durable, and renamed to its place; folders are made durable before an index or
//! a snapshot is written, since these refer to what was written before. After a write that failed no snapshot is written any
//! more, whatever the engine makes of the error. What is read whole is compared with its name.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustic_core::{BytesList, ErrorKind, FileType, Id, ReadBackend, RusticError, RusticResult, WriteBackend};
use shoal_backup::{ObjectKind, ObjectName};

use super::{object_name, sha256_of};
use crate::fetch::FetchObject;
use crate::repository::StoredObject;

/// Packs that are kept open for reading.
const OPEN_PACKS: usize = 8;

/// A repository's folder.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    /// Snapshots are not written but only counted as if, because we write them ourselves when all is known.
    holds_snapshots: AtomicBool,
    serial: AtomicU64,
    state: Mutex<State>,
    /// Brings what is not here.
    fetch: Option<Arc<dyn FetchObject>>,
}

#[derive(Debug, Default)]
struct State {
    /// Folders of packs that have entries which are not durable yet.
    to_sync: BTreeSet<PathBuf>,
    open: Vec<(Id, Arc<File>, u64)>,
    written: Vec<StoredObject>,
    removed: Vec<ObjectName>,
    failed: Option<String>,
    /// The disk was full.
    full: bool,
}

impl Files {
    pub(super) fn new(folder: &Path, fetch: Option<Arc<dyn FetchObject>>) -> Self {
        Self {
            fetch,
            folder: folder.to_owned(),
            holds_snapshots: AtomicBool::new(false),
            serial: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on snapshots are held back, or not any more.
    pub(super) fn hold_snapshots(&self, hold: bool) {
        self.holds_snapshots.store(hold, Ordering::SeqCst);
    }

    /// The first write that failed.
    pub(super) fn failed(&self) -> Option<String> {
        self.state().failed.clone()
    }

    /// Whether a write failed because the disk is full.
    pub(super) fn is_full(&self) -> bool {
        self.state().full
    }

    /// What was written and removed since this was asked last.
    pub(super) fn take_changes(&self) -> (Vec<StoredObject>, Vec<ObjectName>) {
        let mut state = self.state();
        (std::mem::take(&mut state.written), std::mem::take(&mut state.removed))
    }

    /// Removes what an earlier run, which was cut short, began to write.
    pub(super) fn clear_unfinished(&self) -> io::Result<()> {
        match fs::read_dir(self.folder.join("tmp")) {
            Ok(entries) => entries.into_iter().try_for_each(|entry| fs::remove_file(entry?.path())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn path(&self, kind: FileType, id: &Id) -> PathBuf {
        let folder = self.folder.join(kind.dirname());
        match kind {
            FileType::Config => folder,
            FileType::Pack => {
                let name = id.to_hex();
                folder.join(&name.as_str()[..2]).join(name.as_str())
            }
            FileType::Index | FileType::Key | FileType::Snapshot => folder.join(id.to_hex().as_str()),
        }
    }

    fn write(&self, kind: FileType, id: &Id, content: &BytesList) -> io::Result<()> {
        let path = self.path(kind, id);
        let parent = path.parent().unwrap_or(&self.folder).to_owned();
        let unfinished = self.folder.join("tmp");
        fs::create_dir_all(&unfinished)?;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let unfinished = unfinished.join(format!("{}-{serial}", std::process::id()));
        let made = (|| {
            let mut file = File::create_new(&unfinished)?;
            content.slice().iter().try_for_each(|part| file.write_all(part))?;
            file.sync_all()?;
            if !parent.exists() {
                fs::create_dir_all(&parent)?;
                sync_folder(parent.parent().unwrap_or(&self.folder))?;
            }
            if kind != FileType::Pack {
                self.sync_folders()?;
            }
            fs::rename(&unfinished, &path)
        })();
        if made.is_err() {
            let _ = fs::remove_file(&unfinished);
            return made;
        }
        if kind == FileType::Pack {
            self.state().to_sync.insert(parent);
            return Ok(());
        }
        sync_folder(&parent)
    }

    /// Makes names of packs durable.
    fn sync_folders(&self) -> io::Result<()> {
        let folders = self.state().to_sync.clone();
        for folder in folders {
            sync_folder(&folder)?;
            self.state().to_sync.remove(&folder);
        }
        Ok(())
    }

    fn open_pack(&self, kind: FileType, id: &Id) -> io::Result<(Arc<File>, u64)> {
        if let Some((_, file, size)) = self.state().open.iter().find(|(known, ..)| known == id) {
            return Ok((Arc::clone(file), *size));
        }
        let path = self.path(kind, id);
        let file = match (File::open(&path), &self.fetch) {
            (Err(error), Some(fetch)) if error.kind() == io::ErrorKind::NotFound => {
                fetch.fetch(object_kind(kind), &object_name(id))?;
                File::open(&path)?
            }
            (file, _) => file?,
        };
        let size = file.metadata()?.len();
        let file = Arc::new(file);
        let mut state = self.state();
        if state.open.len() >= OPEN_PACKS {
            state.open.remove(0);
        }
        state.open.push((*id, Arc::clone(&file), size));
        Ok((file, size))
    }

    /// Fetches a pack again whose bytes are not what its name says. True if it did.
    pub(super) fn mend(&self, pack: &Id) -> io::Result<bool> {
        let Some(fetch) = &self.fetch else { return Ok(false) };
        if let Ok(bytes) = fs::read(self.path(FileType::Pack, pack))
            && sha256_of(&bytes) == object_name(pack)
        {
            return Ok(false);
        }
        fetch.fetch(ObjectKind::Pack, &object_name(pack))?;
        self.state().open.retain(|(known, ..)| known != pack);
        Ok(true)
    }

    /// Reads an object whole, fetched if it is not there or not what its name says.
    fn read_whole(&self, kind: FileType, id: &Id) -> io::Result<Vec<u8>> {
        let read = || {
            let bytes = fs::read(self.path(kind, id))?;
            if kind != FileType::Config && sha256_of(&bytes) != object_name(id) {
                return Err(io::Error::other("its bytes are not what its name says; it is damaged"));
            }
            Ok(bytes)
        };
        match (read(), &self.fetch) {
            (Err(_), Some(fetch)) if kind != FileType::Config => {
                fetch.fetch(object_kind(kind), &object_name(id))?;
                read()
            }
            (read, _) => read,
        }
    }

    /// Calls `found` for each file of a kind.
    fn each(&self, kind: FileType, mut found: impl FnMut(Id, u64)) -> io::Result<()> {
        let folder = self.folder.join(kind.dirname());
        let mut folders = vec![folder.clone()];
        if kind == FileType::Pack {
            folders = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
            folders.retain(|folder| folder.is_dir());
        }
        for folder in folders {
            for entry in fs::read_dir(folder)? {
                let entry = entry?;
                // Other programs may have put something there: what has no object's name is none.
                let Some(id) = entry.file_name().to_str().filter(|name| name.len() == 64).and_then(|n| n.parse().ok())
                else {
                    continue;
                };
                found(id, entry.metadata()?.len());
            }
        }
        Ok(())
    }

    /// All objects, the configuration with the SHA-256 of its bytes as its name.
    pub(super) fn objects(&self) -> io::Result<Vec<StoredObject>> {
        let config = fs::read(self.folder.join("config"))?;
        let size_bytes = config.len() as u64;
        let mut objects = vec![StoredObject { kind: ObjectKind::Config, name: ObjectName::of(&config), size_bytes }];
        for kind in [FileType::Key, FileType::Pack, FileType::Index, FileType::Snapshot] {
            self.each(kind, |id, size_bytes| {
                objects.push(StoredObject { kind: object_kind(kind), name: object_name(&id), size_bytes });
            })?;
        }
        objects.sort_unstable();
        Ok(objects)
    }
}

fn object_kind(kind: FileType) -> ObjectKind {
    match kind {
        FileType::Config => ObjectKind::Config,
        FileType::Index => ObjectKind::Index,
        FileType::Key => ObjectKind::Key,
        FileType::Snapshot => ObjectKind::Snapshot,
        FileType::Pack => ObjectKind::Pack,
    }
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn wrong(what: &str, path: &Path, error: &io::Error) -> Box<RusticError> {
    RusticError::new(ErrorKind::Backend, format!("could not {what} {}: {error}", path.display()))
}

impl ReadBackend for Files {
    fn location(&self) -> String {
        self.folder.display().to_string()
    }

    fn list_with_size(&self, kind: FileType) -> RusticResult<Vec<(Id, u32)>> {
        let mut files = Vec::new();
        if kind == FileType::Config {
            let config = fs::metadata(self.folder.join("config"));
            files.extend(config.ok().map(|meta| (Id::default(), u32::try_from(meta.len()).unwrap_or(u32::MAX))));
            return Ok(files);
        }
        let each = self.each(kind, |id, size| files.push((id, u32::try_from(size).unwrap_or(u32::MAX))));
        each.map_err(|error| wrong("list", &self.folder.join(kind.dirname()), &error))?;
        Ok(files)
    }

    fn read_full(&self, kind: FileType, id: &Id) -> RusticResult<Bytes> {
        let read = self.read_whole(kind, id).map_err(|error| wrong("read", &self.path(kind, id), &error))?;
        Ok(read.into())
    }

    fn read_partial(&self, kind: FileType, id: &Id, _: bool, offset: u32, length: u32) -> RusticResult<Bytes> {
        let read = || {
            let (file, size) = self.open_pack(kind, id)?;
            if u64::from(offset) + u64::from(length) > size {
                return Err(io::Error::other("it is shorter than it should be"));
            }
            let mut bytes = vec![0; length as usize];
            file.read_exact_at(&mut bytes, u64::from(offset))?;
            Ok(bytes.into())
        };
        read().map_err(|error| wrong("read", &self.path(kind, id), &error))
    }

    fn warmup_path(&self, kind: FileType, id: &Id) -> String {
        self.path(kind, id).display().to_string()
    }
}

impl WriteBackend for Files {
    fn create(&self) -> RusticResult<()> {
        let create = || {
            for folder in ["data", "index", "keys", "locks", "snapshots", "tmp"] {
                fs::create_dir_all(self.folder.join(folder))?;
            }
            (0..=255u8)
                .try_for_each(|byte| fs::create_dir_all(self.folder.join("data").join(format!("{byte:02x}"))))?;
            sync_folder(&self.folder.join("data"))?;
            sync_folder(&self.folder)
        };
        create().map_err(|error| wrong("make", &self.folder, &error))
    }

    fn write_bytes(&self, kind: FileType, id: &Id, _: bool, content: BytesList) -> RusticResult<()> {
        if kind == FileType::Snapshot {
            if let Some(failed) = self.failed() {
                return Err(RusticError::new(ErrorKind::Backend, failed));
            }
            if self.holds_snapshots.load(Ordering::SeqCst) {
                return Ok(());
            }
        }
        let written = self.write(kind, id, &content);
        let is_full =
            |error: &io::Error| matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
        let full = written.as_ref().is_err_and(is_full);
        let written = written.map_err(|error| wrong("write", &self.path(kind, id), &error));
        let mut state = self.state();
        state.full |= full;
        match &written {
            Ok(()) if kind != FileType::Config => state.written.push(StoredObject {
                kind: object_kind(kind),
                name: object_name(id),
                size_bytes: content.size() as u64,
            }),
            Ok(()) => {}
            Err(error) => _ = state.failed.get_or_insert(crate::error::in_one_line(&error.display_log())),
        }
        written
    }

    fn remove(&self, kind: FileType, id: &Id, _: bool) -> RusticResult<()> {
        let path = self.path(kind, id);
        // What takes the place of what goes must be there first.
        self.sync_folders().map_err(|error| wrong("make durable", &self.folder, &error))?;
        match fs::remove_file(&path) {
            Ok(()) => self.state().removed.push(object_name(id)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(wrong("remove", &path, &error)),
        }
        self.state().open.retain(|(known, ..)| known != id);
        Ok(())
    }
}
