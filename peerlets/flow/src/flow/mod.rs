//! What is started when: the core of a flow.
//!
//! ```text
//!          needs done                        last attempt failed
//! Waiting ───────────► Running ─ runs end ─► Done | Failed
//!    └ a need failed ─► Skipped     └ stop ─► Stopped
//! ```

mod drive;
mod expand;
mod state;

use std::collections::{BTreeMap, BTreeSet};

use crate::agents::{Directory, Record};
use crate::spec::Spec;

pub(crate) use state::{Run, RunPhase, StepState, Targets};

/// One try of one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attempt {
    /// Which run of the flow.
    pub run: u32,
    /// Which try of it, from 1.
    pub number: u32,
}

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// It begins, or a time asked for has come.
    Woken,
    /// Who is there now, how busy they are, what they offer.
    Agents(Directory),
    /// A program has run to its end.
    Done {
        /// Which attempt.
        attempt: Attempt,
        /// What it gave.
        output: String,
        /// Its exit status; `None`: it has none, and went well.
        exit_status: Option<i32>,
    },
    /// It could not be run, or was not heard of in time.
    Failed {
        /// Which attempt.
        attempt: Attempt,
        /// Why.
        why: String,
        /// What it gave all the same.
        output: String,
    },
    /// A person stops it: nothing more is started.
    Stop,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Start this; tell [`Event::Done`] or [`Event::Failed`] when it has ended.
    Start(Box<Start>),
    /// Nobody waits for this attempt any more.
    Abandon(Attempt),
    /// Wake it at this time; the last one said counts.
    WakeAt(u64),
    /// All is over.
    Finished,
}

/// What is to be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Which attempt this is.
    pub attempt: Attempt,
    /// Of which step.
    pub step: String,
    /// For which item.
    pub item: Option<String>,
    /// On which agent: its id.
    pub agent: String,
    /// And its name.
    pub agent_name: String,
    /// By which peerlet.
    pub type_name: String,
    /// What it is given.
    pub body: Body,
    /// How long it may take.
    pub timeout_ms: u64,
}

/// What a peerlet is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Text.
    Text(String),
    /// XML, as the file has it.
    Xml(String),
    /// A command, for the peerlet that runs commands.
    Command {
        /// The program and its arguments.
        command: Vec<String>,
        /// Its standard input.
        input: String,
    },
}

/// Why a flow cannot begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// A step names what is not there.
    #[error("step {step}: {what}")]
    Step {
        /// Which step.
        step: String,
        /// What.
        what: String,
    },
    /// More runs than [`crate::RUNS_LIMIT`].
    #[error("it comes to {0} runs, the limit is {limit}", limit = crate::RUNS_LIMIT)]
    TooMany(usize),
}

/// A flow under way.
#[derive(Debug, Clone)]
pub struct Flow {
    pub(crate) spec: Spec,
    pub(crate) directory: Directory,
    pub(crate) steps: Vec<StepState>,
    pub(crate) runs: Vec<Run>,
    /// By the agent's id.
    pub(crate) records: BTreeMap<String, Record>,
    /// When each attempt under way is overdue.
    pub(crate) deadlines: BTreeSet<(u64, u32)>,
    pub(crate) outputs_bytes: usize,
    pub(crate) begun_ms: Option<u64>,
    pub(crate) ended_ms: Option<u64>,
    pub(crate) stopped: bool,
}

impl Flow {
    /// A flow for these agents.
    ///
    /// # Errors
    /// If a step names an agent or a group that is not there, or it comes to too many runs.
    pub fn new(spec: Spec, directory: Directory) -> Result<Self, StartError> {
        let steps = expand::steps(&spec, &directory)?;
        Ok(Self {
            spec,
            directory,
            steps,
            runs: Vec::new(),
            records: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            outputs_bytes: 0,
            begun_ms: None,
            ended_ms: None,
            stopped: false,
        })
    }

    /// What it is made of.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// Whether all is over.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.ended_ms.is_some()
    }

    /// What a step gave, as other steps get it; empty until it is done.
    #[must_use]
    pub fn output(&self, step: &str) -> String {
        let index = self.spec.steps.iter().position(|known| known.name == step);
        index.and_then(|index| self.steps.get(index)).map(|state| expand::joined(state, &self.runs)).unwrap_or_default()
    }
}
