//! Whom programs run as. An agent that is root does not lend that to them: each program gets a user of its own that is nobody's,
//! which also makes the kernel count its processes by itself. Any other agent's programs have the agent's user.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::HostError;

/// Where user ids for programs may begin, the best first: ids no distribution gives away; those within what containers have.
const FIRST_IDS: [u32; 2] = [0x7000_0000, 60_600];
/// How many there are: more than programs at once.
const IDS: u32 = 500;
/// How long a count of the user's processes is good for.
const COUNT_LIFE: Duration = Duration::from_secs(10);
/// What the user's other programs may add meanwhile: the kernel counts all of a user's processes together.
const OTHERS_SLACK: u64 = 256;
/// Permission to pass through a folder, for others.
const OTHERS_PASS: u32 = 0o001;

/// Whom programs run as.
#[derive(Debug)]
pub(super) struct Users {
    /// The first of the ids that are theirs; `None`: they have the agent's.
    first_id: Option<u32>,
    /// Those that programs have.
    leased: Mutex<BTreeSet<u32>>,
    counted: Mutex<Option<(Instant, u64)>>,
}

/// A user that one program has, until this is dropped.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) id: u32,
    users: Arc<Users>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Ok(mut leased) = self.users.leased.lock() {
            leased.remove(&self.id);
        }
    }
}

impl Users {
    /// What this agent can do.
    pub(super) fn find() -> Result<Self, HostError> {
        let first_id = if rustix::process::geteuid().is_root() {
            let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
            let first = FIRST_IDS.into_iter().find(|first| holds(&map, *first) && holds(&map, first + IDS));
            Some(first.ok_or(HostError::NoUsers)?)
        } else {
            None
        };
        Ok(Self { first_id, leased: Mutex::default(), counted: Mutex::default() })
    }

    pub(super) fn are_others(&self) -> bool {
        self.first_id.is_some()
    }

    /// A user for a program; `None`: it has the agent's.
    pub(super) fn lease(self: &Arc<Self>) -> Result<Option<Lease>, String> {
        let Some(first) = self.first_id else { return Ok(None) };
        let none = || "all users that programs may have are taken".to_owned();
        let mut leased = self.leased.lock().map_err(|_| none())?;
        let id = (first..first + IDS).find(|id| !leased.contains(id)).ok_or_else(none)?;
        leased.insert(id);
        Ok(Some(Lease { id, users: Arc::clone(self) }))
    }

    /// The group of a program that has a user of its own: that user's, or, where it writes outside of its working directory, one that
    /// all such programs share, so that one goes on with what another one wrote.
    pub(super) fn group(&self, id: Option<u32>, writes_elsewhere: bool) -> Option<u32> {
        if writes_elsewhere { id.and(self.first_id).map(|first| first + IDS) } else { id }
    }

    /// The limit of processes that the kernel is told, for a program that may have so many.
    pub(super) fn processes(&self, id: Option<u32>, limit: u64) -> u64 {
        if id.is_some() { limit } else { self.own_processes() + limit + OTHERS_SLACK }
    }

    /// Processes and threads of the agent's user now, or a little while ago.
    fn own_processes(&self) -> u64 {
        let Ok(mut counted) = self.counted.lock() else { return 0 };
        if let Some((_, count)) = counted.filter(|(when, _)| when.elapsed() < COUNT_LIFE) {
            return count;
        }
        let own = rustix::process::geteuid().as_raw();
        let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
        let mine = processes.filter(|entry| entry.metadata().is_ok_and(|found| found.uid() == own));
        let count = mine.filter_map(|entry| Some(fs::read_dir(entry.path().join("task")).ok()?.count() as u64)).sum();
        *counted = Some((Instant::now(), count));
        count
    }
}

/// Whether a map of user ids (`INSIDE OUTSIDE COUNT` lines) has one.
fn holds(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().filter_map(|word| word.parse::<u64>().ok());
        let (Some(inside), Some(count)) = (numbers.next(), numbers.nth(1)) else { return false };
        (inside..inside.saturating_add(count)).contains(&u64::from(id))
    })
}

/// That other users can get to a folder.
pub(super) fn passable(folder: &Path) -> Result<(), HostError> {
    let folder = folder.canonicalize().map_err(|error| HostError::Runtime { path: folder.to_owned(), error })?;
    let closed = folder.ancestors().find(|part| part.metadata().is_ok_and(|found| found.mode() & OTHERS_PASS == 0));
    closed.map_or(Ok(()), |part| Err(HostError::Closed(part.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_programs_have_the_same_user_at_once() {
        let users = Arc::new(Users { first_id: Some(7), leased: Mutex::default(), counted: Mutex::default() });
        let mut leases: Vec<Lease> = (0..IDS).filter_map(|_| users.lease().expect("there are enough")).collect();
        let ids: BTreeSet<u32> = leases.iter().map(|lease| lease.id).collect();
        assert_eq!(ids.len(), IDS as usize);
        assert!(users.lease().is_err());
        leases.pop();
        assert!(users.lease().expect("one was given back").is_some());
    }

    #[test]
    fn ids_are_taken_where_they_are_mapped() {
        let everywhere = "         0          0 4294967295";
        let container = "0 100000 65536\n";
        assert!(holds(everywhere, FIRST_IDS[0] + IDS));
        assert!(!holds(container, FIRST_IDS[0]) && holds(container, FIRST_IDS[1] + IDS));
        assert!(!holds("0 1000 1", FIRST_IDS[1]) && !holds("", 0));
    }
}
