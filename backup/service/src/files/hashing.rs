//! Files read through for their hash, a piece at a time.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use sha2::{Digest, Sha256};
use shoal_backup::ObjectName;

/// Bytes read at once: enough that reading is not what takes the time, little enough that nobody waits for it.
pub const HASH_PIECE_BYTES: usize = 1 << 20;

/// Reads a range of a file and hashes it.
pub struct Hasher {
    file: File,
    at: u64,
    end: u64,
    hash: Sha256,
    buffer: Vec<u8>,
}

impl Hasher {
    /// Of a range of a file. `first`: bytes that are hashed before those of the range.
    #[must_use]
    pub fn new(file: File, range: std::ops::Range<u64>, first: &[u8]) -> Self {
        let mut hash = Sha256::new();
        hash.update(first);
        Self { file, at: range.start, end: range.end, hash, buffer: Vec::new() }
    }

    /// Reads the next piece; how many bytes that were, 0 at the end.
    ///
    /// # Errors
    /// The file cannot be read, or is shorter than the range.
    pub fn step(&mut self) -> io::Result<usize> {
        let length = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX).min(HASH_PIECE_BYTES);
        self.buffer.resize(length, 0);
        self.file.read_exact_at(&mut self.buffer, self.at)?;
        self.hash.update(&self.buffer);
        self.at += length as u64;
        Ok(length)
    }

    /// Reads all that is left; the hash.
    ///
    /// # Errors
    /// As [`Self::step`].
    pub fn finish(mut self) -> io::Result<[u8; 32]> {
        while self.step()? > 0 {}
        Ok(self.hash.finalize().into())
    }
}

/// The name that a file's bytes have.
pub(super) fn name_of(file: File) -> io::Result<ObjectName> {
    let length = file.metadata()?.len();
    Ok(ObjectName(Hasher::new(file, 0..length, &[]).finish()?))
}
