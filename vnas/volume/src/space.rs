//! What is stored and what can be.

use std::cmp::Reverse;
use std::sync::PoisonError;

use shoal_ledger::VolumeRecord;
use shoal_placement::{Candidate, DATA_SHARDS_LIMIT, geometry, room_bytes};

use crate::shared::{KeepPolicy, Shared, keep_policy};
use crate::{Drive, DriveError, Space};

impl Drive {
    /// What is stored in a volume and what can be.
    pub fn space(&self, volume: &VolumeRecord) -> Result<Space, DriveError> {
        let policy = keep_policy(&*self.shared.view()?, volume.policy)?;
        Ok(Space { used_bytes: volume.bytes, free_bytes: self.shared.free_bytes(policy) })
    }

    /// The most room a write was refused for want of since the last call, for whoever can make room.
    #[must_use]
    pub fn take_wanted_room(&self) -> Option<WantedRoom> {
        self.shared.wanted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Room a write was refused for want of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedRoom {
    /// Bytes of users' files.
    pub bytes: u64,
    /// How many agents may be lost without losing them.
    pub survive: u8,
}

/// Bytes of users' files that these agents take, at the geometry they allow. When one of them is full, stripes get
/// narrower and the others go on: what counts is the width that stores most. Suspects are left out.
#[must_use]
pub fn room_for_files(survive: u8, mut candidates: Vec<Candidate>) -> u64 {
    candidates.retain(|candidate| !candidate.suspect && candidate.capacity_bytes > 0);
    candidates.sort_by_key(|candidate| Reverse(candidate.free_bytes));
    let all = geometry(survive, candidates.len());
    let widest = candidates.len().min(usize::from(DATA_SHARDS_LIMIT) + usize::from(all.m));
    let narrower = (1..=widest).map(|agents| (geometry(survive, agents), &candidates[..agents]));
    // Beyond the widest stripe more agents only mean more room.
    narrower
        .chain([(all, &candidates[..])])
        .filter(|(geometry, _)| geometry.m == all.m)
        .map(|(geometry, agents)| room_bytes(agents, geometry))
        .max()
        .unwrap_or(0)
}

impl Shared {
    /// Bytes of users' files that the agents that are up still take, at the geometry they allow now.
    pub(crate) fn free_bytes(&self, policy: KeepPolicy) -> u64 {
        room_for_files(policy.survive, self.takers())
    }

    /// Remembers that a write was refused for want of room: of several the one that wanted most.
    pub(crate) fn note_wanted(&self, policy: KeepPolicy, bytes: u64) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if wanted.is_none_or(|known| known.bytes < bytes) {
            *wanted = Some(WantedRoom { bytes, survive: policy.survive });
        }
    }

    /// Whether so many bytes can be stored.
    pub(crate) fn has_room(&self, policy: KeepPolicy, bytes: u64) -> bool {
        let candidates = self.takers();
        let roomy = candidates.iter().filter(|candidate| !candidate.suspect && candidate.free_bytes / 2 >= bytes);
        roomy.count() > usize::from(policy.survive) || self.free_bytes(policy) >= bytes
    }
}
