//! Small shards: records in append-only segments, found through an index.
//!
//! ```text
//! puts, deletes ──► queue ──► one writer thread: one write and one fdatasync for all that wait, then the index
//! gets ───────────► index ──► one read of a segment
//! ```
//!
//! The segments are the truth, the index ([`index`]) is made from them. A delete is a record too. Segments less than
//! half in use are copied together ([`compaction`]). After a crash the tail that the index does not tell of is read
//! again ([`scan`]).

mod compaction;
pub(crate) mod index;
mod scan;
mod writer;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use dci_proto::ShardKey;
use shoal_files::sync_directory;

use super::read::Source;
use super::record::Salt;
use super::system::disk_error;
use crate::{ShardInfo, StoreError};
use index::{Index, Location};
#[cfg(feature = "fuzzing")]
pub(crate) use scan::records_of;
pub(crate) use scan::recover;
pub(crate) use writer::{Command, Reply, Writer, WriterConfig};

const DIRECTORY: &str = "segments";
const SUFFIX: &str = ".seg";
const INDEX_FILE: &str = "index.redb";
/// Segments kept open for reading.
const OPEN_SEGMENTS_LIMIT: usize = 64;
/// Times a read looks anew when compaction moves the shard under its hands.
const MOVED_RETRIES: usize = 4;

/// Lays out the directory of a new store.
pub(crate) fn prepare(store: &Path) -> Result<(), StoreError> {
    let directory = store.join(DIRECTORY);
    shoal_files::create_directories(&directory).map_err(|error| disk_error("create", &directory, &error))
}

/// The segments and their index, for reading; only the writer changes them.
pub(crate) struct Segments {
    directory: PathBuf,
    pub(crate) index: Index,
    pub(crate) salt: Salt,
    open: Mutex<OpenFiles>,
}

#[derive(Default)]
struct OpenFiles {
    files: BTreeMap<u32, (Arc<File>, u64)>,
    clock: u64,
}

impl Segments {
    pub(crate) fn open(store: &Path, salt: Salt) -> Result<Self, StoreError> {
        let directory = store.join(DIRECTORY);
        shoal_files::create_directories(&directory).map_err(|error| disk_error("create", &directory, &error))?;
        let index = Index::open(&directory.join(INDEX_FILE))?;
        Ok(Self { directory, index, salt, open: Mutex::default() })
    }

    fn path(&self, segment: u32) -> PathBuf {
        self.directory.join(format!("{segment:08}{SUFFIX}"))
    }

    fn error(&self, action: &str, segment: u32, error: &io::Error) -> StoreError {
        disk_error(action, &self.path(segment), error)
    }

    /// Makes the names of the segments durable.
    fn sync_names(&self) -> Result<(), StoreError> {
        sync_directory(&self.directory).map_err(|error| disk_error("sync", &self.directory, &error))
    }

    /// The segments there are, with their lengths.
    fn lengths(&self) -> Result<BTreeMap<u32, u64>, StoreError> {
        let list = || -> io::Result<BTreeMap<u32, u64>> {
            let mut lengths = BTreeMap::new();
            for entry in fs::read_dir(&self.directory)? {
                let entry = entry?;
                let name = entry.file_name();
                let number = name.to_str().and_then(|name| name.strip_suffix(SUFFIX)).and_then(|n| n.parse().ok());
                if let Some(number) = number {
                    lengths.insert(number, entry.metadata()?.len());
                }
            }
            Ok(lengths)
        };
        list().map_err(|error| disk_error("list", &self.directory, &error))
    }

    /// A segment opened for reading, from those kept open if it is there.
    fn file(&self, segment: u32) -> io::Result<Arc<File>> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clock += 1;
        let now = open.clock;
        if let Some((file, used)) = open.files.get_mut(&segment) {
            *used = now;
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.path(segment))?);
        if open.files.len() >= OPEN_SEGMENTS_LIMIT
            && let Some(oldest) = open.files.iter().min_by_key(|(_, (_, used))| *used).map(|(segment, _)| *segment)
        {
            open.files.remove(&oldest);
        }
        open.files.insert(segment, (Arc::clone(&file), now));
        Ok(file)
    }

    /// Opens a segment for appending.
    fn append_file(&self, segment: u32) -> Result<Arc<File>, StoreError> {
        OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(segment))
            .map(Arc::new)
            .map_err(|error| self.error("open", segment, &error))
    }

    /// Makes a new, empty segment, its name durable.
    fn create(&self, segment: u32) -> Result<Arc<File>, StoreError> {
        let create = || -> io::Result<File> {
            let (path, mut options) = (self.path(segment), OpenOptions::new());
            let file = match shoal_files::create(&path, options.read(true).write(true).create_new(true)) {
                // Left empty by a try whose name could not be made durable. One that holds something is somebody's.
                Err(error) if error.kind() == ErrorKind::AlreadyExists && fs::metadata(&path)?.len() == 0 => {
                    OpenOptions::new().read(true).write(true).open(&path)?
                }
                made => made?,
            };
            sync_directory(&self.directory)?;
            Ok(file)
        };
        create().map(Arc::new).map_err(|error| self.error("create", segment, &error))
    }

    fn remove(&self, segment: u32) -> Result<(), StoreError> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).files.remove(&segment);
        shoal_files::remove(&self.path(segment))
            .and_then(|()| sync_directory(&self.directory))
            .map_err(|error| self.error("remove", segment, &error))
    }

    /// Runs `read` on where a shard lies; `None` if it is not here.
    fn with_source<T>(
        &self,
        key: ShardKey,
        read: impl Fn(Source<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let mut previous: Option<Location> = None;
        for _ in 0..MOVED_RETRIES {
            let Some(location) = self.index.get(key)? else { return Ok(None) };
            let file = match self.file(location.segment) {
                Ok(file) => file,
                Err(error) if error.kind() == ErrorKind::NotFound && previous != Some(location) => {
                    previous = Some(location);
                    continue;
                }
                Err(error) if error.kind() == ErrorKind::NotFound => break,
                Err(error) => return Err(self.error("open", location.segment, &error)),
            };
            return read(Source {
                file: &file,
                offset: u64::from(location.offset),
                key,
                salt: &self.salt,
                record_bytes: location.record_bytes(),
            })
            .map(Some);
        }
        Err(StoreError::Damaged { key, reason: "the segment it lies in is missing".into() })
    }

    pub(crate) fn read(&self, key: ShardKey, range: Option<&Range<u32>>) -> Result<Option<Bytes>, StoreError> {
        self.with_source(key, |source| source.read_range(range))
    }

    pub(crate) fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        Ok(self.index.get(key)?.map(|location| location.info(key)))
    }

    pub(crate) fn verify(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        self.with_source(key, |source| source.read_whole().map(|(info, _)| info))
    }
}
