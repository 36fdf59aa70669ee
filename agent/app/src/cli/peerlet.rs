//! `shoal peerlet`: the peerlets of this computer's agent.

use std::path::PathBuf;

use clap::Subcommand;
use ureq::http::Method;

use super::client::Client;
use super::commands::segment;
use super::print::{answer, say, table};
use super::{AgentChoice, CliError};
use crate::api::messages::types::{AddPeerlet, AddedPeerlet, PeerletsOfAgent};

#[derive(Subcommand)]
pub(super) enum PeerletCommand {
    /// Install a peerlet from its folder; one of the same type is replaced, unless it is newer.
    ///
    /// Example: shoal peerlet add ./word-count
    Add {
        /// The folder, with `peerlet.toml` in it.
        folder: PathBuf,
    },
    /// Remove a peerlet: what waits for it is refused, its programs are ended.
    ///
    /// Example: shoal peerlet remove word-count
    Remove {
        /// Its type.
        #[arg(value_name = "TYPE")]
        kind: String,
    },
    /// The peerlets of this agent, and what is wrong with those that cannot be used.
    ///
    /// Example: shoal peerlet list
    List,
}

pub(super) fn peerlet(agent: &AgentChoice, command: &PeerletCommand, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    match command {
        PeerletCommand::Add { folder } => {
            let whole = std::fs::canonicalize(folder)
                .map_err(|error| CliError::Failed(format!("cannot find {}: {error}", folder.display())))?;
            let wanted = AddPeerlet { folder: whole.display().to_string() };
            let added: AddedPeerlet = client.call(Method::POST, "peerlets", &wanted)?;
            if json {
                return answer(&added);
            }
            match &added.replaced {
                Some(before) => say!("{} {} is there, in place of {before}.", added.kind, added.version),
                None => say!("{} {} is there.", added.kind, added.version),
            }
        }
        PeerletCommand::Remove { kind } => {
            client.call::<()>(Method::DELETE, &format!("peerlets/{}", segment(kind)), &())?;
            if !json {
                say!("{kind} is gone.");
            }
        }
        PeerletCommand::List => {
            let own: PeerletsOfAgent = client.get("peerlets/own")?;
            if json {
                return answer(&own);
            }
            let rows = own.peerlets.iter().map(|peerlet| {
                let executes = if peerlet.executes { "executes" } else { "" };
                let (kind, version, mode) = (peerlet.kind.clone(), peerlet.version.clone(), peerlet.mode.clone());
                vec![kind, version, mode, executes.to_owned(), peerlet.description.clone()]
            });
            table(&["TYPE", "VERSION", "MODE", "", "WHAT IT DOES"], rows);
            own.faults.iter().for_each(|fault| say!("cannot be used: {fault}"));
        }
    }
    Ok(())
}
