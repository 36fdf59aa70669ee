//! Large shards: one file each, `shards/ab/STRIPE.INDEX`, `ab` being the first byte of the stripe.
//!
//! The file system is the only index, so nothing can disagree with it. A file under its own name is whole: it is
//! written beside, made durable, then renamed. All calls block.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use dci_proto::ShardKey;
use shoal_files::sync_directory;

use super::buffers::Buffers;
use super::direct;
use super::directory_sync::DirectorySync;
use super::read::Source;
use super::recent::RecentReads;
use super::record::{FILE_SALT, Header, record_bytes};
use super::space::{Reservation, Space};
use super::system::disk_error;
use crate::{SHARD_LIMIT_BYTES, ShardInfo, StoreError};

const DIRECTORY: &str = "shards";
const TEMPORARY_SUFFIX: &str = ".tmp";
/// What a file takes on the disk is counted in units of this.
const ALLOCATION_UNIT_BYTES: u64 = 4096;
/// Directories the files are spread over: one for each first byte.
const DIRECTORIES: usize = 256;

pub(crate) struct ShardFiles {
    root: PathBuf,
    space: Arc<Space>,
    syncs: Vec<DirectorySync>,
    recent: RecentReads,
    buffers: Buffers,
}

/// Bytes a shard of this length takes on the disk as a file.
pub(crate) fn allocated_bytes(shard_bytes: u32) -> u64 {
    rounded(record_bytes(shard_bytes))
}

fn rounded(file_bytes: u64) -> u64 {
    file_bytes.next_multiple_of(ALLOCATION_UNIT_BYTES)
}

/// Lays out the directories of a new store.
pub(crate) fn prepare(store: &Path) -> Result<(), StoreError> {
    let root = store.join(DIRECTORY);
    let make = || -> io::Result<()> {
        for first in 0..DIRECTORIES {
            shoal_files::create_directories(&root.join(format!("{first:02x}")))?;
        }
        sync_directory(&root)
    };
    make().map_err(|error| disk_error("create", &root, &error))
}

impl ShardFiles {
    /// Counts what is there, and removes what a crash left half-written.
    pub(crate) fn open(store: &Path, space: Arc<Space>) -> Result<Self, StoreError> {
        let root = store.join(DIRECTORY);
        let syncs = (0..DIRECTORIES).map(|_| DirectorySync::default()).collect();
        let files = Self { root, space, syncs, recent: RecentReads::default(), buffers: Buffers::default() };
        for first in 0..=u8::MAX {
            let directory = files.directory(first);
            files.take_stock(&directory).map_err(|error| disk_error("read", &directory, &error))?;
        }
        Ok(files)
    }

    fn take_stock(&self, directory: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => return self.make_missing(directory),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(TEMPORARY_SUFFIX) {
                shoal_files::remove(&entry.path())?;
            } else if key_of(&name.to_string_lossy()).is_some() {
                self.space.add(rounded(entry.metadata()?.len()), 1);
            }
        }
        Ok(())
    }

    /// A directory that is not there, though every store has it: its name is made durable before shards go into it.
    fn make_missing(&self, directory: &Path) -> io::Result<()> {
        shoal_files::create_directories(directory)?;
        sync_directory(&self.root)
    }

    fn directory(&self, first: u8) -> PathBuf {
        self.root.join(format!("{first:02x}"))
    }

    fn path(&self, key: ShardKey) -> PathBuf {
        self.directory(key.stripe.0[0]).join(key.to_string())
    }

    fn sync_name(&self, key: ShardKey) -> Result<(), StoreError> {
        let first = key.stripe.0[0];
        let directory = self.directory(first);
        self.syncs[usize::from(first)].sync(&directory).map_err(|error| disk_error("sync", &directory, &error))
    }

    /// Sees to it that what is found under the name of a shard, or that nothing is, will be found after a crash too:
    /// whoever did it may have died before it was durable.
    pub(crate) fn make_name_durable(&self, key: ShardKey) -> Result<(), StoreError> {
        let first = key.stripe.0[0];
        let directory = self.directory(first);
        let synced = self.syncs[usize::from(first)].sync_if_unsure(&directory);
        synced.map_err(|error| disk_error("sync", &directory, &error))
    }

    /// Writes a shard under its name, whatever was there. The caller holds the key.
    pub(crate) fn write(&self, header: &Header, data: &Bytes, reservation: Reservation) -> Result<(), StoreError> {
        let path = self.path(header.key);
        let mut temporary = path.clone().into_os_string();
        temporary.push(TEMPORARY_SUFFIX);
        let temporary = PathBuf::from(temporary);
        let replaced = fs::metadata(&path).ok().map(|metadata| metadata.len());
        let head = header.encode(&FILE_SALT);
        let write = || -> io::Result<()> {
            direct::write_file(&self.buffers, &temporary, &head, data)?;
            shoal_files::rename(&temporary, &path)
        };
        if let Err(error) = write() {
            // What cannot be removed now is removed at the next start.
            let _ = shoal_files::remove(&temporary);
            return Err(disk_error("write", &path, &error));
        }
        if let Some(bytes) = replaced {
            self.space.remove(rounded(bytes), 1);
        }
        if let Err(error) = self.sync_name(header.key) {
            if shoal_files::remove(&path).is_err() {
                // It stays, unanswered but whole, and so it counts.
                reservation.confirm(1);
            }
            return Err(error);
        }
        reservation.confirm(1);
        Ok(())
    }

    /// Runs `read` on the file of a shard; `None` if there is none.
    fn with_source<T>(
        &self,
        key: ShardKey,
        read: impl FnOnce(Source<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        let path = self.path(key);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(disk_error("open", &path, &error)),
        };
        let length = file.metadata().map_err(|error| disk_error("look at", &path, &error))?.len();
        read(Source { file: &file, offset: 0, key, salt: &FILE_SALT, record_bytes: length }).map(Some)
    }

    pub(crate) fn read(&self, key: ShardKey, range: Option<&Range<u32>>) -> Result<Option<Bytes>, StoreError> {
        // A second read soon after the first goes through the page cache, where a third finds it.
        if range.is_some() || self.recent.was_read(key) {
            return self.with_source(key, |source| source.read_range(range));
        }
        self.read_directly(key).map(|found| found.map(|(_, data)| data))
    }

    pub(crate) fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        self.with_source(key, |source| source.read_header())
            .map(|found| found.map(|header| ShardInfo { key, bytes: header.bytes, hash: header.hash() }))
    }

    pub(crate) fn verify(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError> {
        self.read_directly(key).map(|found| found.map(|(info, _)| info))
    }

    /// All of a shard, past the page cache if possible.
    fn read_directly(&self, key: ShardKey) -> Result<Option<(ShardInfo, Bytes)>, StoreError> {
        self.with_source(key, |source| {
            let length = usize::try_from(source.record_bytes).ok();
            let whole = length.filter(|_| source.record_bytes <= record_bytes(SHARD_LIMIT_BYTES));
            match whole.and_then(|length| direct::read_file(&self.buffers, &self.path(key), length)) {
                Some(record) => source.check_whole(record),
                None => source.read_whole(),
            }
        })
    }

    /// Drops a file, durably; answers whether there was one. The caller holds the key.
    pub(crate) fn delete(&self, key: ShardKey) -> Result<bool, StoreError> {
        let path = self.path(key);
        let bytes = match fs::metadata(&path) {
            Ok(metadata) => metadata.len(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return self.make_name_durable(key).map(|()| false);
            }
            Err(error) => return Err(disk_error("look at", &path, &error)),
        };
        shoal_files::remove(&path).map_err(|error| disk_error("delete", &path, &error))?;
        self.space.remove(rounded(bytes), 1);
        self.sync_name(key).map(|()| true)
    }

    /// Keys from after `after` in order, at most `limit`.
    pub(crate) fn keys(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardKey>, StoreError> {
        let mut keys = Vec::new();
        for first in after.map_or(0, |key| key.stripe.0[0])..=u8::MAX {
            if keys.len() >= limit {
                break;
            }
            let directory = self.directory(first);
            let failed = |error: io::Error| disk_error("list", &directory, &error);
            let mut found = Vec::new();
            for entry in fs::read_dir(&directory).map_err(failed)? {
                let name = entry.map_err(failed)?.file_name();
                found.extend(name.to_str().and_then(key_of).filter(|key| after.is_none_or(|after| *key > after)));
            }
            found.sort_unstable();
            keys.append(&mut found);
        }
        keys.truncate(limit);
        Ok(keys)
    }
}

/// The key a file name stands for; foreign files stand for none.
fn key_of(name: &str) -> Option<ShardKey> {
    name.parse::<ShardKey>().ok().filter(|key| key.to_string() == name)
}
