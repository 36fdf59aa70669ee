//! Shards the ledger does not name: left by uploads whose commit never came, or by a time when their agent was away.
//!
//! That the ledger does not name a shard now is no reason to drop it. It is due when every look at it for a whole grace time,
//! by the ledger's own time, found it unnamed; then [`crate::drop_orphan`] has the last word.

use std::collections::BTreeMap;

use dci_proto::ShardKey;
use serde::{Deserialize, Serialize};
use shoal_ledger::ShardStanding;

/// Looks that must have found a shard unnamed, at least. The ledger's time leaps when a leader's clock does; the looks
/// of an agent are paced by its own steady clock.
pub const LOOKS: u32 = 3;

/// How patient the sweep is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OrphanRules {
    /// How long the ledger must not have named a shard, in ms of the ledger's time.
    pub grace_ms: u64,
    /// Shards remembered as unnamed, at most; others wait for a later look.
    pub remembered: usize,
}

/// Since when a shard is known to be unnamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unnamed {
    /// In ms of the ledger's time.
    pub since_ms: u64,
    /// How many looks found it so, at most [`LOOKS`].
    pub looks: u32,
}

/// What earlier looks saw. Kept over restarts: few PCs run for a whole day.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrphanBook {
    unnamed: BTreeMap<ShardKey, Unnamed>,
}

impl OrphanBook {
    /// A book with these entries, as [`Self::iter`] gave them.
    #[must_use]
    pub fn of(unnamed: impl IntoIterator<Item = (ShardKey, Unnamed)>) -> Self {
        Self { unnamed: unnamed.into_iter().collect() }
    }

    /// All entries, by shard.
    pub fn iter(&self) -> impl Iterator<Item = (ShardKey, Unnamed)> {
        self.unnamed.iter().map(|(key, unnamed)| (*key, *unnamed))
    }

    /// Shards remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.unnamed.len()
    }

    /// Whether none is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.unnamed.is_empty()
    }
}

/// One look through all shards of an agent, page by page, on a view known to be fresh.
#[derive(Debug)]
pub struct OrphanLook<'a> {
    rules: OrphanRules,
    now_ms: u64,
    before: &'a OrphanBook,
    after: OrphanBook,
}

impl<'a> OrphanLook<'a> {
    /// Begins one. `now_ms`: the ledger's time in that view.
    #[must_use]
    pub fn begin(before: &'a OrphanBook, rules: OrphanRules, now_ms: u64) -> Self {
        Self { rules, now_ms, before, after: OrphanBook::default() }
    }

    /// Takes in how the ledger stands to a shard; true if it is due to be dropped, by [`crate::drop_orphan`]. What is
    /// named, or dropped on order, begins anew should it ever be unnamed again.
    pub fn see(&mut self, key: ShardKey, standing: ShardStanding) -> bool {
        if !matches!(standing, ShardStanding::Elsewhere | ShardStanding::Unknown) {
            return false;
        }
        let known = self.before.unnamed.get(&key).copied();
        let mut unnamed = known.unwrap_or(Unnamed { since_ms: self.now_ms, looks: 0 });
        unnamed.looks = (unnamed.looks + 1).min(LOOKS);
        if known.is_some() || self.after.unnamed.len() < self.rules.remembered {
            self.after.unnamed.insert(key, unnamed);
        }
        unnamed.looks >= LOOKS && self.now_ms.saturating_sub(unnamed.since_ms) >= self.rules.grace_ms
    }

    /// A shard that was due has gone.
    pub fn dropped(&mut self, key: ShardKey) {
        self.after.unnamed.remove(&key);
    }

    /// What is to be remembered.
    #[must_use]
    pub fn end(self) -> OrphanBook {
        self.after
    }
}

#[cfg(test)]
mod tests {
    use dci_proto::StripeId;

    use super::*;

    const RULES: OrphanRules = OrphanRules { grace_ms: 100, remembered: 2 };

    fn key(number: u8) -> ShardKey {
        ShardKey { stripe: StripeId([number; 16]), index: 0 }
    }

    fn look(book: &mut OrphanBook, now_ms: u64, shards: &[(u8, ShardStanding)]) -> Vec<bool> {
        let before = book.clone();
        let mut look = OrphanLook::begin(&before, RULES, now_ms);
        let due = shards.iter().map(|(number, standing)| look.see(key(*number), *standing)).collect();
        *book = look.end();
        due
    }

    #[test]
    fn a_shard_is_due_when_it_was_unnamed_for_the_whole_grace_at_every_look() {
        let mut book = OrphanBook::default();
        let unknown = [(1, ShardStanding::Unknown)];
        assert_eq!(look(&mut book, 1000, &unknown), [false]);
        assert_eq!(look(&mut book, 1099, &unknown), [false]);
        assert_eq!(look(&mut book, 1100, &unknown), [true]);
        assert_eq!(look(&mut book, 1200, &[(1, ShardStanding::Counted)]), [false]);
        assert!(book.is_empty());
        assert_eq!(look(&mut book, 1300, &unknown), [false], "it begins anew");
    }

    #[test]
    fn a_leap_of_the_ledgers_time_alone_makes_nothing_due() {
        let mut book = OrphanBook::default();
        let elsewhere = [(1, ShardStanding::Elsewhere)];
        assert_eq!(look(&mut book, 0, &elsewhere), [false]);
        assert_eq!(look(&mut book, 1_000_000, &elsewhere), [false]);
        assert_eq!(look(&mut book, 1_000_000, &elsewhere), [true]);
    }

    #[test]
    fn it_remembers_no_more_than_it_may_and_what_the_ledger_wants_gone_is_not_its_business() {
        let mut book = OrphanBook::default();
        let shards = [1, 2, 3, 4].map(|number| (number, ShardStanding::Unknown));
        look(&mut book, 0, &shards);
        assert_eq!(book.len(), 2);
        assert_eq!(look(&mut book, 500, &[(1, ShardStanding::Garbage), (2, ShardStanding::Surplus)]), [false, false]);
        assert!(book.is_empty());
    }
}
