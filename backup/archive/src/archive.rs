//! What is known of an archive: a snapshot of the repository, and the marks of ours that it carries.
//!
//! The marks are tags, which restic shows, keeps and can select by: [`TAG`] on all that Shoal made, `archive-N` for its
//! number, `snapshot` or `delta` for its mode, [`INCOMPLETE_TAG`] if files are missing in it or not as they were at one
//! moment. The description then says which, as far as it has room.

use rustic_core::repofile::SnapshotFile;
use shoal_backup::schedule::Mode;
use shoal_backup::{ArchiveId, ObjectName};

use crate::engine::object_name;

/// The tag of every archive that Shoal makes.
pub const TAG: &str = "shoal";
/// The tag of an archive in which something is missing.
pub const INCOMPLETE_TAG: &str = "incomplete";
const NUMBER_PREFIX: &str = "archive-";
const DELTA_TAG: &str = "delta";
const SNAPSHOT_TAG: &str = "snapshot";

/// An archive of the repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// The snapshot object that it is.
    pub name: ObjectName,
    /// Its number; `None` if another program made it.
    pub number: Option<ArchiveId>,
    /// How it was made; `None` if another program made it.
    pub mode: Option<Mode>,
    /// Whether every file is in it as it was.
    pub is_complete: bool,
    /// When it was begun, ms since 1970, by the clock of the PC that made it.
    pub made_ms: i64,
    /// The PC that made it.
    pub host: String,
    /// The folders that it is of, as text.
    pub roots: Vec<String>,
    /// Files in it, if known.
    pub files: u64,
    /// Bytes of the files in it, if known.
    pub bytes: u64,
    /// Bytes that were added for it, compressed and encrypted.
    pub added_bytes: u64,
    /// What is to be known of it: which files are missing, and why.
    pub description: String,
}

impl Archive {
    pub(crate) fn of(snapshot: &SnapshotFile) -> Self {
        let tags: Vec<&String> = snapshot.tags.iter().collect();
        let has = |tag: &str| tags.iter().any(|known| *known == tag);
        let number = tags.iter().find_map(|tag| tag.strip_prefix(NUMBER_PREFIX)?.parse().ok()).map(ArchiveId);
        let mode = if has(DELTA_TAG) { Some(Mode::Delta) } else { has(SNAPSHOT_TAG).then_some(Mode::Snapshot) };
        let summary = snapshot.summary.as_ref();
        Self {
            name: object_name(&snapshot.id),
            number: number.filter(|_| has(TAG)),
            mode: mode.filter(|_| has(TAG)),
            is_complete: !has(INCOMPLETE_TAG),
            made_ms: snapshot.time.timestamp().as_millisecond(),
            host: snapshot.hostname.clone(),
            roots: snapshot.paths.iter().cloned().collect(),
            files: summary.map_or(0, |summary| summary.total_files_processed),
            bytes: summary.map_or(0, |summary| summary.total_bytes_processed),
            added_bytes: summary.map_or(0, |summary| summary.data_added_packed),
            description: snapshot.description.clone().unwrap_or_default(),
        }
    }

    /// The tags of a new archive.
    pub(crate) fn tags(number: ArchiveId, mode: Mode, is_complete: bool) -> Vec<String> {
        let mode = match mode {
            Mode::Delta => DELTA_TAG,
            Mode::Snapshot => SNAPSHOT_TAG,
        };
        let incomplete = (!is_complete).then(|| INCOMPLETE_TAG.to_owned());
        let tags = [TAG.to_owned(), format!("{NUMBER_PREFIX}{}", number.0), mode.to_owned()];
        tags.into_iter().chain(incomplete).collect()
    }
}
