//! 10. What is stored reads back as it was, and what a newer version wrote is refused.

use shoal_ledger::{Batch, KvWrite, MemoryKv, apply, query};

use crate::world::World;

const NAME: &str = "formats";

/// The latest entry goes to disk and over the wire, and comes back.
pub(crate) fn entry(world: &mut World, position: u64) {
    let Some(batch) = world.log.batches().last() else { return };
    let back = postcard::to_allocvec(batch).and_then(|bytes| postcard::from_bytes::<Batch>(&bytes));
    if back.as_ref() != Ok(batch) {
        world.fail(NAME, format!("entry {position} does not read back"));
    }
}

/// A ledger that a newer version wrote is refused and not touched.
pub(crate) fn newer_is_refused(world: &mut World) {
    let mut copy = MemoryKv::default();
    for (position, batch) in (1..).zip(world.log.batches().iter().take(1)) {
        if apply(&mut copy, position, batch).is_err() {
            return world.fail(NAME, "the first entry does not apply".to_owned());
        }
    }
    let newer: Vec<(Vec<u8>, Vec<u8>)> =
        copy.rows().map(|(key, value)| (key.to_vec(), [&[u8::MAX], value.get(1..).unwrap_or(&[])].concat())).collect();
    for (key, value) in &newer {
        if copy.put(key, value).is_err() {
            return world.fail(NAME, "memory fails".to_owned());
        }
    }
    if query::check_format(&copy).is_ok() {
        world.fail(NAME, "rows of a newer version are taken for rows of this one".to_owned());
    }
}
