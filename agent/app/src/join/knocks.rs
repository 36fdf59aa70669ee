//! How often each address has knocked lately: who knocks too often is not looked at. Pure: the time is an argument.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

/// Addresses counted, at most; when there are more and none of them can be forgotten, all are.
const ADDRESSES_COUNTED: usize = 4096;

/// So many from one address in so long.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnockLimit {
    pub(super) count: u32,
    pub(super) within: Duration,
}

/// Knocks by address.
#[derive(Debug)]
pub(super) struct Knocks {
    limit: KnockLimit,
    /// When the first was, since any beginning, and how many there were.
    counted: HashMap<IpAddr, (Duration, u32)>,
}

impl Knocks {
    pub(super) fn new(limit: KnockLimit) -> Self {
        Self { limit, counted: HashMap::new() }
    }

    /// Whether an address has used up what it has.
    pub(super) fn too_often(&self, now: Duration, address: IpAddr) -> bool {
        self.counted
            .get(&address)
            .is_some_and(|(first, count)| now.saturating_sub(*first) < self.limit.within && *count >= self.limit.count)
    }

    /// Counts one.
    pub(super) fn count(&mut self, now: Duration, address: IpAddr) {
        let within = self.limit.within;
        let lately = |first: Duration| now.saturating_sub(first) < within;
        if self.counted.len() >= ADDRESSES_COUNTED && !self.counted.contains_key(&address) {
            self.counted.retain(|_, (first, _)| lately(*first));
            if self.counted.len() >= ADDRESSES_COUNTED {
                self.counted.clear();
            }
        }
        let (first, count) = self.counted.entry(address).or_insert((now, 0));
        if !lately(*first) {
            (*first, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: KnockLimit = KnockLimit { count: 3, within: Duration::from_secs(60) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn an_address_that_knocks_too_often_is_forgiven_after_a_while_and_others_are_not_concerned() {
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let mut knocks = Knocks::new(LIMIT);
        for second in 0..3 {
            assert!(!knocks.too_often(at(second), one));
            knocks.count(at(second), one);
        }
        assert!(knocks.too_often(at(59), one) && !knocks.too_often(at(59), other));
        assert!(!knocks.too_often(at(60), one));
        knocks.count(at(60), one);
        assert!(!knocks.too_often(at(61), one));
    }

    #[test]
    fn however_many_addresses_knock_few_are_remembered() {
        let mut knocks = Knocks::new(LIMIT);
        for number in 0..3 * ADDRESSES_COUNTED as u32 {
            knocks.count(at(0), IpAddr::from(number.to_be_bytes()));
            assert!(knocks.counted.len() <= ADDRESSES_COUNTED);
        }
    }
}
