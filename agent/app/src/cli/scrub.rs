//! `shoal scrub`.

use std::time::Duration;

use clap::Args;
use ureq::http::Method;

use super::client::Client;
use super::commands::segment;
use super::print::{answer, bytes, say, table, time};
use super::{AgentChoice, CliError};
use crate::api::ScrubStart;
use crate::scrub::overview::{ScrubOverview, ScrubView};
use crate::scrub::record::{Finding, Wrong};
use crate::scrub::report::ScrubReport;

/// How often `--wait` looks how far they are.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Looks between two lines about it.
const LOOKS_PER_LINE: u32 = 10;
/// Characters of the table's SCRUB column.
const STATE_LIMIT: usize = 60;

#[derive(Args)]
pub(super) struct ScrubOptions {
    /// Name, id or fingerprint of the agent [default: all].
    node: Option<String>,
    /// Wait until they are through, and tell what they found.
    #[arg(long, conflicts_with = "status")]
    wait: bool,
    /// Begin nothing; tell how far they are and what they found.
    #[arg(long)]
    status: bool,
}

pub(super) fn scrub(agent: &AgentChoice, options: &ScrubOptions, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    if !options.status {
        let begun: ScrubOverview = client.call(Method::POST, "scrub", &ScrubStart { node: options.node.clone() })?;
        if !options.wait {
            return if json { answer(&begun) } else { tell_begun(&begun) };
        }
        wait(&client, options)?;
    }
    let overview = ask(&client, options, false)?;
    if json {
        answer(&overview)?;
    } else {
        tell(&overview);
    }
    match overview.agents.iter().filter_map(|agent| agent.report.as_ref()).map(|report| report.unmended).sum() {
        0u64 => Ok(()),
        _ if options.status => Ok(()),
        unmended => Err(CliError::Failed(format!(
            "{unmended} shards could not be mended where they are yet; trying goes on, and what stays bad is rebuilt elsewhere unless too many of a stripe are (`shoal pool check`)"
        ))),
    }
}

fn ask(client: &Client, options: &ScrubOptions, brief: bool) -> Result<ScrubOverview, CliError> {
    let node = options.node.as_ref().map(|node| format!("&node={}", segment(node))).unwrap_or_default();
    client.get(&format!("scrub?brief={brief}{node}"))
}

fn tell_begun(begun: &ScrubOverview) -> Result<(), CliError> {
    for agent in &begun.agents {
        match &agent.error {
            None => say!("{} reads its shards again.", agent.name),
            Some(error) => say!("{} does not: {error}", agent.name),
        }
    }
    say!("See `shoal scrub --status`.");
    Ok(())
}

/// Until none that was asked is at it, and all that was found was tried to mend.
fn wait(client: &Client, options: &ScrubOptions) -> Result<(), CliError> {
    let busy = |report: &ScrubReport| (report.under_way && report.asked) || report.untried > 0;
    for look in 0u32.. {
        let overview = ask(client, options, true)?;
        let at_it: Vec<_> = overview
            .agents
            .iter()
            .filter_map(|agent| Some((agent, agent.report.as_ref().filter(|report| busy(report))?)))
            .collect();
        if at_it.is_empty() {
            break;
        }
        if look % LOOKS_PER_LINE == LOOKS_PER_LINE - 1 {
            let line = at_it.iter().map(|(agent, report)| format!("{} {}", agent.name, progress(report)));
            eprintln!("{}", line.collect::<Vec<_>>().join(", "));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
    Ok(())
}

fn progress(report: &ScrubReport) -> String {
    let percent = f64::from(report.permille) / 10.0;
    let eta = match (report.asked, report.eta_s) {
        (true, Some(eta_s)) => format!(", {eta_s} s left"),
        (false, Some(eta_s)) => format!(", {} h left", eta_s.div_ceil(3600)),
        (_, None) => String::new(),
    };
    let problem = report.problem.as_ref().map(|problem| format!(", waits: {problem}")).unwrap_or_default();
    format!("{percent:.1} %{eta}{problem}")
}

fn state(report: &ScrubReport) -> String {
    match (report.under_way, report.last_ended_ms) {
        (true, _) => progress(report),
        (false, Some(_)) => "through".to_owned(),
        (false, None) => "has not begun".to_owned(),
    }
}

/// Cut to what a column of the table takes; `--json` has all of it.
fn cut(text: String) -> String {
    match text.char_indices().nth(STATE_LIMIT) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default().trim_end()),
        None => text,
    }
}

fn tell(overview: &ScrubOverview) {
    let row = |agent: &ScrubView| {
        let Some(report) = &agent.report else {
            let error = agent.error.clone().unwrap_or_default();
            return vec![agent.name.clone(), cut(format!("says nothing: {error}"))];
        };
        let state = cut(state(report));
        let last = report.last_ended_ms.map_or_else(|| "never".to_owned(), time);
        let read = format!("{} ({} shards)", bytes(report.bytes), report.shards);
        vec![agent.name.clone(), state, read, report.found.to_string(), report.unmended.to_string(), last]
    };
    table(&["AGENT", "SCRUB", "READ", "BAD", "NOT MENDED", "LAST THROUGH"], overview.agents.iter().map(row));
    let findings: Vec<_> = overview
        .agents
        .iter()
        .filter_map(|agent| Some((agent.name.as_str(), agent.report.as_ref()?)))
        .flat_map(|(name, report)| report.findings.iter().map(move |finding| (name, finding)))
        .collect();
    if findings.is_empty() {
        let reports: Vec<_> = overview.agents.iter().filter_map(|agent| agent.report.as_ref()).collect();
        let all_through =
            reports.len() == overview.agents.len() && reports.iter().all(|one| one.last_ended_ms.is_some());
        say!("\nNothing was found damaged or missing{}.", if all_through { "" } else { " so far" });
        return;
    }
    say!("");
    let rows = findings.iter().map(|(name, finding)| {
        vec![files(finding), what(finding.wrong).to_owned(), (*name).to_owned(), outcome(finding)]
    });
    table(&["FILES", "A SHARD WAS", "ON", "NOW"], rows);
    let beyond: u64 =
        overview.agents.iter().filter_map(|agent| agent.report.as_ref()).map(|report| report.findings_beyond).sum();
    if beyond > 0 {
        say!("and {beyond} more.");
    }
}

fn files(finding: &Finding) -> String {
    let Some(files) = &finding.files else { return "(not known)".to_owned() };
    match (files.names.as_slice(), files.more) {
        ([], _) => "(no file any more)".to_owned(),
        (names, 0) => names.join(", "),
        (names, more) => format!("{} and {more} more", names.join(", ")),
    }
}

fn what(wrong: Wrong) -> &'static str {
    match wrong {
        Wrong::Missing => "missing",
        Wrong::Damaged => "damaged",
        Wrong::Other => "another one",
        Wrong::Unreadable => "unreadable",
        Wrong::Met => "bad, a read found",
    }
}

fn outcome(finding: &Finding) -> String {
    match &finding.reason {
        _ if finding.mended => "mended".to_owned(),
        Some(reason) if !reason.is_empty() => format!("not mended: {reason}"),
        _ => "not mended yet".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_state_does_not_widen_the_table() {
        assert_eq!(cut("through".into()), "through");
        assert_eq!(cut("ä".repeat(200)).chars().count(), STATE_LIMIT + 1);
    }
}
