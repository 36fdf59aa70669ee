//! `shoal demo`: a pool of several agents on this computer, each its own process and folder, as it would be on as
//! many PCs.
//!
//! The supervisor decides nothing the agents do: it starts them through the same commands a person types, invites
//! them, and ends them. An agent that ends by itself is told of and not started again: that is what a demo is for.

mod agents;
mod greeting;

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use crate::cli::CliError;
use crate::secret_file;
use agents::Fleet;

/// Agents of a demo, at most: each is a process of its own.
const AGENTS_LIMIT: usize = 32;
/// Ports from one agent's first to the next agent's.
const PORT_STEP: u16 = 10;
/// How long agents may take to come up, each.
const START_DEADLINE: Duration = Duration::from_secs(60);
/// How long the pool may take to have everyone take part before it is used as it is.
const SETTLE_DEADLINE: Duration = Duration::from_secs(30);
/// How long agents may take to end before they are killed.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// What a demo is.
#[derive(clap::Args, Debug, Clone)]
pub struct DemoOptions {
    /// How many agents.
    #[arg(long, default_value_t = 6)]
    agents: usize,
    /// Where they keep everything. The same folder again resumes the same pool.
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Where the first agent's drive listens; its page is at the next port, further agents at every tenth.
    #[arg(long, default_value = "127.0.0.1:4918")]
    dav: SocketAddr,
}

/// `demo.json`: what runs where.
#[derive(Debug, Clone, Serialize)]
struct DemoFile<'a> {
    volume: &'a str,
    user: &'a str,
    password: &'a str,
    dav: String,
    agents: Vec<AgentEntry>,
}

/// One agent in `demo.json`.
#[derive(Debug, Clone, Serialize)]
struct AgentEntry {
    id: String,
    name: String,
    pid: u32,
    dav: String,
    api: String,
    data: PathBuf,
}

/// The volume every pool begins with.
const VOLUME: &str = "pool";
/// The user every pool begins with.
const USER: &str = "admin";

/// Runs a demo until Ctrl-C.
///
/// # Errors
/// If it cannot start; the agents already started are ended.
pub fn run(options: &DemoOptions) -> Result<(), CliError> {
    if options.agents == 0 || options.agents > AGENTS_LIMIT {
        return Err(CliError::Usage(format!("--agents: 1 to {AGENTS_LIMIT}")));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    runtime.block_on(supervise(options))
}

async fn supervise(options: &DemoOptions) -> Result<(), CliError> {
    let directory = options.dir.clone().unwrap_or_else(|| crate::config::default_data_directory().join("demo"));
    let failed =
        |what: &str, error: std::io::Error| CliError::Failed(format!("{what} {}: {error}", directory.display()));
    fs::create_dir_all(&directory).map_err(|error| failed("cannot make", error))?;
    let directory = directory.canonicalize().map_err(|error| failed("cannot find", error))?;
    let _lock = crate::directory_lock::acquire(&directory)?;
    let json = directory.join("demo.json");
    let _ = fs::remove_file(&json);
    let password = password(&directory)?;
    eprintln!("Starting {} agents in {} …", options.agents, directory.display());
    let mut stop = Stop::new()?;
    let mut fleet = Fleet::new(options, &directory, &password)?;
    let started = tokio::select! {
        started = fleet.start() => started,
        () = stop.asked() => {
            fleet.end().await;
            return Ok(());
        }
    };
    if let Err(error) = started.and_then(|()| announce(&fleet, &json, &password)) {
        fleet.end().await;
        return Err(error);
    }
    tokio::select! {
        () = stop.asked() => {}
        () = fleet.watch() => eprintln!("All agents have ended."),
    }
    eprintln!("Stopping …");
    fleet.end().await;
    eprintln!("Stopped. The same command resumes with the data in {}.", directory.display());
    Ok(())
}

/// Writes `demo.json` in one step and says what runs.
fn announce(fleet: &Fleet, json: &Path, password: &str) -> Result<(), CliError> {
    let agents = fleet.entries();
    let dav = agents.first().map(|agent| agent.dav.clone()).unwrap_or_default();
    let file = DemoFile { volume: VOLUME, user: USER, password, dav, agents };
    let text = serde_json::to_vec_pretty(&file).map_err(|error| CliError::Failed(error.to_string()))?;
    secret_file::replace(json, &text)?;
    print!("{}", greeting::greeting(&file, fleet.verdict(), json));
    Ok(())
}

/// The demo's password: made once, kept with it.
fn password(directory: &Path) -> Result<String, CliError> {
    let file = directory.join("password");
    match fs::read_to_string(&file) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let password = crate::auth::generate_password();
            secret_file::replace(&file, password.as_bytes())?;
            Ok(password)
        }
        Err(error) => Err(CliError::Failed(format!("cannot read {}: {error}", file.display()))),
    }
}

/// Ctrl-C, or being asked to end by the system.
struct Stop {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Stop {
    fn new() -> Result<Self, CliError> {
        use tokio::signal::unix::{SignalKind, signal};
        let listen =
            |kind| signal(kind).map_err(|error| CliError::Failed(format!("cannot listen for signals: {error}")));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
