//! `shoal node drain` and `shoal repair`: what is being moved, what would be, and how long it takes.

use std::io::IsTerminal as _;
use std::time::Duration;

use serde_json::Value;
use ureq::http::Method;

use super::client::Client;
use super::print::{about, answer, bytes, say, table};
use super::{AgentChoice, CliError};
use crate::api::types::{DrainView, NodeAction, RepairView};
use crate::outlook::{DrainPlan, DrainStatus, RepairPlan};
use crate::verdict::{self, told};
use crate::words::{stripes, waiting as waiting_for};

/// Time between two looks how far a drain is.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// Looks that may fail one after the other before waiting is given up: the agent asked may just be restarting.
const FAILURES_LIMIT: u32 = 20;

/// What draining would move.
pub(super) fn plan(client: &Client, id: &str, json: bool) -> Result<(), CliError> {
    let plan: DrainPlan = client.get(&format!("nodes/{id}/drain/plan"))?;
    if json {
        return answer(&plan);
    }
    let name = &plan.name;
    say!("{name} holds {} shards, {}.", plan.shards, bytes(plan.bytes));
    say!("Draining it would work on {} and write {}.", stripes(plan.moves.stripes), bytes(plan.moves.bytes));
    if plan.moves.bytes > 0 || plan.stuck.stripes == 0 {
        say!("{}", duration(plan.moves.bytes, plan.eta_s));
    }
    say!("{} other agents take shards.", plan.takers);
    match plan.stuck.stripes {
        0 => say!("There is a place for all of it."),
        stuck => say!("{}", no_place(stuck, &plan)),
    }
    say!("Nothing was changed.");
    Ok(())
}

/// Why so many stripes have no place, and what helps.
fn no_place(stuck: u64, plan: &DrainPlan) -> String {
    if plan.suspects.is_empty() {
        let stuck = stripes(stuck);
        return format!(
            "{stuck} could not be placed: too few of them have room. Let more agents join, or give more room."
        );
    }
    let names: Vec<&str> = plan.suspects.iter().map(String::as_str).collect();
    let (stuck, who) = (stripes(stuck), told(&names));
    let patience = verdict::duration(plan.absent_after_s);
    format!("{stuck} could not be placed before {who} answers, or has been silent for {patience}: then look again.")
}

fn duration(bytes: u64, eta_s: Option<u64>) -> String {
    match eta_s {
        _ if bytes == 0 => "There is nothing to move.".into(),
        Some(seconds) => format!("That takes {} at the pace of late.", about(seconds)),
        None => "How long that takes is not known yet: nothing was moved lately.".into(),
    }
}

/// Starts a drain; waits for its end if asked to.
pub(super) fn drain(client: &Client, id: &str, name: &str, wait: bool, json: bool) -> Result<(), CliError> {
    let before: DrainView = client.get(&format!("nodes/{id}/drain"))?;
    if before.drain.is_none() {
        client.call::<Value>(Method::POST, &format!("nodes/{id}"), &NodeAction::Drain)?;
    }
    if wait {
        wait_for(client, id, name)?;
    }
    let view: DrainView = client.get(&format!("nodes/{id}/drain"))?;
    if json {
        return answer(&view);
    }
    match &view.drain {
        Some(drain) if drain.emptied => {
            say!("{name} is emptied: nothing counts on what it holds.");
            say!("`shoal node certificate {name}` shows the proof, `shoal node remove {name}` strikes it off.");
        }
        _ => {
            say!("{name} is being drained. `shoal node drain {name} --wait` shows how far it is.");
            say!("`shoal node resume {name}` cancels it.");
        }
    }
    Ok(())
}

/// Waits until an agent is emptied, showing how far it is. Only looks: to end it changes nothing.
fn wait_for(client: &Client, id: &str, name: &str) -> Result<(), CliError> {
    let live = std::io::stderr().is_terminal();
    let (mut failures, mut last) = (0, String::new());
    loop {
        let view: DrainView = match client.get(&format!("nodes/{id}/drain")) {
            Ok(view) => view,
            Err(CliError::NoAgent { .. }) if failures < FAILURES_LIMIT => {
                failures += 1;
                std::thread::sleep(POLL_INTERVAL);
                continue;
            }
            Err(error) => return Err(error),
        };
        failures = 0;
        let Some(drain) = view.drain else {
            return Err(CliError::Refused(format!("the drain of {name} was cancelled")));
        };
        let line = progress(&drain);
        if live {
            // Spaces wipe what a longer line before left.
            eprint!("\r{line:<100}");
        } else if line != last {
            eprintln!("{line}");
        }
        last = line;
        if drain.emptied {
            if live {
                eprintln!();
            }
            return Ok(());
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// How far a drain is, in one line.
fn progress(drain: &DrainStatus) -> String {
    let mut line = format!("{} % moved off", drain.percent);
    if drain.emptied {
        return line;
    }
    match drain.shards_left {
        0 => line += ", waiting for the certificate",
        shards => line += &format!(", {shards} shards ({}) left", bytes(drain.bytes_left)),
    }
    if let Some(seconds) = drain.eta_s.filter(|_| drain.shards_left > 0) {
        line += &format!(", {}", about(seconds));
    }
    if let Some(waits_for) = &drain.waits_for {
        line += &format!("; it waits for {waits_for}");
    }
    line
}

/// What waits to be rebuilt, moved or cut anew.
pub(super) fn repair(agent: &AgentChoice, with_plan: bool, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    if with_plan {
        let plan: RepairPlan = client.get("repair/plan")?;
        return if json { answer(&plan) } else { tell_plan(&plan) };
    }
    let view: RepairView = client.get("repair")?;
    if json {
        return answer(&view);
    }
    say!("{}", view.verdict);
    let Some(work) = &view.work else {
        say!("\nThe agent that leads does not say what it does now.");
        return Ok(());
    };
    if work.waiting.is_empty() && work.stuck.stripes + work.lost.stripes == 0 {
        say!("\nNothing waits.");
    } else {
        say!("");
        tell_findings(&work.waiting, work.stuck, (work.lost, view.stripes.damaged), work.settled_in_s);
    }
    let rate = match work.rate_bytes_per_s {
        0 => "the pace is not known yet".to_owned(),
        rate => format!("{} a second", bytes(rate)),
    };
    let left = work.eta_s.map(|seconds| format!(", {} left", about(seconds))).unwrap_or_default();
    say!(
        "\n{} jobs under way, {rate}{left}; {} written since this agent leads.",
        work.under_way,
        bytes(work.done_bytes)
    );
    Ok(())
}

fn tell_plan(plan: &RepairPlan) -> Result<(), CliError> {
    let findings = &plan.findings;
    say!("Looked at {}.", stripes(findings.seen));
    if findings.waiting.is_empty() && findings.stuck.stripes + findings.lost.stripes == 0 {
        say!("There is nothing to do.");
        return Ok(());
    }
    say!("");
    tell_findings(&findings.waiting, findings.stuck, (findings.lost, plan.damaged), 0);
    say!("\n{}", duration(plan.bytes, plan.eta_s));
    say!("Nothing was changed.");
    Ok(())
}

fn tell_findings(
    waiting: &std::collections::BTreeMap<shoal_care::Reason, shoal_care::Tally>,
    stuck: shoal_care::Tally,
    (lost, damaged): (shoal_care::Tally, u64),
    settled_in_s: u64,
) {
    let extra = [
        ("Has no place to go: too few agents with room that hold no shard of it", stuck),
        (unreadable(lost.stripes, damaged), lost),
    ];
    let rows = waiting.iter().map(|(why, tally)| (waiting_for(*why, settled_in_s), *tally));
    let rows = rows.chain(extra.into_iter().filter(|(_, tally)| tally.stripes > 0));
    let row =
        |(what, tally): (&str, shoal_care::Tally)| vec![what.to_owned(), tally.stripes.to_string(), bytes(tally.bytes)];
    table(&["WHAT", "STRIPES", "TO WRITE"], rows.map(row));
}

/// Why so many stripes cannot be read, of which too many shards are bad of so many.
fn unreadable(lost: u64, damaged: u64) -> &'static str {
    match damaged {
        0 => "Cannot be read with the agents that count; they may come back",
        _ if damaged < lost => "Cannot be read: agents are away, or too many shards are bad (`shoal pool check`)",
        _ => "Cannot be read: too many shards are bad. Put the file again, or restore another version",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_or_placed_is_told_with_its_cause() {
        assert!(unreadable(1, 0).ends_with("they may come back"));
        assert!(unreadable(1, 1).contains("too many shards are bad. Put the file again"));
        assert!(unreadable(2, 1).contains("agents are away, or"));
        let mut plan = DrainPlan { absent_after_s: 1800, ..DrainPlan::default() };
        assert!(no_place(2, &plan).contains("Let more agents join"));
        plan.suspects = vec!["pc-5".into()];
        let waits =
            "325 stripes could not be placed before pc-5 answers, or has been silent for 30 minutes: then look again.";
        assert_eq!(no_place(325, &plan), waits);
    }

    #[test]
    fn the_line_of_a_drain_says_how_far_it_is_and_what_it_waits_for() {
        let begun = DrainStatus { shards_left: 60, bytes_left: 6_000_000, percent: 40, ..DrainStatus::default() };
        let cases = [
            (begun.clone(), "40 % moved off, 60 shards (6.00 MB) left"),
            (
                DrainStatus { eta_s: Some(110), ..begun.clone() },
                "40 % moved off, 60 shards (6.00 MB) left, about 2 minutes",
            ),
            (
                DrainStatus { waits_for: Some("room".into()), ..begun },
                "40 % moved off, 60 shards (6.00 MB) left; it waits for room",
            ),
            (
                DrainStatus { percent: 100, eta_s: Some(0), ..DrainStatus::default() },
                "100 % moved off, waiting for the certificate",
            ),
            (DrainStatus { percent: 100, emptied: true, ..DrainStatus::default() }, "100 % moved off"),
        ];
        for (drain, expected) in cases {
            assert_eq!(progress(&drain), expected);
        }
    }
}
