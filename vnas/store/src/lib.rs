//! Shards on one agent's disks.
//!
//! A shard is opaque ciphertext under a [`ShardKey`]. Large ones are files, small ones share append-only segments.
//! Each carries its own header with a hash per 64 KiB block, so a scrub needs nothing else. What [`ShardStore::put`]
//! has answered is on disk.
//!
//! [`DiskStore`] is one directory of one disk, [`MultiStore`] several of them as one, each failing for itself.
//! [`MemoryStore`] and [`FaultyStore`] are for tests; all of them run the suite in `contract` (feature `testing`).
//!
//! This crate knows no stripes, codecs, keys or peers, and deletes nothing on its own account. The cap covers shards,
//! their headers, dead space in segments and the index.

#[cfg(any(test, feature = "testing"))]
pub mod contract;
mod disk;
mod faulty;
mod key_locks;
mod memory;
mod multi;
mod range;

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use dci_proto::{ShardHash, ShardKey};

#[cfg(feature = "fuzzing")]
pub use disk::fuzzing;
pub use disk::{DiskStore, DiskStoreConfig, FILE_FROM_BYTES};
pub use faulty::{FaultRates, FaultyStore};
pub use memory::MemoryStore;
pub use multi::{MultiStore, StoreState};

/// Bytes of one shard, at most: a whole chunk of 4 MiB kept as a copy, its encryption frames, and headroom.
pub const SHARD_LIMIT_BYTES: u32 = 5 * 1024 * 1024;

/// Why the store did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// Cap reached, reserve touched, or the disk is full; another agent must take the shard.
    #[error("no room: {0}")]
    Full(String),
    /// No such shard here. Says nothing about whether there ever was one.
    #[error("shard {0} is not here")]
    NotFound(ShardKey),
    /// The shard is there but its bytes do not match their checksums.
    #[error("shard {key} is damaged: {reason}")]
    Damaged {
        /// Which.
        key: ShardKey,
        /// What does not match.
        reason: String,
    },
    /// A different shard is there under the same key.
    #[error("shard {0} is there already with other bytes")]
    Conflict(ShardKey),
    /// The directory's id file is missing: the disk is unplugged, which says nothing about its shards.
    #[error(
        "the store directory {0} is unplugged: its store.json is missing. Plug its disk in or mount it again; nothing is deleted meanwhile. \
         If the disk is gone for good, name another directory under [[store]] in agent.toml and start the agent again: what it held is \
         made anew from the other agents"
    )]
    Unplugged(String),
    /// Too large, an empty range, beyond the end.
    #[error("{0}")]
    Invalid(String),
    /// The disk failed.
    #[error("{action}: {reason}")]
    Io {
        /// What was tried, on what.
        action: String,
        /// What the system said.
        reason: String,
    },
}

/// What a store has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct StoreSpace {
    /// Bytes it may use in all: the cap, or what the disk has less the owner's reserve, whichever is less.
    pub capacity_bytes: u64,
    /// Bytes its shards use now.
    pub used_bytes: u64,
    /// Bytes it would still accept.
    pub free_bytes: u64,
    /// Shards it holds.
    pub shards: u64,
    /// Whether a directory is not where it was: what it holds cannot be had until it is back.
    pub unplugged: bool,
}

/// A shard as listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardInfo {
    /// Its key.
    pub key: ShardKey,
    /// Its bytes.
    pub bytes: u32,
    /// Hash of all its bytes.
    pub hash: ShardHash,
}

/// Where shards are kept.
///
/// To be correct, an implementation must
/// - have a shard and its name durable before `put` answers; a put that failed or was cut short leaves no shard;
/// - answer `put` of the same key and bytes again with success, of other bytes with [`StoreError::Conflict`];
/// - return from `get` only bytes that match their checksums, else [`StoreError::Damaged`];
/// - never accept what would exceed the cap or touch the reserve;
/// - never take a missing directory for an empty one.
#[async_trait]
pub trait ShardStore: Send + Sync {
    /// Keeps a shard; answers the hash of its bytes once they are durable. `expected`: refuse bytes of another hash.
    async fn put(&self, key: ShardKey, data: Bytes, expected: Option<ShardHash>) -> Result<ShardHash, StoreError>;

    /// Bytes of a shard, or a range of them, verified.
    async fn get(&self, key: ShardKey, range: Option<Range<u32>>) -> Result<Bytes, StoreError>;

    /// What is known of a shard without reading its bytes; `None` if it is not here.
    async fn info(&self, key: ShardKey) -> Result<Option<ShardInfo>, StoreError>;

    /// Re-reads a shard and checks every block.
    async fn verify(&self, key: ShardKey) -> Result<ShardInfo, StoreError>;

    /// Drops a shard; one that is not here is no error. Durable when answered.
    async fn delete(&self, key: ShardKey) -> Result<(), StoreError>;

    /// Shards in the order of their keys from after `after`, at most `limit`.
    async fn list(&self, after: Option<ShardKey>, limit: usize) -> Result<Vec<ShardInfo>, StoreError>;

    /// What there is room for.
    fn space(&self) -> StoreSpace;
}
