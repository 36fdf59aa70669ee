//! `cargo xtask bench`: figures anyone can take again. Nothing here passes or fails.

mod drive;
mod load;
mod servers;
mod table;

use anyhow::Result;

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// The drive: a demo pool of six agents, and nginx and Apache WebDAV where installed, on the same disk, the same
    /// loads in one run with one client. Prints CPU seconds of all server processes, throughput, latency, memory.
    Drive(drive::Options),
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Drive(options) => drive::run(options),
    }
}
