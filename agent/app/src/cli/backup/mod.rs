//! `shoal backup`, `shoal archives`, `shoal restore`: this PC's backup, and what comes back from one.
//!
//! ```text
//! backup    setup (init, kit) · edit + settings (set) · schedule · status (status, peers, owners) · run (run, cancel, drill, scrub)
//! archives  archives (list, ls, diff, find)
//! restore   restore
//! which     whose archives, and which of them by number or date
//! paths, local_time, secret, interrupt, watch: what they have in common
//! ```

mod archives;
mod edit;
mod interrupt;
mod local_time;
mod paths;
mod restore;
mod run;
mod schedule;
mod secret;
mod settings;
mod setup;
mod status;
mod watch;
mod which;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::client::Client;
use super::print::count;
use super::{AgentChoice, CliError};

pub(super) use archives::{ArchivesOptions, archives};
pub(super) use restore::{RestoreOptions, restore};

/// How long looking into archives may take: another PC's indexes come from its peers first.
const LOOK_DEADLINE: Duration = Duration::from_secs(15 * 60);

#[derive(Args)]
pub(super) struct BackupOptions {
    #[command(subcommand)]
    command: Option<BackupCommand>,
}

#[derive(Subcommand)]
enum BackupCommand {
    /// Set up the backup of this PC: shows what would be kept, asks, and prints the recovery kit.
    ///
    /// Example: shoal backup init --root /home/ana --copies 2 --kit kit.txt
    Init(setup::InitOptions),
    /// Change what is kept, how often, on how many PCs, for how long, at what cost. What is not named stays; without options it
    /// prints all of it.
    ///
    /// Example: shoal backup set --root /srv/photos --exclude-ext iso --schedule 'delta hourly' --schedule 'snapshot daily 12:30'
    Set(Box<edit::SetOptions>),
    /// How the backup is: what is wrong, the run that is on, who holds copies, the last proven restore.
    ///
    /// Example: shoal backup status --json
    Status,
    /// Make an archive now. On battery or a metered link too: you asked for it.
    ///
    /// Ctrl-C ends the waiting, not the run. With --wait it ends with code 1 if no archive was made, and with 15 if it lacks files that
    /// could not be read.
    ///
    /// Example: shoal backup run --snapshot --wait
    Run {
        /// Make a snapshot, which reads every file again, not a delta.
        #[arg(long)]
        snapshot: bool,
        /// Wait until it is made, and show how far it is.
        #[arg(long)]
        wait: bool,
    },
    /// End the run that is on; the next one goes on with what is sent already.
    ///
    /// Example: shoal backup cancel
    Cancel,
    /// Who holds copies; with names, assign who shall.
    ///
    /// Those named hold a copy each, the rest of the copies goes to PCs that Shoal chooses.
    ///
    /// Example: shoal backup peers office-pc lab-2
    Peers {
        /// Names or ids of agents that shall hold copies.
        #[arg(value_name = "AGENT", conflicts_with = "auto")]
        agents: Vec<String>,
        /// Let Shoal choose all of them again.
        #[arg(long)]
        auto: bool,
    },
    /// Print the recovery kit again: the passphrase, where the copies are, how to restore with and without Shoal.
    ///
    /// Example: shoal backup kit --to kit.txt
    Kit {
        /// Write it to this new file, which only you can read, instead of printing it.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
    /// Try a restore now: another agent restores a sample from the copies and compares.
    ///
    /// Example: shoal backup drill --wait
    Drill {
        /// Wait for what comes of it. Ends with code 1 if it failed.
        #[arg(long)]
        wait: bool,
    },
    /// Read all copies that this PC holds for others through now; else that happens by and by.
    ///
    /// There is one reading at a time: a second call joins it and says how far it is. What is damaged is made anew.
    ///
    /// Example: shoal backup scrub --wait
    Scrub {
        /// Wait for its end, and show how far it is.
        #[arg(long)]
        wait: bool,
    },
    /// Whose backups can be restored from this pool, with the kit of each.
    ///
    /// Example: shoal backup owners
    Owners,
}

pub(super) fn backup(agent: &AgentChoice, options: &BackupOptions, json: bool) -> Result<(), CliError> {
    let command = options.command.as_ref().unwrap_or(&BackupCommand::Status);
    let client = || Client::open(agent);
    match command {
        // Whoever is asked about earlier copies may take a while.
        BackupCommand::Init(options) => setup::init(&Client::open_for(agent, LOOK_DEADLINE)?, options, json),
        BackupCommand::Set(options) => edit::set(&client()?, options, json),
        BackupCommand::Status => status::status(&client()?, json),
        BackupCommand::Run { snapshot, wait } => run::run(agent, *snapshot, *wait, json),
        BackupCommand::Cancel => run::cancel(&client()?, json),
        BackupCommand::Peers { agents, auto } => status::peers(&client()?, agents, *auto, json),
        BackupCommand::Kit { to } => setup::kit(&client()?, to.as_deref(), json),
        BackupCommand::Drill { wait } => run::drill(agent, *wait, json),
        BackupCommand::Scrub { wait } => run::scrub(agent, *wait, json),
        BackupCommand::Owners => status::owners(&client()?, json),
    }
}

/// The agent's answer, which was read as JSON so that `--json` prints all of it.
fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> Result<T, CliError> {
    serde_json::from_value(value).map_err(|error| CliError::Failed(format!("the agent's answer: {error}")))
}
