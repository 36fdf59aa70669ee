//! What an agent has of its peerlets: hand in a message ([`Host::deliver`]), get replies and what became of it.
//!
//! One task decides (`actor`, with the pure core); each process has tasks of its own that wait for it (`process`), so that a
//! program that does not read, or prints more than anybody takes, holds up nobody but itself.

mod actor;
mod outcomes;
mod output;
mod prepare;
mod process;
mod users;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dci_proto::message::{Envelope, MessageType};
use tokio::sync::{mpsc, oneshot};

use crate::core::Standing;
use crate::launcher::{PROBE, Protection};
use crate::manifest::Manifest;
use crate::registry::{Added, Registry, RegistryError};

use actor::{Actor, Command};
pub use outcomes::{Outcome, Outcomes};

/// Orders to the host that wait for it.
const COMMANDS_WAITING: usize = 64;
/// Programs of one host at once, unless it says otherwise.
const INSTANCES_USUAL: usize = 64;
/// Bytes of messages that wait, unless it says otherwise.
const WAITING_USUAL_BYTES: usize = 256 * 1024 * 1024;

/// How this agent's binary becomes the launcher: see [`crate::launcher`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LauncherProgram {
    /// The binary.
    pub program: PathBuf,
    /// The words that make it call [`crate::launcher::main`] with what follows.
    pub words: Vec<String>,
}

/// Where a host learns what was sent before.
///
/// To be correct, an implementation must tell every message of the type that this agent's peerlet was to be given and that was kept
/// before it is asked, in any order; one that is kept meanwhile may be told too. It closes the channel when that is all.
pub trait Past: std::fmt::Debug + Send + Sync {
    /// Begins to tell.
    fn tell(&self, kind: &MessageType) -> mpsc::Receiver<Arc<Envelope>>;
}

/// What a host needs.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// Where peerlets are installed.
    pub folder: PathBuf,
    /// Where programs work. All in it is deleted when a host starts: it must be the host's alone.
    pub runtime: PathBuf,
    /// The launcher.
    pub launcher: LauncherProgram,
    /// Programs at once, of all peerlets.
    pub instances: usize,
    /// Bytes of all messages that no program has yet. Over this, messages are refused whatever their peerlet's queue.
    pub waiting_bytes: usize,
    /// For peerlets that want to know what was sent before; none: nothing was.
    pub past: Option<Arc<dyn Past>>,
}

impl HostConfig {
    /// A configuration with the usual limits.
    #[must_use]
    pub fn new(folder: &Path, runtime: &Path, launcher: LauncherProgram) -> Self {
        let (folder, runtime) = (folder.to_owned(), runtime.to_owned());
        Self { folder, runtime, launcher, instances: INSTANCES_USUAL, waiting_bytes: WAITING_USUAL_BYTES, past: None }
    }
}

/// Why a host cannot do what it is asked to.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The folder of peerlets.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The folder programs work in.
    #[error("cannot use {path} for running programs: {error}")]
    Runtime {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The users of programs cannot get there.
    #[error(
        "peerlets run as users of their own here, who cannot get into {0}: let others pass (chmod o+x), or put it elsewhere"
    )]
    Closed(PathBuf),
    /// There are no users for programs.
    #[error("the agent runs as root where no other users are: run it as another user, or give it user ids up to 65535")]
    NoUsers,
    /// The launcher does not answer.
    #[error("the launcher {program} does not work: {why}")]
    Launcher {
        /// The binary.
        program: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The host has ended.
    #[error("the host of peerlets has ended")]
    Ended,
}

/// A peerlet of this host, and what it does now.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Its manifest.
    pub manifest: Manifest,
    /// What is under way.
    pub standing: Standing,
}

/// A running host. Clones are the same host; when the last is gone it shuts down.
#[derive(Debug, Clone)]
pub struct Host {
    commands: mpsc::Sender<Command>,
    registry: Registry,
    protection: Protection,
    faults: Arc<std::sync::Mutex<Vec<String>>>,
    /// Held while the folder is changed or read again: one at a time.
    changes: Arc<tokio::sync::Mutex<()>>,
}

impl Host {
    /// Starts a host with all peerlets of its folder.
    ///
    /// # Errors
    /// If a folder cannot be used, or the launcher does not work. A peerlet that cannot be used is in [`Host::faults`].
    pub async fn start(config: HostConfig) -> Result<Self, HostError> {
        let protection = probe(&config.launcher).await?;
        let folder = config.folder.clone();
        let registry = blocking(move || Ok(Registry::open(&folder)?)).await?;
        let runtime = config.runtime.clone();
        let folder = config.folder.clone();
        let users = blocking(move || {
            let users = users::Users::find()?;
            prepare::clear(&runtime)?;
            if users.are_others() {
                users::passable(&runtime)?;
                users::passable(&folder)?;
            }
            Ok(users)
        })
        .await?;
        let (commands, receiver) = mpsc::channel(COMMANDS_WAITING);
        tokio::spawn(Actor::new(config, users).run(receiver));
        let host = Self { commands, registry, protection, faults: Arc::default(), changes: Arc::default() };
        host.reload().await?;
        Ok(host)
    }

    /// How far the kernel keeps programs to what they may see and reach.
    #[must_use]
    pub fn protection(&self) -> Protection {
        self.protection
    }

    /// Why peerlets of the folder cannot be used, as of when it was last read.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.faults.lock().map(|faults| faults.clone()).unwrap_or_default()
    }

    /// Hands in a message. Who may send it here has been decided.
    ///
    /// # Errors
    /// If the host has ended. A message that cannot be taken is refused in its outcomes.
    pub async fn deliver(&self, envelope: Arc<Envelope>) -> Result<Outcomes, HostError> {
        let (outlet, outcomes) = outcomes::pair();
        self.send(Command::Deliver(envelope, outlet)).await?;
        Ok(outcomes)
    }

    /// All peerlets that can be used, in order of their types.
    ///
    /// # Errors
    /// If the host has ended.
    pub async fn list(&self) -> Result<Vec<Listing>, HostError> {
        let (answer, listing) = oneshot::channel();
        self.send(Command::List(answer)).await?;
        listing.await.map_err(|_| HostError::Ended)
    }

    /// Copies a peerlet's folder in and uses it from now on.
    ///
    /// # Errors
    /// If it is not as it must be; then nothing has changed.
    pub async fn add(&self, source: &Path) -> Result<Added, HostError> {
        let _turn = self.changes.lock().await;
        let (registry, source) = (self.registry.clone(), source.to_owned());
        let added = blocking(move || Ok(registry.add(&source)?)).await?;
        self.read_again(Some(added.kind.clone())).await?;
        Ok(added)
    }

    /// Takes a peerlet away: what waits for it is refused, its programs are ended.
    ///
    /// # Errors
    /// If there is none of that type.
    pub async fn remove(&self, kind: &MessageType) -> Result<(), HostError> {
        let _turn = self.changes.lock().await;
        let (registry, kind) = (self.registry.clone(), kind.clone());
        blocking(move || Ok(registry.remove(&kind)?)).await?;
        self.read_again(None).await
    }

    /// Reads the folder again.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn reload(&self) -> Result<(), HostError> {
        let _turn = self.changes.lock().await;
        self.read_again(None).await
    }

    async fn read_again(&self, replaced: Option<MessageType>) -> Result<(), HostError> {
        let registry = self.registry.clone();
        let loaded = blocking(move || Ok(registry.load()?)).await?;
        if let Ok(mut faults) = self.faults.lock() {
            *faults = loaded.faults.iter().map(ToString::to_string).collect();
        }
        for fault in &loaded.faults {
            tracing::warn!(%fault, "a peerlet cannot be used");
        }
        let (answer, done) = oneshot::channel();
        self.send(Command::Reload(loaded.peerlets, replaced, answer)).await?;
        done.await.map_err(|_| HostError::Ended)
    }

    /// Ends all programs, gently first, and waits until they are gone: for as long as their manifests give them, twice, and
    /// some seconds. Messages that no program has seen are given back.
    pub async fn shutdown(&self) {
        let (answer, done) = oneshot::channel();
        // One that has ended already has nothing to end.
        if self.send(Command::ShutDown(answer)).await.is_ok() {
            let _ = done.await;
        }
    }

    async fn send(&self, command: Command) -> Result<(), HostError> {
        self.commands.send(command).await.map_err(|_| HostError::Ended)
    }
}

/// Does what waits for the disk where that holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
) -> Result<T, HostError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(HostError::Ended))
}

async fn probe(launcher: &LauncherProgram) -> Result<Protection, HostError> {
    let fault = |why: String| HostError::Launcher { program: launcher.program.clone(), why };
    let mut command = tokio::process::Command::new(&launcher.program);
    let output = command.args(&launcher.words).arg(PROBE).env_clear().kill_on_drop(true).output().await;
    let output = output.map_err(|error| fault(error.to_string()))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    answer.parse().map_err(|_| fault(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
}
