//! Which users look at chat at this agent, and when the others are to be told. Pure: times are arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use dci_proto::message::UserName;
use shoal_chat::{Presence, RoomName, State};

/// How long the word that somebody is there holds.
pub(super) const WORD_LIFE: Duration = Duration::from_secs(300);
/// After so long it is said again.
const SAY_AGAIN: Duration = Duration::from_secs(120);
/// A change is told when nothing else changed for so long: a page that is opened anew is no coming and going.
const SETTLE: Duration = Duration::from_secs(1);
/// Users that are attended to, at most; the doors let far fewer in at once.
const USERS_LIMIT: usize = 1_000;

/// A window somebody looks through.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Window {
    room: Option<RoomName>,
    away: bool,
}

#[derive(Debug, Default)]
struct Attendee {
    windows: BTreeMap<u64, Window>,
    told: Option<(Presence, Duration)>,
    changed: Duration,
}

impl Attendee {
    fn presence(&self) -> Presence {
        let state = match (self.windows.is_empty(), self.windows.values().all(|window| window.away)) {
            (true, _) => State::Gone,
            (false, true) => State::Away,
            (false, false) => State::Here,
        };
        let mut rooms: Vec<RoomName> = self.windows.values().filter_map(|window| window.room.clone()).collect();
        rooms.sort_unstable();
        rooms.dedup();
        Presence { state, rooms }
    }
}

/// Who looks.
#[derive(Debug, Default)]
pub(super) struct Attendance {
    users: BTreeMap<UserName, Attendee>,
    last: u64,
}

impl Attendance {
    /// Somebody opens a window; its number, to be given back when it is closed.
    pub(super) fn open(&mut self, user: &UserName, room: Option<RoomName>, now: Duration) -> u64 {
        self.last += 1;
        if self.users.contains_key(user) || self.users.len() < USERS_LIMIT {
            let attendee = self.users.entry(user.clone()).or_default();
            attendee.windows.insert(self.last, Window { room, away: false });
            attendee.changed = now;
        }
        self.last
    }

    pub(super) fn close(&mut self, user: &UserName, window: u64, now: Duration) {
        if let Some(attendee) = self.users.get_mut(user) {
            attendee.windows.remove(&window);
            attendee.changed = now;
        }
    }

    /// One of a user's windows is hidden, or is before their eyes again.
    pub(super) fn set_away(&mut self, user: &UserName, window: u64, away: bool, now: Duration) {
        let Some(attendee) = self.users.get_mut(user) else { return };
        if let Some(window) = attendee.windows.get_mut(&window)
            && window.away != away
        {
            window.away = away;
            attendee.changed = now;
        }
    }

    /// What is to be told now; it counts as told.
    pub(super) fn due(&mut self, now: Duration) -> Vec<(UserName, Presence)> {
        let mut due = Vec::new();
        self.users.retain(|user, attendee| {
            let presence = attendee.presence();
            let is_same = attendee.told.as_ref().is_some_and(|(told, _)| *told == presence);
            let is_old = attendee.told.as_ref().is_none_or(|(_, at)| now.saturating_sub(*at) >= SAY_AGAIN);
            let settled = now.saturating_sub(attendee.changed) >= SETTLE;
            let gone = presence.state == State::Gone;
            // Of who came and went unnoticed nothing is told.
            let unnoticed = gone && attendee.told.is_none();
            if settled && !unnoticed && (!is_same || (is_old && !gone)) {
                due.push((user.clone(), presence.clone()));
                attendee.told = Some((presence, now));
            }
            !(gone && settled)
        });
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn due(attendance: &mut Attendance, ms: u64) -> Vec<String> {
        let one = |(user, presence): (UserName, Presence)| {
            format!("{user} {} {}", presence.state.as_str(), presence.rooms.len())
        };
        attendance.due(at(ms)).into_iter().map(one).collect()
    }

    #[test]
    fn coming_is_told_once_again_after_a_while_and_going_too() {
        let (mut attendance, ana) = (Attendance::default(), "ana".parse().expect("a user"));
        let window = attendance.open(&ana, Some(RoomName::lobby()), at(0));
        assert!(due(&mut attendance, 500).is_empty());
        assert_eq!(due(&mut attendance, 1_000), ["ana here 1"]);
        assert!(due(&mut attendance, 60_000).is_empty());
        assert_eq!(due(&mut attendance, 121_000), ["ana here 1"]);
        attendance.close(&ana, window, at(130_000));
        assert_eq!(due(&mut attendance, 131_000), ["ana gone 0"]);
        assert!(due(&mut attendance, 300_000).is_empty() && attendance.users.is_empty());
    }

    #[test]
    fn a_page_that_is_opened_anew_is_no_coming_and_going() {
        let (mut attendance, ana) = (Attendance::default(), "ana".parse().expect("a user"));
        let window = attendance.open(&ana, Some(RoomName::lobby()), at(0));
        assert_eq!(due(&mut attendance, 1_000).len(), 1);
        attendance.close(&ana, window, at(2_000));
        attendance.open(&ana, Some(RoomName::lobby()), at(2_300));
        assert!(due(&mut attendance, 4_000).is_empty());
    }

    #[test]
    fn who_has_all_windows_hidden_is_away() {
        let (mut attendance, ana) = (Attendance::default(), "ana".parse().expect("a user"));
        let windows = [None, Some(RoomName::lobby())].map(|room| attendance.open(&ana, room, at(0)));
        attendance.set_away(&ana, windows[0], true, at(0));
        assert_eq!(due(&mut attendance, 1_000), ["ana here 1"]);
        attendance.set_away(&ana, windows[1], true, at(2_000));
        assert_eq!(due(&mut attendance, 3_000), ["ana away 1"]);
    }
}
