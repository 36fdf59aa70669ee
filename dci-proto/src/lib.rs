//! What every Shoal crate speaks: the ids of agents, pools, files, stripes and shards, the XML messages that peerlets
//! send each other and how they find their way, the directory of who offers what, and the reading of XML from outside.
//!
//! Pure: this crate knows no clock, no socket, no file and no randomness. Ids that must be unique are made by the
//! caller and handed in.

mod checksum;
pub mod directory;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod ids;
pub mod message;
pub mod router;
pub mod xml;

pub use checksum::{BLOCK_BYTES, block_hash, block_hashes, shard_hash, shard_hash_of_blocks};
pub use ids::{
    AgentId, CommandId, ContentId, IdParseError, InodeId, MessageId, PoolId, SessionId, ShardHash, ShardKey, StripeId,
    VolumeId,
};
