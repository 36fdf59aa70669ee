//! All steps at a glance, while a flow is under way and after.

use std::collections::BTreeSet;

use crate::flow::{Flow, RunPhase};

/// Names of agents shown for a step.
const AGENTS_SHOWN: usize = 4;
/// Cells of a bar.
const BAR_CELLS: usize = 10;

/// How a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepPhase {
    /// Other steps must be done first.
    Waiting,
    /// Its runs are under way, or wait for a place.
    Running,
    /// All its runs ended well.
    Done,
    /// A run of it failed for good.
    Failed,
    /// A step it needs is not done.
    Skipped,
    /// The flow was stopped before.
    Stopped,
}

impl StepPhase {
    /// Whether nothing more will come of it.
    #[must_use]
    pub fn is_over(self) -> bool {
        !matches!(self, Self::Waiting | Self::Running)
    }

    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Stopped => "stopped",
        }
    }

    fn sign(self) -> char {
        match self {
            Self::Waiting => '·',
            Self::Running => '▶',
            Self::Done => '✓',
            Self::Failed => '✗',
            Self::Skipped | Self::Stopped => '–',
        }
    }
}

/// A step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// How it is.
    pub phase: StepPhase,
    /// Its runs; 0 while it is not known how many there will be.
    pub runs: usize,
    /// Runs that wait for a place.
    pub queued: usize,
    /// Runs under way.
    pub running: usize,
    /// Runs that ended well.
    pub done: usize,
    /// Runs that failed for good.
    pub failed: usize,
    /// Attempts beyond the first of each run.
    pub retried: usize,
    /// Agents it runs on now, or ran on last, by name.
    pub agents: Vec<String>,
    /// How long since it began, or how long it took.
    pub elapsed_ms: Option<u64>,
    /// How long it will take, about, where that can be told.
    pub left_ms: Option<u64>,
    /// What it waits for, or why it failed.
    pub why: String,
}

/// A flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlowView {
    /// Its name.
    pub name: String,
    /// In the order of its file.
    pub steps: Vec<StepView>,
    /// How long since it began, or how long it took.
    pub elapsed_ms: u64,
    /// How long the steps under way will take, where that can be told.
    pub left_ms: Option<u64>,
}

impl Flow {
    /// How it is now.
    #[must_use]
    pub fn view(&self, now_ms: u64) -> FlowView {
        let steps: Vec<StepView> = (0..self.steps.len()).filter_map(|index| self.step_view(now_ms, index)).collect();
        let running = steps.iter().filter(|step| step.phase == StepPhase::Running);
        let left_ms =
            running.map(|step| step.left_ms).collect::<Option<Vec<u64>>>().and_then(|left| left.into_iter().max());
        let end_ms = self.ended_ms.unwrap_or(now_ms);
        let elapsed_ms = self.begun_ms.map_or(0, |begun_ms| end_ms.saturating_sub(begun_ms));
        FlowView { name: self.spec.name.clone(), steps, elapsed_ms, left_ms }
    }

    fn step_view(&self, now_ms: u64, index: usize) -> Option<StepView> {
        let (spec, step) = (self.spec.steps.get(index)?, self.steps.get(index)?);
        let runs = || self.runs.iter().skip(step.first).take(step.count);
        let agents: BTreeSet<&str> = runs()
            .filter(|run| step.phase.is_over() || matches!(run.phase, RunPhase::Running { .. }))
            .filter_map(|run| run.agent.as_ref().map(|(_, name)| name.as_str()))
            .collect();
        let end_ms = step.ended_ms.unwrap_or(now_ms);
        let open = (step.queue.len() + step.running) as u64;
        let left_ms = (step.phase == StepPhase::Running && step.done > 0).then(|| {
            let each_ms = step.took_ms / step.done as u64;
            each_ms * open / step.running.max(1) as u64
        });
        let why = match step.phase {
            StepPhase::Waiting => {
                let open = spec
                    .needs
                    .iter()
                    .filter(|needed| self.steps.get(**needed).is_none_or(|one| one.phase != StepPhase::Done));
                let names: Vec<&str> =
                    open.filter_map(|needed| self.spec.steps.get(*needed)).map(|step| step.name.as_str()).collect();
                format!("for {}", names.join(", "))
            }
            StepPhase::Running if step.lonely_since_ms.is_some() => {
                format!("waits for an agent that offers {}", spec.action.type_name())
            }
            StepPhase::Running if step.running == 0 => "waits for a place".to_owned(),
            _ => step.why.clone(),
        };
        Some(StepView {
            name: spec.name.clone(),
            phase: step.phase,
            runs: step.count,
            queued: step.queue.len(),
            running: step.running,
            done: step.done,
            failed: step.failed,
            retried: step.retried,
            agents: agents.into_iter().map(str::to_owned).collect(),
            elapsed_ms: step.begun_ms.map(|begun_ms| end_ms.saturating_sub(begun_ms)),
            left_ms,
            why,
        })
    }
}

/// A length of time, short.
fn time(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{}:{:02} min", seconds / 60, seconds % 60),
        seconds => format!("{}:{:02} h", seconds / 3600, seconds / 60 % 60),
    }
}

impl FlowView {
    /// The view as lines of a terminal of that size: steps that run or failed are there whatever happens, others as there is
    /// room.
    #[must_use]
    pub fn lines(&self, columns: usize, rows: usize) -> Vec<String> {
        let over = self.steps.iter().filter(|step| step.phase.is_over()).count();
        let left = self.left_ms.map(|left_ms| format!(", about {} left", time(left_ms))).unwrap_or_default();
        let head = format!("{}: {over} of {} steps over, {}{left}", self.name, self.steps.len(), time(self.elapsed_ms));
        let room = rows.saturating_sub(2).max(1);
        let mut shown: Vec<usize> = (0..self.steps.len()).collect();
        let weight = |step: &StepView| match step.phase {
            StepPhase::Running => 0,
            StepPhase::Failed => 1,
            StepPhase::Waiting => 2,
            StepPhase::Skipped | StepPhase::Stopped => 3,
            StepPhase::Done => 4,
        };
        shown.sort_by_key(|index| self.steps.get(*index).map(weight));
        let hidden = shown.len().saturating_sub(room);
        shown.truncate(room);
        shown.sort_unstable();
        let steps: Vec<&StepView> = shown.into_iter().filter_map(|index| self.steps.get(index)).collect();
        let width = steps.iter().map(|step| step.name.chars().count()).max().unwrap_or(0);
        let more = (hidden > 0).then(|| format!("  and {hidden} more"));
        let lines = steps.iter().map(|step| step.line(width));
        std::iter::once(head).chain(lines).chain(more).map(|line| fit(&line, columns)).collect()
    }
}

impl StepView {
    /// The step on one line, its name padded to `width`.
    #[must_use]
    pub fn line(&self, width: usize) -> String {
        let mut parts = vec![format!("  {} {:<width$}  {:<7}", self.phase.sign(), self.name, self.phase.word())];
        if self.runs > 1 {
            let over = self.done + self.failed;
            let filled = over * BAR_CELLS / self.runs;
            let bar = match self.phase {
                StepPhase::Running => format!("{}{} ", "█".repeat(filled), "░".repeat(BAR_CELLS - filled)),
                _ => String::new(),
            };
            let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
            parts.push(format!("{bar}{over}/{}{failed}", self.runs));
        }
        if self.retried > 0 {
            parts.push(format!("tried again: {}", self.retried));
        }
        if !self.agents.is_empty() {
            let more = self.agents.len().saturating_sub(AGENTS_SHOWN);
            let names = self.agents.iter().take(AGENTS_SHOWN).map(String::as_str).collect::<Vec<_>>().join(" ");
            parts.push(if more > 0 { format!("on {names} and {more} more") } else { format!("on {names}") });
        }
        parts.extend(self.elapsed_ms.map(time));
        parts.extend(self.left_ms.map(|left_ms| format!("about {} left", time(left_ms))));
        if !self.why.is_empty() {
            parts.push(self.why.clone());
        }
        parts.join("  ").trim_end().to_owned()
    }
}

/// A line that takes no second one: without what steers a terminal, cut to its columns.
fn fit(line: &str, columns: usize) -> String {
    let shown: String = line.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
    if shown.chars().count() <= columns {
        return shown;
    }
    let kept: String = shown.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}
