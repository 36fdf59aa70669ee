//! The replicated log on disk.
//!
//! One directory of segment files ([`segment`]) and one small file of what Raft must not forget besides ([`vote`]).
//! [`disk`] changes them, on a thread of its own ([`store`]) so that no fsync stalls an async thread; [`index`] says
//! where each entry lies and keeps the newest in memory for replication and applying.

#[cfg(test)]
mod crash_points;
mod disk;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod index;
mod replay;
mod segment;
mod store;
#[cfg(test)]
mod tests;
mod vote;

pub(crate) use replay::replay;
pub(crate) use store::{LogShared, LogStore};
#[cfg(feature = "fuzzing")]
pub(crate) use vote::Remembered;
