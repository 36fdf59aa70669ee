//! `shoal backup run`, `cancel`, `drill` and `scrub`.

use serde_json::{Value, json};
use shoal_backup::drill::Proof;
use shoal_backup::schedule::Mode;
use ureq::http::Method;

use super::status::{progress, proven, scrubbed, tester};
use super::watch::Watch;
use super::{count, read};
use crate::api::backup::types::{BackupView, LastRunView, RunAsked, RunRequest, RunRequestView, ScrubBegun};
use crate::cli::client::Client;
use crate::cli::print::{answer, bytes, harmless, say};
use crate::cli::{AgentChoice, CliError};

const RUN_GOES_ON: &str = "the run goes on; `shoal backup` tells how far it is, `shoal backup cancel` ends it";
const SCRUB_GOES_ON: &str = "the reading goes on; `shoal backup` tells how far it is";
const DRILL_GOES_ON: &str = "the drill goes on; `shoal backup` tells what came of it";

pub(super) fn run(agent: &AgentChoice, snapshot: bool, wait: bool, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let mode = if snapshot { Mode::Snapshot } else { Mode::Delta };
    let asked: RunAsked = client.call(Method::POST, "backup/run", &RunRequest { mode })?;
    if wait {
        if let (Some(on), false) = (under_way(&asked, mode), json) {
            say!("{on}");
        }
        return wait_for(agent, client, asked.request, json);
    }
    if json {
        return answer(&json!({ "done": true, "request": asked.request }));
    }
    match under_way(&asked, mode) {
        Some(on) => say!("{on} `shoal backup` tells how far it is."),
        None => say!("A {mode} is made; `shoal backup` tells how far it is."),
    }
    Ok(())
}

/// What is to be said of a run that was on before.
fn under_way(asked: &RunAsked, mode: Mode) -> Option<String> {
    let on = asked.on?;
    Some(match asked.is_that {
        true => format!("A {on} is being made already, and is the one."),
        false => format!("A {on} is being made; the {mode} begins when it has ended."),
    })
}

/// Until what was asked for is over.
fn wait_for(agent: &AgentChoice, client: Client, request: u64, json: bool) -> Result<(), CliError> {
    let mut watch = Watch::begin(agent, client);
    let path = format!("backup/run/{request}");
    let last = loop {
        let view: RunRequestView = watch.look(&path, RUN_GOES_ON)?;
        match (view.ended, view.run, view.waits_for) {
            (Some(last), ..) => break last,
            (None, Some(run), _) => watch.show(&format!("{}: {}", run.mode, progress(&run))),
            (None, None, Some(waits_for)) => watch.show(&format!("it {waits_for}")),
            (None, None, None) => watch.show("it begins"),
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
    let Some(archive) = last.archive else {
        if !json {
            say!("The run is over.");
        }
        return Ok(());
    };
    if !json {
        let (files, size, added) = (count(last.files, "file"), bytes(last.bytes), bytes(last.added_bytes));
        say!("Archive {archive} is made: {files}, {size}; {added} were added for it.");
        say!("Its copies are sent now; `shoal archives` tells how many there are.");
        last.problems.iter().for_each(|problem| eprintln!("  {}", harmless(problem)));
    }
    match last.unreadable {
        0 => Ok(()),
        unreadable => {
            let files = count(unreadable, "file");
            Err(CliError::Incomplete(format!("archive {archive} is incomplete: reading failed for {files}")))
        }
    }
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
    client.call::<Value>(Method::POST, "backup/drill", &json!({}))?;
    if !wait {
        if json {
            return answer(&json!({ "done": true }));
        }
        say!("Another agent tries a restore; `shoal backup` tells what came of it.");
        return Ok(());
    }
    let mut watch = Watch::begin(agent, client);
    let view = loop {
        let view: BackupView = watch.look("backup", DRILL_GOES_ON)?;
        if !view.drill.as_ref().is_some_and(|drill| drill.is_on) {
            break view;
        }
        watch.show("another agent restores a sample and compares");
    };
    let client = watch.end();
    let proof = drilled(&before, &view)?;
    if json {
        answer(proof)?;
    } else {
        say!("{}", proven(proof, &tester(&client, proof), view.full_restore_ms));
    }
    Ok(())
}

/// The proof that a drill came to. Without one it failed, and somebody says why.
fn drilled<'a>(before: &BackupView, after: &'a BackupView) -> Result<&'a Proof, CliError> {
    if let Some(error) = after.drill.as_ref().and_then(|drill| drill.error.as_ref()) {
        return Err(CliError::Failed(format!("the drill could not be done: {error}")));
    }
    let had_ms = before.proof.as_ref().map(|proof| proof.at_ms);
    let proof = after.proof.as_ref().filter(|proof| Some(proof.at_ms) != had_ms && proof.result.is_proof());
    proof.ok_or_else(|| {
        let alert = after.alerts.iter().find(|alert| alert.contains("drill"));
        CliError::Failed(alert.cloned().unwrap_or_else(|| "the drill proved nothing".to_owned()))
    })
}

pub(super) fn scrub(agent: &AgentChoice, wait: bool, json: bool) -> Result<(), CliError> {
    let client = Client::open(agent)?;
    let value: Value = client.call(Method::POST, "backup/scrub", &json!({}))?;
    let begun: ScrubBegun = read(value.clone())?;
    if !wait {
        if json {
            return answer(&value);
        }
        say!("{}", scrub_begun(&begun));
        return Ok(());
    }
    if !json && !begun.is_new {
        eprintln!("{}", scrub_begun(&begun));
    }
    let mut watch = Watch::begin(agent, client);
    let ended = loop {
        let view: BackupView = watch.look("backup", SCRUB_GOES_ON)?;
        match view.holding.scrub {
            Some(scrub) if scrub.ended_ms.is_none() => watch.show(&scrubbed(&scrub)),
            Some(scrub) => break scrub,
            None => return Err(CliError::Failed("the agent began anew meanwhile: nothing is read now".into())),
        }
    };
    watch.end();
    if json {
        return answer(&ended);
    }
    say!("Read {}. What is damaged is made anew; `shoal backup` tells how far that is.", scrubbed(&ended));
    Ok(())
}

/// What came of asking for a reading.
fn scrub_begun(begun: &ScrubBegun) -> String {
    let ScrubBegun { is_new, scrub } = begun;
    let (objects, size) = (count(scrub.objects_total, "object"), bytes(scrub.bytes_total));
    if *is_new {
        return format!(
            "All that this PC holds for others is read through: {objects}, {size}. What is damaged is made anew; `shoal backup` tells how far it is."
        );
    }
    format!("It is being read through already, and that does for this call too: {}.", scrubbed(scrub))
}

#[cfg(test)]
mod tests {
    use dci_proto::AgentId;
    use shoal_backup::ArchiveId;
    use shoal_backup::drill::{Alert, DrillResult};
    use shoal_backup_service::holder::ScrubStatus;

    use super::*;
    use crate::api::backup::types::{DrillView, HoldingView};

    #[test]
    fn a_run_without_an_archive_is_a_failure_and_one_that_lacks_files_has_a_code_of_its_own() {
        let last = |error: Option<&str>, unreadable| LastRunView {
            ended_ms: 1,
            archive: Some(3),
            error: error.map(str::to_owned),
            files: 4,
            bytes: 5,
            added_bytes: 6,
            unreadable,
            problems: Vec::new(),
        };
        assert!(tell_end(&last(None, 0), true).is_ok());
        let failed = tell_end(&last(Some("the disk is full"), 0), true).expect_err("it failed");
        assert_eq!((failed.exit_code(), failed.to_string()), (1, "no archive was made: the disk is full".into()));
        let lacks = tell_end(&last(None, 1), true).expect_err("it lacks one");
        assert_eq!(lacks.exit_code(), 15);
        assert_eq!(lacks.to_string(), "archive 3 is incomplete: reading failed for 1 file");
    }

    #[test]
    fn a_second_scrub_says_that_it_joins_the_first_and_how_far_that_is() {
        let scrub = ScrubStatus { objects: 2, objects_total: 7, bytes: 10, bytes_total: 90, ..ScrubStatus::default() };
        let said = |is_new| scrub_begun(&ScrubBegun { is_new, scrub });
        assert!(said(true).starts_with("All that this PC holds for others is read through: 7 objects, 90 B."));
        let joined = said(false);
        assert!(joined.contains("already") && joined.ends_with("2 of 7 objects, 10 B of 90 B, 0 damaged."), "{joined}");
    }

    #[test]
    fn a_run_that_was_on_before_is_told() {
        let asked = |on, is_that| RunAsked { request: 1, on, is_that };
        assert_eq!(under_way(&asked(None, false), Mode::Delta), None);
        let said = |is_that| under_way(&asked(Some(Mode::Delta), is_that), Mode::Snapshot);
        assert_eq!(said(true).as_deref(), Some("A delta is being made already, and is the one."));
        assert_eq!(said(false).as_deref(), Some("A delta is being made; the snapshot begins when it has ended."));
    }

    #[test]
    fn a_drill_without_a_new_proof_failed_and_says_why() {
        let view = |proof: Option<Proof>, alerts: &[String], error: Option<&str>| BackupView {
            is_set_up: true,
            verdict: String::new(),
            alerts: alerts.to_vec(),
            run: None,
            waits_for: None,
            last_run: None,
            next_ms: None,
            archives: 1,
            repository_bytes: 1,
            copies_wanted: 2,
            peers: Vec::new(),
            unusable: Vec::new(),
            proof,
            full_restore_ms: None,
            drill: Some(DrillView { is_on: false, error: error.map(str::to_owned) }),
            holding: HoldingView {
                share_bytes: 0,
                used_bytes: 0,
                owners: Vec::new(),
                damaged: 0,
                mended: 0,
                read_through_ms: None,
                scrub: None,
            },
        };
        let proof = |at_ms| Proof {
            archive: ArchiveId(1),
            at_ms,
            by: AgentId([1; 32]),
            took_ms: 1,
            result: DrillResult { good_files: 1, ..DrillResult::default() },
        };
        let before = view(Some(proof(1)), &[], None);
        let said = |after: &BackupView| drilled(&before, after).map(|proof| proof.at_ms).map_err(|it| it.to_string());
        assert_eq!(said(&view(Some(proof(2)), &[], None)), Ok(2));
        let failed = said(&view(Some(proof(1)), &[], Some("nobody is there")));
        assert_eq!(failed, Err("the drill could not be done: nobody is there".to_owned()));
        // The words of the core's alert are what is looked for.
        let alert = Alert::DrillFailed { at_ms: 1, bad_files: 2 }.to_string();
        assert_eq!(said(&view(Some(proof(1)), &[Alert::NoArchive.to_string(), alert.clone()], None)), Err(alert));
        assert_eq!(said(&view(Some(proof(1)), &[], None)), Err("the drill proved nothing".to_owned()));
    }
}
