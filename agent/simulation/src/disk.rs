//! One agent's disk: shards as tokens, with what is durable, what is only on its way there, and what has rotted.

use std::collections::BTreeMap;

use dci_proto::{ShardHash, ShardKey};

use crate::rng::Rng;

/// A shard on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stored {
    /// What its header says its bytes hash to.
    pub(crate) token: ShardHash,
    pub(crate) bytes: u32,
    /// A crash does not take it any more.
    pub(crate) durable: bool,
    /// Its bytes are not what its header says.
    pub(crate) damaged: bool,
    /// The log's length when somebody was last told that it is durable.
    pub(crate) told_at: u64,
}

/// Why a disk did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DiskFault {
    Full,
    NotFound,
    Damaged,
    Conflict,
    Unplugged,
    Io,
}

/// What a put has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// The very shard is there already, sound and durable.
    There,
    /// It is to be written.
    Write,
}

/// A disk and the agent's part of it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk {
    shards: BTreeMap<ShardKey, Stored>,
    pub(crate) disk_bytes: u64,
    pub(crate) cap_bytes: u64,
    pub(crate) reserve_bytes: u64,
    /// What the owner's own files take.
    pub(crate) owner_bytes: u64,
    pub(crate) unplugged: bool,
    /// So many of a thousand reads fail.
    pub(crate) read_faults_per_mille: u64,
    /// Everything takes so many times as long.
    pub(crate) slowness: u64,
}

impl Disk {
    /// An empty one.
    pub(crate) fn new(disk_bytes: u64, cap_bytes: u64, reserve_bytes: u64) -> Self {
        Self { disk_bytes, cap_bytes, reserve_bytes, slowness: 1, ..Self::default() }
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.shards.values().map(|shard| u64::from(shard.bytes)).sum()
    }

    /// What it may hold in all now.
    pub(crate) fn capacity_bytes(&self) -> u64 {
        self.cap_bytes.min(self.disk_bytes.saturating_sub(self.owner_bytes + self.reserve_bytes))
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.capacity_bytes().saturating_sub(self.used_bytes())
    }

    pub(crate) fn get(&self, key: ShardKey) -> Option<&Stored> {
        self.shards.get(&key)
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = ShardKey> + '_ {
        self.shards.keys().copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ShardKey, &Stored)> {
        self.shards.iter().map(|(key, shard)| (*key, shard))
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether it has this very shard sound and durable.
    pub(crate) fn is_sound(&self, key: ShardKey, token: ShardHash) -> bool {
        self.get(key).is_some_and(|shard| shard.durable && !shard.damaged && shard.token == token)
    }

    pub(crate) fn begin_put(&mut self, key: ShardKey, token: ShardHash, bytes: u32) -> Result<Put, DiskFault> {
        if self.unplugged {
            return Err(DiskFault::Unplugged);
        }
        match self.shards.get(&key) {
            Some(there) if there.durable && !there.damaged && there.token == token => return Ok(Put::There),
            Some(there) if there.durable && !there.damaged => return Err(DiskFault::Conflict),
            // What replaces damaged bytes is written beside them first.
            _ if self.free_bytes() < u64::from(bytes) => return Err(DiskFault::Full),
            _ => {}
        }
        let shard = Stored { token, bytes, durable: false, damaged: false, told_at: 0 };
        self.shards.insert(key, shard);
        Ok(Put::Write)
    }

    /// What was written is durable now. A put that fails leaves no shard.
    pub(crate) fn sync(&mut self, key: ShardKey) -> Result<(), DiskFault> {
        if self.unplugged {
            self.shards.retain(|other, shard| *other != key || shard.durable);
            return Err(DiskFault::Unplugged);
        }
        let shard = self.shards.get_mut(&key).ok_or(DiskFault::Io)?;
        shard.durable = true;
        Ok(())
    }

    pub(crate) fn note_told(&mut self, key: ShardKey, position: u64) {
        if let Some(shard) = self.shards.get_mut(&key) {
            shard.told_at = position;
        }
    }

    /// A shard's bytes as they come off the disk, checked against its header.
    pub(crate) fn read(&self, key: ShardKey, rng: &mut Rng) -> Result<ShardHash, DiskFault> {
        if self.unplugged {
            return Err(DiskFault::Unplugged);
        }
        let shard = self.shards.get(&key).filter(|shard| shard.durable).ok_or(DiskFault::NotFound)?;
        if rng.chance(self.read_faults_per_mille) {
            return Err(DiskFault::Io);
        }
        if shard.damaged { Err(DiskFault::Damaged) } else { Ok(shard.token) }
    }

    pub(crate) fn delete(&mut self, key: ShardKey) -> Result<Option<Stored>, DiskFault> {
        if self.unplugged {
            return Err(DiskFault::Unplugged);
        }
        Ok(self.shards.remove(&key))
    }

    /// Bits flip.
    pub(crate) fn damage(&mut self, key: ShardKey) {
        if let Some(shard) = self.shards.get_mut(&key) {
            shard.damaged = true;
        }
    }

    /// All shards go.
    pub(crate) fn wipe(&mut self) {
        self.shards.clear();
    }

    /// Power goes: what was not durable is lost, torn, or there after all.
    pub(crate) fn crash(&mut self, rng: &mut Rng) {
        self.shards.retain(|_, shard| {
            if shard.durable {
                return true;
            }
            shard.durable = true;
            match rng.below(3) {
                0 => false,
                1 => {
                    shard.damaged = true;
                    true
                }
                _ => true,
            }
        });
    }
}
