//! How much may still be written: bytes are reserved before a write is accepted and confirmed once it is durable.
//!
//! Used + reserved never exceed the cap, and what is reserved is never taken from the owner's reserve, however many
//! puts run at once. The disk's free space is asked for at most once a second, and again before a refusal.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::{StoreError, StoreSpace};

/// How old the known free space of the disk may be.
const FREE_SPACE_AGE_LIMIT: Duration = Duration::from_secs(1);
/// How old it may be when a put is refused because of it.
const FREE_SPACE_AGE_LIMIT_TO_REFUSE: Duration = Duration::from_millis(20);

/// What bounds a store.
#[derive(Debug, Clone)]
pub(crate) struct SpaceLimits {
    /// The directory, for messages.
    pub(crate) name: String,
    /// Bytes it may use; none: as much as the disk has.
    pub(crate) cap_bytes: Option<u64>,
    /// Bytes of the disk always left to its owner.
    pub(crate) reserve_bytes: u64,
    /// Bytes kept back so that compaction and deletion work in a full store.
    pub(crate) headroom_bytes: u64,
}

/// Bytes free on the disk, as the system says; `None` if it does not.
pub(crate) type MeasureFree = Box<dyn Fn() -> Option<u64> + Send + Sync>;

pub(crate) struct Space {
    limits: SpaceLimits,
    measure_free: MeasureFree,
    state: Mutex<State>,
}

struct State {
    used_bytes: u64,
    reserved_bytes: u64,
    /// Of the index, which grows by itself.
    index_bytes: u64,
    shards: u64,
    /// Free on the disk, less what was reserved since it was measured.
    disk_free_bytes: u64,
    measured: Option<Instant>,
}

/// Bytes set aside for one write; given back when dropped unconfirmed.
pub(crate) struct Reservation {
    space: Arc<Space>,
    bytes: u64,
}

impl Space {
    pub(crate) fn new(limits: SpaceLimits, measure_free: MeasureFree) -> Self {
        let state =
            State { used_bytes: 0, reserved_bytes: 0, index_bytes: 0, shards: 0, disk_free_bytes: 0, measured: None };
        Self { limits, measure_free, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn measure(&self, state: &mut State, age_limit: Duration) {
        if state.measured.is_some_and(|measured| measured.elapsed() < age_limit) {
            return;
        }
        // What is reserved may not have reached the disk yet, so it counts as if it had not.
        let free = (self.measure_free)().unwrap_or(0);
        state.disk_free_bytes = free.saturating_sub(state.reserved_bytes);
        state.measured = Some(Instant::now());
    }

    /// Bytes that may still be reserved, `headroom_bytes` left.
    fn available(&self, state: &State, headroom_bytes: u64) -> u64 {
        let disk = state.disk_free_bytes.saturating_sub(self.limits.reserve_bytes);
        let cap = self
            .limits
            .cap_bytes
            .map_or(u64::MAX, |cap| cap.saturating_sub(state.used_bytes + state.reserved_bytes + state.index_bytes));
        disk.min(cap).saturating_sub(headroom_bytes)
    }

    fn reserve_leaving(self: &Arc<Self>, bytes: u64, headroom_bytes: u64) -> Result<Reservation, StoreError> {
        let mut state = self.state();
        self.measure(&mut state, FREE_SPACE_AGE_LIMIT);
        if self.available(&state, headroom_bytes) < bytes {
            self.measure(&mut state, FREE_SPACE_AGE_LIMIT_TO_REFUSE);
        }
        let available = self.available(&state, headroom_bytes);
        if available < bytes {
            let directory = &self.limits.name;
            return Err(StoreError::Full(format!(
                "{directory} accepts {available} more bytes within its cap and its owner's reserve, not {bytes}"
            )));
        }
        state.reserved_bytes += bytes;
        state.disk_free_bytes = state.disk_free_bytes.saturating_sub(bytes);
        Ok(Reservation { space: Arc::clone(self), bytes })
    }

    /// Sets bytes aside for a put.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, StoreError> {
        self.reserve_leaving(bytes, self.limits.headroom_bytes)
    }

    /// Sets bytes aside for work that will free more than it takes.
    pub(crate) fn reserve_from_headroom(self: &Arc<Self>, bytes: u64) -> Result<Reservation, StoreError> {
        self.reserve_leaving(bytes, 0)
    }

    /// Counts what lies on the disk already, or was written whatever the limits say.
    pub(crate) fn add(&self, bytes: u64, shards: u64) {
        let mut state = self.state();
        state.used_bytes += bytes;
        state.shards += shards;
    }

    /// Counts what was freed. The disk's own count follows when it is next asked.
    pub(crate) fn remove(&self, bytes: u64, shards: u64) {
        let mut state = self.state();
        state.used_bytes = state.used_bytes.saturating_sub(bytes);
        state.shards = state.shards.saturating_sub(shards);
    }

    pub(crate) fn set_index_bytes(&self, bytes: u64) {
        self.state().index_bytes = bytes;
    }

    pub(crate) fn snapshot(&self) -> StoreSpace {
        let mut state = self.state();
        self.measure(&mut state, FREE_SPACE_AGE_LIMIT);
        let free_bytes = self.available(&state, self.limits.headroom_bytes);
        StoreSpace {
            unplugged: false,
            capacity_bytes: state.used_bytes + state.reserved_bytes + free_bytes,
            used_bytes: state.used_bytes,
            free_bytes,
            shards: state.shards,
        }
    }
}

impl Reservation {
    /// What was reserved is now used, by so many more shards.
    pub(crate) fn confirm(mut self, shards: u64) {
        let mut state = self.space.state();
        state.reserved_bytes -= self.bytes;
        state.used_bytes += self.bytes;
        state.shards += shards;
        drop(state);
        self.bytes = 0;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.space.state();
        state.reserved_bytes -= self.bytes;
        state.disk_free_bytes += self.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT_BYTES: u64 = 10;

    fn space(cap_bytes: Option<u64>, reserve_bytes: u64, disk_free_bytes: u64) -> Arc<Space> {
        let limits = SpaceLimits { name: "test".into(), cap_bytes, reserve_bytes, headroom_bytes: 0 };
        Arc::new(Space::new(limits, Box::new(move || Some(disk_free_bytes))))
    }

    /// Reservations that eight threads get when all want more than there is.
    fn accepted_by_threads(space: &Arc<Space>) -> u64 {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let space = Arc::clone(space);
                std::thread::spawn(move || {
                    let reservations: Vec<_> = (0..50).filter_map(|_| space.reserve(UNIT_BYTES).ok()).collect();
                    let accepted = reservations.len() as u64;
                    reservations.into_iter().for_each(|reservation| reservation.confirm(1));
                    accepted
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
    }

    #[test]
    fn the_cap_is_used_to_the_last_byte_and_never_exceeded() {
        let space = space(Some(1234), 0, u64::MAX);
        assert_eq!(accepted_by_threads(&space), 123);
        let now = space.snapshot();
        assert_eq!((now.capacity_bytes, now.used_bytes, now.free_bytes, now.shards), (1234, 1230, 4, 123));
    }

    #[test]
    fn the_owners_reserve_is_never_touched() {
        let space = space(None, 1000, 2000);
        let held: Vec<_> = (0..200).filter_map(|_| space.reserve(UNIT_BYTES).ok()).collect();
        assert_eq!(held.len(), 100, "only what lies above the reserve is given out");
        drop(held);
        assert_eq!(space.snapshot().free_bytes, 1000, "unconfirmed reservations come back");
    }

    #[test]
    fn a_disk_that_does_not_say_what_is_free_takes_nothing() {
        let limits = SpaceLimits { name: "test".into(), cap_bytes: None, reserve_bytes: 0, headroom_bytes: 0 };
        let space = Arc::new(Space::new(limits, Box::new(|| None)));
        assert!(matches!(space.reserve(1), Err(StoreError::Full(_))));
    }

    #[test]
    fn the_headroom_is_for_work_that_frees_space() {
        let limits = SpaceLimits { name: "test".into(), cap_bytes: Some(100), reserve_bytes: 0, headroom_bytes: 30 };
        let space = Arc::new(Space::new(limits, Box::new(|| Some(u64::MAX))));
        space.reserve(70).expect("up to the headroom").confirm(1);
        assert!(space.reserve(1).is_err());
        assert!(space.reserve_from_headroom(30).is_ok());
    }
}
