//! `shoal audit`: what an agent was told to do that needs a right of its own, and what came of it.

use std::collections::BTreeMap;

use clap::Args;
use dci_proto::AgentId;

use super::client::Client;
use super::commands::segment;
use super::print::{answer, say, table, time};
use super::{AgentChoice, CliError};
use crate::api::types::NodeList;
use crate::audit::{AuditPage, Decision};

#[derive(Args)]
pub(super) struct AuditOptions {
    /// Only what this user wanted. (Not --user, which says who signs in.)
    #[arg(long, value_name = "USER")]
    by: Option<String>,
    /// Only messages of this type, such as `run`; `shoal.right` for rights given and taken back.
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// How many entries, at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    limit: u64,
    /// Only entries before this number: what the last line of the page before says.
    #[arg(long, value_name = "NUMBER")]
    before: Option<u64>,
}

pub(super) fn audit(agent: &AgentChoice, options: &AuditOptions, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let parts = [
        Some(format!("limit={}", options.limit)),
        options.before.map(|before| format!("before={before}")),
        options.by.as_ref().map(|user| format!("user={}", segment(user))),
        options.kind.as_ref().map(|kind| format!("type={}", segment(kind))),
    ];
    let query = parts.into_iter().flatten().collect::<Vec<_>>().join("&");
    let page: AuditPage = client.get(&format!("audit?{query}"))?;
    if json {
        return answer(&page);
    }
    if page.entries.is_empty() {
        say!("Nothing of that is in this agent's audit log.");
    } else {
        let names = names(&client);
        let rows = page.entries.iter().map(|entry| {
            let from = names.get(&entry.from).cloned().unwrap_or_else(|| entry.from.fingerprint());
            let user = entry.user.clone().unwrap_or_else(|| "-".into());
            let number = entry.place.to_string();
            vec![
                number,
                time(entry.at_ms),
                user,
                from,
                entry.kind.to_string(),
                decision(&entry.decision, entry.of),
                entry.what.clone(),
            ]
        });
        table(&["NUMBER", "WHEN", "USER", "FROM", "TYPE", "DECISION", "WHAT"], rows);
    }
    if page.damaged > 0 {
        say!("{} lines of the audit log are damaged and cannot be shown.", page.damaged);
    }
    if let Some(next) = page.next {
        say!("… and more: shoal audit --before {next}");
    }
    Ok(())
}

fn decision(decision: &Decision, of: Option<u64>) -> String {
    let of = of.map_or_else(String::new, |of| format!(" (begun in {of})"));
    match decision {
        Decision::Begun => "begun".to_owned(),
        Decision::Handled { status } => format!("ended with status {status}{of}"),
        Decision::Refused { why } => format!("refused{of}: {why}"),
        Decision::Unknown { why } => format!("ended, nobody knows how{of}: {why}"),
    }
}

/// Nicknames of the members; where they cannot be had, fingerprints have to do.
fn names(client: &Client) -> BTreeMap<AgentId, String> {
    let list: Option<NodeList> = client.get("nodes").ok();
    list.into_iter().flat_map(|list| list.nodes).map(|node| (node.id, node.name)).collect()
}
