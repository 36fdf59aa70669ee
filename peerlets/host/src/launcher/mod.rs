//! Starts a program held to its limits, and ends it with all it started. A process of its own, in two steps, because a
//! limit must be there before the program is, and because somebody must be there who outlives it:
//!
//! ```text
//! agent ─ starts ─► warden ─ starts ─► confine ─ becomes ─► the program ─► whatever it starts
//!   └─ control FIFO ─┘ └───────────── watches, ends, reports ─────────────────────┘
//! ```
//!
//! The *warden* adopts what the program leaves behind (`PR_SET_CHILD_SUBREAPER`), so that a child that left its process group
//! is still ended with it; it watches the memory and number of all of them together, and ends them when the agent is gone.
//! *Confine* limits itself (`setrlimit`, no new privileges, Landlock, a user that is nobody's where the agent is root) and
//! then becomes the program, so that nothing of the program ever runs without its limits.
//!
//! The agent's binary is both: [`main`] is called for a hidden subcommand, with a word for the step and the folder with the
//! [`Spec`].

mod confine;
mod restrict;
mod spec;
mod tree;
mod warden;

use std::path::Path;
use std::process::ExitCode;

pub use restrict::Protection;
pub use spec::{CONTROL_FILE, Ended, REPORT_FILE, Report, SPEC_FILE, Spec};
pub use tree::end_tree;

/// The word for the step that watches.
pub const WARDEN: &str = "warden";
/// The word for the step that becomes the program.
pub const CONFINE: &str = "confine";
/// The word for asking what the kernel offers; the answer is a [`Protection`] on standard output.
pub const PROBE: &str = "probe";
/// Written to the control FIFO: the program is asked to end (SIGTERM).
pub const ASK: u8 = b'T';
/// Written to the control FIFO: the program is ended with all it started (SIGKILL).
pub const END: u8 = b'K';

/// The exit status where the launcher itself failed: as shells have it for a program that cannot be run.
const FAILED_STATUS: u8 = 126;

/// What the agent's binary does for its hidden subcommand: `warden FOLDER`, `confine FOLDER`, `probe`. Comes back when
/// the program has ended.
#[must_use]
pub fn main(arguments: &[String]) -> ExitCode {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [WARDEN, folder, command @ ..] => warden::run(Path::new(folder), command),
        [CONFINE, folder] => confine::run(Path::new(folder)).map(|never| match never {}),
        [PROBE] => restrict::probe(),
        _ => Err(format!("expected {WARDEN} FOLDER, {CONFINE} FOLDER or {PROBE}")),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(why) => {
            eprintln!("launcher: {why}");
            ExitCode::from(FAILED_STATUS)
        }
    }
}
