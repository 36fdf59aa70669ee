//! How much of something others may use: in all, and each member that asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dci_proto::AgentId;

/// Places for something.
pub(crate) struct Quota {
    limit: usize,
    limit_per_asker: usize,
    taken: Arc<Mutex<Taken>>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_asker: HashMap<AgentId, usize>,
}

/// One place, until dropped.
pub(crate) struct Place {
    taken: Arc<Mutex<Taken>>,
    asker: AgentId,
}

fn locked(taken: &Mutex<Taken>) -> MutexGuard<'_, Taken> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Quota {
    /// So many in all, so many for each.
    pub(crate) fn new(limit: usize, limit_per_asker: usize) -> Self {
        Self { limit, limit_per_asker, taken: Arc::default() }
    }

    /// A place for a member, if there is one.
    pub(crate) fn take(&self, asker: AgentId) -> Option<Place> {
        let mut taken = locked(&self.taken);
        let of_asker = taken.by_asker.get(&asker).copied().unwrap_or(0);
        if taken.total >= self.limit || of_asker >= self.limit_per_asker {
            return None;
        }
        taken.total += 1;
        taken.by_asker.insert(asker, of_asker + 1);
        Some(Place { taken: self.taken.clone(), asker })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = locked(&self.taken);
        taken.total -= 1;
        if let Some(count) = taken.by_asker.get_mut(&self.asker) {
            *count -= 1;
            if *count == 0 {
                taken.by_asker.remove(&self.asker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> AgentId {
        AgentId([number; 32])
    }

    #[test]
    fn one_asker_takes_no_more_than_its_share_and_all_no_more_than_there_is() {
        let quota = Quota::new(10, 3);
        let mut places: Vec<_> = (0..3).map(|_| quota.take(id(1)).expect("room")).collect();
        assert!(quota.take(id(1)).is_none());
        for number in 2..20 {
            places.extend((0..3).map_while(|_| quota.take(id(number))));
        }
        assert_eq!(places.len(), 10);
        places.remove(0);
        assert!(quota.take(id(1)).is_some());
        places.clear();
        let taken = locked(&quota.taken);
        assert!(taken.total == 0 && taken.by_asker.is_empty());
    }
}
