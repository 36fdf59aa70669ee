//! What sets a ledger that was recovered apart from the one it was recovered from.

use crate::tables::{self, MetaRow};
use crate::{KvError, KvWrite};

/// Numbers that a recovered ledger leaves out. The ledger before may have given them to what was not found of it.
const NUMBERS_LEFT_OUT: u64 = 1 << 32;

/// Goes on at a later position, and with numbers of files and versions that were never given: what a client or a holder
/// of shards remembers of the lost end is never taken for something new.
///
/// # Errors
/// If the store fails.
pub fn leap(kv: &mut dyn KvWrite, position: u64) -> Result<(), KvError> {
    let meta = crate::query::meta(kv)?;
    let meta = MetaRow {
        position,
        next_inode: meta.next_inode.saturating_add(NUMBERS_LEFT_OUT),
        next_version: meta.next_version.saturating_add(NUMBERS_LEFT_OUT),
        ..meta
    };
    let row = tables::encode(tables::META, &meta)?;
    kv.put(&tables::META.key(&[]), &row)
}
