//! 2. A read returns what was written as that version of the file, or an error.

use dci_proto::InodeId;
use shoal_ledger::{ChunkRef, Command, FileContent, Outcome};

use crate::ledger::inner;
use crate::stripes::value_of;
use crate::world::World;

/// Notes what versions of files were made of, as the clients meant them.
pub(crate) fn note_versions(world: &mut World, position: u64) {
    let Some(batch) = world.log.batches().last() else { return };
    let mut made = Vec::new();
    for submission in &batch.submissions {
        let Command::CommitFile { content: FileContent::Chunks(chunks), .. } = inner(&submission.command) else {
            continue;
        };
        let Some((first, Ok(Outcome::Node { node, .. }))) = world.log.answers.get(&submission.id) else { continue };
        if *first == position {
            let value = |chunk: &ChunkRef| value_of(chunk.content);
            made.push(((node.inode, node.version), chunks.iter().map(value).collect()));
        }
    }
    world.record.versions.extend(made);
}

/// A client has read a version of a file.
pub(crate) fn check(world: &mut World, inode: InodeId, version: u64, read: &[u64]) {
    let written = world.record.versions.get(&(inode, version));
    if written.is_none_or(|written| written != read) {
        let what = format!("inode {inode} version {version} was written as {written:?} and read as {read:?}");
        world.fail("reads-true", what);
    }
}
