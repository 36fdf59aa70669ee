//! Flows: tasks in several steps on several agents, each step an existing program, results of one going into the next.
//! Pure: a file's text, the agents there are, events and the time in; what is to be started and what to show out.
//!
//! ```text
//! text ─ Spec::parse ─► Spec ─ Flow::new(agents) ─► Flow ⇄ shell: start · done · failed · wake
//!                                                     └─► FlowView ─► lines of a terminal; RunResult
//! ```
//!
//! This crate knows no messages: the shell makes one of each [`Effect::Start`] and tells what came of it. A step runs
//! when all it needs is done; each of its runs is tried at most once and as often again as its `retries` say. A step
//! that fails fails what needs it and nothing else. The same events at the same times give the same effects.

mod agents;
mod file;
mod flow;
mod limits;
mod results;
mod spec;
mod template;
mod view;

pub use agents::{Agent, Directory};
pub use file::FileError;
pub use flow::{Attempt, Body, Effect, Event, Flow, Start, StartError};
pub use limits::{
    ARGUMENTS_LIMIT, BODY_LIMIT_BYTES, FILE_LIMIT_BYTES, OUTPUT_LIMIT_BYTES, OUTPUTS_LIMIT_BYTES, PARALLEL_LIMIT,
    RETRIES_LIMIT, RUNS_LIMIT, STEPS_LIMIT, TIMEOUT_LIMIT_S,
};
pub use results::{Outcome, RunResult};
pub use spec::{Action, Each, On, Spec, SpecError, Step};
pub use template::{Template, TemplateError};
pub use view::{FlowView, StepPhase, StepView};
