//! One writer per shard at a time.
//!
//! Two puts of one key, or a put and a delete, would otherwise race between looking and writing. Readers take no
//! lock. The set holds only the keys being written now, so it is bounded by the operations in flight.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use dci_proto::ShardKey;
use tokio::sync::Notify;

#[derive(Default)]
pub(crate) struct KeyLocks {
    held: Mutex<HashSet<ShardKey>>,
    released: Notify,
}

/// The right to write one key, given back when dropped.
pub(crate) struct KeyGuard {
    locks: Arc<KeyLocks>,
    key: ShardKey,
}

impl KeyLocks {
    pub(crate) async fn lock(self: &Arc<Self>, key: ShardKey) -> KeyGuard {
        loop {
            // Made before looking: a release between the look and the wait still wakes it.
            let released = self.released.notified();
            if self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(key) {
                return KeyGuard { locks: Arc::clone(self), key };
            }
            released.await;
        }
    }
}

impl Drop for KeyGuard {
    fn drop(&mut self) {
        self.locks.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
        self.locks.released.notify_waiters();
    }
}
