//! `shoal restore`: files or everything, from an archive to this PC.

use std::ffi::OsString;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};
use shoal_backup::recovery::Existing;
use shoal_backup_service::recovery::SumView;
#[cfg(test)]
use shoal_backup_service::recovery::TotalsView;
use ureq::http::Method;

use super::setup::may;
use super::watch::Watch;
use super::which::{Choice, Whose};
use super::{LOOK_DEADLINE, count, paths, read};
use crate::api::backup::types::{FirstRequest, RestoreBegun, RestorePlanView, RestoreRequest, RestoreView};
use crate::cli::client::Client;
use crate::cli::print::{about, answer, bytes, harmless, say, table};
use crate::cli::{AgentChoice, CliError};

#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct RestoreOptions {
    #[command(subcommand)]
    command: Option<RestoreCommand>,
    #[command(flatten)]
    wanted: Wanted,
}

#[derive(Subcommand)]
enum RestoreCommand {
    /// The restores of this agent, and how far each is.
    ///
    /// Example: shoal restore list
    List,
    /// Have a path come first in a restore that is on.
    ///
    /// Example: shoal restore first 3 /home/ana/report.odt
    First {
        /// The restore's number.
        #[arg(value_name = "N")]
        restore: u64,
        /// A file or folder, as in the archive.
        path: OsString,
    },
    /// End a restore. What is back stays.
    ///
    /// Example: shoal restore cancel 3
    Cancel {
        /// The restore's number.
        #[arg(value_name = "N")]
        restore: u64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum IfThere {
    /// The archive's take their place.
    Overwrite,
    /// They stay.
    Keep,
}

#[derive(Args)]
struct Wanted {
    /// The archive's number, `latest`, or a date such as 2026-11-28 or '2026-11-28 14:00': the last one made by then.
    #[arg(value_name = "N")]
    archive: Option<Choice>,
    /// Only these files and folders [default: everything].
    #[arg(value_name = "PATH")]
    paths: Vec<OsString>,
    #[command(flatten)]
    whose: Whose,
    /// Put it under this folder [default: where it was, after asking].
    #[arg(long, value_name = "DIR")]
    to: Option<OsString>,
    /// Everything up to that archive, the later ones winning: also what was deleted before it. Nothing else is removed.
    #[arg(long)]
    up_to: bool,
    /// What happens to files that are there and differ.
    #[arg(long, default_value = "overwrite")]
    existing: IfThere,
    /// Only say what it would do.
    #[arg(long)]
    dry_run: bool,
    /// Overwrite without asking.
    #[arg(long)]
    yes: bool,
    /// Wait until it is done and show how far it is, as it does anyway.
    #[arg(long, conflicts_with = "background")]
    wait: bool,
    /// Begin it and return.
    #[arg(long)]
    background: bool,
}

pub(in crate::cli) fn restore(agent: &AgentChoice, options: &RestoreOptions, json: bool) -> Result<(), CliError> {
    let client = || Client::open(agent);
    match &options.command {
        None => begin(agent, &options.wanted, json),
        Some(RestoreCommand::List) => list(&client()?, json),
        Some(RestoreCommand::First { restore, path }) => {
            let path = paths::absolute(path)?;
            let said = format!("{path} comes first in restore {restore}.");
            let place = format!("backup/restores/{restore}/first");
            client()?.call::<Value>(Method::POST, &place, &FirstRequest { path })?;
            done(&said, json)
        }
        Some(RestoreCommand::Cancel { restore }) => {
            client()?.call::<Value>(Method::DELETE, &format!("backup/restores/{restore}"), &())?;
            done(&format!("Restore {restore} ends. What is back stays."), json)
        }
    }
}

fn done(said: &str, json: bool) -> Result<(), CliError> {
    if json {
        return answer(&json!({ "done": true }));
    }
    say!("{said}");
    Ok(())
}

fn begin(agent: &AgentChoice, wanted: &Wanted, json: bool) -> Result<(), CliError> {
    let choice = wanted.archive.as_ref().ok_or_else(|| {
        CliError::Usage("which archive: its number, `latest` or a date (`shoal archives` lists them)".into())
    })?;
    let client = Client::open_for(agent, LOOK_DEADLINE)?;
    let which = wanted.whose.which()?;
    let archive = choice.resolve(&client, &which, json)?;
    let request = RestoreRequest {
        which,
        archive,
        up_to: wanted.up_to,
        paths: paths::all_absolute(&wanted.paths)?,
        target: wanted.to.as_ref().map(|to| paths::absolute(to)).transpose()?,
        existing: match wanted.existing {
            IfThere::Overwrite => Existing::Overwrite,
            IfThere::Keep => Existing::Keep,
        },
        dry_run: wanted.dry_run,
    };
    if wanted.dry_run {
        let value: Value = client.call(Method::POST, "backup/restore", &request)?;
        if json {
            return answer(&value);
        }
        tell_plan(&read(value)?);
        say!("Nothing was changed.");
        return Ok(());
    }
    if !wanted.yes && !may_overwrite(&client, &request, json)? {
        return Ok(());
    }
    let begun: RestoreBegun = client.call(Method::POST, "backup/restore", &request)?;
    if !wanted.background {
        return wait_for(agent, client, begun.restore, json);
    }
    if json {
        return answer(&begun);
    }
    let number = begun.restore;
    say!(
        "Restore {number} has begun. `shoal restore list` tells how far it is, `shoal restore first {number} PATH` has a file come first."
    );
    Ok(())
}

/// Shows what would be done in place, and asks if anything there would be overwritten.
fn may_overwrite(client: &Client, request: &RestoreRequest, json: bool) -> Result<bool, CliError> {
    if json && request.target.is_none() {
        let what = "with --json nothing is asked: add --yes to restore in place, or --to DIR to restore elsewhere";
        return Err(CliError::Usage(what.into()));
    }
    let trial = RestoreRequest { dry_run: true, ..request.clone() };
    let plan: RestorePlanView = client.call(Method::POST, "backup/restore", &trial)?;
    let overwrites = plan.totals.overwritten.count > 0;
    if !json && (overwrites || request.target.is_none()) {
        tell_plan(&plan);
    }
    match overwrites {
        false => Ok(true),
        true if json => {
            let count = plan.totals.overwritten.count;
            let what =
                format!("{count} of what is there would be overwritten, and with --json nothing is asked: add --yes");
            Err(CliError::Usage(what))
        }
        true => may("Overwrite what is there?", false, json),
    }
}

fn tell_plan(plan: &RestorePlanView) {
    plan.steps.iter().for_each(|step| say!("  {}", harmless(step)));
    if plan.more_steps {
        say!("  and more");
    }
    if !plan.steps.is_empty() {
        say!("");
    }
    totals(plan).iter().for_each(|line| say!("{line}"));
    if !plan.failures.is_empty() {
        say!("\nCannot be read now:");
        plan.failures.iter().for_each(|failure| say!("  {}", harmless(failure)));
    }
}

fn totals(plan: &RestorePlanView) -> Vec<String> {
    let kinds = [
        (plan.totals.created, "would be made"),
        (plan.totals.overwritten, "would be overwritten"),
        (plan.totals.unchanged, "are there as they should be"),
        (plan.totals.skipped, "would be left as they are"),
    ];
    let line = |(sum, what): &(SumView, &str)| format!("{} {what}, {}.", sum.count, bytes(sum.bytes));
    let mut lines: Vec<String> = kinds.iter().filter(|(sum, _)| sum.count > 0).map(line).collect();
    if lines.is_empty() {
        lines.push("There is nothing to do.".to_owned());
    }
    if let Some(free_bytes) = plan.free_bytes {
        lines.push(format!("{} are free there.", bytes(free_bytes)));
    }
    if !plan.fits {
        lines.push("That is too little: make room there first, or restore to another disk with --to.".to_owned());
    }
    lines
}

fn wait_for(agent: &AgentChoice, client: Client, restore: u64, json: bool) -> Result<(), CliError> {
    let mut watch = Watch::begin(agent, client);
    let goes_on = format!(
        "restore {restore} goes on; `shoal restore list` tells how far it is, `shoal restore cancel {restore}` ends it"
    );
    let place = format!("backup/restores/{restore}");
    let view = loop {
        let view: RestoreView = watch.look(&place, &goes_on)?;
        if is_over(&view.state) {
            break view;
        }
        watch.show(&progress(&view));
    };
    watch.end();
    finish(&view, json)
}

fn is_over(state: &str) -> bool {
    state.starts_with("done") || matches!(state, "failed" | "cancelled")
}

/// How far it is, in a line.
fn progress(view: &RestoreView) -> String {
    let mut line = format!("{}: {}, {}", view.state, count(view.files, "file"), bytes(view.bytes));
    if let Some(total) = view.bytes_total.filter(|total| *total > 0) {
        let percent = u128::from(view.bytes) * 100 / u128::from(total);
        line += &format!(" of {} ({} %)", bytes(total), percent.min(100));
    }
    if view.bytes_per_s > 0 {
        line += &format!(", {}/s", bytes(view.bytes_per_s));
    }
    if let Some(eta_ms) = view.eta_ms {
        line += &format!(", {} left", about(eta_ms.div_ceil(1_000)));
    }
    if view.fetched_bytes > 0 {
        line += &format!(", {} fetched", bytes(view.fetched_bytes));
    }
    line
}

fn finish(view: &RestoreView, json: bool) -> Result<(), CliError> {
    if json {
        answer(view)?;
    } else {
        let place = if view.target.is_empty() || view.target == "/" { "where it was" } else { view.target.as_str() };
        let (files, size) = (count(view.files, "file"), bytes(view.bytes));
        if view.files > 0 || view.state != "failed" {
            say!("{files}, {size} of archive {} came back: {}.", view.archive, harmless(place));
        }
        view.failures.iter().for_each(|failure| eprintln!("  {}", harmless(failure)));
        let named = view.failures.len() as u64;
        if view.failed_files > named && named > 0 {
            eprintln!("  and {} more", view.failed_files - named);
        }
    }
    match (view.state.as_str(), view.failed_files) {
        ("failed", _) => Err(CliError::Failed(format!(
            "the restore ended before its end: {}",
            view.error.as_deref().unwrap_or("nobody said why")
        ))),
        ("cancelled", _) => Err(CliError::Refused("the restore was cancelled".into())),
        ("done", 0) => Ok(()),
        (_, failed) => Err(CliError::Failed(format!("{} did not come back", count(failed, "file")))),
    }
}

fn list(client: &Client, json: bool) -> Result<(), CliError> {
    let value: Value = client.get("backup/restores")?;
    if json {
        return answer(&value);
    }
    let views: Vec<RestoreView> = read(value)?;
    if views.is_empty() {
        say!("Nothing is being restored.");
        return Ok(());
    }
    let row = |view: &RestoreView| {
        let state = match &view.error {
            Some(error) => format!("{}: {error}", view.state),
            None if is_over(&view.state) => {
                format!("{}: {}, {}", view.state, count(view.files, "file"), bytes(view.bytes))
            }
            None => progress(view),
        };
        let failed = if view.failed_files == 0 { String::new() } else { view.failed_files.to_string() };
        vec![view.restore.to_string(), view.archive.to_string(), view.target.clone(), state, failed]
    };
    table(&["RESTORE", "ARCHIVE", "TO", "STATE", "NOT BACK"], views.iter().map(row));
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        restore: RestoreOptions,
    }

    fn parsed(words: &[&str]) -> RestoreOptions {
        Words::command().debug_assert();
        Words::try_parse_from([&["restore"], words].concat()).map(|words| words.restore).expect("it is well formed")
    }

    #[test]
    fn an_archive_and_its_paths_are_told_from_the_other_commands() {
        let options = parsed(&["2026-11-28 14:00", "/a", "list", "--to", "/b"]);
        assert!(options.command.is_none() && matches!(options.wanted.archive, Some(Choice::Before(..))));
        assert_eq!(options.wanted.paths, ["/a", "list"]);
        assert!(matches!(parsed(&["list"]).command, Some(RestoreCommand::List)));
        assert!(matches!(parsed(&["first", "3", "/a"]).command, Some(RestoreCommand::First { restore: 3, .. })));
        assert!(matches!(parsed(&["cancel", "3"]).command, Some(RestoreCommand::Cancel { restore: 3 })));
        assert!(Words::try_parse_from(["restore", "5", "--wait", "--background"]).is_err());
        assert!(Words::try_parse_from(["restore", "newest"]).is_err());
    }

    fn view(state: &str) -> RestoreView {
        RestoreView {
            restore: 3,
            owner: "x".into(),
            archive: 12,
            target: "/tmp/back".into(),
            state: state.into(),
            files: 2,
            bytes: 500,
            bytes_total: Some(1_000),
            fetched_bytes: 0,
            bytes_per_s: 100,
            eta_ms: Some(5_000),
            error: None,
            failures: Vec::new(),
            failed_files: 0,
        }
    }

    #[test]
    fn a_restore_is_told_in_a_line() {
        assert_eq!(
            progress(&view("running")),
            "running: 2 files, 500 B of 1.00 kB (50 %), 100 B/s, about 5 seconds left"
        );
        let odd = RestoreView { bytes: 2_000, eta_ms: None, bytes_per_s: 0, fetched_bytes: 7, ..view("running") };
        assert_eq!(progress(&odd), "running: 2 files, 2.00 kB of 1.00 kB (100 %), 7 B fetched");
    }

    #[test]
    fn what_did_not_come_back_is_a_failure() {
        for over in ["done", "done with failures", "done-with-failures", "failed", "cancelled"] {
            assert!(is_over(over), "{over}");
        }
        assert!(!is_over("running") && !is_over("waiting") && !is_over("planning"));
        let code = |view: &RestoreView| finish(view, true).map_err(|error| error.exit_code());
        assert_eq!(code(&view("done")), Ok(()));
        assert_eq!(code(&RestoreView { failed_files: 1, ..view("done with failures") }), Err(1));
        assert_eq!(code(&view("failed")), Err(1));
        assert_eq!(code(&view("cancelled")), Err(5));
    }

    fn plan(totals: TotalsView, fits: bool) -> RestorePlanView {
        RestorePlanView { totals, free_bytes: Some(9_000), fits, steps: vec![], more_steps: false, failures: vec![] }
    }

    #[test]
    fn a_plan_says_what_would_be_done_and_whether_there_is_room() {
        let sum = |count, bytes| SumView { count, bytes };
        let said = TotalsView { created: sum(2, 10), overwritten: sum(1, 5), ..TotalsView::default() };
        let lines = totals(&plan(said, true));
        assert_eq!(lines, ["2 would be made, 10 B.", "1 would be overwritten, 5 B.", "9.00 kB are free there."]);
        assert!(totals(&plan(said, false))[3].starts_with("That is too little"));
        assert_eq!(totals(&plan(TotalsView::default(), true))[0], "There is nothing to do.");
    }
}
