//! The members as the ledger has them, read anew when it has changed: each message names agents several times.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use dci_proto::AgentId;
use futures::FutureExt as _;
use shoal_ledger::{AgentRecord, KvError, LedgerClient, query};

/// Members, and their names by their ids.
#[derive(Debug)]
pub(crate) struct Members {
    pub(crate) records: Vec<AgentRecord>,
    pub(crate) names: Arc<BTreeMap<AgentId, String>>,
}

/// The list as it was read last.
#[derive(Default)]
pub(crate) struct MemberList {
    /// With the ledger's position then.
    known: Mutex<Option<(u64, Arc<Members>)>>,
}

impl MemberList {
    /// The members as the local copy of the ledger has them now.
    pub(crate) fn read(&self, ledger: &dyn LedgerClient) -> Result<Arc<Members>, KvError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The position first: what is applied after it was told is read again the next time.
        let changed = ledger.changed(known.as_ref().map_or(0, |(position, _)| *position)).now_or_never();
        match (changed, &*known) {
            (None, Some((_, members))) => Ok(members.clone()),
            (position, _) => {
                let records = query::agents(&*ledger.view()?)?;
                let names = records.iter().map(|record| (record.id, record.name.clone())).collect();
                let members = Arc::new(Members { records, names: Arc::new(names) });
                // What has no position to be known by is read each time.
                *known = position.map(|position| (position, members.clone()));
                Ok(members)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use shoal_ledger::{Command, LocalLedger};

    use super::*;

    const ANA: AgentId = AgentId([1; 32]);
    const BEN: AgentId = AgentId([2; 32]);

    #[test]
    fn the_list_is_read_once_and_again_after_each_change() {
        let ledger = LocalLedger::with_pool(&[ANA], "drive").expect("a pool");
        let list = MemberList::default();
        let read = || list.read(&ledger).expect("reads");
        let first = read();
        assert_eq!(first.names.get(&ANA).map(String::as_str), Some("agent-1"));
        assert!(Arc::ptr_eq(&first, &read()), "nothing has changed");
        let ben = AgentRecord { id: BEN, name: "ben".into(), ..first.records[0].clone() };
        ledger.submit_now(Command::RequestJoin { agent: ben }).expect("asks");
        ledger.submit_now(Command::ApproveJoin { agent: BEN }).expect("joins");
        let second = read();
        assert_eq!((second.records.len(), second.names.get(&BEN).map(String::as_str)), (2, Some("ben")));
        assert!(Arc::ptr_eq(&second, &read()));
    }
}
