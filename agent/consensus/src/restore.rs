//! Beginning a ledger anew from one that was kept, or from a copy of one, when its voters are gone for good.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dci_proto::AgentId;
use openraft::{EmptyNode, LeaderId};
use shoal_ledger::{KvError, KvRead, query};

use crate::files::lock_directory;
use crate::log::replay;
use crate::state::{DumpReader, StateDump, StateStore};
use crate::types::{LogId, Membership, SnapshotMeta, StoredMembership};
use crate::{Consensus, ConsensusConfig, ConsensusError, Group, Headroom};

/// Positions that a recovered ledger leaves out, so that none of its entries is ever taken for one of the group before,
/// which may have got further than what was found of it.
pub(crate) const LEAP: u64 = 1 << 32;
/// Bytes of memory for a state that is only read.
const READ_CACHE_BYTES: usize = 8 * 1024 * 1024;

/// What a ledger begins anew from.
pub enum RestoreSource {
    /// The ledger in a directory, whoever's it is: its state and all of its log, what was not known to be agreed on
    /// included, for it may have been acknowledged.
    Ledger {
        /// Where it lies; no agent runs on it. It is not changed.
        directory: PathBuf,
        /// Whose it is.
        agent: AgentId,
    },
    /// A copy: [`StateDump`]'s bytes in their order, however they are cut.
    Copy(Box<dyn Iterator<Item = Bytes> + Send>),
}

/// What is in a ledger's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Survey {
    /// The last entry it has.
    pub position: u64,
    /// The pool's time in its state, in ms since 1970 UTC; entries of the log after it are later.
    pub time_ms: u64,
    /// Who voted.
    pub voters: BTreeSet<AgentId>,
    /// Who held the ledger without a vote.
    pub learners: BTreeSet<AgentId>,
    /// Its group.
    pub group: Group,
}

impl Survey {
    /// Looks at the ledger of an agent that does not run. Blocking.
    ///
    /// # Errors
    /// If it is in use, another agent's, damaged, or of a newer version.
    pub fn take(directory: &Path, agent: AgentId) -> Result<Self, ConsensusError> {
        let _lock = lock_directory(directory)?;
        let state = StateStore::open(directory, READ_CACHE_BYTES, Headroom::new(directory, 0))?;
        let view = state.view();
        let mut position = view.applied.map_or(0, |id| id.index);
        let mut membership = view.membership.membership().clone();
        replay(directory, agent, position + 1, &mut |entries| {
            for entry in &entries {
                position = entry.log_id.index;
                if let openraft::EntryPayload::Membership(change) = &entry.payload {
                    membership = change.clone();
                }
            }
            Ok(())
        })?;
        Ok(Self {
            position,
            time_ms: query::time_ms(&*view)?,
            voters: membership.voter_ids().collect(),
            learners: membership.learner_ids().collect(),
            group: Group::read(directory)?,
        })
    }
}

/// Reads the state in a directory, of an agent that does not run. Blocking.
///
/// # Errors
/// If it is damaged or of a newer version, or reading it fails.
pub fn with_state<T>(
    directory: &Path,
    read: impl FnOnce(&dyn KvRead) -> Result<T, KvError>,
) -> Result<T, ConsensusError> {
    let state = StateStore::open(directory, READ_CACHE_BYTES, Headroom::new(directory, 0))?;
    Ok(read(&*state.view())?)
}

impl Consensus {
    /// Fills the empty directory of `config` with a ledger's state, its agent the only voter of a new group of this
    /// `generation`. Start it afterwards; others join as learners. What the source does not hold is lost. Members of
    /// groups of earlier generations are refused and told.
    ///
    /// # Errors
    /// If the directory is not empty, or the source is damaged or cut off; the directory is to be removed then.
    pub async fn restore(
        config: ConsensusConfig,
        generation: u64,
        source: RestoreSource,
    ) -> Result<Group, ConsensusError> {
        let restored = tokio::task::spawn_blocking(move || restore(&config, generation, source)).await;
        restored.map_err(|error| ConsensusError::Stopped(error.to_string()))?
    }
}

pub(crate) fn restore(
    config: &ConsensusConfig,
    generation: u64,
    source: RestoreSource,
) -> Result<Group, ConsensusError> {
    let _lock = lock_directory(&config.directory)?;
    let state = StateStore::open(&config.directory, config.cache_bytes, config.headroom.clone())?;
    if state.view().applied.is_some() || config.directory.join("log").exists() {
        return Err(ConsensusError::NotEmpty);
    }
    let position = match source {
        RestoreSource::Copy(pieces) => take_up(&state, config.agent, pieces)?,
        RestoreSource::Ledger { directory, agent } => {
            let _lock = lock_directory(&directory)?;
            let old = StateStore::open(&directory, READ_CACHE_BYTES, Headroom::new(&directory, 0))?;
            let mut dump = StateDump::new(old.view());
            let mut failure = None;
            let pieces = std::iter::from_fn(|| match dump.next_piece() {
                Ok(piece) => piece,
                Err(error) => {
                    failure = Some(error);
                    None
                }
            });
            let taken = take_up(&state, config.agent, pieces);
            let mut position = failure.map_or(taken, |error| Err(error.into()))?;
            replay(&directory, agent, position + 1, &mut |entries| {
                position = entries.last().map_or(position, |entry| entry.log_id.index);
                state.apply(&entries).map(drop).map_err(ConsensusError::from)
            })?;
            position
        }
    };
    let (last, membership) = beginning(config.agent, position + LEAP);
    state.begin_generation(last, StoredMembership::new(Some(last), membership))?;
    let group = Group { generation, id: *uuid::Uuid::new_v4().as_bytes(), position };
    group.write(&config.directory)?;
    Ok(group)
}

/// Puts a copied state in place; answers the position it is of.
fn take_up(state: &StateStore, agent: AgentId, pieces: impl Iterator<Item = Bytes>) -> Result<u64, ConsensusError> {
    let mut incoming = state.begin_incoming()?;
    let mut reader = DumpReader::new();
    for piece in pieces {
        reader.read_piece(&piece, &mut incoming)?;
    }
    let position = reader.finish()?;
    let (last, membership) = beginning(agent, position);
    let meta = SnapshotMeta {
        last_log_id: Some(last),
        last_membership: StoredMembership::new(Some(last), membership),
        snapshot_id: "restored".to_owned(),
    };
    state.install(incoming, &meta)?;
    Ok(position)
}

/// Of a term before all terms: whatever is agreed on from now on comes later.
fn beginning(agent: AgentId, position: u64) -> (LogId, Membership) {
    let last = LogId::new(LeaderId::new(0, agent), position);
    let voters = vec![BTreeSet::from([agent])];
    (last, Membership::new(voters, BTreeMap::from([(agent, EmptyNode {})])))
}
