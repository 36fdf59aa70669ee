//! When a holder may drop a shard. Decided by the holder itself, with the shard's key locked, on a view of the ledger that a
//! read point taken under that lock has made fresh: whatever the order says, however late it comes.

use shoal_ledger::ShardStanding;

/// Why a shard is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Kept {
    /// A stripe in use counts on it.
    #[error("a stripe counts on it")]
    Counted,
    /// It is on its way here: what is there may be what has come.
    #[error("it is on its way here")]
    Coming,
    /// The ledger has not said that it is to go. Its commit may be on the way; the sweep for orphans sees to it.
    #[error("the ledger has not said that it is to go")]
    NotNamed,
}

/// Whether a shard goes that somebody asks its holder to drop: only if the ledger itself wants it gone. A writer that gives up
/// shards tells the ledger first (`Command::GiveUp`), which then refuses their stripe should it be named after all.
///
/// # Errors
/// Why it is kept.
pub fn drop_on_order(standing: ShardStanding) -> Result<(), Kept> {
    match standing {
        ShardStanding::Surplus | ShardStanding::Garbage => Ok(()),
        ShardStanding::Counted => Err(Kept::Counted),
        ShardStanding::Coming => Err(Kept::Coming),
        ShardStanding::Elsewhere | ShardStanding::Unknown => Err(Kept::NotNamed),
    }
}

/// Whether a shard goes whose whole grace time has passed without the ledger naming it ([`crate::OrphanBook`]), as the
/// ledger stands at the moment of dropping.
///
/// # Errors
/// Why it is kept.
pub fn drop_orphan(standing: ShardStanding) -> Result<(), Kept> {
    match standing {
        ShardStanding::Surplus | ShardStanding::Garbage | ShardStanding::Elsewhere | ShardStanding::Unknown => Ok(()),
        ShardStanding::Counted => Err(Kept::Counted),
        ShardStanding::Coming => Err(Kept::Coming),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_drops_only_what_the_ledger_wants_gone() {
        use ShardStanding::{Coming, Counted, Elsewhere, Garbage, Surplus, Unknown};
        for (standing, on_order, orphan) in [
            (Surplus, Ok(()), Ok(())),
            (Garbage, Ok(()), Ok(())),
            (Counted, Err(Kept::Counted), Err(Kept::Counted)),
            (Coming, Err(Kept::Coming), Err(Kept::Coming)),
            (Elsewhere, Err(Kept::NotNamed), Ok(())),
            (Unknown, Err(Kept::NotNamed), Ok(())),
        ] {
            assert_eq!((drop_on_order(standing), drop_orphan(standing)), (on_order, orphan), "{standing:?}");
        }
    }
}
