//! What is asked of the system: exact reads at an offset, free space, and its errors in our words.
//!
//! What changes the disk is asked of `shoal_files`, and only there.

use std::fs::File;
use std::io;
use std::path::Path;

use rustix::buffer::spare_capacity;

use crate::StoreError;

/// What failed, in the store's terms: a full disk is [`StoreError::Full`], all else [`StoreError::Io`].
pub(crate) fn disk_error(action: &str, path: &Path, error: &io::Error) -> StoreError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            StoreError::Full(format!("{action} {}: {error}", path.display()))
        }
        _ => StoreError::Io { action: format!("{action} {}", path.display()), reason: error.to_string() },
    }
}

/// Reads `length` bytes at `offset`, fewer only if the file ends; the buffer is not zeroed first.
pub(crate) fn read_at(file: &File, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut buffer = Vec::with_capacity(length);
    while buffer.len() < length {
        let from = offset + buffer.len() as u64;
        match rustix::io::pread(file, spare_capacity(&mut buffer), from) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocation, and so the read, may have been larger than asked for.
    buffer.truncate(length);
    Ok(buffer)
}

/// Bytes that the file system of `path` has free for us.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}
