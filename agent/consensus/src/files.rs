//! Small files that must be whole after any crash, and the lock on the directory.

use std::fs::{File, OpenOptions};
use std::io::IoSlice;
use std::path::Path;

use crate::ConsensusError;

/// Makes a rename or a new file in `directory` last.
pub(crate) fn sync_directory(directory: &Path) -> Result<(), ConsensusError> {
    shoal_files::sync_directory(directory).map_err(ConsensusError::io("make durable the directory", directory))
}

/// Makes a directory, if it is not there, so that it lasts. If it is there: whoever made it may have died before it did.
pub(crate) fn make_directory(directory: &Path) -> Result<(), ConsensusError> {
    shoal_files::create_directories(directory).map_err(ConsensusError::io("make the directory", directory))?;
    directory.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync_directory)
}

/// Replaces `directory/name` so that after a crash either the old or the new content is there.
pub(crate) fn replace_file(directory: &Path, name: &str, content: &[u8]) -> Result<(), ConsensusError> {
    let temporary = directory.join(format!("{name}.tmp"));
    let write = || {
        let mut options = OpenOptions::new();
        let file = shoal_files::create(&temporary, options.write(true).create(true).truncate(true))?;
        shoal_files::write_at(&file, 0, &mut [IoSlice::new(content)])?;
        shoal_files::sync(&file)
    };
    write().map_err(ConsensusError::io("write", &temporary))?;
    let path = directory.join(name);
    shoal_files::rename(&temporary, &path).map_err(ConsensusError::io("put in place", &path))?;
    sync_directory(directory)
}

/// Claims the directory for this process until the file is dropped.
pub(crate) fn lock_directory(directory: &Path) -> Result<File, ConsensusError> {
    make_directory(directory)?;
    let path = directory.join("lock");
    let file = shoal_files::lock(&path).map_err(ConsensusError::io("lock", &path))?;
    file.ok_or_else(|| ConsensusError::InUse(directory.to_owned()))
}

/// Appends a checksum, so that damage is noticed.
pub(crate) fn seal(mut content: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c::crc32c(&content);
    content.extend_from_slice(&checksum.to_le_bytes());
    content
}

/// The content of a sealed file, if its checksum holds.
pub(crate) fn unseal(bytes: &[u8]) -> Option<&[u8]> {
    let (content, checksum) = bytes.split_last_chunk::<4>()?;
    (crc32c::crc32c(content) == u32::from_le_bytes(*checksum)).then_some(content)
}
