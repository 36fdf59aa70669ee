//! The host of peerlets: programs that know no network. A message starts them, standard input brings it, standard output
//! answers.
//!
//! | part | kind | what it does |
//! |---|---|---|
//! | [`manifest`] | | what a peerlet is: `peerlet.toml` |
//! | [`registry`] | shell | the folder of installed peerlets |
//! | [`core`] | pure | which process gets which message; starting, ending, giving up |
//! | [`framing`] | pure | messages as programs read them, replies as they print them |
//! | [`launcher`] | shell | holds a program to its limits, ends it with all it started |
//! | [`Host`] | shell | puts them together |
//!
//! This crate knows no network, no keys and no ledger: who may send what is decided before a message comes here.

pub mod core;
pub mod framing;
pub mod launcher;
pub mod manifest;
pub mod registry;
mod shell;
#[cfg(test)]
mod testing;

pub use shell::{Host, HostConfig, HostError, LauncherProgram, Listing, Outcome, Outcomes, Past};
