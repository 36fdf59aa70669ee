//! Writing and reading whole files past the page cache.
//!
//! A shard is written once and read, if at all, much later or from another agent. Sent through the page cache it costs
//! 0.9–2.7 CPU-s/GiB of the kernel's time, most of it for fresh pages; directly 0.5, the copy into an aligned buffer
//! included, at several times the throughput, and it pushes out nobody else's cached pages. The same holds for reading
//! what is not cached: 0.1 CPU-s/GiB instead of 1. Where the file system refuses, the page cache serves.

use std::fs::OpenOptions;
use std::io::{self, ErrorKind, IoSlice};
use std::path::Path;

use bytes::Bytes;
use shoal_files::write_at;

use super::buffers::Buffers;

/// What direct writes are aligned to: no disk has larger sectors.
const ALIGNMENT_BYTES: usize = 4096;

/// Writes a new file of `head` and `data`, its bytes durable when this returns.
pub(crate) fn write_file(buffers: &Buffers, path: &Path, head: &[u8], data: &[u8]) -> io::Result<()> {
    match write_directly(buffers, path, head, data) {
        Err(error) if matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported) => {
            let file = shoal_files::create(path, OpenOptions::new().write(true).create(true).truncate(true))?;
            write_at(&file, 0, &mut [IoSlice::new(head), IoSlice::new(data)])?;
            shoal_files::sync(&file)
        }
        written => written,
    }
}

#[cfg(target_os = "linux")]
fn write_directly(buffers: &Buffers, path: &Path, head: &[u8], data: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;

    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let mut options = OpenOptions::new();
    let file = shoal_files::create(path, options.write(true).create(true).truncate(true).custom_flags(direct))?;
    let length = head.len() + data.len();
    let padded = length.next_multiple_of(ALIGNMENT_BYTES);
    let mut buffer = buffers.take(padded + ALIGNMENT_BYTES);
    buffer.clear();
    let start = buffer.as_ptr().align_offset(ALIGNMENT_BYTES);
    if start >= ALIGNMENT_BYTES {
        return Err(ErrorKind::Unsupported.into());
    }
    buffer.resize(start, 0);
    buffer.extend_from_slice(head);
    buffer.extend_from_slice(data);
    buffer.resize(start + padded, 0);
    let written = write_at(&file, 0, &mut [IoSlice::new(&buffer[start..])]);
    buffers.give_back(buffer);
    written?;
    shoal_files::set_length(&file, length as u64)?;
    shoal_files::sync(&file)
}

/// Reads a whole file of `length` bytes past the page cache; fewer only if it ends. `None`: it cannot be done here.
#[cfg(target_os = "linux")]
pub(crate) fn read_file(buffers: &Buffers, path: &Path, length: usize) -> Option<Bytes> {
    use std::os::unix::fs::{FileExt, OpenOptionsExt};

    let direct = rustix::fs::OFlags::DIRECT.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(direct).open(path).ok()?;
    let padded = length.next_multiple_of(ALIGNMENT_BYTES);
    let mut buffer = buffers.take(padded + ALIGNMENT_BYTES);
    // Zeros only where it was never used: what is read over need not be cleared.
    buffer.resize(padded + ALIGNMENT_BYTES, 0);
    let start = Some(buffer.as_ptr().align_offset(ALIGNMENT_BYTES)).filter(|start| *start < ALIGNMENT_BYTES)?;
    let mut filled = 0;
    while filled < length {
        let read = file.read_at(&mut buffer[start + filled..start + padded], filled as u64).ok()?;
        filled += read;
        // Only the last read ends off the grid, at the end of the file.
        if read == 0 || filled % ALIGNMENT_BYTES != 0 {
            break;
        }
    }
    Some(buffers.share(buffer).slice(start..start + filled.min(length)))
}

/// Not on this system.
#[cfg(not(target_os = "linux"))]
pub(crate) fn read_file(_buffers: &Buffers, _path: &Path, _length: usize) -> Option<Bytes> {
    None
}

#[cfg(not(target_os = "linux"))]
fn write_directly(_buffers: &Buffers, _path: &Path, _head: &[u8], _data: &[u8]) -> io::Result<()> {
    Err(ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_exactly_the_bytes_given_whatever_their_length() {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        let path = directory.path().join("file");
        let buffers = Buffers::default();
        for length in [0, 1, 4000, 4096 - 100, 4096, 300_001] {
            let data = crate::contract::bytes(1, length);
            write_file(&buffers, &path, &[7; 100], &data).expect("writes");
            let read = std::fs::read(&path).expect("reads");
            assert!(read[..100] == [7; 100] && read[100..] == data, "{length} bytes");
            if let Some(directly) = read_file(&buffers, &path, read.len()) {
                assert!(directly == read, "{length} bytes read directly");
            }
        }
    }
}
