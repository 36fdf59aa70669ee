//! The vote and how far the log was purged, in one small file replaced as a whole.

use std::path::Path;

use dci_proto::AgentId;
use serde::{Deserialize, Serialize};

use crate::ConsensusError;
use crate::files::{replace_file, seal, unseal};
use crate::types::{LogId, Vote};

/// Version of everything in the directory but the state.
pub(crate) const FORMAT_VERSION: u32 = 1;

const FILE_NAME: &str = "raft.vote";

/// What Raft must not forget besides the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Remembered {
    pub(crate) agent: AgentId,
    pub(crate) vote: Option<Vote>,
    pub(crate) purged: Option<LogId>,
}

impl Remembered {
    /// Reads the file, or makes it for `agent` in an empty directory.
    pub(crate) fn open(directory: &Path, agent: AgentId) -> Result<Self, ConsensusError> {
        let path = directory.join(FILE_NAME);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let fresh = Self { agent, vote: None, purged: None };
                fresh.save(directory)?;
                return Ok(fresh);
            }
            Err(error) => return Err(ConsensusError::io("read", &path)(error)),
        };
        let remembered = Self::decode(&path, &bytes)?;
        if remembered.agent != agent {
            return Err(ConsensusError::OtherAgent { directory: directory.to_owned(), owner: remembered.agent, agent });
        }
        Ok(remembered)
    }

    /// What the file at `path` says.
    pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Self, ConsensusError> {
        let content = unseal(bytes).ok_or_else(|| ConsensusError::damaged(path, "its checksum does not hold"))?;
        let undecodable = |error| ConsensusError::damaged(path, format!("it does not decode ({error})"));
        // The version comes first, alone, so that a newer file is told from a damaged one.
        let (found, rest) = postcard::take_from_bytes::<u32>(content).map_err(undecodable)?;
        if found > FORMAT_VERSION {
            return Err(ConsensusError::NewerVersion { path: path.to_owned(), found, known: FORMAT_VERSION });
        }
        postcard::from_bytes(rest).map_err(undecodable)
    }

    /// Writes the file; durable when this returns.
    pub(crate) fn save(&self, directory: &Path) -> Result<(), ConsensusError> {
        replace_file(directory, FILE_NAME, &self.encode()?)
    }

    /// The file's bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, ConsensusError> {
        let content = postcard::to_stdvec(&(FORMAT_VERSION, self))
            .map_err(|error| ConsensusError::Format(format!("the vote cannot be encoded: {error}")))?;
        Ok(seal(content))
    }
}
