//! Another ledger in the place of an agent's own: whenever a crash comes, the next start finds the one or the other, and
//! the old one stays beside it.
//!
//! | in `DATA` | means |
//! |---|---|
//! | `ledger.next/` | what is to take over; of no meaning alone |
//! | `ledger.swap` | it is complete and takes over, now or at the next start |
//! | `ledger.before-recovery-N/` | what was there before; never deleted by Shoal |
//! | `ledger.lost-end.json` | the old one got further than the pool was recovered at |

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shoal_consensus::Group;

use crate::secret_file::{self, sync_folder};
use crate::{AgentError, ledger_mark};

const NEXT: &str = "ledger.next";
const INTENT: &str = "ledger.swap";
const LOST_END: &str = "ledger.lost-end.json";

/// What an agent knew that the recovered pool may lack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LostEnd {
    /// Where its ledger of before lies.
    kept: PathBuf,
    /// Entries it had beyond the position the pool was recovered at.
    entries: u64,
}

/// An empty place for the ledger that is to take over.
pub(crate) fn prepare(data: &Path) -> Result<PathBuf, AgentError> {
    finish(data)?;
    let next = data.join(NEXT);
    discard(data)?;
    Ok(next)
}

/// Drops a ledger that was to take over and shall not.
pub(crate) fn discard(data: &Path) -> Result<(), AgentError> {
    let next = data.join(NEXT);
    match fs::remove_dir_all(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(AgentError::directory("remove", &next, &error)),
        _ => Ok(()),
    }
}

/// Has what was prepared take over; answers where the ledger of before lies now, if there was one.
pub(crate) fn commit(data: &Path) -> Result<Option<PathBuf>, AgentError> {
    secret_file::create(&data.join(INTENT), b"")?;
    finish(data)
}

/// Carries out what was decided; nothing where nothing was.
pub(crate) fn finish(data: &Path) -> Result<Option<PathBuf>, AgentError> {
    let (intent, next, ledger) = (data.join(INTENT), data.join(NEXT), data.join("ledger"));
    if !intent.exists() {
        return Ok(None);
    }
    ledger_mark::clear(data)?;
    let mut kept = None;
    if next.exists() {
        if ledger.exists() {
            let aside = free_name(data);
            rename(&ledger, &aside)?;
            kept = Some(aside);
        }
        rename(&next, &ledger)?;
    }
    remove(&intent)?;
    Ok(kept)
}

/// A fresh, empty ledger for a member of a pool that was recovered without it; `last`: how far its own had got.
pub(crate) fn begin_anew(data: &Path, group: Group, last: u64) -> Result<(), AgentError> {
    let next = prepare(data)?;
    let failed = |error: shoal_consensus::ConsensusError| AgentError::Consensus(error.to_string());
    group.write(&next).map_err(failed)?;
    let kept = commit(data)?;
    let entries = last.saturating_sub(group.position);
    tracing::warn!(
        generation = group.generation,
        entries,
        kept = ?kept,
        "the pool was recovered without this agent: it joins anew with an empty ledger, its shards stay, its ledger of \
         before is kept"
    );
    let Some(kept) = kept.filter(|_| entries > 0) else { return Ok(()) };
    let text =
        serde_json::to_vec(&LostEnd { kept, entries }).map_err(|error| AgentError::Internal(error.to_string()))?;
    secret_file::replace(&data.join(LOST_END), &text)
}

/// What people should know of the end of this agent's earlier ledger, while that is still kept.
pub(crate) fn lost_end(data: &Path) -> Option<String> {
    let bytes = secret_file::read(&data.join(LOST_END)).ok().flatten()?;
    let LostEnd { kept, entries } = serde_json::from_slice(&bytes).ok()?;
    kept.exists().then(|| {
        format!(
            "the pool was recovered at an earlier point than this agent had got to; up to {entries} changes it knew may \
             be missing (its ledger of before is kept in {}; remove that when it is of no more use)",
            kept.display()
        )
    })
}

fn free_name(data: &Path) -> PathBuf {
    let names = (1u64..).map(|number| data.join(format!("ledger.before-recovery-{number}")));
    names.into_iter().find(|name| !name.exists()).unwrap_or_else(|| data.join("ledger.before-recovery"))
}

fn rename(from: &Path, to: &Path) -> Result<(), AgentError> {
    fs::rename(from, to).and_then(|()| sync_folder(to)).map_err(|error| AgentError::directory("rename", from, &error))
}

fn remove(path: &Path) -> Result<(), AgentError> {
    let removed = fs::remove_file(path).and_then(|()| sync_folder(path));
    removed.map_err(|error| AgentError::directory("remove", path, &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger_with(data: &Path, name: &str, mark: &str) {
        fs::create_dir_all(data.join(name)).expect("made");
        fs::write(data.join(name).join("mark"), mark).expect("written");
    }

    fn mark(data: &Path, name: &str) -> Option<String> {
        fs::read_to_string(data.join(name).join("mark")).ok()
    }

    #[test]
    fn wherever_a_crash_comes_the_next_start_has_one_ledger_and_the_old_one_is_kept() {
        // 0: nothing decided; 1: decided; 2: the old one is aside; 3: the new one is in place.
        for crash_after in 0..=3 {
            let folder = tempfile::tempdir().expect("folder");
            let data = folder.path();
            ledger_with(data, "ledger", "old");
            prepare(data).expect("prepared");
            ledger_with(data, NEXT, "new");
            if crash_after >= 1 {
                fs::write(data.join(INTENT), b"").expect("decided");
            }
            if crash_after >= 2 {
                fs::rename(data.join("ledger"), data.join("ledger.before-recovery-1")).expect("aside");
            }
            if crash_after >= 3 {
                fs::rename(data.join(NEXT), data.join("ledger")).expect("in place");
            }
            finish(data).expect("finished");
            let expected = if crash_after == 0 { ("old", None) } else { ("new", Some("old".to_owned())) };
            assert_eq!(mark(data, "ledger").as_deref(), Some(expected.0), "crash after {crash_after}");
            assert_eq!(mark(data, "ledger.before-recovery-1"), expected.1, "crash after {crash_after}");
            assert!(!data.join(INTENT).exists());
        }
    }

    #[test]
    fn what_may_be_missing_is_told_until_the_old_ledger_is_removed() {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path();
        ledger_with(data, "ledger", "old");
        let group = Group { generation: 1, id: [1; 16], position: 10 };
        begin_anew(data, group, 10).expect("nothing beyond");
        assert_eq!(lost_end(data), None);
        assert_eq!(Group::read(&data.join("ledger")).expect("read"), group);
        begin_anew(data, Group { generation: 2, ..group }, 13).expect("three beyond");
        assert!(lost_end(data).is_some_and(|told| told.contains("up to 3 changes")));
        assert_eq!(mark(data, "ledger.before-recovery-1").as_deref(), Some("old"));
        fs::remove_dir_all(data.join("ledger.before-recovery-2")).expect("removed");
        assert_eq!(lost_end(data), None);
    }
}
