//! Whose folders are proposed to be kept: the homes of people who have one on this computer.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use shoal_backup::plan::PathBytes;

/// The list of who is on this computer.
const USERS: &str = "/etc/passwd";
/// Numbers of people, not of services.
const PEOPLE: std::ops::Range<u32> = 1000..60_000;
/// Homes that are proposed, at most.
const HOMES_LIMIT: usize = 64;

/// Homes of people, where the agent can see them all; else, and if there are none, the home of who runs it.
pub(crate) fn homes() -> Vec<PathBytes> {
    let users = fs::read_to_string(USERS).unwrap_or_default();
    let all = if rustix::process::geteuid().is_root() { homes_of(&users) } else { Vec::new() };
    let own = || directories::UserDirs::new().map(|folders| folders.home_dir().to_owned());
    let found = if all.is_empty() { own().into_iter().collect() } else { all };
    found.iter().map(|home| PathBytes::new(home.as_os_str().as_bytes())).collect()
}

fn homes_of(users: &str) -> Vec<PathBuf> {
    let home = |line: &str| {
        let mut fields = line.split(':');
        let number: u32 = fields.nth(2)?.parse().ok()?;
        let home = PathBuf::from(fields.nth(2)?);
        let is_home = PEOPLE.contains(&number) && home.is_absolute() && home != Path::new("/") && home.is_dir();
        is_home.then_some(home)
    };
    let mut homes: Vec<PathBuf> = users.lines().filter_map(home).take(HOMES_LIMIT).collect();
    homes.sort();
    homes.dedup();
    homes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_have_homes_and_services_have_none() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().display();
        let users = format!(
            "root:x:0:0::{home}:/bin/sh\nana:x:1000:1000:Ana:{home}:/bin/sh\nben:x:1001:1001:::/bin/sh\n\
             nobody:x:65534:65534::{home}:/bin/sh\ngone:x:1002:1002::/no/such/home:/bin/sh\nbroken\n"
        );
        assert_eq!(homes_of(&users), [folder.path()]);
    }
}
