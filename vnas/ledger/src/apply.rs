//! Applying what consensus has ordered.

use crate::{Batch, KvError, KvWrite, Outcome, Rejection};

/// Applies a batch at position `position` of the log. Answers one result for each submission, in order; a
/// submission whose id was applied before is answered as it was then and changes nothing.
///
/// # Errors
/// If the store fails; the caller must throw the whole write away and stop.
pub fn apply(kv: &mut dyn KvWrite, position: u64, batch: &Batch) -> Result<Vec<Result<Outcome, Rejection>>, KvError> {
    let _ = (kv, position, batch);
    todo!("the ledger's author")
}
