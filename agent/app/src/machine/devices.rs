//! Which disks a directory lies on: its file system, the partition under that, the disks under the partition.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Layers (partition, LVM, encryption, RAID) looked through, at most.
const LAYERS_LIMIT: usize = 8;
/// Disks of one file system, at most.
const DISKS_LIMIT: usize = 32;
/// Bytes of the system's list of mounts read, at most.
const MOUNTS_LIMIT_BYTES: u64 = 1024 * 1024;

/// The devices of the disks under a directory, such as `/dev/sda`; none where there is no disk or the system does not tell.
pub(crate) fn under(directory: &Path) -> Vec<String> {
    let Ok(metadata) = std::fs::metadata(directory) else { return Vec::new() };
    let mut disks = Vec::new();
    if let Some(block) = block_of(metadata.dev()) {
        collect(&block, LAYERS_LIMIT, &mut disks);
    }
    disks
}

/// Where the system keeps what it knows of the block device under a file system.
fn block_of(device: u64) -> Option<PathBuf> {
    let at = |device: u64| {
        let number = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        (std::fs::canonicalize(Path::new("/sys/dev/block").join(&number)).ok(), number)
    };
    let (block, number) = at(device);
    if block.is_some() {
        return block;
    }
    // Some file systems, such as btrfs, have a number of their own; the list of mounts says what they lie on.
    let source = PathBuf::from(source_of(
        &super::load::read_up_to(Path::new("/proc/self/mountinfo"), MOUNTS_LIMIT_BYTES)?,
        &number,
    )?);
    at(std::fs::metadata(source).ok()?.rdev()).0
}

/// What the file system with this number was mounted from, if that is a device.
fn source_of(mounts: &str, number: &str) -> Option<String> {
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let is_it = before.split(' ').nth(2) == Some(number);
        let source = after.split(' ').nth(1)?;
        (is_it && source.starts_with("/dev/")).then(|| source.to_owned())
    })
}

fn collect(block: &Path, layers_left: usize, disks: &mut Vec<String>) {
    let whole = if block.join("partition").exists() { block.parent().unwrap_or(block) } else { block };
    let below: Vec<PathBuf> = std::fs::read_dir(whole.join("slaves"))
        .map(|entries| entries.flatten().take(DISKS_LIMIT).map(|entry| entry.path()).collect())
        .unwrap_or_default();
    if below.is_empty() {
        let name = whole.file_name().map(|name| format!("/dev/{}", name.to_string_lossy().replace('!', "/")));
        disks.extend(name.filter(|name| disks.len() < DISKS_LIMIT && !disks.contains(name)));
        return;
    }
    for layer in below.iter().filter(|_| layers_left > 0).filter_map(|path| std::fs::canonicalize(path).ok()) {
        collect(&layer, layers_left - 1, disks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_on_encrypted_volumes_leads_to_the_disks_below() {
        let folder = tempfile::tempdir().expect("folder");
        let path = |name: &str| folder.path().join(name);
        for disk in ["sda", "nvme0n1"] {
            std::fs::create_dir_all(path(disk).join("slaves")).expect("made");
        }
        std::fs::create_dir_all(path("sda/sda1")).expect("made");
        std::fs::write(path("sda/sda1/partition"), "1").expect("written");
        std::fs::create_dir_all(path("dm-0/slaves")).expect("made");
        std::os::unix::fs::symlink(path("sda/sda1"), path("dm-0/slaves/sda1")).expect("linked");
        std::os::unix::fs::symlink(path("nvme0n1"), path("dm-0/slaves/nvme0n1")).expect("linked");
        let found = |name: &str| {
            let mut disks = Vec::new();
            collect(&path(name), LAYERS_LIMIT, &mut disks);
            disks.sort();
            disks
        };
        assert_eq!(found("sda"), ["/dev/sda"]);
        assert_eq!(found("sda/sda1"), ["/dev/sda"]);
        assert_eq!(found("dm-0"), ["/dev/nvme0n1", "/dev/sda"]);
        std::os::unix::fs::symlink(path("dm-0"), path("sda/slaves/dm-0")).expect("linked");
        assert_eq!(found("dm-0"), ["/dev/nvme0n1"], "a ring ends");
    }

    #[test]
    fn the_mounts_say_what_a_file_system_lies_on() {
        let mounts = "36 35 0:42 /home /home rw,relatime shared:1 - btrfs /dev/sda2 rw,ssd\n\
                      37 35 0:50 / /tmp rw - tmpfs tmpfs rw\n";
        assert_eq!(source_of(mounts, "0:42").as_deref(), Some("/dev/sda2"));
        assert_eq!(source_of(mounts, "0:50"), None);
        assert_eq!(source_of("nonsense\n", "0:42"), None);
        assert!(under(Path::new("/proc")).is_empty());
    }
}
