//! Owner, attributes, permissions, times: in this order, because each may undo one after it.

use std::os::fd::AsFd;

use rustix::fs::{
    AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fsetxattr, fstat,
    futimens, utimensat,
};
use rustix::io::Errno;

use super::target::Place;
use crate::entry::{Entry, Kind};

const SET_IDS: u32 = 0o6000;

/// Whether owners can be set at all.
pub(super) fn may_set_owners() -> bool {
    rustix::process::geteuid().is_root()
}

fn times(entry: &Entry) -> Timestamps {
    let time = Timespec {
        tv_sec: entry.modified_ns.div_euclid(1_000_000_000),
        tv_nsec: entry.modified_ns.rem_euclid(1_000_000_000) as _,
    };
    let untouched = Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_OMIT };
    Timestamps { last_access: untouched, last_modification: time }
}

/// Sets all on an open file or folder. Says what could not be set; the rest is set nevertheless.
pub(super) fn set(file: impl AsFd, entry: &Entry, set_owner: bool) -> Result<(), String> {
    let mut wrong: Vec<String> = Vec::new();
    let mut note = |what: &str, done: Result<(), Errno>| {
        if let Err(error) = done {
            wrong.push(format!("its {what} could not be set: {error}"));
        }
    };
    if set_owner {
        note("owner", fchown(&file, Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid))));
    }
    for (name, value) in &entry.attributes {
        let set = fsetxattr(&file, name.as_str(), value, XattrFlags::empty());
        note(&format!("attribute {name}"), set);
    }
    // A program that gives its runner another's rights gives ours, if the owner is not who it was.
    let is_owners = fstat(&file).is_ok_and(|stat| (stat.st_uid, stat.st_gid) == (entry.uid, entry.gid));
    let mode = if is_owners { entry.mode } else { entry.mode & !SET_IDS };
    note("permissions", fchmod(&file, Mode::from_raw_mode(mode)));
    note("time", futimens(&file, &times(entry)));
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// Sets owner, permissions and time of what cannot be opened: a link, which has no permissions, a pipe, a device.
pub(super) fn set_unopened(place: &Place, entry: &Entry, set_owner: bool) -> Result<(), Errno> {
    if set_owner {
        let (uid, gid) = (Some(Uid::from_raw(entry.uid)), Some(Gid::from_raw(entry.gid)));
        chownat(&*place.folder, place.name(), uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if !matches!(entry.kind, Kind::Link(_)) {
        // Made by us just now under a name that nobody knows: it is no link.
        chmodat(&*place.folder, place.name(), Mode::from_raw_mode(entry.mode & !SET_IDS), AtFlags::empty())?;
    }
    utimensat(&*place.folder, place.name(), &times(entry), AtFlags::SYMLINK_NOFOLLOW)
}
