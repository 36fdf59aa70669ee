//! A state that is being received, in a database of its own until it is complete.

use std::path::{Path, PathBuf};

use redb::{Database, Durability};
use shoal_ledger::KvError;

use super::dump::read_rows;
use super::store::{Applied, ROWS, open_database, write_applied};
use super::view::store_error;
use crate::ConsensusError;

/// Rows received so far. Nothing of it counts until [`super::StateStore::install`].
pub(crate) struct IncomingState {
    database: Database,
    path: PathBuf,
    rows: u64,
}

impl IncomingState {
    /// Makes an empty one, over whatever an earlier attempt left.
    pub(super) fn create(path: &Path, cache_bytes: usize) -> Result<Self, ConsensusError> {
        match shoal_files::remove(path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ConsensusError::io("remove", path)(error));
            }
            _ => {}
        }
        Ok(Self { database: open_database(path, cache_bytes)?, path: path.to_owned(), rows: 0 })
    }

    /// Takes up one piece of rows. Blocking.
    pub(crate) fn write_piece(&mut self, piece: &[u8]) -> Result<(), ConsensusError> {
        let mut transaction = self.database.begin_write().map_err(store_error)?;
        transaction.set_durability(Durability::None).map_err(store_error)?;
        {
            let mut table = transaction.open_table(ROWS).map_err(store_error)?;
            for row in read_rows(piece) {
                let (key, value) = row.ok_or_else(|| ConsensusError::Format("a piece of a state is cut off".into()))?;
                table.insert(key, value).map_err(store_error)?;
                self.rows += 1;
            }
        }
        transaction.commit().map_err(store_error)?;
        Ok(())
    }

    /// Rows received so far.
    pub(crate) fn rows(&self) -> u64 {
        self.rows
    }

    /// Makes it durable and closes it; answers its path.
    pub(super) fn finish(self, applied: &Applied) -> Result<PathBuf, KvError> {
        write_applied(&self.database, applied)?;
        Ok(self.path)
    }
}
