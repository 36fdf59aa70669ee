//! `shoal backup run`, `cancel` and `drill`.

use serde_json::{Value, json};
use shoal_backup::schedule::Mode;
use ureq::http::Method;

use super::read;
use super::status::{progress, proven, tester};
use super::watch::Watch;
use crate::api::backup::types::{BackupView, LastRunView, RunRequest};
use crate::cli::client::Client;
use crate::cli::print::{answer, say};
use crate::cli::{AgentChoice, CliError};

/// Looks that find neither a run nor its end before it is said to be gone.
const GONE_LOOKS: u32 = 60;
/// Looks for what a drill comes to: half an hour of them.
const DRILL_LOOKS: u32 = 3_600;

const RUN_GOES_ON: &str = "the run goes on; `shoal backup` tells how far it is, `shoal backup cancel` ends it";
const DRILL_GOES_ON: &str = "the drill goes on; `shoal backup` tells what came of it";

pub(super) fn run(agent: &AgentChoice, snapshot: bool, wait: bool, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let before: BackupView = client.get("backup")?;
    let mode = if snapshot { Mode::Snapshot } else { Mode::Delta };
    let begun: Value = client.call(Method::POST, "backup/run", &RunRequest { mode })?;
    if wait {
        return wait_for(agent, client, &before, json);
    }
    if json {
        return answer(&begun);
    }
    say!("A {mode} is made; `shoal backup` tells how far it is.");
    Ok(())
}

/// Until what was asked for is over: a run that was on already ends first.
fn wait_for(agent: &AgentChoice, client: Client, before: &BackupView, json: bool) -> Result<(), CliError> {
    let mut watch = Watch::begin(agent, client);
    let before_ms = before.last_run.as_ref().map(|last| last.ended_ms);
    let mut gone = 0;
    let last = loop {
        let view: BackupView = watch.look("backup", RUN_GOES_ON)?;
        match (view.run, view.last_run) {
            (Some(run), _) => {
                gone = 0;
                watch.show(&format!("{}: {}", run.mode, progress(&run)));
            }
            (None, Some(last)) if Some(last.ended_ms) != before_ms => break last,
            (None, _) if gone < GONE_LOOKS => gone += 1,
            (None, _) => return Err(CliError::Failed("the run is gone, and nobody said what came of it".into())),
        }
    };
    watch.end();
    tell_end(&last, json)
}

fn tell_end(last: &LastRunView, json: bool) -> Result<(), CliError> {
    if json {
        answer(last)?;
    }
    if let Some(error) = &last.error {
        return Err(CliError::Failed(format!("no archive was made: {error}")));
    }
    if !json {
        match last.archive {
            Some(archive) => {
                say!("Archive {archive} is made. Its copies are sent now; `shoal archives` tells how many there are.")
            }
            None => say!("The run is over."),
        }
    }
    Ok(())
}

pub(super) fn cancel(client: &Client, json: bool) -> Result<(), CliError> {
    client.call::<Value>(Method::DELETE, "backup/run", &())?;
    if json {
        return answer(&json!({ "done": true }));
    }
    say!("The run ends. What it has stored stays for the next one.");
    Ok(())
}

pub(super) fn drill(agent: &AgentChoice, wait: bool, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let before: BackupView = client.get("backup")?;
    let begun: Value = client.call(Method::POST, "backup/drill", &json!({}))?;
    if !wait {
        if json {
            return answer(&begun);
        }
        say!("Another agent tries a restore; `shoal backup` tells what came of it.");
        return Ok(());
    }
    let mut watch = Watch::begin(agent, client);
    watch.show("another agent restores a sample and compares");
    let proven_ms = |view: &BackupView| view.proof.as_ref().map(|proof| proof.at_ms);
    for _ in 0..DRILL_LOOKS {
        let value: Value = watch.look("backup", DRILL_GOES_ON)?;
        let view: BackupView = read(value)?;
        let failed = view.alerts.iter().find(|alert| is_of_drill(alert) && !before.alerts.contains(alert));
        if let Some(alert) = failed {
            let alert = alert.clone();
            watch.end();
            return Err(CliError::Failed(alert));
        }
        if proven_ms(&view) == proven_ms(&before) {
            continue;
        }
        let Some(proof) = view.proof else { continue };
        let client = watch.end();
        if json {
            answer(&proof)?;
        } else {
            say!("{}", proven(&proof, &tester(&client, &proof), view.full_restore_ms));
        }
        return if proof.result.is_proof() { Ok(()) } else { Err(CliError::Failed("the drill proved nothing".into())) };
    }
    Err(CliError::Failed("the drill has not ended in half an hour; `shoal backup` tells what comes of it".into()))
}

fn is_of_drill(alert: &str) -> bool {
    alert.contains("drill")
}

#[cfg(test)]
mod tests {
    use shoal_backup::drill::Alert;

    use super::*;

    #[test]
    fn a_run_without_an_archive_is_a_failure() {
        let last = |error: Option<&str>| LastRunView { ended_ms: 1, archive: Some(3), error: error.map(str::to_owned) };
        assert!(tell_end(&last(None), true).is_ok());
        let said = tell_end(&last(Some("the disk is full")), true).expect_err("it failed").to_string();
        assert_eq!(said, "no archive was made: the disk is full");
    }

    #[test]
    fn the_alert_of_a_failed_drill_is_known_by_its_words() {
        let alert = Alert::DrillFailed { at_ms: 1, bad_files: 2 };
        assert!(is_of_drill(&alert.to_string()));
        assert!(!is_of_drill(&Alert::NoArchive.to_string()));
    }
}
