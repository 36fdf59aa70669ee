//! What is done to files that must survive a crash: creating, writing, syncing, renaming, removing.
//!
//! The shard store and the ledger's log change the disk through here and nowhere else, their databases included
//! ([`Backend`]). Each function is one call of the system and adds nothing to it. In tests (feature `testing`) a
//! recording notes each call under a directory; what a crash after any of them may leave is then laid out and opened.
//!
//! To be correct, a caller relies on no more than this: [`sync`] makes a file's bytes and length durable, not its name;
//! [`sync_directory`] makes the names in one directory durable, not the files' bytes; a rename is whole or not at all.

mod database;
mod lock;
#[cfg(feature = "testing")]
pub mod testing;

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice};
use std::path::Path;

pub use database::Backend;
pub use lock::lock;

/// One change of the disk, for who records it.
#[cfg_attr(not(feature = "testing"), allow(dead_code, reason = "only a recording looks at it"))]
enum Change<'a> {
    Write { file: &'a File, offset: u64, slices: &'a [IoSlice<'a>] },
    SetLength { file: &'a File, length: u64 },
    Sync { file: &'a File },
    Rename { from: &'a Path, to: &'a Path },
    Remove { path: &'a Path },
    CreateDirectory { path: &'a Path },
    SyncDirectory { path: &'a Path },
}

#[cfg(feature = "testing")]
use testing::recording::{changed, created};

#[cfg(not(feature = "testing"))]
fn changed(_change: &Change<'_>, make: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    make()
}

#[cfg(not(feature = "testing"))]
fn created(_path: &Path, open: impl FnOnce() -> io::Result<File>) -> io::Result<File> {
    open()
}

/// Opens a file with options that may create or empty it.
///
/// # Errors
/// What the system says; so for all functions here.
pub fn create(path: &Path, options: &OpenOptions) -> io::Result<File> {
    created(path, || options.open(path))
}

/// Most slices the system takes in one write.
const SLICES_PER_WRITE: usize = 1024;

/// Writes all slices one after the other from `offset`.
///
/// # Errors
/// See [`create`]. Some of the bytes may have been written then.
pub fn write_at(file: &File, offset: u64, slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    // Copied only by a recording: writing moves the slices on.
    let whole: Vec<IoSlice<'_>> = if cfg!(feature = "testing") { slices.to_vec() } else { Vec::new() };
    changed(&Change::Write { file, offset, slices: &whole }, || write_slices(file, offset, slices))
}

#[cfg(unix)]
fn write_slices(file: &File, mut offset: u64, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    while !slices.is_empty() {
        let count = slices.len().min(SLICES_PER_WRITE);
        let (now, _) = slices.split_at(count);
        match rustix::io::pwritev(file, now, offset) {
            Ok(0) if now.iter().all(|slice| slice.is_empty()) => slices = slices.split_at_mut(count).1,
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(windows)]
fn write_slices(file: &File, mut offset: u64, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    use std::os::windows::fs::FileExt;

    while let Some(first) = slices.first() {
        if first.is_empty() {
            slices = slices.split_at_mut(1).1;
            continue;
        }
        match file.seek_write(first, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Cuts a file off, or extends it with zeros.
///
/// # Errors
/// See [`create`].
pub fn set_length(file: &File, length: u64) -> io::Result<()> {
    changed(&Change::SetLength { file, length }, || file.set_len(length))
}

/// Makes a file's bytes and its length durable. Its name is another matter.
///
/// # Errors
/// See [`create`]. Nobody knows then what the disk has.
pub fn sync(file: &File) -> io::Result<()> {
    changed(&Change::Sync { file }, || file.sync_data())
}

/// Gives a file another name, replacing what had it. In another directory, a crash may leave it with both names, or with
/// none until that directory is synced.
///
/// # Errors
/// See [`create`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    changed(&Change::Rename { from, to }, || std::fs::rename(from, to))
}

/// Removes a file.
///
/// # Errors
/// See [`create`].
pub fn remove(path: &Path) -> io::Result<()> {
    changed(&Change::Remove { path }, || std::fs::remove_file(path))
}

/// Makes a directory and those above it, where they are not there yet.
///
/// # Errors
/// See [`create`].
pub fn create_directories(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        create_directories(parent)?;
    }
    changed(&Change::CreateDirectory { path }, || match std::fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        made => made,
    })
}

/// Makes the names in a directory durable. Windows has no handle to flush for a directory; its file system orders
/// such changes itself.
///
/// # Errors
/// See [`create`].
pub fn sync_directory(path: &Path) -> io::Result<()> {
    changed(&Change::SyncDirectory { path }, || if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) })
}
