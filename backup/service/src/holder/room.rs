//! How much is given to others' backups, and how much of that is taken: never more than the share, never the reserve.
//!
//! Who begins to take an object first reserves room for all of it, so that several at once cannot overrun the share together.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use dci_proto::AgentId;
use shoal_backup::ObjectName;
use shoal_backup::peers::Share;

use super::ShareSettings;

/// Objects that may be on their way at once, of all owners: what is begun lies on the disk until it is whole or swept.
const BEGUN_LIMIT: usize = 1_024;
/// What was begun and not gone on with for this time is thrown away.
pub(super) const BEGUN_KEEP_MS: u64 = 24 * 60 * 60 * 1_000;

/// There is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoRoom {
    /// In the share, or on the disk before the reserve.
    Full,
    /// Too many are begun.
    Busy,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    size_bytes: u64,
    have_bytes: u64,
    touched_ms: u64,
}

/// The room of this computer.
#[derive(Debug)]
pub(super) struct Room {
    folder: PathBuf,
    settings: ShareSettings,
    /// Bytes of what is kept: objects, the trash too, and catalogues.
    kept_bytes: AtomicU64,
    begun: Mutex<BTreeMap<(AgentId, ObjectName), Begun>>,
}

impl Room {
    pub(super) fn new(folder: PathBuf, settings: ShareSettings) -> Self {
        Self { folder, settings, kept_bytes: AtomicU64::new(0), begun: Mutex::default() }
    }

    fn begun(&self) -> MutexGuard<'_, BTreeMap<(AgentId, ObjectName), Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many bytes are kept that were not.
    pub(super) fn kept(&self, bytes: u64) {
        self.kept_bytes.fetch_add(bytes, Ordering::SeqCst);
    }

    /// So many bytes are not kept any more.
    pub(super) fn freed(&self, bytes: u64) {
        let less = |kept: u64| Some(kept.saturating_sub(bytes));
        let _ = self.kept_bytes.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }

    /// What is given, and how much of it is taken.
    pub(super) fn share(&self) -> Share {
        self.share_with(&self.begun())
    }

    fn share_with(&self, begun: &BTreeMap<(AgentId, ObjectName), Begun>) -> Share {
        let reserved: u64 = begun.values().map(|begun| begun.size_bytes).sum();
        let to_come: u64 = begun.values().map(|begun| begun.size_bytes.saturating_sub(begun.have_bytes)).sum();
        // What cannot be found out is taken for nothing: then nothing more is taken.
        let disk = rustix::fs::statvfs(&self.folder).ok();
        let free_bytes = disk.map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
        Share {
            limit_bytes: self.settings.limit_bytes,
            used_bytes: self.kept_bytes.load(Ordering::SeqCst).saturating_add(reserved),
            free_bytes: free_bytes.saturating_sub(to_come),
            reserve_bytes: self.settings.reserve_bytes,
        }
    }

    /// Whether so much more fits, now and at once.
    pub(super) fn fits(&self, bytes: u64) -> bool {
        self.share().fits(bytes)
    }

    /// Reserves room for an object that is begun, or goes on with one.
    pub(super) fn begin(
        &self,
        owner: AgentId,
        name: ObjectName,
        size_bytes: u64,
        steady_ms: u64,
    ) -> Result<(), NoRoom> {
        let mut begun = self.begun();
        if let Some(begun) = begun.get_mut(&(owner, name)) {
            begun.touched_ms = steady_ms;
            return Ok(());
        }
        if begun.len() >= BEGUN_LIMIT {
            return Err(NoRoom::Busy);
        }
        if !self.share_with(&begun).fits(size_bytes) {
            return Err(NoRoom::Full);
        }
        begun.insert((owner, name), Begun { size_bytes, have_bytes: 0, touched_ms: steady_ms });
        Ok(())
    }

    /// What was on its way before a restart is there whether it fits or not.
    pub(super) fn found(&self, owner: AgentId, name: ObjectName, size_bytes: u64, have_bytes: u64, steady_ms: u64) {
        self.begun().insert((owner, name), Begun { size_bytes, have_bytes, touched_ms: steady_ms });
    }

    /// So much of it is there.
    pub(super) fn came(&self, owner: AgentId, name: ObjectName, have_bytes: u64, steady_ms: u64) {
        if let Some(begun) = self.begun().get_mut(&(owner, name)) {
            (begun.have_bytes, begun.touched_ms) = (have_bytes, steady_ms);
        }
    }

    /// It is whole and counted as kept, or was thrown away.
    pub(super) fn ended(&self, owner: AgentId, name: ObjectName) {
        self.begun().remove(&(owner, name));
    }

    /// All that was begun of an owner is gone.
    pub(super) fn ended_all(&self, owner: AgentId) {
        self.begun().retain(|(of, _), _| *of != owner);
    }

    /// What of an owner was begun and not gone on with.
    pub(super) fn stale(&self, owner: AgentId, steady_ms: u64) -> Vec<ObjectName> {
        let begun = self.begun();
        let stale = begun
            .iter()
            .filter(|((of, _), begun)| *of == owner && steady_ms.saturating_sub(begun.touched_ms) >= BEGUN_KEEP_MS);
        stale.map(|((_, name), _)| *name).collect()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use super::*;

    const OWNER: AgentId = AgentId([1; 32]);

    fn room(limit_bytes: u64, reserve_bytes: u64) -> Room {
        let machine = shoal_backup::peers::MachineId([0; 16]);
        Room::new(std::env::temp_dir(), ShareSettings { limit_bytes, reserve_bytes, machine })
    }

    #[test]
    fn what_is_begun_takes_room_at_once_and_only_once() {
        let room = room(100, 0);
        let name = |number: u8| ObjectName([number; 32]);
        room.kept(30);
        assert_eq!(room.begin(OWNER, name(1), 60, 0), Ok(()));
        assert_eq!(room.begin(OWNER, name(1), 60, 0), Ok(()), "it goes on");
        assert_eq!(room.begin(OWNER, name(2), 11, 0), Err(NoRoom::Full));
        room.ended(OWNER, name(1));
        assert_eq!(room.begin(OWNER, name(2), 11, 0), Ok(()));
        room.freed(1_000);
        assert_eq!(room.share().used_bytes, 11);
        assert_eq!((room.stale(OWNER, BEGUN_KEEP_MS - 1), room.stale(OWNER, BEGUN_KEEP_MS)), (vec![], vec![name(2)]));
    }

    #[test]
    fn the_reserve_is_never_touched() {
        assert_eq!(room(u64::MAX, u64::MAX).begin(OWNER, ObjectName([1; 32]), 1, 0), Err(NoRoom::Full));
    }
}
