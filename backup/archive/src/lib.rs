//! Archives of a PC's files: a restic repository in a folder, what goes into it and what comes out of it.
//!
//! ```text
//! repository  the trait: what the rest of backup asks of an engine
//! fetch       objects that are not on this disk are brought from elsewhere
//! engine      its implementation over `rustic_core`, every call on a thread of its own
//! walk        reads the files that a plan keeps; counts and names what it could not read
//! restore     writes files back: planned first, one bad pack costs the files in it, nothing unknown is deleted
//! ```
//!
//! The repository is restic's, version 2: any `restic` from 0.14 on checks and restores it with the owner's passphrase. What
//! is ours travels in it where restic keeps it untouched: tags and description of a snapshot ([`Archive`]).
//!
//! What must hold: an archive is there only when all that it needs is on the disk; an archive that lacks a file says so
//! itself; a panic of the engine is an error; what stands in a repository, however it was made, leads nowhere but into the
//! folder that is restored to. This crate knows no peers, no schedules and no network.

#![forbid(unsafe_code)]

mod archive;
mod engine;
mod entry;
mod error;
mod fetch;
mod repository;
mod restore;
mod walk;
mod watch;

pub use archive::{Archive, INCOMPLETE_TAG, TAG};
pub use engine::Engine;
pub use entry::{ContentId, Entry, Kind};
pub use error::ArchiveError;
pub use fetch::FetchObject;
pub use repository::{
    ArchiveName, BackUp, BackedUp, Checked, Forgotten, Listing, Needs, Objects, ReadContents, Repository, StoredObject,
};
pub use restore::{FAILURES_LIMIT, Failure, Failures, First, Outcome, Preview, Restore, UNFINISHED_PREFIX};
pub use walk::{NAMED_LIMIT, Problem, ProblemKind, Problems};
pub use watch::{Progress, Watch};
