//! Reading and writing the state through the ledger's key-value traits.

use redb::{ReadOnlyTable, ReadableTable, Table};
use shoal_ledger::{KvError, KvRead, KvWrite};

use crate::types::{LogId, StoredMembership};

type Bytes = &'static [u8];

/// The state as it was after some entry; unchanging.
pub(crate) struct StateView {
    table: ReadOnlyTable<Bytes, Bytes>,
    /// The last entry applied.
    pub(crate) applied: Option<LogId>,
    /// The last membership applied.
    pub(crate) membership: StoredMembership,
}

impl StateView {
    pub(super) fn new(
        table: ReadOnlyTable<Bytes, Bytes>,
        applied: Option<LogId>,
        membership: StoredMembership,
    ) -> Self {
        Self { table, applied, membership }
    }

    /// Copies rows from after `after` on into `piece` until it has `limit_bytes`. Answers whether more follow.
    pub(crate) fn copy_rows(
        &self,
        after: Option<&[u8]>,
        limit_bytes: usize,
        piece: &mut super::dump::PieceWriter,
    ) -> Result<bool, KvError> {
        use std::ops::Bound;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for row in self.table.range::<&[u8]>((from, Bound::Unbounded)).map_err(store_error)? {
            let (key, value) = row.map_err(store_error)?;
            piece.push(key.value(), value.value());
            if piece.length_bytes() >= limit_bytes {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl KvRead for StateView {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        get(&self.table, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KvError> {
        scan(&self.table, from, to, visit)
    }
}

type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<bool, KvError> + 'a;

/// The state while entries are applied.
pub(super) struct StateWriter<'txn>(pub(super) Table<'txn, Bytes, Bytes>);

impl KvRead for StateWriter<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        get(&self.0, key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: &mut Visit<'_>) -> Result<(), KvError> {
        scan(&self.0, from, to, visit)
    }
}

impl KvWrite for StateWriter<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        self.0.insert(key, value).map(drop).map_err(store_error)
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), KvError> {
        self.0.remove(key).map(drop).map_err(store_error)
    }
}

fn get(table: &impl ReadableTable<Bytes, Bytes>, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
    Ok(table.get(key).map_err(store_error)?.map(|value| value.value().to_vec()))
}

fn scan(
    table: &impl ReadableTable<Bytes, Bytes>,
    from: &[u8],
    to: &[u8],
    visit: &mut Visit<'_>,
) -> Result<(), KvError> {
    if from >= to {
        return Ok(());
    }
    for row in table.range::<&[u8]>(from..to).map_err(store_error)? {
        let (key, value) = row.map_err(store_error)?;
        if !visit(key.value(), value.value())? {
            break;
        }
    }
    Ok(())
}

pub(super) fn store_error(error: impl Into<redb::Error>) -> KvError {
    KvError::Io(error.into().to_string())
}
