//! `shoal flow`: tasks in several steps on several agents. What starts when is decided in `shoal-flow`; here are the file, the
//! agent's API, the clock, the threads and the terminal.
//!
//! ```text
//! file ─► Spec ─► Flow ⇄ driver ─ a thread each ─► POST /api/v1/requests ─► message ─► peerlet
//!                   └─► view ─► show (standard error)        report ─► standard output, --output DIR
//! ```

mod attempt;
mod directory;
mod driver;
mod report;
mod show;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use shoal_flow::{Each, FILE_LIMIT_BYTES, Flow, Spec};

use super::client::Client;
use super::message::on_behalf_of;
use super::print::{answer, say, table};
use super::{AgentChoice, CliError};

#[derive(Subcommand)]
pub(super) enum FlowCommand {
    /// Run all steps of a flow, and print what the last ones gave.
    ///
    /// Standard error shows all steps while they run. Ctrl-C starts nothing more, and ends with what there is by then; what
    /// runs already runs to its end on its agent. Ends with code 14 where a step failed, with 130 after Ctrl-C.
    ///
    /// Example: shoal flow run readings.toml --output results
    Run(RunOptions),
    /// Check a flow's file, and tell in which order its steps run. Asks no agent.
    ///
    /// Example: shoal flow check readings.toml
    Check {
        /// The flow's file.
        file: PathBuf,
    },
}

#[derive(Args)]
pub(super) struct RunOptions {
    /// The flow's file.
    file: PathBuf,
    /// Write what each run gave into this folder, which is new or empty.
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
}

pub(super) fn flow(agent: &AgentChoice, command: &FlowCommand, json: bool) -> Result<(), CliError> {
    match command {
        FlowCommand::Check { file } => check(file, json),
        FlowCommand::Run(options) => run(agent, options, json),
    }
}

fn read(file: &Path) -> Result<Spec, CliError> {
    let shown = file.display();
    let failed = |error: std::io::Error| CliError::Failed(format!("cannot read {shown}: {error}"));
    let mut text = String::new();
    let opened = std::fs::File::open(file).map_err(failed)?;
    opened.take(FILE_LIMIT_BYTES as u64 + 1).read_to_string(&mut text).map_err(failed)?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    Spec::parse(&name, &text).map_err(|error| CliError::Usage(format!("{shown}: {error}")))
}

fn check(file: &Path, json: bool) -> Result<(), CliError> {
    let spec = read(file)?;
    let runs = |step: &shoal_flow::Step| match &step.each {
        None => "1".to_owned(),
        Some(Each::Items(items)) => items.len().to_string(),
        Some(Each::LinesOf(_)) => "as many as lines".to_owned(),
    };
    let needs = |step: &shoal_flow::Step| -> Vec<&str> {
        step.needs.iter().filter_map(|index| spec.steps.get(*index)).map(|needed| needed.name.as_str()).collect()
    };
    if json {
        let steps: Vec<_> = spec
            .steps
            .iter()
            .map(|step| json!({ "name": step.name, "type": step.action.type_name(), "needs": needs(step) }))
            .collect();
        return answer(&json!({ "name": spec.name, "description": spec.description, "steps": steps }));
    }
    let rows = spec.steps.iter().map(|step| {
        vec![
            step.name.clone(),
            step.action.type_name().to_owned(),
            report::place(&step.on),
            runs(step),
            needs(step).join(", "),
        ]
    });
    table(&["STEP", "TYPE", "ON", "RUNS", "AFTER"], rows);
    say!("\n{} makes sense. Whether its agents are there is seen when it runs.", spec.name);
    Ok(())
}

fn run(agent: &AgentChoice, options: &RunOptions, json: bool) -> Result<(), CliError> {
    let spec = read(&options.file)?;
    let folder = options.output.as_deref().map(report::prepare).transpose()?;
    let client = Client::open(agent)?;
    let flow = Flow::new(spec, directory::directory(&client)?).map_err(|error| CliError::Refused(error.to_string()))?;
    let ended = driver::drive(client, on_behalf_of(agent), flow)?;
    report::tell(&ended, folder, json)?;
    report::verdict(&ended)
}
