//! What is known of a step and of a run while a flow is under way.

use std::collections::{BTreeSet, VecDeque};

use crate::view::StepPhase;

/// Where the runs of a step go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Targets {
    /// Each item to any agent; of these, where there are any named.
    Any(Option<BTreeSet<String>>),
    /// Each item to each of these: id and name.
    Each(Vec<(String, String)>),
}

/// A step.
#[derive(Debug, Clone)]
pub(crate) struct StepState {
    pub(crate) phase: StepPhase,
    pub(crate) targets: Targets,
    /// Whether another step is given what this one gives.
    pub(crate) is_used: bool,
    /// Its runs: the first one's index and how many there are. None before it begins.
    pub(crate) first: usize,
    pub(crate) count: usize,
    /// Runs that wait for a place, the next one first.
    pub(crate) queue: VecDeque<usize>,
    pub(crate) running: usize,
    pub(crate) done: usize,
    pub(crate) failed: usize,
    /// Attempts beyond the first of each run.
    pub(crate) retried: usize,
    /// How long the runs took that are done, all together.
    pub(crate) took_ms: u64,
    pub(crate) begun_ms: Option<u64>,
    pub(crate) ended_ms: Option<u64>,
    /// Since when no agent at all could take what waits.
    pub(crate) lonely_since_ms: Option<u64>,
    /// Why it ended as it did, where that is not by itself clear.
    pub(crate) why: String,
    /// What the steps that use it are given; empty until it is done.
    pub(crate) output: String,
}

impl StepState {
    pub(crate) fn new(targets: Targets, is_used: bool) -> Self {
        Self {
            phase: StepPhase::Waiting,
            targets,
            is_used,
            first: 0,
            count: 0,
            queue: VecDeque::new(),
            running: 0,
            done: 0,
            failed: 0,
            retried: 0,
            took_ms: 0,
            begun_ms: None,
            ended_ms: None,
            lonely_since_ms: None,
            why: String::new(),
            output: String::new(),
        }
    }
}

/// One run of a step.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) step: usize,
    pub(crate) item: Option<String>,
    /// The one agent it may run on: id and name.
    pub(crate) pinned: Option<(String, String)>,
    pub(crate) phase: RunPhase,
    /// Attempts begun.
    pub(crate) attempts: u32,
    /// Agents it failed on.
    pub(crate) tried: Vec<String>,
    /// The agent of the last attempt: id and name.
    pub(crate) agent: Option<(String, String)>,
    pub(crate) begun_ms: Option<u64>,
    pub(crate) ended_ms: Option<u64>,
    pub(crate) exit_status: Option<i32>,
    pub(crate) output: String,
    pub(crate) why: String,
}

/// How a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunPhase {
    Queued,
    Running { since_ms: u64, deadline_ms: u64 },
    Done,
    Failed,
    Stopped,
}
