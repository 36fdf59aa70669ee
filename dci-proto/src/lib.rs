//! What every Shoal crate speaks: the ids of agents, pools, files, stripes and shards, and the requests agents send
//! each other.
//!
//! Pure: this crate knows no clock, no socket, no file and no randomness. Ids that must be unique are made by the
//! caller and handed in.

mod checksum;
mod ids;

pub use checksum::{BLOCK_BYTES, block_hash, block_hashes, shard_hash, shard_hash_of_blocks};
pub use ids::{AgentId, CommandId, ContentId, IdParseError, InodeId, PoolId, ShardHash, ShardKey, StripeId, VolumeId};
