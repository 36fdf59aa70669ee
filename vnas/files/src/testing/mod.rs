//! Crash points: what is done to the files of a directory is recorded, and what a crash after any of it may leave is
//! laid out in another directory, to be opened and judged.
//!
//! ```text
//! Recording ──► Trace ──► Disk after each operation ──► Images: what is not synced lost, kept, torn, mixed ──► check
//! ```
//!
//! The model of the disk is as strict as the guarantees in the crate's doc: bytes that were not synced may be missing,
//! sector by sector; names that were not synced may be missing, one by one and in any order.

mod disk;
mod points;
pub(crate) mod recording;

pub use disk::{Disk, Loss};
pub use points::{Crash, Outcome, crash_everywhere, scratch_directory};
pub use recording::{Operation, Recording, Trace};
