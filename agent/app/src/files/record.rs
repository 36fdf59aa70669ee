//! What is known of a transfer, on disk as JSON; replaced in one step.

use std::collections::BTreeMap;
use std::path::Path;

use dci_proto::{AgentId, MessageId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use shoal_file_exchange::TransferId;

use super::FilesError;
use crate::secret_file;

/// Format of both records. A newer one is left alone.
pub(super) const RECORD_VERSION: u32 = 1;

/// Where something that is sent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum OutgoingState {
    /// Its files are being handed in.
    Uploading,
    /// Messages that offer it may be on their way.
    Sending,
    /// It is offered.
    Offered,
    /// Nobody can have it any more; its bytes are gone.
    Ended,
}

/// What came of it at a recipient in the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ending {
    /// `None`: it has all of it.
    pub(crate) failed: Option<String>,
    /// When it said so, in ms since 1970.
    pub(crate) at_ms: u64,
}

/// Something that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OutgoingRecord {
    pub(super) version: u32,
    pub(crate) transfer: TransferId,
    pub(crate) state: OutgoingState,
    pub(crate) note: String,
    /// On whose behalf.
    pub(crate) user: String,
    /// To whom, for people.
    pub(crate) to: String,
    pub(crate) created_ms: u64,
    /// Until when it can be fetched; of one that is not offered yet: until it is given up.
    pub(crate) expires_ms: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// The messages that offer it.
    pub(crate) messages: Vec<MessageId>,
    /// Recipients that are done with it.
    pub(crate) endings: BTreeMap<AgentId, Ending>,
    /// Why it was given up before it was offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) given_up: Option<String>,
}

/// Where something that came stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IncomingState {
    /// It is being fetched, or waits to be.
    Coming,
    /// All of it is there.
    Done,
    /// It is not, and why.
    Failed(String),
    /// It was removed here; remembered so that it is not fetched again.
    Removed,
}

/// Something that came or is coming.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct IncomingRecord {
    pub(super) version: u32,
    pub(crate) transfer: TransferId,
    pub(crate) from: AgentId,
    pub(crate) user: String,
    /// The message that offers it.
    pub(crate) message: MessageId,
    pub(crate) note: String,
    pub(crate) received_ms: u64,
    pub(crate) expires_ms: u64,
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Length and hash of its manifest, where that has to be fetched first.
    pub(crate) manifest: Option<(u64, [u8; 32])>,
    pub(crate) state: IncomingState,
    pub(crate) ended_ms: Option<u64>,
    /// Whether the sender was told what came of it.
    pub(super) told: bool,
}

/// Replaces a record; durable when it returns. Blocks.
pub(super) fn store(path: &Path, record: &impl Serialize) -> Result<(), FilesError> {
    let text = serde_json::to_vec_pretty(record).map_err(|error| FilesError::Bad(error.to_string()))?;
    Ok(secret_file::replace(path, &text)?)
}

/// Reads a record; `None`: there is none that can be used, which is logged. Blocks.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            tracing::debug!(path = %path.display(), %error, "no record of files");
            return None;
        }
    };
    match serde_json::from_slice::<Versioned>(&bytes) {
        Ok(Versioned { version }) if version > RECORD_VERSION => {
            tracing::warn!(path = %path.display(), version, "files of a newer version of Shoal are left alone");
            return None;
        }
        _ => {}
    }
    match serde_json::from_slice(&bytes) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "a record of files cannot be read and is left alone");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_the_first_version_are_read_and_newer_ones_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("transfer.json");
        let transfer = "00000000-0000-0000-0000-000000000007";
        let sample = format!(
            r#"{{"version":1,"transfer":"{transfer}","from":"{}","user":"ana","message":"{transfer}","note":"","received_ms":1,
            "expires_ms":2,"files":3,"bytes":4,"manifest":null,"state":{{"failed":"why"}},"ended_ms":5,"told":true}}"#,
            AgentId([3; 32])
        );
        std::fs::write(&path, &sample).expect("written");
        let read: IncomingRecord = load(&path).expect("a record");
        assert_eq!((read.files, read.state.clone()), (3, IncomingState::Failed("why".into())));
        store(&path, &read).expect("stored");
        assert_eq!(load(&path), Some(read));
        std::fs::write(&path, sample.replace("\"version\":1", "\"version\":2")).expect("written");
        assert_eq!(load::<IncomingRecord>(&path), None);
        std::fs::write(&path, "{").expect("written");
        assert_eq!(load::<IncomingRecord>(&path), None);
    }
}
