//! `shoal peerlets`: who has which; `shoal peerlet`: the peerlets of this computer's agent.

mod sdk;

use std::path::PathBuf;

use clap::Subcommand;
use ureq::http::Method;

use super::client::Client;
use super::commands::segment;
use super::print::{answer, say, table};
use super::{AgentChoice, CliError};
use crate::api::messages::types::{AddPeerlet, AddedPeerlet, PeerletDirectory, PeerletView, PeerletsOfAgent};

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
    /// Write what it takes to write programs: `shoal.py` for Python, the peerlets and flows of the guides. Needs no agent.
    ///
    /// Example: shoal peerlet sdk --to ~/shoal-sdk
    Sdk {
        /// The folder; it is made where there is none.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Replace files that are there.
        #[arg(long)]
        force: bool,
    },
}

pub(super) fn peerlet(agent: &AgentChoice, command: &PeerletCommand, json: bool) -> Result<(), CliError> {
    if let PeerletCommand::Sdk { to, force } = command {
        return sdk::sdk(to, *force, json);
    }
    let client = Client::open(agent)?;
    match command {
        // Done.
        PeerletCommand::Sdk { .. } => {}
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
            if json {
                return answer(&serde_json::json!({ "removed": kind }));
            }
            say!("{kind} is gone.");
        }
        PeerletCommand::List => {
            let own: PeerletsOfAgent = client.get("peerlets/own")?;
            if json {
                return answer(&own);
            }
            table(&["TYPE", "VERSION", "MODE", "WHAT IT DOES"], own.peerlets.iter().map(columns));
            own.faults.iter().for_each(|fault| say!("cannot be used: {fault}"));
        }
    }
    Ok(())
}

/// Type, version, mode and what it does.
fn columns(peerlet: &PeerletView) -> Vec<String> {
    let executes = if peerlet.executes { " (executes: takes a right of its own)" } else { "" };
    let does = format!("{}{executes}", peerlet.description);
    vec![peerlet.kind.clone(), peerlet.version.clone(), peerlet.mode.clone(), does]
}

pub(super) fn all(agent: &AgentChoice, json: bool) -> Result<(), CliError> {
    let directory: PeerletDirectory = Client::open(agent)?.get("peerlets")?;
    if json {
        return answer(&directory);
    }
    table(&["AGENT", "ONLINE", "TYPE", "VERSION", "MODE", "WHAT IT DOES"], directory.agents.iter().flat_map(rows));
    Ok(())
}

/// A row for each peerlet of an agent; one that says why there is none, where there is none.
fn rows(of: &PeerletsOfAgent) -> Vec<Vec<String>> {
    let head = || vec![of.name.clone(), if of.online { "yes" } else { "no" }.to_owned()];
    let nothing = |why: String| [head(), vec!["-".into(), "-".into(), "-".into(), why]].concat();
    let mut rows: Vec<Vec<String>> = of.peerlets.iter().map(|peerlet| [head(), columns(peerlet)].concat()).collect();
    if of.version.is_none() {
        rows.push(nothing("not heard of yet".to_owned()));
    } else if of.left_out > 0 {
        rows.push(nothing(format!("{} more, which only it tells: `shoal peerlet list` there", of.left_out)));
    } else if rows.is_empty() {
        rows.push(nothing("no peerlets".to_owned()));
    }
    rows
}
