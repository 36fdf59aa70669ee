//! The bounds of a flow, in one place.

/// Bytes of a flow's file.
pub const FILE_LIMIT_BYTES: usize = 1024 * 1024;
/// Steps of a flow: more than a person keeps an overview of.
pub const STEPS_LIMIT: usize = 200;
/// Runs of a flow, all steps together: each is one message at least, and one line of the result.
pub const RUNS_LIMIT: usize = 10_000;
/// Arguments of a command.
pub const ARGUMENTS_LIMIT: usize = 1000;
/// Bytes of what one run is given: a message has room for 1 MiB, and XML makes some characters longer.
pub const BODY_LIMIT_BYTES: usize = 640 * 1024;
/// Bytes of what one run gives back. What is larger travels as a file.
pub const OUTPUT_LIMIT_BYTES: usize = 1024 * 1024;
/// Bytes of all outputs that are kept.
pub const OUTPUTS_LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// Times that a run is tried again.
pub const RETRIES_LIMIT: u32 = 10;
/// Seconds that one run may take: what the peerlet `run` gives a command at most.
pub const TIMEOUT_LIMIT_S: u64 = 86_000;
/// Runs under way at once.
pub const PARALLEL_LIMIT: usize = 64;

/// Runs under way at once, unless the file says otherwise.
pub(crate) const PARALLEL_DEFAULT: usize = 32;
/// Runs under way at once on one agent, unless the file says otherwise: somebody works at that PC.
pub(crate) const PER_AGENT_DEFAULT: usize = 4;
/// Seconds that one run may take, unless the file says otherwise.
pub(crate) const TIMEOUT_DEFAULT_S: u64 = 300;
/// Bytes of the name of a flow, a step, an agent, a group, a type.
pub(crate) const NAME_LIMIT_BYTES: usize = 128;
/// Bytes of the value of one item.
pub(crate) const ITEM_LIMIT_BYTES: usize = 64 * 1024;

/// How long the shell has, beyond a run's own time, to say what became of it.
pub(crate) const WORD_GRACE_MS: u64 = 15_000;
/// How long a step waits for any agent at all that is there and offers what it needs.
pub(crate) const AGENT_PATIENCE_MS: u64 = 60_000;
/// Failures in a row after which an agent is chosen only where there is no other: it would be idle, fail at once, and get all
/// there is.
pub(crate) const FAILURES_IN_A_ROW: u32 = 2;
