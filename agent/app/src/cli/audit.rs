//! `shoal audit`: what an agent, or all of them, were told to do that needs a right of its own, and what came of it.

use std::collections::BTreeMap;

use clap::Args;
use dci_proto::AgentId;

use super::client::Client;
use super::commands::segment;
use super::duration;
use super::message::on_behalf_of;
use super::print::{answer, moment, say, table};
use super::{AgentChoice, CliError};
use crate::api::types::NodeList;
use crate::audit::{AuditEntry, AuditEverywhere, AuditPage, Decision};

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
    #[arg(long, value_name = "NUMBER", conflicts_with = "all")]
    before: Option<u64>,
    /// Only what was noted longer ago than this: a number with s, m, h or d.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Of all agents, in the order of their times; who does not answer is named.
    #[arg(long)]
    all: bool,
}

pub(super) fn audit(agent: &AgentChoice, options: &AuditOptions, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let until_ms = options.until.as_deref().map(|text| duration::ago_ms("--until", text)).transpose()?;
    let parts = [
        Some(format!("limit={}", options.limit)),
        options.before.map(|before| format!("before={before}")),
        until_ms.map(|before_ms| format!("before_ms={before_ms}")),
        options.by.as_ref().map(|user| format!("user={}", segment(user))),
        options.kind.as_ref().map(|kind| format!("type={}", segment(kind))),
        on_behalf_of(agent).filter(|_| options.all).map(|user| format!("as={}", segment(&user))),
    ];
    let query = parts.into_iter().flatten().collect::<Vec<_>>().join("&");
    if options.all {
        let everywhere: AuditEverywhere = client.get(&format!("audit/all?{query}"))?;
        return if json { answer(&everywhere) } else { tell_all(&client, &everywhere) };
    }
    let page: AuditPage = client.get(&format!("audit?{query}"))?;
    if json {
        return answer(&page);
    }
    if page.entries.is_empty() {
        say!("Nothing of that is in this agent's audit log.");
    } else {
        let names = names(&client);
        table(&COLUMNS, page.entries.iter().map(|entry| row(&names, entry)));
    }
    tell_damaged(page.damaged);
    if let Some(next) = page.next {
        say!("… and more: shoal audit --before {next}");
    }
    Ok(())
}

/// The entries of all agents, and who is missing.
fn tell_all(client: &Client, all: &AuditEverywhere) -> Result<(), CliError> {
    if all.entries.is_empty() {
        say!("Nothing of that is in the audit logs of the agents that answered.");
    } else {
        let names = names(client);
        let rows = all.entries.iter().map(|entry| [vec![name(&names, entry.agent)], row(&names, entry)].concat());
        table(&[&["AGENT"], &COLUMNS[..]].concat(), rows);
    }
    tell_damaged(all.damaged);
    if all.next_before_ms.is_some() {
        say!("… and more: take a greater --limit, or --until");
    }
    for silent in &all.silent {
        say!("{} did not answer, and what was done there is not shown: {}", silent.name, silent.why);
    }
    Ok(())
}

fn tell_damaged(damaged: u64) {
    if damaged > 0 {
        say!("{damaged} lines of the audit log are damaged and cannot be shown.");
    }
}

const COLUMNS: [&str; 7] = ["NUMBER", "WHEN", "USER", "FROM", "TYPE", "DECISION", "WHAT"];

fn row(names: &BTreeMap<AgentId, String>, entry: &AuditEntry) -> Vec<String> {
    vec![
        entry.place.to_string(),
        moment(entry.at_ms),
        entry.user.clone().unwrap_or_else(|| "-".into()),
        name(names, entry.from),
        entry.kind.to_string(),
        decision(&entry.decision, entry.of),
        entry.what.clone(),
    ]
}

fn name(names: &BTreeMap<AgentId, String>, agent: AgentId) -> String {
    names.get(&agent).cloned().unwrap_or_else(|| agent.fingerprint())
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
