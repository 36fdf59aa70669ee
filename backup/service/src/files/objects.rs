//! A restic repository's files in a folder, known by the SHA-256 of their bytes.
//!
//! ```text
//! FOLDER/config  FOLDER/keys/NAME  FOLDER/data/na/NAME  FOLDER/index/NAME  FOLDER/snapshots/NAME
//! FOLDER/../incoming/NAME      objects of which not all bytes are there yet
//! ```
//!
//! An object is at its place only whole, with the right hash, and durable. `config` is the one file whose name does not say
//! its hash: the hash is worked out, and is its name here as in the catalogue. Files with other names are not ours and are
//! left alone. An owner's repository is written by its engine; here it is read.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use shoal_archive::StoredObject;
use shoal_backup::{ObjectKind, ObjectName};

use super::hashing::{Hasher, name_of};
use super::{FilesError, make_folder};

/// Kinds whose files are called by their hash.
const NAMED: [ObjectKind; 4] = [ObjectKind::Pack, ObjectKind::Index, ObjectKind::Snapshot, ObjectKind::Key];

/// The objects of one owner in one place.
#[derive(Debug)]
pub struct Objects {
    folder: PathBuf,
    incoming: PathBuf,
    /// What `config` hashed to when it was last looked at.
    config: Mutex<Option<ObjectName>>,
}

impl Objects {
    /// A repository's folder, which may be there or come later.
    #[must_use]
    pub fn open(folder: &Path) -> Self {
        let incoming = folder.with_file_name("incoming");
        Self { folder: folder.to_owned(), incoming, config: Mutex::new(None) }
    }

    /// The same, and makes what folders are missing. What is there is durable when this returns, though an earlier process may
    /// have ended in the middle of writing it.
    ///
    /// # Errors
    /// They cannot be made.
    pub fn create(folder: &Path) -> Result<Self, FilesError> {
        let objects = Self::open(folder);
        for name in ["data", "index", "keys", "locks", "snapshots"] {
            make_folder(&folder.join(name))?;
        }
        make_folder(&objects.incoming)?;
        let above = folder.parent().unwrap_or(folder);
        let mut folders = vec![above.parent().unwrap_or(above).to_owned(), above.to_owned(), folder.to_owned()];
        folders.extend(NAMED.map(|kind| folder.join(kind.folder())));
        folders.extend(entries_of(&folder.join("data"))?.into_iter().map(|entry| entry.path()));
        for path in folders.iter().filter(|path| path.is_dir()) {
            shoal_files::sync_directory(path).map_err(FilesError::io("make durable", path))?;
        }
        Ok(objects)
    }

    /// The repository's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where an object of this kind and name has its place.
    #[must_use]
    pub fn path(&self, kind: ObjectKind, name: &ObjectName) -> PathBuf {
        let folder = self.folder.join(kind.folder());
        match kind {
            ObjectKind::Config => folder,
            ObjectKind::Pack => folder.join(format!("{:02x}", name.0[0])).join(name.to_string()),
            ObjectKind::Key | ObjectKind::Index | ObjectKind::Snapshot => folder.join(name.to_string()),
        }
    }

    /// What is there under this name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn find(&self, name: &ObjectName) -> Result<Option<StoredObject>, FilesError> {
        for kind in NAMED {
            if let Some(size_bytes) = length_of(&self.path(kind, name))? {
                return Ok(Some(StoredObject { kind, name: *name, size_bytes }));
            }
        }
        Ok(self.config()?.filter(|config| config.name == *name))
    }

    /// Whether there is an object of this name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn has(&self, name: &ObjectName) -> Result<bool, FilesError> {
        Ok(self.find(name)?.is_some())
    }

    /// The configuration, if there is one.
    fn config(&self) -> Result<Option<StoredObject>, FilesError> {
        let path = self.folder.join("config");
        let Some(size_bytes) = length_of(&path)? else {
            return Ok(None);
        };
        let known = *self.config.lock().unwrap_or_else(PoisonError::into_inner);
        let name = match known {
            Some(name) => name,
            None => File::open(&path).and_then(name_of).map_err(FilesError::io("read", &path))?,
        };
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Some(name);
        Ok(Some(StoredObject { kind: ObjectKind::Config, name, size_bytes }))
    }

    /// All objects, by kind and name.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn list(&self) -> Result<Vec<StoredObject>, FilesError> {
        let mut objects: Vec<StoredObject> = self.config()?.into_iter().collect();
        for kind in NAMED {
            let folder = self.folder.join(kind.folder());
            let mut folders = vec![folder.clone()];
            if kind == ObjectKind::Pack {
                folders = entries_of(&folder)?.into_iter().map(|entry| entry.path()).collect();
                folders.retain(|folder| folder.is_dir());
            }
            for folder in folders {
                for entry in entries_of(&folder)? {
                    let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
                    // It must be at its place: another folder's first digits are not its own.
                    if self.path(kind, &name) != entry.path() {
                        continue;
                    }
                    if let Some(size_bytes) = length_of(&entry.path())? {
                        objects.push(StoredObject { kind, name, size_bytes });
                    }
                }
            }
        }
        objects.sort_unstable();
        Ok(objects)
    }

    /// An object's file and its length.
    fn file(&self, name: &ObjectName) -> Result<(File, u64), FilesError> {
        let object = self.find(name)?.ok_or(FilesError::NotFound(*name))?;
        let path = self.path(object.kind, name);
        let file = File::open(&path).map_err(FilesError::io("open", &path))?;
        Ok((file, object.size_bytes))
    }

    /// Bytes of an object from `offset` on: `length` of them, fewer at its end.
    ///
    /// # Errors
    /// It is not there, or cannot be read.
    pub fn read(&self, name: &ObjectName, offset: u64, length: usize) -> Result<Bytes, FilesError> {
        let (file, size_bytes) = self.file(name)?;
        let length = usize::try_from(size_bytes.saturating_sub(offset)).unwrap_or(usize::MAX).min(length);
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).map_err(FilesError::io("read", &self.folder))?;
        Ok(bytes.into())
    }

    /// Reads an object through for a hash: of all of it, or a range, with other bytes before. `None`: it has no such range.
    ///
    /// # Errors
    /// It is not there.
    pub fn hasher(
        &self,
        name: &ObjectName,
        range: Option<std::ops::Range<u64>>,
        first: &[u8],
    ) -> Result<Option<Hasher>, FilesError> {
        let (file, size_bytes) = self.file(name)?;
        let range = range.unwrap_or(0..size_bytes);
        Ok((range.end <= size_bytes).then(|| Hasher::new(file, range, first)))
    }

    /// Removes an object; nothing happens if it is not there.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn remove(&self, name: &ObjectName) -> Result<(), FilesError> {
        let Some(object) = self.find(name)? else { return Ok(()) };
        let path = self.path(object.kind, name);
        remove_if_there(&path)?;
        if object.kind == ObjectKind::Config {
            *self.config.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
        let folder = path.parent().unwrap_or(&self.folder);
        shoal_files::sync_directory(folder).map_err(FilesError::io("make durable", folder))
    }

    fn incoming(&self, name: &ObjectName) -> PathBuf {
        self.incoming.join(name.to_string())
    }

    /// How many bytes of an object on its way are there.
    ///
    /// # Errors
    /// That cannot be found out.
    pub fn have_bytes(&self, name: &ObjectName) -> Result<u64, FilesError> {
        Ok(length_of(&self.incoming(name))?.unwrap_or(0))
    }

    /// Keeps a piece of an object on its way, at `offset`, where it follows what is there or takes the place of what was there
    /// from `offset` on. How many bytes are there then. They are durable only when the object is finished.
    ///
    /// # Errors
    /// [`FilesError::OutOfOrder`] if bytes before it are missing. [`FilesError::Full`]: what was there of it is thrown away,
    /// since whoever works at this PC needs the room.
    pub fn write_piece(&self, name: &ObjectName, offset: u64, bytes: &[u8]) -> Result<u64, FilesError> {
        let path = self.incoming(name);
        let write = || {
            if !self.incoming.is_dir() {
                shoal_files::create_directories(&self.incoming)?;
            }
            let file = shoal_files::create(&path, OpenOptions::new().create(true).truncate(false).write(true))?;
            let have_bytes = file.metadata()?.len();
            if offset > have_bytes {
                return Ok(Err(FilesError::OutOfOrder { have_bytes }));
            }
            if offset < have_bytes {
                shoal_files::set_length(&file, offset)?;
            }
            shoal_files::write_at(&file, offset, &mut [IoSlice::new(bytes)])?;
            Ok(Ok(offset + bytes.len() as u64))
        };
        let written = write().map_err(FilesError::io("write", &path)).flatten();
        if written.as_ref().is_err_and(FilesError::is_full) {
            let _ = shoal_files::remove(&path);
        }
        written
    }

    /// All bytes of an object are there: if they are its own, it gets its place, durably. Its length.
    ///
    /// # Errors
    /// As [`Self::check`] and [`Self::place`].
    pub fn finish(&self, kind: ObjectKind, name: &ObjectName) -> Result<u64, FilesError> {
        let size_bytes = self.check(name)?;
        self.place(kind, name)?;
        Ok(size_bytes)
    }

    /// All bytes of an object are there: whether they are its own. They are durable then, at no place yet. Its length.
    ///
    /// # Errors
    /// [`FilesError::WrongHash`]: they are not, and were thrown away. The disk is full, or broken.
    pub fn check(&self, name: &ObjectName) -> Result<u64, FilesError> {
        let from = self.incoming(name);
        let file = match File::open(&from) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(FilesError::NotFound(*name)),
            file => file.map_err(FilesError::io("open", &from))?,
        };
        let size_bytes = file.metadata().map_err(FilesError::io("look at", &from))?.len();
        let found = file.try_clone().and_then(name_of).map_err(FilesError::io("read", &from))?;
        if found != *name {
            self.discard(name)?;
            return Err(FilesError::WrongHash(*name));
        }
        shoal_files::sync(&file).map_err(FilesError::io("make durable", &from))?;
        Ok(size_bytes)
    }

    /// Gives an object that was checked its place, durably.
    ///
    /// # Errors
    /// The disk is full, or broken.
    pub fn place(&self, kind: ObjectKind, name: &ObjectName) -> Result<(), FilesError> {
        let (from, path) = (self.incoming(name), self.path(kind, name));
        let folder = path.parent().unwrap_or(&self.folder);
        make_folder(folder)?;
        shoal_files::rename(&from, &path).map_err(FilesError::io("write", &path))?;
        if kind == ObjectKind::Config {
            *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Some(*name);
        }
        shoal_files::sync_directory(folder).map_err(FilesError::io("make durable", folder))
    }

    /// Throws away what there is of an object on its way.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn discard(&self, name: &ObjectName) -> Result<(), FilesError> {
        remove_if_there(&self.incoming(name))
    }

    /// All bytes that are there of what is on its way, at most `limit` of them.
    ///
    /// # Errors
    /// It is not there, or longer.
    pub fn read_on_its_way(&self, name: &ObjectName, limit: usize) -> Result<Vec<u8>, FilesError> {
        let path = self.incoming(name);
        let read = || {
            let file = File::open(&path)?;
            let length = file.metadata()?.len();
            if length > limit as u64 {
                return Err(io::ErrorKind::FileTooLarge.into());
            }
            let mut bytes = vec![0; usize::try_from(length).unwrap_or(limit)];
            file.read_exact_at(&mut bytes, 0)?;
            Ok(bytes)
        };
        read().map_err(FilesError::io("read", &path))
    }

    /// Objects on their way and how many bytes of each are there.
    ///
    /// # Errors
    /// They cannot be listed.
    pub fn on_their_way(&self) -> Result<Vec<(ObjectName, u64)>, FilesError> {
        let mut names = Vec::new();
        for entry in entries_of(&self.incoming)? {
            let Some(name) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            names.extend(length_of(&entry.path())?.map(|have_bytes| (name, have_bytes)));
        }
        Ok(names)
    }

    /// Throws away objects on their way that nobody wants any more; how many.
    ///
    /// # Errors
    /// They cannot be listed or removed.
    pub fn sweep(&self, wanted: impl Fn(&ObjectName) -> bool) -> Result<usize, FilesError> {
        let mut swept = 0;
        for (name, _) in self.on_their_way()? {
            if !wanted(&name) {
                self.discard(&name)?;
                swept += 1;
            }
        }
        Ok(swept)
    }
}

/// What is in a folder; nothing if it is not there.
fn entries_of(folder: &Path) -> Result<Vec<fs::DirEntry>, FilesError> {
    match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect).map_err(FilesError::io("list", folder)),
    }
}

/// The length of a file; `None` if there is none.
fn length_of(path: &Path) -> Result<Option<u64>, FilesError> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta.len()).filter(|_| !meta.is_dir())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FilesError::io("look at", path)(error)),
    }
}

fn remove_if_there(path: &Path) -> Result<(), FilesError> {
    match shoal_files::remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(FilesError::io("remove", path)),
    }
}
