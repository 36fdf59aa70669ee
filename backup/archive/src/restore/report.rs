//! What was done, and what not and why.

use std::collections::BTreeMap;

use shoal_backup::ObjectName;
use shoal_backup::plan::PathBytes;
use shoal_backup::recovery::Totals;

use crate::error::ArchiveError;

/// Failures that are kept; more are only counted.
pub const FAILURES_LIMIT: usize = 10_000;

/// Something that was not restored, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What; `None`: the message says what.
    pub path: Option<PathBytes>,
    /// Why, in a sentence.
    pub why: String,
    /// The pack that is to blame.
    pub pack: Option<ObjectName>,
}

/// All failures.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failures {
    /// How many.
    pub count: u64,
    /// The first [`FAILURES_LIMIT`].
    pub kept: Vec<Failure>,
    /// Packs that are to blame, and for how many failures.
    pub packs: BTreeMap<ObjectName, u64>,
}

impl Failures {
    pub(super) fn add(&mut self, path: Option<&PathBytes>, error: &ArchiveError) {
        let pack = error.pack();
        self.count += 1;
        if let Some(pack) = pack {
            *self.packs.entry(pack).or_default() += 1;
        }
        if self.kept.len() < FAILURES_LIMIT {
            self.kept.push(Failure { path: path.cloned(), why: error.to_string(), pack });
        }
    }
}

/// What a restore would do.
#[derive(Debug, Clone, Default)]
pub struct Preview {
    /// How many entries and bytes of what was asked for; folders above it are not counted.
    pub totals: Totals,
    /// What is free where it would be written.
    pub free_bytes: u64,
    /// What could not be looked at.
    pub failures: Failures,
}

impl Preview {
    /// Whether there is room for it: each file is written before it takes the place of an old one.
    #[must_use]
    pub fn fits(&self) -> bool {
        self.totals.created.bytes.saturating_add(self.totals.overwritten.bytes) <= self.free_bytes
    }
}

/// What a restore did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What was planned for the entries that it came to; folders above what was asked for are not counted.
    pub totals: Totals,
    /// Entries that are there now as the archive has them, because they were made or took another's place.
    pub restored: u64,
    /// What was not restored, or not wholly.
    pub failures: Failures,
    /// Why it ended before all was done: cancelled, or the disk is full. What is restored until then is whole.
    pub stopped: Option<ArchiveError>,
}

impl Outcome {
    /// Whether everything is there.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.failures.count == 0 && self.stopped.is_none()
    }
}
