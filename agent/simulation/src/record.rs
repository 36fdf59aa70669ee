//! What clients wrote and were told: the truth the checkers hold the pool to.

use std::collections::BTreeMap;

use dci_proto::InodeId;

/// What is known of the history.
#[derive(Default)]
pub(crate) struct Record {
    /// By inode and version of a file: the values written.
    pub(crate) versions: BTreeMap<(InodeId, u64), Vec<u64>>,
    /// Values written so far, to be written again now and then.
    pub(crate) values: Vec<u64>,
    /// The latest position of anything that was acknowledged to anyone.
    pub(crate) acknowledged: u64,
}
