//! A volume's files: chunks, stripes, shards.
//!
//! [`Drive`] is what the doors (WebDAV first) are built on: the namespace of the ledger and the bytes on many agents
//! as one file system. Writing: chunk → hash → known already? → compress → encrypt → encode → shards to their agents,
//! in parallel → one command to the ledger. Reading: the other way round from the k cheapest sources.
//!
//! It reaches other agents only through [`ShardPeers`] and the ledger only through
//! [`shoal_ledger::LedgerClient`]; it knows no socket and no path on a disk.

mod codec;
mod config;
mod drive;
mod error;
mod ports;
mod stripe;

pub use config::DriveConfig;
pub use drive::{ByteStream, Drive, FileReader, FileWriter, NewFile, Space};
pub use error::DriveError;
pub use ports::{PeerError, ShardPeers, Urgency};
