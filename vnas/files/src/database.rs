//! A redb database's file: redb's own backend, its changes made through this crate.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::ops::Bound;
use std::path::Path;

use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// The file of a database.
#[derive(Debug)]
pub struct Backend {
    inner: FileBackend,
    /// The same open file, for what changes it.
    file: File,
}

impl Backend {
    /// Opens the file, or makes an empty one.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn create(path: &Path) -> Result<Self, DatabaseError> {
        let mut options = OpenOptions::new();
        let file = crate::create(path, options.read(true).write(true).create(true).truncate(false))?;
        Ok(Self { inner: FileBackend::new(file.try_clone()?)?, file })
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        crate::set_length(&self.file, length)
    }

    fn sync_data(&self) -> io::Result<()> {
        crate::sync(&self.file)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        crate::write_at(&self.file, offset, &mut [IoSlice::new(data)])
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
