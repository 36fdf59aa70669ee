//! Writes files back.
//!
//! ```text
//! source   several archives as one stream of entries; what cannot be read of them goes to the report
//! decide   what is done with an entry, given what is on the disk
//! target   the folder that is restored to; no path, whatever an archive says, leads out of it
//! first    what somebody asks for meanwhile goes first
//! file     a file is written beside its place
//! meta     owner, attributes, permissions, times
//! batch    many files are made durable at once, then take their places
//! folders  folders get their times when all in them is done
//! run      all of it together
//! report   what was done, and what not and why
//! ```
//!
//! A file takes its place only when it is whole and durable, by a rename: whatever happens, there is the old one or the new
//! one. What the archives do not have is left alone, and a folder is never replaced. A piece that cannot be read costs the
//! files that have it; the report says which, and which pack is to blame. What a crash leaves are files named
//! [`UNFINISHED_PREFIX`]…, which mean nothing.

mod batch;
mod decide;
mod file;
mod first;
mod folders;
mod meta;
mod report;
mod run;
mod source;
mod target;

use std::path::PathBuf;

use shoal_backup::ObjectName;
use shoal_backup::plan::PathBytes;
use shoal_backup::recovery::Existing;

pub use first::First;
pub use report::{FAILURES_LIMIT, Failure, Failures, Outcome, Preview};

/// What the names of files begin with that have not taken their places yet.
pub const UNFINISHED_PREFIX: &str = ".shoal-restoring-";

/// What is restored, and to where.
#[derive(Debug, Clone)]
pub struct Restore {
    /// One archive, or several: *sequentially up to* the last. The oldest first; of a path that several have, the last wins.
    pub archives: Vec<ObjectName>,
    /// The folder under which paths are made: `/` puts everything where it was, another folder puts it aside.
    pub target: PathBuf,
    /// Only these and what is in them; none: everything.
    pub ticked: Vec<PathBytes>,
    /// What happens to files that are there and differ.
    pub existing: Existing,
}

impl Restore {
    /// Whether it is restored itself.
    fn is_ticked(&self, path: &PathBytes) -> bool {
        self.ticked.is_empty() || self.ticked.iter().any(|ticked| path.is_within(ticked))
    }

    fn is_wanted(&self, path: &PathBytes, is_folder: bool) -> bool {
        let is_above = |ticked: &PathBytes| is_folder && ticked.is_within(path);
        self.ticked.is_empty() || self.ticked.iter().any(|ticked| path.is_within(ticked) || is_above(ticked))
    }
}
