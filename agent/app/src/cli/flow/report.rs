//! What is said when a flow is over: what its last steps gave, all results as JSON or in a folder, and whether it went well.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;
use shoal_flow::{FlowView, On, Outcome, RunResult, StepPhase};

use super::super::CliError;
use super::super::print::{answer, line};
use super::driver::Ended;

/// Steps named in the sentence about those that are not done.
const STEPS_NAMED: usize = 3;
/// The file with all results.
const RESULTS_FILE: &str = "results.json";
/// Characters of an agent's name in the name of a file.
const NAME_CHARS: usize = 40;

#[derive(Serialize)]
struct FlowReport<'a> {
    flow: &'a str,
    state: &'static str,
    took_ms: u64,
    steps: Vec<StepReport<'a>>,
}

#[derive(Serialize)]
struct StepReport<'a> {
    name: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    why: String,
    runs: Vec<RunReport<'a>>,
}

#[derive(Serialize)]
struct RunReport<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    item: Option<&'a str>,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<&'a str>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_status: Option<i32>,
    #[serde(skip_serializing_if = "str::is_empty")]
    why: &'a str,
    /// Since the flow began.
    #[serde(skip_serializing_if = "Option::is_none")]
    begun_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    took_ms: Option<u64>,
    output: &'a str,
}

impl<'a> RunReport<'a> {
    fn of(result: &RunResult<'a>) -> Self {
        Self {
            item: result.item,
            state: word(result.outcome),
            agent: result.agent.map(|(_, name)| name),
            agent_id: result.agent.map(|(id, _)| id),
            attempts: result.attempts,
            exit_status: result.exit_status,
            why: result.why,
            begun_ms: result.begun_ms,
            took_ms: result.begun_ms.zip(result.ended_ms).map(|(begun_ms, ended_ms)| ended_ms.saturating_sub(begun_ms)),
            output: result.output,
        }
    }
}

fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Done => "done",
        Outcome::Failed => "failed",
        Outcome::Stopped => "stopped",
        Outcome::Open => "open",
    }
}

fn report(ended: &Ended) -> FlowReport<'_> {
    let view = ended.flow.view(ended.now_ms);
    let state = match verdict(ended) {
        Ok(()) => "done",
        Err(CliError::Interrupted(_)) => "stopped",
        Err(_) => "failed",
    };
    let steps = ended.flow.spec().steps.iter().zip(view.steps).map(|(step, view)| StepReport {
        name: &step.name,
        state: view.phase.word(),
        why: view.why,
        runs: ended
            .flow
            .results()
            .filter(|result| result.step == step.name)
            .map(|result| RunReport::of(&result))
            .collect(),
    });
    FlowReport { flow: &ended.flow.spec().name, state, took_ms: view.elapsed_ms, steps: steps.collect() }
}

/// Where a step runs, in words.
pub(super) fn place(on: &On) -> String {
    match on {
        On::Idle => "any agent".to_owned(),
        On::AnyOf(names) => format!("any of {}", names.join(", ")),
        On::Each(names) => names.join(", "),
        On::All => "all agents".to_owned(),
        On::Group(group) => format!("group {group}"),
    }
}

/// Sees to it that results can be written there before anything is run.
pub(super) fn prepare(folder: &Path) -> Result<PathBuf, CliError> {
    let failed = |error: std::io::Error| CliError::Failed(format!("cannot use {}: {error}", folder.display()));
    fs::create_dir_all(folder).map_err(failed)?;
    if fs::read_dir(folder).map_err(failed)?.next().is_some() {
        return Err(CliError::Refused(format!("{} is not empty; name a new folder for the results", folder.display())));
    }
    Ok(folder.to_path_buf())
}

/// Prints what came of it, and writes it where that was asked for.
pub(super) fn tell(ended: &Ended, folder: Option<PathBuf>, json: bool) -> Result<(), CliError> {
    if let Some(folder) = &folder {
        write(ended, folder)
            .map_err(|error| CliError::Failed(format!("cannot write to {}: {error}", folder.display())))?;
        eprintln!("What each run gave is in {}.", folder.display());
    }
    if json {
        return answer(&report(ended));
    }
    for step in ended.flow.last_steps() {
        let output = ended.flow.output(step);
        if !output.is_empty() {
            line(&output);
        }
    }
    Ok(())
}

fn write(ended: &Ended, folder: &Path) -> std::io::Result<()> {
    for step in &ended.flow.spec().steps {
        let results: Vec<RunResult<'_>> = ended.flow.results().filter(|result| result.step == step.name).collect();
        if let [one] = results.as_slice() {
            fs::write(folder.join(format!("{}.txt", step.name)), one.output)?;
            continue;
        }
        let folder = folder.join(&step.name);
        if !results.is_empty() {
            fs::create_dir(&folder)?;
        }
        for (number, result) in results.iter().enumerate() {
            fs::write(folder.join(file_name(number + 1, result)), result.output)?;
        }
    }
    fs::write(folder.join(RESULTS_FILE), serde_json::to_vec_pretty(&report(ended))?)
}

/// Names of agents are anybody's; a name of a file is not.
fn file_name(number: usize, result: &RunResult<'_>) -> String {
    let safe = |char: char| if char.is_alphanumeric() || matches!(char, '-' | '_') { char } else { '_' };
    let agent: String = result.agent.map_or("nowhere", |(_, name)| name).chars().take(NAME_CHARS).map(safe).collect();
    format!("{number:05}-{agent}.txt")
}

/// Whether all went well, else what did not.
pub(super) fn verdict(ended: &Ended) -> Result<(), CliError> {
    let view = ended.flow.view(ended.now_ms);
    let open: Vec<_> = view.steps.iter().filter(|step| step.phase != StepPhase::Done).collect();
    if open.is_empty() {
        return Ok(());
    }
    if ended.interrupted {
        return Err(CliError::Interrupted(format!("stopped; {} of {} steps are done", done(&view), view.steps.len())));
    }
    let failed: Vec<_> = open.iter().filter(|step| step.phase == StepPhase::Failed).collect();
    let mut named: Vec<String> =
        failed.iter().take(STEPS_NAMED).map(|step| format!("{}: {}", step.name, step.why)).collect();
    if failed.len() > STEPS_NAMED {
        named.push(format!("and {} more", failed.len() - STEPS_NAMED));
    }
    Err(CliError::NotAllDone(format!(
        "{} of {} steps are not done; {}",
        open.len(),
        view.steps.len(),
        named.join("; ")
    )))
}

fn done(view: &FlowView) -> usize {
    view.steps.iter().filter(|step| step.phase == StepPhase::Done).count()
}
