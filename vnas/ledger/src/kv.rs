//! The ordered key-value store the state machine runs over: redb in an agent, a `BTreeMap` in tests and simulation.

use std::collections::BTreeMap;

/// Why the store under the ledger failed. Never a verdict on a command: the agent stops applying and says so.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KvError {
    /// The store could not read or write.
    #[error("the ledger's store failed: {0}")]
    Io(String),
    /// There is no ledger here to read; says whom to ask.
    #[error("{0}")]
    Absent(String),
    /// A stored row does not decode: the file is damaged or was written by a newer version.
    #[error("the ledger holds a row that cannot be read ({table}): {reason}")]
    Corrupt {
        /// Which table the row is in.
        table: &'static str,
        /// What the decoder said.
        reason: String,
    },
    /// A newer version wrote this ledger; nothing was touched.
    #[error(
        "this ledger was written by a newer version of Shoal (format {found}; this one reads up to {known}): \
             update Shoal on this computer"
    )]
    Newer {
        /// The format it has.
        found: u32,
        /// The latest format known here.
        known: u32,
    },
}

/// Takes the key and value of a row and answers whether to go on.
pub type RowVisitor<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<bool, KvError>;

/// A consistent, ordered view of the state.
///
/// To be correct, an implementation must show one unchanging state for as long as it lives, and scan in the
/// lexicographic order of the keys' bytes.
pub trait KvRead {
    /// The value under a key.
    ///
    /// # Errors
    /// If the store cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;

    /// Visits the rows with `from <= key < to` in order, until `visit` returns false.
    ///
    /// # Errors
    /// If the store cannot be read, or the first error `visit` returns.
    fn scan(&self, from: &[u8], to: &[u8], visit: RowVisitor<'_>) -> Result<(), KvError>;
}

/// A view that can be changed; what was written is read back at once.
pub trait KvWrite: KvRead {
    /// Sets a row.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), KvError>;

    /// Removes a row; one that is not there is no error.
    ///
    /// # Errors
    /// If the store cannot be written.
    fn delete(&mut self, key: &[u8]) -> Result<(), KvError>;
}

/// The state in memory, for tests and simulation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryKv {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl MemoryKv {
    /// Every row, in order.
    pub fn rows(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.rows.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))
    }
}

impl KvRead for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.rows.get(key).cloned())
    }

    fn scan(&self, from: &[u8], to: &[u8], visit: RowVisitor<'_>) -> Result<(), KvError> {
        if from >= to {
            return Ok(());
        }
        let bounds = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        for (key, value) in self.rows.range::<[u8], _>(bounds) {
            if !visit(key, value)? {
                break;
            }
        }
        Ok(())
    }
}

impl KvWrite for MemoryKv {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), KvError> {
        self.rows.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), KvError> {
        self.rows.remove(key);
        Ok(())
    }
}
