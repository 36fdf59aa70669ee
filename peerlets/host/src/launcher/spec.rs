//! What the agent tells the launcher, and what the launcher tells the agent: two files in a folder that only the agent's user
//! can read. They live as long as one program and are read by the same binary that wrote them.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// The file with the [`Spec`].
pub const SPEC_FILE: &str = "spec.json";
/// The file with the [`Report`].
pub const REPORT_FILE: &str = "report.json";
/// The file that says why there was no program to start; empty where there was.
pub(super) const FAILURE_FILE: &str = "failure";
/// The FIFO for the agent's orders.
pub const CONTROL_FILE: &str = "control";

/// What to start, and within which limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// All of its environment.
    pub environment: Vec<(String, String)>,
    /// The peerlet's folder, which it may read.
    pub folder: PathBuf,
    /// Its working directory, which it may write.
    pub scratch: PathBuf,
    /// The user it runs as; `None`: the agent's.
    pub id: Option<u32>,
    /// The group it runs as; `None`: the agent's. Its user's own, or that of all programs that write where others read.
    pub group: Option<u32>,
    /// Bytes of private, writable memory of each process.
    pub memory_bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Processes and threads of the program and all it started.
    pub processes: u64,
    /// Processes and threads of its user, which the kernel counts instead.
    pub user_processes: u64,
    /// Whether it may open connections.
    pub network: bool,
    /// What it may read besides the system's files.
    pub read: Vec<PathBuf>,
    /// What it may write.
    pub write: Vec<PathBuf>,
    /// The agent's process id.
    pub agent: u32,
}

/// Why a program is not there any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// By itself or because it was asked to, with this exit status (128 and the signal's number where one ended it).
    Exited(i32),
    /// It never was: why.
    NotStarted(String),
    /// It and what it started had so many bytes of memory.
    Memory(u64),
    /// There were so many processes and threads.
    Processes(u64),
    /// It was told to.
    Killed,
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Why it is not there any more.
    pub ended: Ended,
    /// Processes that it had left behind and that were ended after it.
    pub left_behind: usize,
}

impl Spec {
    /// Reads the spec of a folder.
    pub(super) fn load(folder: &Path) -> Result<Self, String> {
        let path = folder.join(SPEC_FILE);
        let bytes = std::fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        serde_json::from_slice(&bytes).map_err(|error| format!("{} is no spec: {error}", path.display()))
    }
}
