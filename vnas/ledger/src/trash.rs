//! What files leave behind when they are deleted or overwritten: their last content, for a set time.

use serde::{Deserialize, Serialize};

use crate::{Node, NodePath};

/// Why a file's content went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrashReason {
    /// The file was removed, or a folder it was in.
    Deleted,
    /// Other content took its place.
    Overwritten,
}

/// A version of a file in the trash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashEntry {
    /// Its number; later ones went later.
    pub id: u64,
    /// Where it was. A tree moved down can have been deeper than paths may be.
    pub path: NodePath,
    /// The file as it was, its properties excepted.
    pub node: Node,
    /// When it went, in ms since 1970 UTC by the leader's clock.
    pub since_ms: u64,
    /// By whom.
    pub user: String,
    /// Why.
    pub reason: TrashReason,
}

/// What the trash holds under one name of a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashChild {
    /// The name.
    pub name: String,
    /// Versions of a file of that name, the oldest first.
    pub versions: Vec<TrashEntry>,
    /// If there are versions below a folder of that name: when one of them went, in ms since 1970 UTC.
    pub folder_since_ms: Option<u64>,
}

/// How much is in the trash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TrashTotals {
    /// Versions of files.
    pub files: u64,
    /// Their bytes, as their users saw them.
    pub bytes: u64,
}
