//! Which files are made of certain contents.

use std::collections::BTreeSet;

use dci_proto::{ContentId, InodeId};
use shoal_ledger::{KvError, KvRead, Node, NodeContent, NodeKind, query};

/// Files named, at most; others are counted.
const NAMED: usize = 100;
/// Chunks of a file read at a time.
const CHUNKS_AT_ONCE: u32 = 256;

/// Paths of files that have a chunk among the contents, the first hundred, and how many there are. Goes through all names.
pub(crate) fn of_contents(view: &dyn KvRead, contents: &BTreeSet<ContentId>) -> Result<(Vec<String>, u64), KvError> {
    let (mut named, mut total) = (Vec::new(), 0);
    if contents.is_empty() {
        return Ok((named, total));
    }
    let volumes = query::volumes(view)?;
    let mut folders: Vec<(String, InodeId)> = volumes.into_iter().map(|volume| (volume.name, volume.root)).collect();
    while let Some((path, folder)) = folders.pop() {
        let mut failure = None;
        query::children(view, folder, None, &mut |node| {
            let path = format!("{path}/{}", node.name);
            if node.kind == NodeKind::Folder {
                folders.push((path, node.inode));
                return true;
            }
            match is_made_of(view, &node, contents) {
                Ok(true) => {
                    total += 1;
                    if named.len() < NAMED {
                        named.push(path);
                    }
                }
                Ok(false) => {}
                Err(error) => failure = Some(error),
            }
            failure.is_none()
        })?;
        if let Some(error) = failure {
            return Err(error);
        }
    }
    named.sort();
    Ok((named, total))
}

fn is_made_of(view: &dyn KvRead, node: &Node, contents: &BTreeSet<ContentId>) -> Result<bool, KvError> {
    let Some(NodeContent::Chunks(list)) = node.content else { return Ok(false) };
    let mut first = 0;
    loop {
        let chunks = query::chunks(view, list, first, CHUNKS_AT_ONCE)?;
        if chunks.iter().any(|(content, _)| contents.contains(content)) {
            return Ok(true);
        }
        if chunks.len() < CHUNKS_AT_ONCE as usize {
            return Ok(false);
        }
        first += CHUNKS_AT_ONCE;
    }
}
