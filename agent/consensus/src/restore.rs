//! Beginning a ledger anew from a copy of one, when its voters are gone for good.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use openraft::{EmptyNode, LeaderId};

use crate::files::lock_directory;
use crate::state::{DumpReader, StateStore};
use crate::types::{LogId, Membership, SnapshotMeta, StoredMembership};
use crate::{Consensus, ConsensusConfig, ConsensusError};

impl Consensus {
    /// Fills the empty directory of `config` with a copied state ([`crate::StateDump`]'s pieces in their order), its
    /// agent the only voter. Start it afterwards; others join as learners. What the copy does not hold is lost, and
    /// members of the old group must never meet the new one: they begin with empty directories.
    ///
    /// # Errors
    /// If the directory is not empty, or the copy is damaged or cut off; the directory is to be removed then.
    pub async fn restore(
        config: ConsensusConfig,
        pieces: impl Iterator<Item = Bytes> + Send + 'static,
    ) -> Result<(), ConsensusError> {
        let restored = tokio::task::spawn_blocking(move || restore(&config, pieces)).await;
        restored.map_err(|error| ConsensusError::Stopped(error.to_string()))?
    }
}

pub(crate) fn restore(config: &ConsensusConfig, pieces: impl Iterator<Item = Bytes>) -> Result<(), ConsensusError> {
    let _lock = lock_directory(&config.directory)?;
    let state = StateStore::open(&config.directory, config.cache_bytes, config.headroom.clone())?;
    if state.view().applied.is_some() || config.directory.join("log").exists() {
        return Err(ConsensusError::NotEmpty);
    }
    let mut incoming = state.begin_incoming()?;
    let mut reader = DumpReader::new();
    for piece in pieces {
        reader.read_piece(&piece, &mut incoming)?;
    }
    // Of a term before all terms: whatever is agreed on from now on comes later.
    let last = LogId::new(LeaderId::new(0, config.agent), reader.finish()?);
    let voters = vec![BTreeSet::from([config.agent])];
    let membership = Membership::new(voters, BTreeMap::from([(config.agent, EmptyNode {})]));
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), membership),
        snapshot_id: "restored".to_owned(),
    };
    state.install(incoming, &meta)
}
