//! Whether an archive would be equal to the one before it, in all that it brings back.
//!
//! What the system says of a file beside that counts for nothing: inode, device, and the time of its last change, which the walker
//! leaves out as long as another change could hide behind it. So do the folders above the roots, which are only the way there.

use rustic_core::TreeId;
use rustic_core::repofile::{Node, SnapshotFile};
use shoal_backup::plan::PathBytes;

use super::Indexed;
use super::files::Files;
use super::listing::tree_nodes;
use crate::error::ArchiveError;

/// Whether nothing differs between two archives of these roots.
pub(super) fn is_equal(
    repository: impl FnOnce() -> Result<Indexed, ArchiveError>,
    files: &Files,
    roots: &[PathBytes],
    one: &SnapshotFile,
    other: &SnapshotFile,
) -> Result<bool, ArchiveError> {
    if (&one.paths, &one.description) != (&other.paths, &other.description) {
        return Ok(false);
    }
    if one.tree == other.tree {
        return Ok(true);
    }
    // Contents that no archive had.
    if other.summary.as_ref().is_none_or(|summary| summary.data_blobs > 0) {
        return Ok(false);
    }
    let repository = repository()?;
    let mut pairs: Vec<(PathBytes, TreeId, TreeId)> = vec![(PathBytes::new(b""), one.tree, other.tree)];
    while let Some((path, one, other)) = pairs.pop() {
        let one = tree_nodes(&repository, files, one, path.as_bytes())?;
        let other = tree_nodes(&repository, files, other, path.as_bytes())?;
        if one.len() != other.len() {
            return Ok(false);
        }
        for (one, other) in one.iter().zip(&other) {
            let path = PathBytes::new(&[path.as_bytes(), b"/", one.name().as_encoded_bytes()].concat());
            let is_above = roots.iter().any(|root| *root != path && root.is_within(&path));
            let same = if is_above { one.name == other.name } else { brought_back(one) == brought_back(other) };
            match (one.subtree, other.subtree) {
                _ if !same => return Ok(false),
                (Some(one), Some(other)) if one != other => pairs.push((path, one, other)),
                (Some(_), Some(_)) | (None, None) => {}
                _ => return Ok(false),
            }
        }
    }
    Ok(true)
}

/// What of an entry a restore brings back, what is in it aside.
fn brought_back(node: &Node) -> Node {
    let mut node = node.clone();
    (node.meta.ctime, node.meta.atime, node.subtree) = (None, None, None);
    (node.meta.inode, node.meta.device_id) = (0, 0);
    node
}
