//! A volume's files: chunks, stripes, shards.
//!
//! [`Drive`] is what the doors (WebDAV first) are built on: the namespace of the ledger and the bytes on many agents
//! as one file system. Writing: chunk → hash → known already? → compress → encrypt → encode → shards to their agents,
//! in parallel → one command to the ledger. Reading: the other way round from the k cheapest sources.
//!
//! ```text
//!  drive ─┬─ namespace, checks, space, trash                   names, locks, room: the ledger's
//!         ├─ writer ─ pipeline ─ upload ─ place                file → chunks → one chunk sealed → its shards placed
//!         │            └ staging                               long files told to the ledger bit by bit
//!         └─ reader ─ chunks, read_chunk ─ cache | fetch       file → which stripes → memory, or k of their shards
//!  recut                                                       a stripe cut anew for the agents there are now
//!  stripe, codec                                               chunk ⇄ shards: pure computing
//!  rebuild                                                     a lost shard from the others of its stripe
//! ```
//!
//! It reaches other agents only through [`ShardPeers`] and the ledger only through
//! [`shoal_ledger::LedgerClient`]; it knows no socket and no path on a disk.

mod cache;
mod checks;
mod chunks;
pub mod codec;
mod config;
mod drive;
mod error;
mod fetch;
mod latency;
mod litter;
mod namespace;
mod pipeline;
mod place;
mod ports;
mod read_chunk;
mod reader;
mod rebuild;
mod recut;
mod sha1;
mod shared;
mod space;
mod staging;
mod stats;
pub mod stripe;
pub mod testing;
mod trash;
mod trash_name;
mod upload;
mod writer;

pub use config::{Admission, DriveConfig};
pub use drive::{ByteStream, Drive, NewFile, Space};
pub use error::DriveError;
pub use ports::{PeerError, ShardPeers, Urgency};
pub use reader::FileReader;
pub use rebuild::{LostShard, RebuildError, Rebuilt, STRIPE_LIMIT_BYTES, rebuild};
pub use recut::Recut;
pub use space::{WantedRoom, room_for_files};
pub use stats::{BadShard, DriveStats};
pub use trash::TRASH_FOLDER;
pub use writer::FileWriter;
