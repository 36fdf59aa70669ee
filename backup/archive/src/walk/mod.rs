//! Walks the folders that a plan keeps and hands what is in them to the engine, in the order of listings.
//!
//! ```text
//! walker    from folder to folder; what is kept and what is not
//! folder    the names in a folder, in order
//! node      what the system says of an entry, as the repository keeps it
//! read      a file is read, without following links, and looked at again at the end
//! shared    what walker and readers tell
//! problems  what could not be read as it was
//! ```
//!
//! No link is ever followed below a root. Whether a file is read or taken from the parent archive is the engine's decision, by
//! size, time of change, time of the last change of anything, and inode: [`node`] sees to it that a file that might still
//! change within one tick of its file system's clock is read again the next time.
//!
//! Memory: the names of the folders on the way from the root to where the walker is. The engine however keeps all entries of
//! a folder in memory until it is through with it, because the format has one object for a folder: about 0.6 KiB an entry.

mod folder;
mod node;
mod problems;
mod read;
mod shared;
mod walker;

use std::path::Path;
use std::sync::Arc;

use rustic_core::{ReadSource, RusticResult};
use shoal_backup::plan::{Plan, Selection};

pub(crate) use node::mode_from_go;
pub use problems::{NAMED_LIMIT, Problem, ProblemKind, Problems};
use read::ToRead;
use shared::Shared;
use walker::Walker;

use crate::error::ArchiveError;
use crate::watch::Watch;

/// What a plan keeps, for the engine.
#[derive(Debug)]
pub(crate) struct Source {
    plan: Arc<Plan>,
    /// Device and inode of the repository, which is never backed up into itself.
    repository: Option<(u64, u64)>,
    shared: Arc<Shared>,
}

impl Source {
    pub(crate) fn new(plan: Arc<Plan>, repository: &Path, watch: Arc<Watch>) -> Result<Self, ArchiveError> {
        if Selection::of(&plan).roots().is_empty() {
            return Err(ArchiveError::NothingRead("no folder is to be kept".to_owned()));
        }
        let repository = rustix::fs::stat(repository).ok().map(|stat| (stat.st_dev, stat.st_ino));
        Ok(Self { plan, repository, shared: Arc::new(Shared::new(watch)) })
    }

    /// What could not be read, when the engine is through. `archived`: entries other than folders in the archive.
    pub(crate) fn into_problems(self, archived: u64) -> Problems {
        self.shared.into_problems(archived)
    }
}

impl ReadSource for Source {
    type Open = ToRead;
    type Iter = Walker;

    fn size(&self) -> RusticResult<Option<u64>> {
        Ok(None)
    }

    fn entries(&self) -> Walker {
        Walker::new(Arc::clone(&self.plan), self.repository, Arc::clone(&self.shared))
    }
}
