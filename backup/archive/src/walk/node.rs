//! What the system says of a file, as the repository keeps it.

use std::ffi::OsStr;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustic_core::jiff::Timestamp;
use rustic_core::repofile::{Metadata, Node, NodeType};
use rustix::fs::{FileType, Stat, readlinkat};
use rustix::io::Errno;

/// Bytes of a list of attributes, at most: what Linux allows.
const ATTRIBUTES_LIMIT_BYTES: usize = 65_536;
/// A change is as old as this before it is sure that a later one has a later time: clocks of file systems tick.
const TICK_NS: i128 = 50_000_000;
/// The same for file systems that keep whole seconds.
const COARSE_TICK_NS: i128 = 3_000_000_000;

/// Permissions and the kind of a file as Go writes them, and restic with it: <https://pkg.go.dev/io/fs#FileMode>.
mod go {
    pub(super) const DIR: u32 = 1 << 31;
    pub(super) const SYMLINK: u32 = 1 << 27;
    pub(super) const DEVICE: u32 = 1 << 26;
    pub(super) const PIPE: u32 = 1 << 25;
    pub(super) const SOCKET: u32 = 1 << 24;
    pub(super) const SETUID: u32 = 1 << 23;
    pub(super) const SETGID: u32 = 1 << 22;
    pub(super) const CHARDEV: u32 = 1 << 21;
    pub(super) const STICKY: u32 = 1 << 20;
}

fn mode_to_go(mode: u32) -> u32 {
    let kind = match FileType::from_raw_mode(mode) {
        FileType::Directory => go::DIR,
        FileType::Symlink => go::SYMLINK,
        FileType::BlockDevice => go::DEVICE,
        FileType::CharacterDevice => go::DEVICE | go::CHARDEV,
        FileType::Fifo => go::PIPE,
        FileType::Socket => go::SOCKET,
        FileType::RegularFile | FileType::Unknown => 0,
    };
    let bit = |ours: u32, theirs: u32| if mode & ours == 0 { 0 } else { theirs };
    mode & 0o777 | kind | bit(0o4000, go::SETUID) | bit(0o2000, go::SETGID) | bit(0o1000, go::STICKY)
}

/// The twelve bits of permissions.
pub(crate) fn mode_from_go(mode: u32) -> u32 {
    let bit = |theirs: u32, ours: u32| if mode & theirs == 0 { 0 } else { ours };
    mode & 0o777 | bit(go::SETUID, 0o4000) | bit(go::SETGID, 0o2000) | bit(go::STICKY, 0o1000)
}

fn time(seconds: i64, ns: i64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(seconds) * 1_000_000_000 + i128::from(ns)).ok()
}

/// An entry of a folder as the repository keeps it. `folder` is open, `name` lies in it, `stat` is of it.
pub(super) fn node(folder: impl std::os::fd::AsFd, name: &[u8], stat: &Stat) -> Result<Node, Errno> {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => NodeType::Dir,
        FileType::Symlink => {
            let target = readlinkat(&folder, OsStr::from_bytes(name), Vec::new())?;
            NodeType::from_link(Path::new(OsStr::from_bytes(target.as_bytes())))
        }
        FileType::BlockDevice => NodeType::Dev { device: stat.st_rdev },
        FileType::CharacterDevice => NodeType::Chardev { device: stat.st_rdev },
        FileType::Fifo => NodeType::Fifo,
        FileType::Socket => NodeType::Socket,
        FileType::RegularFile | FileType::Unknown => NodeType::File,
    };
    #[allow(clippy::useless_conversion, reason = "it is a smaller number on other processors")]
    let links = u64::from(stat.st_nlink);
    let mut meta = Metadata {
        mode: Some(mode_to_go(stat.st_mode)),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec as i64),
        atime: None,
        ctime: settled_change(stat, Timestamp::now()),
        uid: Some(stat.st_uid),
        gid: Some(stat.st_gid),
        inode: stat.st_ino,
        device_id: stat.st_dev,
        size: if matches!(kind, NodeType::File) { u64::try_from(stat.st_size).unwrap_or(0) } else { 0 },
        links: if matches!(kind, NodeType::Dir) { 0 } else { links },
        ..Metadata::default()
    };
    if !matches!(kind, NodeType::Symlink { .. }) {
        let attributes = attributes(&beside(folder, name))?;
        if !attributes.is_empty() {
            meta.extended_attributes = serde_json::from_value(attributes.into()).unwrap_or_default();
        }
    }
    Ok(Node::new_node(OsStr::from_bytes(name), kind, meta))
}

/// The path of an entry of an open folder, by which no folder above it can be swapped.
fn beside(folder: impl std::os::fd::AsFd, name: &[u8]) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", folder.as_fd().as_raw_fd())).join(OsStr::from_bytes(name))
}

/// When it was changed last. Where it may change once more without getting another time, one that is never found again: the
/// next run then reads the file.
fn settled_change(stat: &Stat, now: Timestamp) -> Option<Timestamp> {
    let changed = time(stat.st_ctime, stat.st_ctime_nsec as i64)?;
    let tick = if stat.st_ctime_nsec == 0 { COARSE_TICK_NS } else { TICK_NS };
    if changed.as_nanosecond() < now.as_nanosecond() - tick {
        return Some(changed);
    }
    Timestamp::from_nanosecond(changed.as_nanosecond() - 1).ok()
}

/// Extended attributes as the repository writes them. Names that are no text cannot be kept.
fn attributes(path: &Path) -> Result<Vec<serde_json::Value>, Errno> {
    let mut names = Vec::with_capacity(256);
    let names = loop {
        match rustix::fs::llistxattr(path, rustix::buffer::spare_capacity(&mut names)) {
            Ok(_) => break names,
            Err(Errno::RANGE) if names.capacity() < ATTRIBUTES_LIMIT_BYTES => names.reserve(ATTRIBUTES_LIMIT_BYTES),
            // File systems without attributes, and a PC without /proc.
            Err(Errno::OPNOTSUPP | Errno::NOENT | Errno::NOTDIR | Errno::ACCESS | Errno::PERM) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        }
    };
    let mut found = Vec::new();
    for name in names.split(|byte| *byte == 0).filter_map(|name| std::str::from_utf8(name).ok()) {
        if name.is_empty() {
            continue;
        }
        let mut value = Vec::with_capacity(256);
        let read = loop {
            match rustix::fs::lgetxattr(path, name, rustix::buffer::spare_capacity(&mut value)) {
                Ok(_) => break true,
                Err(Errno::RANGE) if value.capacity() < ATTRIBUTES_LIMIT_BYTES => value.reserve(ATTRIBUTES_LIMIT_BYTES),
                Err(_) => break false,
            }
        };
        if read {
            found.push(serde_json::json!({ "name": name, "value": STANDARD.encode(&value) }));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_come_back_from_what_go_writes() {
        for mode in [0o644, 0o4755, 0o2770, 0o1777, 0o7777, 0] {
            assert_eq!(mode_from_go(mode_to_go(mode | 0o100_000)), mode);
        }
        assert_eq!(mode_to_go(0o040_755), 1 << 31 | 0o755);
        assert_eq!(mode_to_go(0o020_600), 1 << 26 | 1 << 21 | 0o600);
    }
}
