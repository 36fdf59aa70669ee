//! What a peerlet is: the file `peerlet.toml` in its folder, read strictly ([`Manifest::parse`]), and where its program is
//! ([`Manifest::program`]).
//!
//! A [`Manifest`] that exists is within all limits. The file is for people: what is wrong is said with its name and what
//! would be right. `docs/peerlets.md` is the guide to it.

mod check;
mod limits;
mod program;
mod raw;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use dci_proto::message::MessageType;
use serde::{Deserialize, Serialize};

pub use limits::{Limits, LimitsCeiling};
pub use program::{FOLDER_WORD, ProgramError, SEARCH_PATH};

/// The name of the manifest in a peerlet's folder.
pub const MANIFEST_FILE: &str = "peerlet.toml";
/// Bytes of a manifest, at most.
pub const MANIFEST_LIMIT_BYTES: u64 = 64 * 1024;

/// Why a text is no manifest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// No TOML, a field that does not exist, one that is missing, or one of the wrong kind.
    #[error("it is not as manifests are: {0}")]
    Syntax(String),
    /// A field says what it may not.
    #[error("{field}: {why}")]
    Field {
        /// Which, such as `limits.time_s`.
        field: String,
        /// What is wrong and what would be right.
        why: String,
    },
}

impl ManifestError {
    pub(crate) fn field(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Field { field: field.into(), why: why.into() }
    }
}

/// Which messages share a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// None: a process for each message.
    Oneshot,
    /// Those of one session.
    Session,
    /// All.
    Service,
}

/// How a message reaches the program's standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Input {
    /// Its text: all of standard input for a oneshot, else one line.
    Text,
    /// One JSON object on one line.
    Json,
    /// The whole message as XML, then a NUL byte.
    Xml,
}

/// How standard output becomes replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Output {
    /// All of it is one reply.
    Text,
    /// Each line is one.
    Lines,
    /// Each line is a JSON object that says what it answers.
    Json,
    /// It is nobody's.
    None,
}

/// When a program takes messages.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ready {
    /// As soon as it is started.
    #[default]
    AtOnce,
    /// When it has printed this line.
    Line(String),
}

/// What the sender's user must be, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// May look.
    Viewer,
    /// May use what changes only what is theirs.
    #[default]
    User,
    /// Looks after the pool.
    Operator,
    /// May do anything.
    Admin,
}

/// What a peerlet may do, and who may ask it to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rights {
    /// The least role that may send to it.
    pub role: Role,
    /// It runs what messages tell it to: nobody may send to it without a right given for that.
    pub executes: bool,
    /// It may open network connections.
    pub network: bool,
    /// It keeps the agent's own user, where the agent is root; otherwise it runs as one of nobody's.
    pub as_agent: bool,
    /// Files and folders it may read besides the system's, absolute or beginning with `{folder}`.
    pub read: Vec<PathBuf>,
    /// Files and folders it may write as well.
    pub write: Vec<PathBuf>,
}

/// A peerlet, as its folder describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// The messages it is for.
    pub kind: MessageType,
    /// Which version this is.
    pub version: semver::Version,
    /// What it is for, in a line.
    pub description: String,
    /// The program and its arguments; `{folder}` in an argument stands for the peerlet's folder.
    pub command: Vec<String>,
    /// Which messages share a process.
    pub mode: Mode,
    /// How it gets them.
    pub input: Input,
    /// How it answers.
    pub output: Output,
    /// When it takes the first.
    pub ready: Ready,
    /// It is first given what was sent to it before it was started, as the agent's log has it.
    pub past: bool,
    /// What is added to its environment.
    pub environment: BTreeMap<String, String>,
    /// What it may use.
    pub limits: Limits,
    /// What it may do.
    pub rights: Rights,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// What is wrong with it, and where.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        let raw: raw::RawManifest =
            toml::from_str(text).map_err(|error| ManifestError::Syntax(error.to_string().trim().to_owned()))?;
        check::manifest(raw)
    }
}
