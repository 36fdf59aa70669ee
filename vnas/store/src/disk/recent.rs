//! Which shards were read lately: what is read again is worth caching, what is read once is not.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use dci_proto::ShardKey;

/// Shards remembered: about a gigabyte of them.
const REMEMBERED: usize = 1024;

#[derive(Default)]
pub(crate) struct RecentReads(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    keys: HashSet<ShardKey>,
    order: VecDeque<ShardKey>,
}

impl RecentReads {
    /// Notes a read; answers whether there was one before, lately.
    pub(crate) fn was_read(&self, key: ShardKey) -> bool {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !recent.keys.insert(key) {
            return true;
        }
        recent.order.push_back(key);
        if recent.order.len() > REMEMBERED
            && let Some(oldest) = recent.order.pop_front()
        {
            recent.keys.remove(&oldest);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::key;

    #[test]
    fn a_second_read_is_known_until_many_others_came_between() {
        let recent = RecentReads::default();
        assert!(!recent.was_read(key(1)));
        assert!(recent.was_read(key(1)));
        for number in 0..REMEMBERED {
            let stripe = dci_proto::StripeId((number as u128 + 1000).to_be_bytes());
            recent.was_read(ShardKey { stripe, index: 0 });
        }
        assert!(!recent.was_read(key(1)));
    }
}
