//! Reading a log through, of an agent that does not run.

use std::path::Path;
use std::sync::PoisonError;

use dci_proto::AgentId;

use super::disk::{LogDisk, read_entry};
use crate::types::Entry;
use crate::{ConsensusError, Headroom};

/// Entries handed over at a time.
const ENTRIES_AT_ONCE: u64 = 256;

/// Hands all entries from `from` on to `take`, in order. Blocking.
pub(crate) fn replay(
    directory: &Path,
    agent: AgentId,
    from: u64,
    take: &mut dyn FnMut(Vec<Entry>) -> Result<(), ConsensusError>,
) -> Result<(), ConsensusError> {
    let opened = LogDisk::open(directory, agent, Headroom::new(directory, 0))?;
    let index = opened.index.lock().unwrap_or_else(PoisonError::into_inner);
    let (first, end) = (index.first_index(), index.end_index());
    // The state is behind the log by less than was purged, or the entries between are missing.
    if first > from && end > from {
        return Err(ConsensusError::damaged(directory, format!("entries {from} to {} are missing", first - 1)));
    }
    let mut next = from;
    while next < end {
        let upto = end.min(next + ENTRIES_AT_ONCE);
        let places = (next..upto).map_while(|at| index.find_on_disk(at));
        let entries = places.map(read_entry).collect::<Result<Vec<_>, _>>()?;
        if entries.len() as u64 != upto - next {
            return Err(ConsensusError::damaged(directory, format!("an entry after {next} is not where it should be")));
        }
        take(entries)?;
        next = upto;
    }
    Ok(())
}
