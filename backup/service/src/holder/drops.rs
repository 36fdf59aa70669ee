//! What an owner deleted goes when its grace time is over, in an order in which what is left is a valid repository. The time
//! is counted by this holder alone, so that whoever took over an owner's PC can sign deletions and destroys nothing at once.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use super::held::Held;
use super::{HolderError, Shared, blocking};

/// How often it looks for what is due.
const LOOK_EVERY: Duration = Duration::from_secs(60 * 60);
/// Objects that go before others may use the copy in between.
const DROPS_AT_ONCE: usize = 64;

impl Shared {
    /// Drops what is due, every hour until it is to end.
    pub(super) async fn keep_dropping(self: &Arc<Self>) {
        loop {
            let this = Arc::clone(self);
            let _ = blocking(move || this.drop_due()).await;
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Drops what is due now.
    pub(super) fn drop_due(&self) {
        self.uptime.tick(self.now());
        for held in self.all() {
            if let Err(error) = self.drop_due_of(&held) {
                tracing::warn!(owner = %held.owner, %error, "what an owner deleted could not be dropped");
            }
        }
    }

    fn drop_due_of(&self, held: &Held) -> Result<(), HolderError> {
        let now = self.now();
        loop {
            let mut access = held.access(now)?;
            let due = access.copy.droppable(now, self.grace_ms);
            let passed_ms = access.copy.state().clock.passed_ms();
            let released_ms = access.released_ms();
            if released_ms.is_some_and(|released_ms| passed_ms.saturating_sub(released_ms) >= self.grace_ms) {
                // Nobody finds it any more before it begins to go.
                let mut copies = self.copies();
                tracing::info!(owner = %held.owner, "a copy that its owner needs no more goes");
                access.remove_all()?;
                copies.remove(&held.owner);
                return Ok(());
            }
            for object in due.iter().take(DROPS_AT_ONCE) {
                access.remove(&object.name)?;
            }
            if due.len() <= DROPS_AT_ONCE {
                // The clock has gone on, whatever went.
                access.save()?;
                break;
            }
        }
        self.drop_unfinished(held)
    }

    /// What was begun and not gone on with goes.
    fn drop_unfinished(&self, held: &Held) -> Result<(), HolderError> {
        let now = self.now();
        for name in self.room.stale(held.owner, now.steady_ms) {
            let mut access = held.access(now)?;
            if !access.is_claimed(&name) {
                access.fetcher.given_up(&name);
                held.objects.discard(&name)?;
                self.room.ended(held.owner, name);
            }
        }
        Ok(())
    }

    /// Damage and liars that owners are yet to be told of.
    pub(super) fn untold(&self) -> usize {
        self.untold.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}
