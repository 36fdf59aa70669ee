#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod aging;
pub mod catalogue;
pub mod challenge;
mod civil;
pub mod drill;
mod eta;
pub mod lost;
mod now;
mod object;
pub mod order;
pub mod peers;
pub mod peersync;
pub mod plan;
mod planted;
pub mod recovery;
pub mod replication;
pub mod room;
pub mod schedule;
#[cfg(test)]
mod simulation;
mod slots;
#[cfg(test)]
mod world;

pub use civil::{ZONE_CHANGES_LIMIT, Zone, ZoneChange};
pub use eta::{ETA_BASIS_MS, eta_ms};
pub use now::Now;
pub use object::{ArchiveId, NotAName, Object, ObjectKind, ObjectName, sha256};
pub use slots::OBJECTS_LIMIT;
