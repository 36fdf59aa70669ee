//! `shoal discover`: who announces themselves on the local network. Needs no running agent and no pool.

use std::collections::BTreeSet;
use std::time::Duration;

use super::CliError;
use super::print::{answer, table};

pub(super) fn discover(seconds: u64, json: bool) -> Result<(), CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let found = runtime.block_on(shoal_net::browse(Duration::from_secs(seconds.clamp(1, 60))));
    let found = found.map_err(|error| CliError::Failed(error.to_string()))?;
    if json {
        let views: Vec<_> = found
            .iter()
            .map(|found| {
                serde_json::json!({
                    "id": found.announcement.agent,
                    "fingerprint": found.announcement.agent.fingerprint(),
                    "name": found.announcement.name,
                    "pool_id": found.announcement.pool_id,
                    "pool": found.announcement.pool_name,
                    "version": found.announcement.version,
                    "control_addresses": found.control_addresses,
                    "data_addresses": found.data_addresses,
                })
            })
            .collect();
        return answer(&views);
    }
    if found.is_empty() {
        eprintln!(
            "Nobody announces themselves on this network. On another, ask an agent by its address: shoal join HOST:4921"
        );
        return Ok(());
    }
    let pools: BTreeSet<_> = found.iter().map(|found| found.announcement.pool_id).collect();
    let rows = found.iter().map(|found| {
        let addresses: Vec<String> = found.data_addresses.iter().map(ToString::to_string).collect();
        let announced = &found.announcement;
        vec![announced.pool_name.clone(), announced.name.clone(), announced.agent.fingerprint(), addresses.join(" ")]
    });
    table(&["POOL", "AGENT", "FINGERPRINT", "JOIN AT"], rows);
    eprintln!(
        "\nAgents: {}, pools: {}. To ask to be let in: shoal join ADDRESS, with one of the addresses above.",
        found.len(),
        pools.len()
    );
    Ok(())
}
