//! The commands that tend the pool as a whole.

use std::io::{BufRead as _, IsTerminal as _};
use std::time::Duration;

use ureq::http::Method;

use super::client::Client;
use super::print::{answer, say, table, time};
use super::{AgentChoice, CliError};
use crate::AgentError;
use crate::check::{CheckReport, CheckState};
use crate::config::default_data_directory;
use crate::recover::{self, Choice, Plan};
use crate::words::stripes;

/// Time between two looks how far a check is.
const POLL_INTERVAL: Duration = Duration::from_millis(300);

/// What can be done about files that are lost.
const PUT_BACK: &str =
    "What stays lost has to be put back: the same bytes written again, under any name, heal it; else delete it.";

/// Recovers a pool from what an agent of this computer kept.
pub(super) fn recover(
    choice: &AgentChoice,
    from: Option<&str>,
    yes: bool,
    force: bool,
    json: bool,
) -> Result<(), CliError> {
    let data = choice.data.clone().unwrap_or_else(default_data_directory);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| CliError::Failed(format!("cannot start: {error}")))?;
    let prepared = runtime.block_on(recover::prepare(&data, &Choice::of(from))).map_err(|error| match error {
        AgentError::DirectoryInUse(path) => {
            CliError::Failed(format!("an agent runs on {}; stop it first, then recover", path.display()))
        }
        error => error.into(),
    })?;
    if !json {
        tell(&prepared.plan);
    }
    if prepared.plan.majority_answers(&prepared.plan.agent) && !force {
        let plan = prepared.give_up()?;
        if json {
            answer(&plan)?;
        }
        return Err(CliError::Refused(
            "something answers at the addresses of most agents that voted: the pool does not seem to have lost them. \
             Nothing was changed. If they are truly gone, say so with --force."
                .into(),
        ));
    }
    let may = yes || (std::io::stdin().is_terminal() && agreed());
    if !may {
        let plan = prepared.give_up()?;
        if json {
            return answer(&plan);
        }
        say!("\nNothing was changed. To go on, run it again with --yes.");
        return Ok(());
    }
    let plan = prepared.carry_out()?;
    if json {
        return answer(&plan);
    }
    say!("\nDone: {} carries the pool on from position {}.", plan.agent, plan.from.position);
    if let Some(kept) = &plan.kept {
        say!("Its ledger of before is kept in {}.", kept.display());
    }
    say!(
        "Start it with `shoal up`. The others join it by themselves when they are reached; their shards count at once."
    );
    say!("Then `shoal pool check` compares the ledger with the shards on the disks.");
    Ok(())
}

/// Files under a heading, the first of them by name.
fn tell_files(what: &str, total: u64, named: &[String]) {
    if total == 0 {
        return;
    }
    say!("\n{total} {} {what}:", if total == 1 { "file" } else { "files" });
    named.iter().for_each(|path| say!("  {path}"));
    match total.saturating_sub(named.len() as u64) {
        0 => {}
        more => say!("  and {more} more"),
    }
}

fn agreed() -> bool {
    eprint!("\nType yes to go on: ");
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).is_ok() && line.trim() == "yes"
}

fn tell(plan: &Plan) {
    say!("The pool {} would be carried on by {} alone; the others join it anew.\n", plan.pool, plan.agent);
    let rows = plan.sources.iter().map(|source| {
        vec![
            if *source == plan.from { "*" } else { "" }.to_owned(),
            source.kind.to_owned(),
            source.problem.clone().unwrap_or_else(|| source.position.to_string()),
            source.written_ms.map_or_else(|| "?".into(), time),
            source.path.display().to_string(),
        ]
    });
    table(&["", "FOUND", "UP TO POSITION", "WRITTEN (THIS PC'S CLOCK)", "WHERE"], rows);
    say!("\nVoted until now:");
    for voter in &plan.voters {
        say!("  {} {}", voter.name, if voter.answers { "(something answers there)" } else { "(does not answer)" });
    }
    say!("\nMay be missing afterwards:");
    for missing in &plan.may_be_missing {
        say!("  {missing}");
    }
    say!(
        "\nDo this only if the voters are gone for good. If they are only cut off and go on elsewhere, what they \
         acknowledge from now on is not in this ledger: when they meet it, they stop, keep their own ledger aside and \
         join anew."
    );
}

/// Compares ledger and shards, showing how far it is.
pub(super) fn check(agent: &AgentChoice, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let mut state: CheckState = client.call(Method::POST, "pool/check", &())?;
    while state.running {
        if std::io::stderr().is_terminal() {
            eprint!("\r{} of about {} stripes", state.stripes_done, state.stripes_total);
        }
        std::thread::sleep(POLL_INTERVAL);
        state = client.get("pool/check")?;
    }
    if let Some(reason) = state.failure {
        return Err(CliError::Failed(format!("the check could not be finished: {reason}")));
    }
    let report = state.report.ok_or_else(|| CliError::Failed("the check left no report".into()))?;
    if json {
        answer(&report)?;
    } else {
        tell_check(&report);
    }
    if report.short + report.lost == 0 {
        return Ok(());
    }
    Err(CliError::NotWhole(format!("{} readable but short of shards, {} lost", stripes(report.short), report.lost)))
}

fn tell_check(report: &CheckReport) {
    let total = report.whole + report.short + report.lost;
    say!(
        "{total} stripes: {} whole, {} readable but short of shards, {} lost.",
        report.whole,
        report.short,
        report.lost
    );
    if report.missing_shards > 0 {
        say!(
            "{} shards are not where the ledger has them; their agents have been asked to make them anew.",
            report.missing_shards
        );
    }
    if report.bad_shards > 0 {
        say!(
            "{} shards were found missing, damaged or unreadable and are not mended; they count as lost.",
            report.bad_shards
        );
    }
    if !report.silent.is_empty() {
        say!("Not asked, for they do not answer: {}.", report.silent.join(", "));
    }
    for (agent, count) in &report.unnamed {
        say!(
            "{count} shards on {agent} belong to no file: written after what the ledger knows, or on their way. They are kept for a day."
        );
    }
    tell_files("cannot be read now", report.lost_files_total, &report.lost_files);
    if report.lost > 0 {
        say!(
            "{}",
            if report.silent.is_empty() {
                PUT_BACK.to_owned()
            } else {
                format!("Start {} first. {PUT_BACK}", report.silent.join(", "))
            }
        );
    }
    tell_files("can be read but lack shards", report.short_files_total, &report.short_files);
    if report.short > 0 {
        say!("What lacks shards is rebuilt by itself where there is room; `shoal status` says how far it is.");
    }
    if report.short + report.lost == 0 {
        say!("Shards were counted, not read; `shoal scrub --wait` reads them all.");
    }
    if !report.fresh {
        say!("\nThe pool cannot agree on changes now, so the ledger asked may be behind.");
    }
}
