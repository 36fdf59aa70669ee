//! Commands are not begun where this agent's disk is full, since what they print could not be kept. Their sender is told at once,
//! even where that cannot be kept either.

use std::collections::{BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use dci_proto::{AgentId, MessageId};

use crate::cli::print::bytes;
use crate::config::free_bytes;

/// Bytes that must be free for a command to be begun: as much as one may print, as it is kept.
const ROOM_BYTES: u64 = 8 * 1024 * 1024;
/// Messages that were refused and are not kept, at most; their senders send them no more, and copies are soon over.
const REFUSED_LIMIT: usize = 4_096;

#[derive(Debug, Default)]
struct Refused {
    ids: BTreeSet<(AgentId, MessageId)>,
    order: VecDeque<(AgentId, MessageId)>,
}

/// The disk messages are kept on.
#[derive(Debug)]
pub(super) struct FullDisk {
    folder: PathBuf,
    refused: Mutex<Refused>,
}

impl FullDisk {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), refused: Mutex::default() }
    }

    /// Why nothing may be begun now, if it may not.
    pub(super) fn why(&self) -> Option<String> {
        // A disk that does not tell has other troubles.
        let free = free_bytes(&self.folder).ok()?;
        (free < ROOM_BYTES)
            .then(|| Self::reason(&format!("{} are free, {} are needed", bytes(free), bytes(ROOM_BYTES))))
    }

    /// Why something was not begun.
    pub(super) fn reason(why: &str) -> String {
        format!("it was not begun: program output cannot be kept, the disk of this agent is full ({why})")
    }

    /// A message is refused and cannot be kept.
    pub(super) fn refuse(&self, sender: AgentId, id: MessageId) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.ids.insert((sender, id)) {
            refused.order.push_back((sender, id));
        }
        if refused.order.len() > REFUSED_LIMIT
            && let Some(oldest) = refused.order.pop_front()
        {
            refused.ids.remove(&oldest);
        }
    }

    /// Whether it was: then it is not taken later either.
    pub(super) fn was_refused(&self, sender: AgentId, id: MessageId) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).ids.contains(&(sender, id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_stays_so_and_is_bounded() {
        let disk = FullDisk::new(Path::new("/"));
        let sender = AgentId([1; 32]);
        let id = |number: usize| {
            let mut id = [0; 16];
            id[..8].copy_from_slice(&(number as u64).to_be_bytes());
            MessageId(id)
        };
        for number in 0..=REFUSED_LIMIT {
            disk.refuse(sender, id(number));
            disk.refuse(sender, id(number));
        }
        assert!(!disk.was_refused(sender, id(0)) && disk.was_refused(sender, id(1)));
        assert!(disk.was_refused(sender, id(REFUSED_LIMIT)) && !disk.was_refused(AgentId([2; 32]), id(1)));
    }
}
