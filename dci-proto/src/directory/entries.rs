//! The offers that are known, and their digests.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use super::signed::{SignedOffer, Stamp};
use super::wire::{BUCKETS, Version};
use crate::AgentId;

/// The newest offer known of each agent.
#[derive(Debug, Clone, Default)]
pub(super) struct Entries {
    offers: BTreeMap<AgentId, SignedOffer>,
    /// By bucket; `None`: to be made anew.
    digests: [Option<[u8; 8]>; BUCKETS],
}

pub(super) fn bucket_of(agent: AgentId) -> u8 {
    agent.0[0] >> 4
}

/// The lowest and the highest id a bucket can have.
fn ends(bucket: u8) -> (AgentId, AgentId) {
    let (mut first, mut last) = ([0; 32], [0xff; 32]);
    first[0] = bucket << 4;
    last[0] = (bucket << 4) | 0x0f;
    (AgentId(first), AgentId(last))
}

impl Entries {
    pub(super) fn get(&self, agent: AgentId) -> Option<&SignedOffer> {
        self.offers.get(&agent)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &SignedOffer> {
        self.offers.values()
    }

    pub(super) fn len(&self) -> usize {
        self.offers.len()
    }

    pub(super) fn version(&self, agent: AgentId) -> Option<Version> {
        self.get(agent).map(|offer| Version { agent, stamp: offer.stamp() })
    }

    /// Whether a version is newer than what is here.
    pub(super) fn lacks(&self, version: Version) -> bool {
        self.get(version.agent).is_none_or(|offer| offer.stamp() < version.stamp)
    }

    /// Takes an offer if it is newer than what is here.
    pub(super) fn put(&mut self, offer: SignedOffer) -> bool {
        let agent = offer.agent();
        if !self.lacks(Version { agent, stamp: offer.stamp() }) {
            return false;
        }
        self.offers.insert(agent, offer);
        self.touch(agent);
        true
    }

    pub(super) fn retain(&mut self, members: &BTreeSet<AgentId>) {
        let gone: Vec<AgentId> = self.offers.keys().filter(|agent| !members.contains(agent)).copied().collect();
        for agent in gone {
            self.offers.remove(&agent);
            self.touch(agent);
        }
    }

    fn touch(&mut self, agent: AgentId) {
        if let Some(digest) = self.digests.get_mut(usize::from(bucket_of(agent))) {
            *digest = None;
        }
    }

    /// The versions of a bucket after an agent and up to another one, in order.
    pub(super) fn versions(
        &self,
        bucket: u8,
        after: Option<AgentId>,
        through: Option<AgentId>,
    ) -> impl Iterator<Item = Version> {
        let (first, last) = ends(bucket);
        let from = after.map_or(Bound::Included(first), |after| Bound::Excluded(after.max(first)));
        let through = through.unwrap_or(last).min(last);
        let all = self.offers.range((from, Bound::Unbounded));
        all.take_while(move |(agent, _)| **agent <= through)
            .map(|(agent, offer)| Version { agent: *agent, stamp: offer.stamp() })
    }

    /// So many versions of a bucket after an agent, and whether there are none after them.
    pub(super) fn page(&self, bucket: u8, after: Option<AgentId>, limit: usize) -> (Vec<Version>, bool) {
        let mut versions: Vec<Version> = self.versions(bucket, after, None).take(limit.saturating_add(1)).collect();
        let whole = versions.len() <= limit;
        versions.truncate(limit);
        (versions, whole)
    }

    /// A hash of each bucket's versions.
    pub(super) fn digests(&mut self) -> Vec<[u8; 8]> {
        for bucket in 0..BUCKETS {
            if self.digests.get(bucket).is_some_and(Option::is_none) {
                let made = self.digest(u8::try_from(bucket).unwrap_or_default());
                if let Some(digest) = self.digests.get_mut(bucket) {
                    *digest = Some(made);
                }
            }
        }
        self.digests.iter().map(|digest| digest.unwrap_or_default()).collect()
    }

    fn digest(&self, bucket: u8) -> [u8; 8] {
        let mut hasher = blake3::Hasher::new();
        for Version { agent, stamp: Stamp { sequence, hash } } in self.versions(bucket, None, None) {
            hasher.update(&agent.0).update(&sequence.to_le_bytes()).update(&hash);
        }
        let mut digest = [0; 8];
        digest.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        digest
    }

    /// What is wrong with it, if anything is.
    pub(super) fn validate(&self, members: &BTreeSet<AgentId>) -> Result<(), String> {
        if let Some(agent) = self.offers.keys().find(|agent| !members.contains(agent)) {
            return Err(format!("{agent} is no member and has an offer"));
        }
        for (bucket, digest) in (0_u8..).zip(self.digests) {
            if digest.is_some_and(|digest| digest != self.digest(bucket)) {
                return Err(format!("the digest of bucket {bucket} is not that of its versions"));
            }
        }
        Ok(())
    }
}
