//! The drive over agents in memory and a ledger of one copy: what is written comes back, whatever happens to up to
//! two of six agents.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod pool;

mod checks;
mod failing_reads;
mod failing_writes;
mod reading;
mod recut;
mod trash;
mod versions;
mod writing;
