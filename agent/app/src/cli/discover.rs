//! `shoal discover`: who announces themselves on the local network, or who answers at some addresses. Needs no running
//! agent and no pool.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use dci_proto::{AgentId, PoolId};
use serde::Serialize;

use super::print::{answer, table};
use super::{CliError, sweep};
use crate::config::DATA_PORT_DEFAULT;

/// Addresses asked in a second, unless said otherwise: a /24 in a second and a half.
const RATE_DEFAULT: u32 = 200;

#[derive(Args)]
pub(super) struct DiscoverOptions {
    /// Addresses to ask, instead of listening: 10.0.0.0/24, 10.0.0.5, fd00::5, office:4921; several, if you like.
    #[arg(value_name = "ADDRESS")]
    pub(super) addresses: Vec<String>,
    /// Seconds to listen.
    #[arg(long, default_value_t = 3, conflicts_with = "addresses")]
    seconds: u64,
    /// The port to ask at.
    #[arg(long, default_value_t = DATA_PORT_DEFAULT, requires = "addresses", value_parser = clap::value_parser!(u16).range(1..))]
    pub(super) port: u16,
    /// Ask networks too that this computer is not in. Only with the leave of who looks after them.
    #[arg(long, requires = "addresses")]
    pub(super) anywhere: bool,
    /// Addresses asked in a second.
    #[arg(long, default_value_t = RATE_DEFAULT, requires = "addresses", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(super) rate: u32,
}

/// An agent that was found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct FoundView {
    pub(super) id: AgentId,
    pub(super) fingerprint: String,
    pub(super) name: String,
    pub(super) pool_id: Option<PoolId>,
    pub(super) pool: String,
    pub(super) version: String,
    /// Empty where it was asked by address.
    pub(super) control_addresses: Vec<SocketAddr>,
    pub(super) data_addresses: Vec<SocketAddr>,
}

pub(super) fn discover(options: &DiscoverOptions, json: bool) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    if options.addresses.is_empty() {
        let found = runtime.block_on(listen(Duration::from_secs(options.seconds.clamp(1, 60))))?;
        return tell(
            &found,
            json,
            "Nobody announces themselves on this network. Ask addresses: `shoal discover 10.0.0.0/24`",
        );
    }
    let swept = runtime.block_on(sweep::sweep(options))?;
    // Lookups that still wait would hold up the end.
    runtime.shutdown_background();
    let nobody = format!("No agent says who it is at any of the {} addresses asked.", swept.asked);
    tell(&swept.found, json, &nobody)?;
    match swept.asked < swept.all {
        true => Err(CliError::Interrupted(format!("stopped after {} of {} addresses", swept.asked, swept.all))),
        false => Ok(()),
    }
}

async fn listen(duration: Duration) -> Result<Vec<FoundView>, CliError> {
    let found = shoal_net::browse(duration).await.map_err(|error| CliError::Failed(error.to_string()))?;
    let view = |found: shoal_net::Found| FoundView {
        id: found.announcement.agent,
        fingerprint: found.announcement.agent.fingerprint(),
        name: found.announcement.name,
        pool_id: found.announcement.pool_id,
        pool: found.announcement.pool_name,
        version: found.announcement.version,
        control_addresses: found.control_addresses,
        data_addresses: found.data_addresses,
    };
    Ok(found.into_iter().map(view).collect())
}

fn tell(found: &[FoundView], json: bool, nobody: &str) -> Result<(), CliError> {
    if json {
        return answer(&found);
    }
    if found.is_empty() {
        eprintln!("{nobody}");
        return Ok(());
    }
    let pools: BTreeSet<_> = found.iter().map(|found| found.pool_id).collect();
    let rows = found.iter().map(|found| {
        let addresses: Vec<String> = found.data_addresses.iter().map(ToString::to_string).collect();
        vec![found.pool.clone(), found.name.clone(), found.fingerprint.clone(), addresses.join(" ")]
    });
    table(&["POOL", "AGENT", "FINGERPRINT", "JOIN AT"], rows);
    eprintln!(
        "\nAgents: {}, pools: {}. To ask to be let in: shoal join ADDRESS, with one of the addresses above.",
        found.len(),
        pools.len()
    );
    Ok(())
}
