//! A small disk of its own for an agent: an image mounted through a loop device, that can be filled to the brim and made
//! slow. Needs root.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::host::run;

/// Bytes of a disk.
const DISK_BYTES: u64 = 3 << 30;
/// The file that fills it.
const BALLAST: &str = "ballast";
/// The least the ballast grows by; what is left is less.
const GRAIN_BYTES: u64 = 4096;
/// Where a limit for all processes on one device is set.
const THROTTLE: &str = "/sys/fs/cgroup/blkio";
/// The limits of a slow disk, and what they are set to.
const LIMITS: [(&str, u64); 4] = [
    ("blkio.throttle.write_bps_device", 2 << 20),
    ("blkio.throttle.write_iops_device", 40),
    ("blkio.throttle.read_bps_device", 8 << 20),
    ("blkio.throttle.read_iops_device", 200),
];

/// One disk; unmounted when dropped.
pub(super) struct Disk {
    mount: PathBuf,
    /// Major and minor number of its device.
    device: String,
}

/// Why there can be no disks of their own here; `None` if there can.
pub(super) fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        Some("full and slow disks need root")
    } else if !Path::new("/dev/loop-control").exists() {
        Some("full and slow disks need loop devices")
    } else {
        None
    }
}

impl Disk {
    /// Makes an image beside the mount point and mounts it there.
    pub(super) fn make(mount: &Path) -> Result<Self> {
        let image = mount.with_extension("img");
        fs::create_dir_all(mount)?;
        File::create(&image)?.set_len(DISK_BYTES)?;
        let (image, target) = (image.display().to_string(), mount.display().to_string());
        run("mkfs.ext4", &["-q", "-F", "-m", "0", &image])?;
        run("mount", &["-o", "loop,noatime", &image, &target])?;
        let mut disk = Self { mount: mount.to_owned(), device: String::new() };
        disk.device = device_of(mount)?;
        Ok(disk)
    }

    pub(super) fn mount(&self) -> &Path {
        &self.mount
    }

    /// Takes all there is.
    pub(super) fn fill(&self) -> Result<u64> {
        let ballast = File::options().create(true).append(true).open(self.mount.join(BALLAST))?;
        let mut length_bytes = 0;
        let mut piece_bytes = DISK_BYTES;
        while piece_bytes >= GRAIN_BYTES {
            let space = statvfs(&self.mount)?;
            piece_bytes = piece_bytes.min((space.f_bavail * space.f_frsize).max(GRAIN_BYTES));
            match fallocate(&ballast, FallocateFlags::empty(), length_bytes, piece_bytes) {
                Ok(()) => length_bytes += piece_bytes,
                Err(_) => piece_bytes /= 2,
            }
        }
        Ok(length_bytes)
    }

    /// Gives back what `fill` took.
    pub(super) fn empty(&self) -> Result<()> {
        fs::remove_file(self.mount.join(BALLAST)).context("removing the ballast")
    }

    /// Whether a disk can be made slow here by the block layer.
    pub(super) fn can_slow() -> bool {
        LIMITS.iter().all(|(name, _)| Path::new(THROTTLE).join(name).exists())
    }

    /// Makes it slow, or as fast as it was.
    pub(super) fn slow(&self, slow: bool) -> Result<()> {
        for (name, limit) in LIMITS {
            let line = format!("{} {}", self.device, if slow { limit } else { 0 });
            fs::write(Path::new(THROTTLE).join(name), line).with_context(|| format!("writing {name}"))?;
        }
        Ok(())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if Self::can_slow() {
            let _ = self.slow(false);
        }
        let mount = self.mount.display().to_string();
        if run("umount", &[&mount]).is_err() {
            let _ = run("umount", &["-l", &mount]);
        }
    }
}

/// Unmounts what runs left behind that were ended from outside: their folders end with their process's number.
pub(super) fn sweep_stale(top: &Path) {
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    for path in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
        let run_folder = Path::new(path).strip_prefix(top).ok().and_then(|rest| rest.iter().next()?.to_str());
        let owner = run_folder.and_then(|name| name.rsplit_once('-')).map(|(_, pid)| pid);
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = run("umount", &["-l", path]);
        }
    }
}

fn device_of(mount: &Path) -> Result<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let wanted = mount.display().to_string();
    let line =
        mounts.lines().find(|line| line.split(' ').nth(4) == Some(&wanted)).context("the mount is not listed")?;
    let device = line.split(' ').nth(2).unwrap_or_default();
    ensure!(device.contains(':'), "no device in {line:?}");
    Ok(device.to_owned())
}
