//! What waits for one recipient, in which order it may go.
//!
//! ```text
//! line of a session   3 → 7 → 9      only the first goes: 3; 7 is queued until 3 is acknowledged or has expired
//! without a session   4, 5, 8        each goes by itself
//! ready               those that may go and wait for room on the way
//! open                those on the way, sent and sent again until something is heard
//! ```

use std::collections::{BTreeMap, BTreeSet};

use dci_proto::SessionId;

use super::{Limits, Place};

/// What waits for one recipient.
#[derive(Debug, Clone, Default)]
pub(super) struct Lane {
    lines: BTreeMap<SessionId, BTreeSet<Place>>,
    ready: BTreeSet<Place>,
    pub(super) open: BTreeSet<Place>,
    /// Sendings again since it was last heard of.
    pub(super) unanswered: u32,
}

impl Lane {
    /// Takes a message in. Answers one that may go no more because the new one comes before it.
    pub(super) fn add(&mut self, place: Place, session: Option<SessionId>) -> Option<Place> {
        let Some(session) = session else {
            self.ready.insert(place);
            return None;
        };
        let line = self.lines.entry(session).or_default();
        let first = line.first().copied();
        line.insert(place);
        if first.is_some_and(|first| first < place) {
            return None;
        }
        self.ready.insert(place);
        first.filter(|first| self.ready.remove(first) || self.open.remove(first))
    }

    /// Takes a message out; the next of its line may go.
    pub(super) fn remove(&mut self, place: Place, session: Option<SessionId>) {
        self.ready.remove(&place);
        self.open.remove(&place);
        let Some(session) = session else { return };
        let Some(line) = self.lines.get_mut(&session) else { return };
        line.remove(&place);
        match line.first() {
            Some(first) if !self.open.contains(first) => {
                self.ready.insert(*first);
            }
            Some(_) => {}
            None => {
                self.lines.remove(&session);
            }
        }
    }

    /// The next message that may be on its way, if there is room.
    pub(super) fn admit(&mut self, limits: &Limits) -> Option<Place> {
        if self.open.len() >= self.room(limits) {
            return None;
        }
        let place = self.ready.pop_first()?;
        self.open.insert(place);
        Some(place)
    }

    /// Takes back one that is on its way, to make room for others: it may go again later.
    pub(super) fn park(&mut self, place: Place) {
        if self.open.remove(&place) {
            self.ready.insert(place);
        }
    }

    /// Whether a message is among the first on the way, of which even a recipient that does not answer gets more.
    pub(super) fn is_probe(&self, place: Place, limits: &Limits) -> bool {
        self.open.range(..place).take(limits.on_the_way_unanswered).count() < limits.on_the_way_unanswered
    }

    /// Whether the recipient does not answer.
    pub(super) fn is_silent(&self, limits: &Limits) -> bool {
        self.unanswered >= limits.unanswered
    }

    /// Whether a message could be sent at once.
    pub(super) fn is_free(&self, session: Option<SessionId>, limits: &Limits) -> bool {
        let first = session.is_none_or(|session| !self.lines.contains_key(&session));
        first && self.ready.is_empty() && self.open.len() < self.room(limits)
    }

    /// The message behind another in its line.
    pub(super) fn behind(&self, place: Place, session: SessionId) -> Option<Place> {
        self.lines.get(&session)?.range(place.next()..).next().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.ready.is_empty() && self.lines.is_empty()
    }

    fn room(&self, limits: &Limits) -> usize {
        if self.is_silent(limits) { limits.on_the_way_unanswered } else { limits.on_the_way }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Option<SessionId> = Some(SessionId([1; 16]));

    fn admitted(lane: &mut Lane, limits: &Limits) -> Vec<u64> {
        std::iter::from_fn(|| lane.admit(limits)).map(|place| place.0).collect()
    }

    #[test]
    fn of_a_session_one_goes_at_a_time_and_without_one_all_do() {
        let (mut lane, limits) = (Lane::default(), Limits::default());
        for (place, session) in [(3, LINE), (4, None), (5, None), (7, LINE), (8, Some(SessionId([2; 16])))] {
            lane.add(Place(place), session);
        }
        assert_eq!(admitted(&mut lane, &limits), [3, 4, 5, 8]);
        assert_eq!(lane.behind(Place(3), SessionId([1; 16])), Some(Place(7)));
        lane.remove(Place(3), LINE);
        assert_eq!(admitted(&mut lane, &limits), [7]);
    }

    #[test]
    fn one_that_comes_earlier_in_its_line_takes_the_place_of_the_first() {
        let (mut lane, limits) = (Lane::default(), Limits::default());
        lane.add(Place(7), LINE);
        assert_eq!(admitted(&mut lane, &limits), [7]);
        assert_eq!(lane.add(Place(3), LINE), Some(Place(7)));
        assert_eq!(admitted(&mut lane, &limits), [3]);
        lane.remove(Place(3), LINE);
        assert_eq!(admitted(&mut lane, &limits), [7]);
    }

    #[test]
    fn who_does_not_answer_gets_no_more_than_a_few() {
        let limits = Limits { on_the_way: 10, on_the_way_unanswered: 2, unanswered: 1, ..Limits::default() };
        let mut lane = Lane::default();
        for place in 1..=20 {
            lane.add(Place(place), None);
        }
        assert_eq!(admitted(&mut lane, &limits).len(), 10);
        lane.unanswered = 1;
        let kept: Vec<Place> = lane.open.iter().copied().filter(|place| lane.is_probe(*place, &limits)).collect();
        assert_eq!(kept, [Place(1), Place(2)]);
        (3..=10).for_each(|place| lane.park(Place(place)));
        assert_eq!(admitted(&mut lane, &limits), [0; 0]);
        lane.unanswered = 0;
        assert_eq!(admitted(&mut lane, &limits), [3, 4, 5, 6, 7, 8, 9, 10]);
    }
}
