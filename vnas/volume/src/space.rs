//! What is stored and what can be.

use std::cmp::Reverse;

use shoal_ledger::VolumeRecord;
use shoal_placement::{DATA_SHARDS_LIMIT, geometry, room_bytes};

use crate::shared::{KeepPolicy, Shared, keep_policy};
use crate::{Drive, DriveError, Space};

impl Drive {
    /// What is stored in a volume and what can be.
    pub fn space(&self, volume: &VolumeRecord) -> Result<Space, DriveError> {
        let policy = keep_policy(&*self.shared.view()?, volume.policy)?;
        Ok(Space { used_bytes: volume.bytes, free_bytes: self.shared.free_bytes(policy) })
    }
}

impl Shared {
    /// Bytes of users' files that the agents that are up still take, at the geometry they allow now. When one of them
    /// is full, stripes get narrower and the others go on: what counts is the width that stores most.
    pub(crate) fn free_bytes(&self, policy: KeepPolicy) -> u64 {
        let mut candidates = self.takers();
        candidates.retain(|candidate| !candidate.suspect);
        candidates.sort_by_key(|candidate| Reverse(candidate.free_bytes));
        let all = geometry(policy.survive, candidates.len());
        let widest = candidates.len().min(usize::from(DATA_SHARDS_LIMIT) + usize::from(all.m));
        let narrower = (1..=widest).map(|agents| (geometry(policy.survive, agents), &candidates[..agents]));
        // Beyond the widest stripe more agents only mean more room.
        narrower
            .chain([(all, &candidates[..])])
            .filter(|(geometry, _)| geometry.m == all.m)
            .map(|(geometry, agents)| room_bytes(agents, geometry))
            .max()
            .unwrap_or(0)
    }

    /// Whether so many bytes can be stored.
    pub(crate) fn has_room(&self, policy: KeepPolicy, bytes: u64) -> bool {
        let candidates = self.takers();
        let roomy = candidates.iter().filter(|candidate| !candidate.suspect && candidate.free_bytes / 2 >= bytes);
        roomy.count() > usize::from(policy.survive) || self.free_bytes(policy) >= bytes
    }
}
