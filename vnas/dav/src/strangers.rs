//! Connections that nobody has signed in on. When all places are taken the one that has waited longest goes, so that
//! whoever opens hundreds and sends nothing keeps nobody out who knows a password. The agent's API does the same.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// The connections nobody has signed in on, the oldest first. Bounded by the number of places.
#[derive(Default)]
pub struct Strangers(Mutex<(u64, VecDeque<(u64, CancellationToken)>)>);

/// One such connection; no stranger any more when dropped or known.
#[derive(Clone)]
pub struct Stranger {
    inner: Arc<Inner>,
}

struct Inner {
    all: Arc<Strangers>,
    number: u64,
    leave: CancellationToken,
}

impl Strangers {
    /// Notes a new connection.
    #[must_use]
    pub fn enter(self: &Arc<Self>) -> Stranger {
        let leave = CancellationToken::new();
        let mut list = self.lock();
        list.0 += 1;
        let number = list.0;
        list.1.push_back((number, leave.clone()));
        drop(list);
        Stranger { inner: Arc::new(Inner { all: Arc::clone(self), number, leave }) }
    }

    /// Has the one that has waited longest leave, if there is one.
    pub fn make_room(&self) {
        if let Some((_, leave)) = self.lock().1.pop_front() {
            leave.cancel();
        }
    }

    fn forget(&self, number: u64) {
        self.lock().1.retain(|(other, _)| *other != number);
    }

    fn lock(&self) -> MutexGuard<'_, (u64, VecDeque<(u64, CancellationToken)>)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stranger {
    /// Somebody has signed in on it: it is not asked to leave any more.
    pub fn is_known(&self) {
        self.inner.all.forget(self.inner.number);
    }

    /// Fires when it has to make room.
    #[must_use]
    pub fn leave(&self) -> CancellationToken {
        self.inner.leave.clone()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.all.forget(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stranger_that_waited_longest_makes_room_and_who_is_known_stays() {
        let strangers = Arc::new(Strangers::default());
        let [first, second, third] = [(); 3].map(|()| strangers.enter());
        first.is_known();
        drop(third);
        strangers.make_room();
        strangers.make_room();
        assert_eq!((first.leave().is_cancelled(), second.leave().is_cancelled()), (false, true));
        assert!(strangers.lock().1.is_empty());
    }
}
