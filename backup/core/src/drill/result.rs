//! What a drill found, and what that says of a full restore.

use std::collections::BTreeMap;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};

use crate::object::ArchiveId;
use crate::plan::PathBytes;
use crate::recovery::{ContentHash, Entry};

/// Differences that are named, at most; all are counted.
pub const DIFFERENCES_LIMIT: usize = 100;
/// What a file costs beside its bytes, in bytes that would take as long.
const FILE_COSTS_BYTES: u64 = 64 * 1024;

/// What the comparison says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct DrillResult {
    /// Files that came back as they were.
    pub good_files: u64,
    /// Their bytes.
    pub good_bytes: u64,
    /// Files that did not.
    pub bad_files: u64,
    /// The first of them.
    pub differences: Vec<PathBytes>,
}

impl DrillResult {
    /// Whether it proves anything: at least one file, and no bad one.
    #[must_use]
    pub fn is_proof(&self) -> bool {
        self.good_files > 0 && self.bad_files == 0
    }
}

/// Compares what the archive says of a sample with what came back. A file that did not come back is not in `restored`.
#[must_use]
pub fn compare(sample: &[Entry], restored: &BTreeMap<PathBytes, ContentHash>) -> DrillResult {
    let mut result = DrillResult::default();
    for entry in sample {
        if entry.content.is_some() && entry.content == restored.get(&entry.path).copied() {
            result.good_files += 1;
            result.good_bytes = result.good_bytes.saturating_add(entry.size_bytes);
            continue;
        }
        result.bad_files += 1;
        if result.differences.len() < DIFFERENCES_LIMIT {
            result.differences.push(entry.path.clone());
        }
    }
    result
}

/// The last time that restoring was proven. Kept and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// Of which archive.
    pub archive: ArchiveId,
    /// When, ms since 1970.
    pub at_ms: u64,
    /// By whom.
    pub by: AgentId,
    /// How long the restoring took.
    pub took_ms: u64,
    /// What came back.
    pub result: DrillResult,
}

/// How long a full restore of so many files and bytes would take, going by a proof.
#[must_use]
pub fn full_restore_ms(proof: &Proof, files: u64, bytes: u64) -> Option<u64> {
    let cost = |files: u64, bytes: u64| u128::from(files) * u128::from(FILE_COSTS_BYTES) + u128::from(bytes);
    let done = cost(proof.result.good_files, proof.result.good_bytes);
    let all = cost(files, bytes) * u128::from(proof.took_ms);
    u64::try_from(all.checked_div(done)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::EntryKind;

    fn entry(path: &str, content: Option<u8>) -> Entry {
        let content = content.map(|byte| ContentHash([byte; 32]));
        Entry { path: path.into(), kind: EntryKind::File, size_bytes: 10, modified_ns: 0, content, rights: None }
    }

    #[test]
    fn what_did_not_come_back_or_is_unknown_is_bad() {
        let sample = [entry("a", Some(1)), entry("b", Some(2)), entry("c", Some(3)), entry("d", None)];
        let restored = [("a", 1), ("b", 9), ("d", 4)].map(|(path, byte)| (path.into(), ContentHash([byte; 32])));
        let result = compare(&sample, &restored.into());
        assert_eq!((result.good_files, result.good_bytes, result.bad_files, result.is_proof()), (1, 10, 3, false));
        assert_eq!(result.differences, ["b", "c", "d"].map(PathBytes::from));
        assert!(!compare(&[], &BTreeMap::new()).is_proof());
    }

    #[test]
    fn a_full_restore_is_estimated_by_files_and_bytes() {
        let result = DrillResult { good_files: 10, good_bytes: 1 << 20, ..DrillResult::default() };
        let proof = Proof { archive: ArchiveId(1), at_ms: 0, by: AgentId([1; 32]), took_ms: 1_000, result };
        assert_eq!(full_restore_ms(&proof, 10, 1 << 20), Some(1_000));
        assert_eq!(full_restore_ms(&proof, 1_000, 100 << 20), Some(100_000));
        assert!(full_restore_ms(&proof, 1_000, 1 << 20) > Some(30_000), "many small files take long too");
        let nothing = Proof { result: DrillResult::default(), ..proof };
        assert_eq!(full_restore_ms(&nothing, 1, 1), None);
    }
}
