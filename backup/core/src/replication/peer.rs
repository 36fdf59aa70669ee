//! What the owner knows of the copy of one peer.

use std::collections::BTreeMap;

use super::{FULL_WAIT_MS, IN_FLIGHT_OF_PEER, RETRY_FIRST_MS, RETRY_LIMIT_MS, SEND_TIMEOUT_MS, SendFailure};
use crate::now::backoff_ms;
use crate::object::Object;
use crate::order::Lacking;
use crate::planted;
use crate::slots::{Slot, Slots};

/// What is known of one peer's copy. Every object is in exactly one of `counted`, `claimed` and `lacking`.
#[derive(Debug, Clone, Default)]
pub(super) struct Peer {
    /// It says that it holds these, and its word counts or they were proven.
    counted: Slots,
    /// It says that it holds these; its word counts for nothing.
    claimed: Slots,
    lacking: Lacking<Slot>,
    in_flight: BTreeMap<Slot, u64>,
    distrusted: bool,
    reachable: bool,
    pulls: bool,
    full: bool,
    failures: u32,
    not_before_ms: u64,
}

impl Peer {
    pub(super) fn counted(&self) -> &Slots {
        &self.counted
    }

    pub(super) fn claimed(&self) -> &Slots {
        &self.claimed
    }

    pub(super) fn lacking(&self) -> &Lacking<Slot> {
        &self.lacking
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.full
    }

    pub(super) fn is_distrusted(&self) -> bool {
        self.distrusted
    }

    pub(super) fn is_reachable(&self) -> bool {
        self.reachable
    }

    pub(super) fn set_reachable(&mut self, reachable: bool) {
        if reachable && !self.reachable {
            // It came back: what failed before says nothing.
            self.has_room();
        }
        if !reachable {
            self.in_flight.clear();
        }
        self.reachable = reachable;
    }

    pub(super) fn set_pulls(&mut self, pulls: bool) {
        self.pulls = pulls;
    }

    pub(super) fn lacks(&mut self, slot: Slot, object: &Object, sequence: u64) {
        self.counted.remove(slot);
        self.claimed.remove(slot);
        self.lacking.insert(object, sequence, slot);
    }

    /// It says that it has it. In a report of a distrusted peer, too.
    pub(super) fn holds(&mut self, slot: Slot, object: &Object, sequence: u64) {
        self.lacking.remove(object, sequence);
        self.in_flight.remove(&slot);
        if !self.distrusted || planted::has(planted::Bug::TrustsLiars) {
            self.counted.insert(slot);
        } else if !self.counted.contains(slot) {
            self.claimed.insert(slot);
        }
    }

    pub(super) fn forget(&mut self, slot: Slot, object: &Object, sequence: u64) {
        self.lacking.remove(object, sequence);
        self.in_flight.remove(&slot);
        self.counted.remove(slot);
        self.claimed.remove(slot);
        self.trust_if_proven();
    }

    /// Before a report; what counted until then. Of a distrusted peer that was proven, so it counts on if it is named again.
    pub(super) fn begin_report(&mut self) -> Slots {
        self.claimed.clear();
        self.lacking = Lacking::default();
        std::mem::take(&mut self.counted)
    }

    /// It named what counted before.
    pub(super) fn named_again(&mut self, slot: Slot) {
        if self.claimed.remove(slot) {
            self.counted.insert(slot);
        }
    }

    pub(super) fn end_report(&mut self) {
        self.in_flight.clear();
        self.trust_if_proven();
    }

    pub(super) fn confirmed(&mut self, slot: Slot, object: &Object, sequence: u64) -> bool {
        // It takes things: what failed before makes nothing wait.
        self.has_room();
        let new = !self.counted.contains(slot) && !self.claimed.contains(slot);
        self.holds(slot, object, sequence);
        new
    }

    pub(super) fn failed(&mut self, slot: Slot, why: SendFailure, steady_ms: u64) {
        if self.in_flight.remove(&slot).is_none() {
            return;
        }
        self.failures = self.failures.saturating_add(1);
        self.full = why == SendFailure::Full;
        let wait_ms = if self.full { FULL_WAIT_MS } else { backoff_ms(self.failures, RETRY_FIRST_MS, RETRY_LIMIT_MS) };
        self.not_before_ms = steady_ms.saturating_add(wait_ms);
    }

    /// It has room, or failed for another reason that is over.
    pub(super) fn has_room(&mut self) {
        (self.failures, self.full, self.not_before_ms) = (0, false, 0);
    }

    pub(super) fn distrust(&mut self) {
        self.distrusted = true;
        for slot in std::mem::take(&mut self.counted).iter() {
            self.claimed.insert(slot);
        }
    }

    pub(super) fn proven(&mut self, slot: Slot) {
        if self.claimed.remove(slot) {
            self.counted.insert(slot);
            self.trust_if_proven();
        }
    }

    fn trust_if_proven(&mut self) {
        if self.distrusted && self.claimed.len() == 0 && self.lacking.is_empty() {
            self.distrusted = false;
        }
    }

    /// Gives up what nothing was heard of; how many are on their way.
    pub(super) fn expire(&mut self, steady_ms: u64) -> usize {
        let late = |since_ms: &u64| steady_ms.saturating_sub(*since_ms) >= SEND_TIMEOUT_MS;
        let late: Vec<Slot> = self.in_flight.iter().filter(|(_, since)| late(since)).map(|(slot, _)| *slot).collect();
        late.into_iter().for_each(|slot| self.failed(slot, SendFailure::Unreachable, steady_ms));
        self.in_flight.len()
    }

    /// What is to be sent to it now, `room` at most. It is on its way then.
    pub(super) fn due(&mut self, steady_ms: u64, room: usize) -> Vec<Slot> {
        if !self.reachable || self.pulls || steady_ms < self.not_before_ms {
            return Vec::new();
        }
        // A peer that fails is asked with one object, not with four.
        let most = if self.failures > 0 { 1 } else { IN_FLIGHT_OF_PEER };
        let room = room.min(most.saturating_sub(self.in_flight.len()));
        let ready = self.lacking.ready().filter(|slot| !self.in_flight.contains_key(slot));
        let due: Vec<Slot> = ready.take(room).copied().collect();
        for slot in &due {
            self.in_flight.insert(*slot, steady_ms);
            if planted::has(planted::Bug::CountsSent) {
                self.counted.insert(*slot);
            }
        }
        due
    }
}
