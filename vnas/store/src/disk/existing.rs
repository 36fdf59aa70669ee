//! What is there already under a key, looked at before it is written.

use dci_proto::{ShardHash, ShardKey};

use super::shared::Shared;
use crate::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    None,
    /// The same bytes, intact.
    Same,
    /// Other bytes.
    Other,
    /// Bytes that are no good any more, in a segment: to be written over.
    DamagedRecord,
    /// Bytes that are no good any more, in a file of its own.
    DamagedFile,
}

/// Looks for a shard. The same bytes count as there only if they still match their checksums, so that putting a shard
/// again mends it.
pub(crate) fn look(shared: &Shared, key: ShardKey, hash: ShardHash) -> Result<Existing, StoreError> {
    if let Some(info) = shared.segments.info(key)? {
        return if info.hash == hash {
            judge(shared.segments.verify(key), Existing::DamagedRecord)
        } else {
            Ok(Existing::Other)
        };
    }
    match shared.files.info(key) {
        Ok(None) => Ok(Existing::None),
        Ok(Some(info)) if info.hash != hash => Ok(Existing::Other),
        Ok(Some(_)) => judge(shared.files.verify(key), Existing::DamagedFile),
        Err(StoreError::Damaged { .. }) => Ok(Existing::DamagedFile),
        Err(error) => Err(error),
    }
}

fn judge<T>(verified: Result<Option<T>, StoreError>, damaged: Existing) -> Result<Existing, StoreError> {
    match verified {
        Ok(Some(_)) => Ok(Existing::Same),
        Ok(None) => Ok(Existing::None),
        Err(StoreError::Damaged { .. }) => Ok(damaged),
        Err(error) => Err(error),
    }
}
