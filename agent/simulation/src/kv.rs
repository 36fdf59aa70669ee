//! The ledger's rows with their past: every copy of the ledger, however far behind, is a view of it at a position.

use std::collections::BTreeMap;

use shoal_ledger::{KvError, KvRead, KvWrite, RowVisitor};

/// The value of a row from a position on; `None`: removed.
type Version = (u64, Option<Box<[u8]>>);

/// All rows at all positions.
#[derive(Default)]
pub(crate) struct History {
    rows: BTreeMap<Vec<u8>, Vec<Version>>,
}

impl History {
    /// The ledger as a copy has it that has applied everything up to `position`.
    pub(crate) fn at(&self, position: u64) -> View<'_> {
        View { history: self, position }
    }

    /// The ledger to be changed at `position`, the latest.
    pub(crate) fn write(&mut self, position: u64) -> Writer<'_> {
        Writer { history: self, position }
    }
}

fn value_at(versions: &[Version], position: u64) -> Option<&[u8]> {
    let end = versions.partition_point(|(since, _)| *since <= position);
    versions.get(end.checked_sub(1)?)?.1.as_deref()
}

/// A copy of the ledger.
pub(crate) struct View<'a> {
    history: &'a History,
    position: u64,
}

impl KvRead for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        let versions = self.history.rows.get(key);
        Ok(versions.and_then(|versions| value_at(versions, self.position)).map(<[u8]>::to_vec))
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: RowVisitor<'_>) -> Result<(), KvError> {
        if from >= to {
            return Ok(());
        }
        let bounds = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        for (key, versions) in self.history.rows.range::<[u8], _>(bounds) {
            if let Some(value) = value_at(versions, self.position)
                && !visit(key, value)?
            {
                break;
            }
        }
        Ok(())
    }
}

/// The latest state, being changed.
pub(crate) struct Writer<'a> {
    history: &'a mut History,
    position: u64,
}

impl Writer<'_> {
    fn set(&mut self, key: &[u8], value: Option<&[u8]>) {
        let position = self.position;
        let version = || (position, value.map(Box::from));
        match self.history.rows.get_mut(key) {
            Some(versions) => match versions.last_mut() {
                Some(last) if last.0 == position => *last = version(),
                _ => versions.push(version()),
            },
            None if value.is_none() => {}
            None => {
                self.history.rows.insert(key.to_vec(), vec![version()]);
            }
        }
    }
}

impl KvRead for Writer<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.history.at(self.position).get(key)
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: RowVisitor<'_>) -> Result<(), KvError> {
        self.history.at(self.position).scan(from, to, visit)
    }
}

impl KvWrite for Writer<'_> {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        self.set(key, Some(value));
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), KvError> {
        self.set(key, None);
        Ok(())
    }
}
