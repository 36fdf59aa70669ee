//! The peerlets that come with Shoal: their manifests, which the agent installs, and their programs, which are in this
//! binary as a hidden subcommand.

use std::process::ExitCode;

use crate::config::AgentConfig;
use crate::messages::Shipped;

/// The hidden subcommand that is their programs.
pub(crate) const PROGRAM_WORD: &str = "peerlet-program";
/// The exit status where there is no such program: as shells have it.
const UNKNOWN_STATUS: u8 = 127;

/// What comes with Shoal, as this agent's owner has configured it.
pub(crate) fn all(_config: &AgentConfig) -> Vec<Shipped> {
    Vec::new()
}

/// Runs one of their programs on standard input and output.
pub(crate) fn run(kind: &str) -> ExitCode {
    eprintln!("no peerlet {kind} comes with this version of Shoal");
    ExitCode::from(UNKNOWN_STATUS)
}
