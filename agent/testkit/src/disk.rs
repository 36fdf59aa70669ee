//! A disk that tests may fill to the brim.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

/// Bytes written at a time when it is filled.
const FILL_BYTES: usize = 256 * 1024;

/// A small file system in memory; unmounted when dropped.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one on a folder, which is made; `None` where this process may not mount.
    ///
    /// # Errors
    /// If the folder cannot be made.
    pub fn mount(path: PathBuf, size_bytes: u64) -> Result<Option<Self>> {
        fs::create_dir_all(&path)?;
        let size = format!("size={size_bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        let may = rustix::process::geteuid().is_root() && mounted.is_ok_and(|output| output.status.success());
        Ok(may.then_some(Self(path)))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The file that fills it.
    #[must_use]
    pub fn filler(&self) -> PathBuf {
        self.0.join("of-the-owner")
    }

    /// Fills it until nothing more fits.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub fn fill(&self) -> Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.filler())?;
        let mut piece = vec![7u8; FILL_BYTES];
        while !piece.is_empty() {
            if file.write_all(&piece).is_err() {
                piece.truncate(piece.len() / 2);
            }
        }
        Ok(())
    }

    /// Bytes that are free.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn free_bytes(&self) -> Result<u64> {
        let space = rustix::fs::statvfs(&self.0)?;
        Ok(space.f_bavail * space.f_frsize)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
