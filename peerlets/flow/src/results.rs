//! What came of each run.

use crate::flow::{Flow, RunPhase};

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its program ran and ended well.
    Done,
    /// It did not, on the last attempt.
    Failed,
    /// The flow was stopped before.
    Stopped,
    /// It has not ended.
    Open,
}

/// What came of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunResult<'a> {
    /// Of which step.
    pub step: &'a str,
    /// For which item.
    pub item: Option<&'a str>,
    /// The agent of the last attempt: its id and its name.
    pub agent: Option<(&'a str, &'a str)>,
    /// Attempts begun.
    pub attempts: u32,
    /// How it ended.
    pub outcome: Outcome,
    /// The program's exit status, where it has one.
    pub exit_status: Option<i32>,
    /// What it gave, on the last attempt.
    pub output: &'a str,
    /// Why it failed.
    pub why: &'a str,
    /// When the first attempt began.
    pub begun_ms: Option<u64>,
    /// When the last one ended.
    pub ended_ms: Option<u64>,
}

impl Flow {
    /// All runs so far, by step and item.
    pub fn results(&self) -> impl Iterator<Item = RunResult<'_>> {
        let in_order = self.spec.steps.iter().zip(&self.steps);
        in_order.flat_map(|(spec, step)| {
            self.runs.iter().skip(step.first).take(step.count).map(|run| RunResult {
                step: &spec.name,
                item: run.item.as_deref(),
                agent: run.agent.as_ref().map(|(id, name)| (id.as_str(), name.as_str())),
                attempts: run.attempts,
                outcome: match run.phase {
                    RunPhase::Done => Outcome::Done,
                    RunPhase::Failed => Outcome::Failed,
                    RunPhase::Stopped => Outcome::Stopped,
                    RunPhase::Queued | RunPhase::Running { .. } => Outcome::Open,
                },
                exit_status: run.exit_status,
                output: &run.output,
                why: &run.why,
                begun_ms: run.begun_ms,
                ended_ms: run.ended_ms,
            })
        })
    }

    /// Steps whose output no other step uses or waits for: what the flow is for.
    pub fn last_steps(&self) -> impl Iterator<Item = &str> {
        let needed = |index: usize| self.spec.steps.iter().any(|step| step.needs.contains(&index));
        self.spec.steps.iter().enumerate().filter(move |(index, _)| !needed(*index)).map(|(_, step)| step.name.as_str())
    }
}
