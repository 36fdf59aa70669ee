//! What a pool can be recovered from: the ledger an agent kept, and the encrypted copies that lie about.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use dci_proto::{AgentId, PoolId};
use serde::Serialize;
use shoal_consensus::{RestoreSource, Survey};

use crate::AgentError;
use crate::copies::{Opener, SealedError};
use crate::data_directory::Secret;

/// Positions from here on are of one generation later; see the consensus crate's restoring.
const POSITIONS_OF_A_GENERATION: u64 = 1 << 32;

/// Where to look.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Choice {
    /// Whatever is newest.
    #[default]
    Newest,
    /// The agent's own ledger.
    Ledger,
    /// The newest copy it keeps.
    Copy,
    /// A copy in a file, or a ledger that was kept aside.
    File(PathBuf),
}

impl Choice {
    /// As typed after `--from`.
    pub(crate) fn of(word: Option<&str>) -> Self {
        match word {
            None => Self::Newest,
            Some("ledger") => Self::Ledger,
            Some("copy") => Self::Copy,
            Some(file) => Self::File(file.into()),
        }
    }
}

/// Something to recover from, or what is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Source {
    /// `ledger` or `copy`.
    pub(crate) kind: &'static str,
    /// Where it lies.
    pub(crate) path: PathBuf,
    /// How far it goes; 0 where that cannot be told.
    pub(crate) position: u64,
    /// How often the pool had been recovered when it was written.
    pub(crate) generation: u64,
    /// When it was last written, in ms since 1970 UTC by the clock of its computer.
    pub(crate) written_ms: Option<u64>,
    /// Why it is of no use.
    pub(crate) problem: Option<String>,
    #[serde(skip)]
    pub(crate) voters: Vec<AgentId>,
}

/// Whose things are looked at.
pub(crate) struct Searcher<'a> {
    pub(crate) data: &'a Path,
    pub(crate) agent: AgentId,
    pub(crate) pool: PoolId,
    pub(crate) pool_key: Option<Secret>,
}

impl Searcher<'_> {
    /// Everything there is, and which of it is to be used.
    pub(crate) fn search(&self, choice: &Choice) -> Result<(Vec<Source>, Source), AgentError> {
        let mut sources = Vec::new();
        if self.data.join("ledger").is_dir() {
            sources.push(self.ledger(self.data.join("ledger")));
        }
        sources.extend(self.shelf().iter().map(|path| self.copy(path)));
        if let Choice::File(path) = choice {
            sources.push(if path.is_dir() { self.ledger(path.clone()) } else { self.copy(path) });
        }
        let wanted = |source: &&Source| match choice {
            Choice::Newest => true,
            Choice::Ledger => source.path == self.data.join("ledger"),
            Choice::Copy => source.kind == "copy",
            Choice::File(path) => source.path == *path,
        };
        let usable = sources.iter().filter(wanted).filter(|source| source.problem.is_none());
        // The ledger itself where a copy is as new.
        let best = usable.max_by_key(|source| (source.position, source.kind == "ledger")).cloned();
        let problems = || {
            let of = |source: &Source| Some(format!("{}: {}", source.path.display(), source.problem.as_ref()?));
            sources.iter().filter(wanted).filter_map(of).collect::<Vec<_>>().join("; ")
        };
        let none = || AgentError::NothingToRecoverFrom { path: self.data.to_owned(), problems: problems() };
        let best = best.ok_or_else(none)?;
        Ok((sources, best))
    }

    /// What the consensus crate restores from.
    pub(crate) fn open(&self, source: &Source) -> Result<RestoreSource, AgentError> {
        if source.kind == "ledger" {
            return Ok(RestoreSource::Ledger { directory: source.path.clone(), agent: self.agent });
        }
        let bytes = read(&source.path)?;
        let key = self.pool_key.clone().ok_or_else(|| self.no_key())?;
        let pool = self.pool;
        let mut pieces = Vec::new();
        let mut opener = Opener::new(&key, pool, &bytes).map_err(|error| unusable(&source.path, &error))?;
        while let Some(piece) = opener.next_piece().map_err(|error| unusable(&source.path, &error))? {
            pieces.push(Bytes::from(piece));
        }
        Ok(RestoreSource::Copy(Box::new(pieces.into_iter())))
    }

    fn ledger(&self, path: PathBuf) -> Source {
        // Before the survey: it opens the ledger's files. By this computer's clock, as copies are, not the pool's time.
        let written_ms = newest_ms(&path);
        let surveyed = Survey::take(&path, self.agent).map_err(|error| error.to_string());
        let surveyed = surveyed.and_then(|survey| match survey.position {
            0 => Err("it is empty".to_owned()),
            _ => Ok(survey),
        });
        let problem = surveyed.as_ref().err().cloned();
        let survey = surveyed.ok();
        Source {
            kind: "ledger",
            position: survey.as_ref().map_or(0, |survey| survey.position),
            generation: survey.as_ref().map_or(0, |survey| survey.group.generation),
            written_ms,
            voters: survey.map(|survey| survey.voters.into_iter().collect()).unwrap_or_default(),
            path,
            problem,
        }
    }

    /// Reads a copy through: one that is cut short or changed is of no use.
    fn copy(&self, path: &Path) -> Source {
        let checked = self.check_copy(path).map_err(|error| error.to_string());
        let position = *checked.as_ref().unwrap_or(&0);
        Source {
            kind: "copy",
            path: path.to_owned(),
            position,
            generation: position / POSITIONS_OF_A_GENERATION,
            written_ms: written_ms(path),
            problem: checked.err(),
            voters: Vec::new(),
        }
    }

    fn check_copy(&self, path: &Path) -> Result<u64, AgentError> {
        let bytes = read(path)?;
        let key = self.pool_key.as_ref().ok_or_else(|| self.no_key())?;
        let mut opener = Opener::new(key, self.pool, &bytes).map_err(|error| unusable(path, &error))?;
        while opener.next_piece().map_err(|error| unusable(path, &error))?.is_some() {}
        Ok(opener.position())
    }

    fn no_key(&self) -> AgentError {
        let reason = "copies are encrypted and this agent has no pool.key; recover on one that serves the drive".into();
        AgentError::Damaged { path: self.data.join("pool.key"), reason }
    }

    fn shelf(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.data.join("ledger-copies")).into_iter().flatten().flatten();
        let copies = entries.map(|entry| entry.path());
        copies.filter(|path| path.extension().is_some_and(|extension| extension == "copy")).collect()
    }
}

/// When a file was last written, in ms since 1970 UTC by this computer's clock.
fn written_ms(path: &Path) -> Option<u64> {
    let written = fs::metadata(path).and_then(|metadata| metadata.modified()).ok()?;
    u64::try_from(written.duration_since(UNIX_EPOCH).ok()?.as_millis()).ok()
}

/// When the newest file of a directory was.
fn newest_ms(directory: &Path) -> Option<u64> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter_map(|entry| written_ms(&entry.path())).max()
}

fn read(path: &Path) -> Result<Vec<u8>, AgentError> {
    fs::read(path).map_err(|error| AgentError::directory("read", path, &error))
}

fn unusable(path: &Path, error: &SealedError) -> AgentError {
    AgentError::Damaged { path: path.to_owned(), reason: error.to_string() }
}
