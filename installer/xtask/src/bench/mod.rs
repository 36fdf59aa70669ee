//! `cargo xtask bench`: figures anyone can take again. Nothing here passes or fails.

mod care;
mod copies;
mod drive;
pub(crate) mod load;
mod messages;
mod scrub;
mod servers;
mod table;

use std::path::PathBuf;

use anyhow::Result;
use tempfile::TempDir;

use crate::steps::{cargo, release_binary, step};

/// Which `shoal` is measured, and on which disk.
#[derive(clap::Args)]
pub(crate) struct Subject {
    /// The `shoal` to measure; by default a release build of this tree.
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Folder on the disk to measure; a temporary one by default.
    #[arg(long)]
    directory: Option<PathBuf>,
}

impl Subject {
    fn binary(&self) -> Result<PathBuf> {
        self.binary.clone().map_or_else(release_binary, Ok)
    }

    /// The folder, and what removes it when it is dropped if it is a temporary one.
    fn folder(&self) -> Result<(Option<TempDir>, PathBuf)> {
        if let Some(directory) = &self.directory {
            return Ok((None, directory.clone()));
        }
        let temporary = tempfile::tempdir()?;
        let path = temporary.path().to_owned();
        Ok((Some(temporary), path))
    }
}

/// What to measure.
#[derive(clap::Subcommand)]
pub(crate) enum Bench {
    /// The drive: a demo pool of six agents, and nginx and Apache WebDAV where installed, on the same disk, the same
    /// loads in one run with one client. Prints CPU seconds of all server processes, throughput, latency, memory.
    Drive(drive::Options),
    /// The scrub: bytes read again a CPU second, and what a foreground load takes with and without a scrub beside it.
    Scrub(scrub::Options),
    /// The care of the volume: a newcomer is given its share; an agent is lost, then another while people use the drive.
    /// Bytes read and written for each byte lost, time until all is whole again, what people notice.
    Care(care::Options),
    /// Messages between two agents: how many a second, how long each takes, what the start of a program adds.
    Messages(messages::Options),
    /// Archives, beside Debian's `restic` and `borg` on the same files: first backup, no change, 1 % changed, full restore.
    Backup {
        /// A folder to work in, which must not exist.
        #[arg(long, default_value = "target/bench-backup")]
        folder: PathBuf,
        /// How many small files.
        #[arg(long, default_value_t = 50_000)]
        files: u64,
        /// MiB in large ones.
        #[arg(long, default_value_t = 2_048)]
        mib: u64,
    },
    /// A backup to other agents: bytes over the wire to each holder, time until all have everything, processor time.
    Copies(copies::Options),
    /// The ledger: files created, listed and renamed by a group of members; commits a second, CPU time, memory.
    Ledger {
        /// How many files.
        #[arg(long, default_value_t = 1_000_000)]
        files: u64,
        /// How many members, all in one process.
        #[arg(long, default_value_t = 3)]
        members: u64,
    },
}

pub(crate) fn run(bench: &Bench) -> Result<()> {
    match bench {
        Bench::Drive(options) => drive::run(options),
        Bench::Scrub(options) => scrub::run(options),
        Bench::Care(options) => care::run(options),
        Bench::Messages(options) => messages::run(options),
        Bench::Backup { folder, files, mib } => {
            let folder = std::path::absolute(folder)?;
            let example = ["run", "--release", "--locked", "-p", "shoal-archive", "--example", "bench", "--"];
            let measured =
                step("bench backup", cargo().args(example).arg(&folder).args([files.to_string(), mib.to_string()]));
            // Gigabytes that nobody looks at again.
            std::fs::remove_dir_all(&folder)?;
            measured
        }
        Bench::Copies(options) => copies::run(options),
        Bench::Ledger { files, members } => {
            let example = ["run", "--release", "--locked", "-p", "shoal-consensus", "--example", "ledger_bench", "--"];
            let sizes = ["--files".to_owned(), files.to_string(), "--members".to_owned(), members.to_string()];
            step("bench ledger", cargo().args(example).args(sizes))
        }
    }
}
