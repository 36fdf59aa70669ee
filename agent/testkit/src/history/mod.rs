//! What clients did and were told, and whether one single file system could have told them so.
//!
//! ```text
//! clients ──► Recorder (invoked, finished, outcome) ──► check_group: is there an order that explains it all?
//! ```
//!
//! A *group* is a folder of a few paths that are only ever renamed among themselves. Each path is a register that holds
//! nothing or one value; every write has a value of its own, so a read says which write it saw. A rename changes two
//! registers in one step, a listing reads which of them all exist in one step. A group's history is *linearizable* if
//! every operation can be given one instant between its start and its answer so that, in that order, every answer is what
//! a single copy would have said (Herlihy and Wing 1990). An operation whose outcome nobody knows — a timeout, a broken
//! connection, an answer of 5xx — may have happened at any instant after its start, or never.
//!
//! Knows no files, HTTP or clocks but the recorder's own.

mod check;
mod model;
mod operation;
mod recorder;
#[cfg(test)]
mod tests;

pub use check::{Verdict, Violation, check_group};
pub use operation::{Action, Condition, Operation, Outcome, PATHS_LIMIT, Path, Value};
pub use recorder::{Pending, Recorder};
