//! Drills: a sample of somebody's backup is restored from the copies in the pool, compared with what the archive says, and
//! removed again.
//!
//! What came back is read from the disk and hashed piece by piece, as the archive names its pieces. The sample is drawn by a
//! seed, so that the owner need not say which files are in it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use dci_proto::AgentId;
use shoal_archive::{Engine, Kind, ReadContents, Repository, Restore, Watch};
use shoal_backup::drill::{DrillResult, Sample, compare};
use shoal_backup::plan::PathBytes;
use shoal_backup::recovery::{ContentHash, Existing};
use shoal_backup::{ObjectName, sha256};
use tokio_util::sync::CancellationToken;

use super::RecoveryError;
use super::fetching::TellLiar;
use super::pool::Pool;
use super::session::{Folder, Session};
use crate::call::Drill;

/// How long a drill may take.
pub const DRILL_MINUTES: u64 = 30;

/// Carries a drill out in `folder`, which is removed at the end. Blocks.
pub(super) fn carry_out(
    pool: &Arc<Pool>,
    owner: AgentId,
    drill: &Drill,
    folder: PathBuf,
    tell_liar: TellLiar,
    cancelled: &Arc<AtomicBool>,
    cancel: &CancellationToken,
) -> Result<(DrillResult, u64), RecoveryError> {
    let folder = Folder(folder);
    // What an earlier one left that was cut short proves nothing.
    match std::fs::remove_dir_all(&folder.0) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(RecoveryError::io("remove", &folder.0)(error));
        }
        _ => {}
    }
    let session =
        Session::over_copies(pool, owner, &drill.passphrase, (folder.0.join("copy"), true), tell_liar, cancel)?;
    let engine = session.engine(cancel);
    let archive = drill.archive;
    let mut sample = Sample::new(drill.seed, drill.limit_bytes);
    for entry in engine.list(&archive)? {
        // A folder that cannot be read is not passed over: what is in it could not be drawn.
        sample.offer(&entry?.as_listed());
    }
    let sample = sample.end();
    if sample.is_empty() {
        return Ok((DrillResult::default(), 0));
    }
    let target = folder.0.join("out");
    let ticked: Vec<PathBytes> = sample.iter().map(|entry| entry.path.clone()).collect();
    let watch = Watch::new(Arc::clone(cancelled), |_| {});
    let begun = Instant::now();
    let restore = Restore { archives: vec![archive], target, ticked, existing: Existing::Overwrite };
    let outcome = restore.run(&engine, &watch)?;
    let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX).max(1);
    if let Some(stopped) = outcome.stopped {
        return Err(stopped.into());
    }
    let restored = hashes(&engine, &archive, &restore.target, &restore.ticked)?;
    let result = compare(&sample, &restored);
    if !result.is_proof() {
        // What found no room here says nothing of the copies.
        session.fetching.was_there_room()?;
    }
    Ok((result, took_ms))
}

/// What is in the files that came back.
fn hashes(
    engine: &Engine,
    archive: &ObjectName,
    target: &Path,
    ticked: &[PathBytes],
) -> Result<BTreeMap<PathBytes, ContentHash>, RecoveryError> {
    let wanted: BTreeSet<&PathBytes> = ticked.iter().collect();
    let contents = engine.contents()?;
    let mut found = BTreeMap::new();
    for entry in engine.list_ticked(archive, ticked)? {
        let entry = entry?;
        let Kind::File(pieces) = &entry.kind else { continue };
        if !wanted.contains(&entry.path) {
            continue;
        }
        let below = entry.path.as_bytes();
        let below = below.strip_prefix(b"/").unwrap_or(below);
        let path = target.join(std::ffi::OsStr::from_bytes(below));
        if let Ok(Some(hash)) = hash_of(&path, pieces, &*contents) {
            found.insert(entry.path, hash);
        }
    }
    Ok(found)
}

/// What a file hashes to if it is cut into pieces as long as these; `None`: it is shorter or longer than all of them.
fn hash_of(
    path: &Path,
    pieces: &[shoal_archive::ContentId],
    contents: &dyn ReadContents,
) -> io::Result<Option<ContentHash>> {
    let mut file = File::open(path)?;
    let mut names = Vec::new();
    for piece in pieces {
        let length = contents.read(piece).map_err(io::Error::other)?.len();
        let mut bytes = vec![0; length];
        match file.read_exact(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            read => read?,
        }
        names.push(ObjectName(sha256(&[&bytes])).to_string());
    }
    if file.read(&mut [0])? != 0 {
        return Ok(None);
    }
    Ok(Some(ContentHash(sha256(&names.iter().map(String::as_bytes).collect::<Vec<_>>()))))
}
