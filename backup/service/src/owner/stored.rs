//! Small files that are replaced as a whole, and what an owner keeps over restarts.
//!
//! A file is written beside its place, made durable, renamed, and the rename made durable. JSON with a version: a newer
//! one is refused in a sentence, never guessed at.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use dci_proto::AgentId;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_backup::aging::GraceClock;
use shoal_backup::drill::Proof;
use shoal_backup::schedule::History;
use shoal_backup::{ArchiveId, ObjectName};

use super::error::OwnerError;
use super::status::LastRun;
use crate::call::Room;

/// The version of [`State`] that this program writes.
const STATE_VERSION: u64 = 1;
/// Bytes of a small file, at most.
const FILE_LIMIT_BYTES: u64 = 64 << 20;
/// Agents that are kept in mind as liars, at most.
const DISTRUSTED_LIMIT: usize = 4_096;

/// What is kept over restarts, beside plan, passphrase and catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct State {
    version: u64,
    /// The number of the archive that is being made, or is made next.
    pub(super) next_archive: u64,
    pub(super) history: History,
    /// Who holds copies.
    pub(super) holders: BTreeMap<AgentId, Holder>,
    /// Who held one and is to be told that it need not any more.
    pub(super) releasing: BTreeSet<AgentId>,
    /// Who lied and has not proven all of its copy since.
    distrusted: BTreeSet<AgentId>,
    /// Archives that go: written down before the first of their objects does.
    pub(super) forgetting: BTreeSet<ObjectName>,
    /// Archives that lack what this disk damaged before there was a copy of it.
    pub(super) damaged: BTreeSet<ObjectName>,
    /// Archives that the continuous mode made.
    pub(super) continuous: BTreeSet<ArchiveId>,
    /// When a run of each mode ended well last, ms since 1970: deltas, snapshots.
    pub(super) ended_well_ms: [Option<u64>; 2],
    pub(super) last_run: Option<LastRun>,
    /// Drills so far.
    pub(super) drills: u64,
    pub(super) last_drill_ms: Option<u64>,
    pub(super) proof: Option<Proof>,
    /// The last drill, if it failed: when, and how many files did not come back.
    pub(super) failed_drill: Option<(u64, u64)>,
    /// By which time holders are away: that of this PC's own running, mostly, so that a leap of the clock replaces nobody.
    pub(super) clock: GraceClock,
    /// Orders challenges, so that nobody foresees them.
    pub(super) seed: u64,
}

/// A holder.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Holder {
    /// What it last said that it gives: it may be away when that matters.
    pub(super) room: Option<Room>,
    /// The newest archive of which it was known to have all; it may be away when that matters.
    pub(super) whole_archive: Option<ArchiveId>,
    /// What it was called.
    pub(super) name: String,
    /// When it last answered, by the owner's clock: how long it is away must be known after a restart, too.
    pub(super) heard_ms: u64,
    /// Where it listened.
    pub(super) addresses: Vec<String>,
}

impl State {
    /// Of a backup that has just been set up.
    pub(super) fn new(seed: u64) -> Self {
        Self { version: STATE_VERSION, next_archive: 1, seed, ..Self::default() }
    }

    pub(super) fn read(path: &Path) -> Result<Option<Self>, OwnerError> {
        let Some(bytes) = read(path)? else { return Ok(None) };
        let malformed =
            |error: serde_json::Error| OwnerError::Malformed { path: path.to_owned(), why: error.to_string() };
        let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(malformed)?;
        let found = value.get("version").and_then(serde_json::Value::as_u64).unwrap_or_default();
        if found > STATE_VERSION {
            return Err(OwnerError::NewerVersion { path: path.to_owned(), found, known: STATE_VERSION });
        }
        serde_json::from_value(value).map(Some).map_err(malformed)
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), OwnerError> {
        write_json(path, self)
    }

    pub(super) fn distrusted(&self) -> &BTreeSet<AgentId> {
        &self.distrusted
    }

    /// True if that is new.
    pub(super) fn set_distrusted(&mut self, agent: AgentId, distrusted: bool) -> bool {
        match distrusted {
            true => self.distrusted.len() < DISTRUSTED_LIMIT && self.distrusted.insert(agent),
            false => self.distrusted.remove(&agent),
        }
    }
}

/// The bytes of a file, if it is there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, OwnerError> {
    match fs::metadata(path) {
        Ok(meta) if meta.len() > FILE_LIMIT_BYTES => Err(OwnerError::Malformed {
            path: path.to_owned(),
            why: format!("it is longer than {FILE_LIMIT_BYTES} bytes"),
        }),
        Ok(_) => fs::read(path).map(Some).map_err(|error| OwnerError::io("read", path, error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OwnerError::io("read", path, error)),
    }
}

pub(super) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, OwnerError> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let malformed = |error: serde_json::Error| OwnerError::Malformed { path: path.to_owned(), why: error.to_string() };
    serde_json::from_slice(&bytes).map(Some).map_err(malformed)
}

pub(super) fn write_json<T: Serialize>(path: &Path, what: &T) -> Result<(), OwnerError> {
    let malformed = |error: serde_json::Error| OwnerError::Malformed { path: path.to_owned(), why: error.to_string() };
    write(path, &serde_json::to_vec_pretty(what).map_err(malformed)?)
}

/// Puts a file in its place, readable by its owner alone. Durable when this returns.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), OwnerError> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let unfinished = path.with_extension("new");
    let written = (|| {
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)?;
        sync_folder(folder)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    written.map_err(|error| OwnerError::io("write", path, error))
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failing test says what failed")]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_state_comes_back_and_a_newer_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        assert_eq!(State::read(&path).unwrap(), None);
        let mut state = State::new(7);
        state.holders.insert(AgentId([3; 32]), Holder::default());
        assert!(state.set_distrusted(AgentId([3; 32]), true) && !state.set_distrusted(AgentId([3; 32]), true));
        state.forgetting.insert(ObjectName::of(b"x"));
        state.write(&path).unwrap();
        assert_eq!(State::read(&path).unwrap(), Some(state));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        write(&path, br#"{"version": 9}"#).unwrap();
        assert!(matches!(State::read(&path), Err(OwnerError::NewerVersion { found: 9, .. })));
        write(&path, b"rubbish").unwrap();
        assert!(matches!(State::read(&path), Err(OwnerError::Malformed { .. })));
    }
}
