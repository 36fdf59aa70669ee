//! A file is written beside its place, with holes where there are zeros.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rustix::fs::{Mode, OFlags, openat};

use super::target::Place;
use crate::entry::ContentId;
use crate::error::ArchiveError;
use crate::repository::ReadContents;
use crate::watch::Watch;

/// Zeros of at least this length, at a multiple of it, become a hole: the block size of most file systems.
const HOLE_BYTES: usize = 4_096;
static ZEROS: [u8; HOLE_BYTES] = [0; HOLE_BYTES];

/// Why a file was not written.
#[derive(Debug)]
pub(super) enum NotWritten {
    /// This file only.
    File(ArchiveError),
    /// Nothing more can be written.
    Full(io::Error),
    /// The system refused this file.
    Refused(io::Error),
    /// The caller wants no more.
    Cancelled,
}

impl From<io::Error> for NotWritten {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full(error),
            _ => Self::Refused(error),
        }
    }
}

/// Makes the file in `place`, which is empty, and writes these pieces into it.
pub(super) fn write(
    place: &Place,
    pieces: &[ContentId],
    contents: &dyn ReadContents,
    watch: &Watch,
) -> Result<(File, u64), NotWritten> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file: File =
        openat(&*place.folder, place.name(), flags, Mode::RUSR | Mode::WUSR).map_err(io::Error::from)?.into();
    let mut at = 0;
    // Long runs of zeros are the same piece again and again.
    let mut empty: Option<(ContentId, u64)> = None;
    for piece in pieces {
        if watch.is_cancelled() {
            return Err(NotWritten::Cancelled);
        }
        if let Some((_, length)) = empty.filter(|(known, _)| known == piece) {
            at += length;
            watch.add(0, length);
            continue;
        }
        let bytes = contents.read(piece).map_err(NotWritten::File)?;
        let has_data = write_piece(&file, &bytes, at)?;
        let length = bytes.len() as u64;
        empty = (!has_data).then_some((*piece, length));
        at += length;
        watch.add(0, length);
    }
    file.set_len(at)?;
    Ok((file, at))
}

/// Writes what is not zeros. Whether there was any.
fn write_piece(file: &File, bytes: &[u8], at: u64) -> io::Result<bool> {
    let mut has_data = false;
    let mut from = 0;
    let mut here = 0;
    while here < bytes.len() {
        let offset = usize::try_from((at + here as u64) % HOLE_BYTES as u64).unwrap_or(0);
        let end = (here + HOLE_BYTES - offset).min(bytes.len());
        let block = &bytes[here..end];
        if block.len() == HOLE_BYTES && *block == ZEROS {
            if from < here {
                file.write_all_at(&bytes[from..here], at + from as u64)?;
                has_data = true;
            }
            from = end;
        }
        here = end;
    }
    if from < bytes.len() {
        file.write_all_at(&bytes[from..], at + from as u64)?;
        has_data = true;
    }
    Ok(has_data)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn zeros_become_holes_and_everything_reads_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        let file = File::create_new(&path).unwrap();
        let mut all = vec![7; 100];
        all.extend(vec![0; 1 << 20]);
        all.extend([1, 2, 3]);
        let (one, other) = all.split_at(5_000);
        assert!(write_piece(&file, one, 0).unwrap());
        assert!(write_piece(&file, other, 5_000).unwrap());
        assert!(!write_piece(&file, &[0; 8_192], 1 << 22).unwrap());
        assert!(std::fs::read(&path).unwrap() == all);
        assert!(file.metadata().unwrap().blocks() * 512 < 64 << 10);
    }
}
