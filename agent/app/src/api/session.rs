//! Who is signed in at the page: sessions under random names, bounded in number and time. Pure: time and names are
//! arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use shoal_ledger::UserRole;

/// Sessions at a time, at most; the one unused longest goes first.
const SESSIONS_LIMIT: usize = 1024;
/// A session ends when unused for this long.
pub(super) const IDLE_LIMIT: Duration = Duration::from_secs(12 * 3600);

/// Someone who is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Session {
    /// The user.
    pub(super) user: String,
    /// What they may do.
    pub(super) role: UserRole,
    used: Duration,
}

/// All sessions. Times are counted from any fixed moment.
#[derive(Default)]
pub(super) struct Sessions {
    by_name: BTreeMap<String, Session>,
}

impl Sessions {
    /// Begins a session under a name nobody can guess.
    pub(super) fn begin(&mut self, name: String, user: String, role: UserRole, now: Duration) {
        self.forget_old(now);
        if self.by_name.len() >= SESSIONS_LIMIT
            && let Some(oldest) =
                self.by_name.iter().min_by_key(|(_, session)| session.used).map(|(name, _)| name.clone())
        {
            self.by_name.remove(&oldest);
        }
        self.by_name.insert(name, Session { user, role, used: now });
    }

    /// The session of a name, which lives on by being used.
    pub(super) fn find(&mut self, name: &str, now: Duration) -> Option<Session> {
        let session = self.by_name.get_mut(name)?;
        if now.saturating_sub(session.used) > IDLE_LIMIT {
            self.by_name.remove(name);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Ends a session.
    pub(super) fn end(&mut self, name: &str) {
        self.by_name.remove(name);
    }

    /// Ends all sessions of a user: they were removed, or their password or role changed.
    pub(super) fn end_of_user(&mut self, user: &str) {
        self.by_name.retain(|_, session| session.user != user);
    }

    fn forget_old(&mut self, now: Duration) {
        self.by_name.retain(|_, session| now.saturating_sub(session.used) <= IDLE_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_lives_by_being_used_and_ends_unused() {
        let mut sessions = Sessions::default();
        sessions.begin("s".into(), "ana".into(), UserRole::User, Duration::ZERO);
        assert!(sessions.find("s", IDLE_LIMIT).is_some());
        assert!(sessions.find("s", IDLE_LIMIT * 2).is_some());
        assert!(sessions.find("s", IDLE_LIMIT * 3 + Duration::from_secs(1)).is_none());
        assert!(sessions.find("t", Duration::ZERO).is_none());
    }

    #[test]
    fn the_longest_unused_makes_room_and_a_changed_user_is_signed_out() {
        let mut sessions = Sessions::default();
        for number in 0..=SESSIONS_LIMIT as u64 {
            sessions.begin(number.to_string(), "ana".into(), UserRole::User, Duration::from_secs(number));
        }
        let now = Duration::from_secs(5000);
        assert!(sessions.find("0", now).is_none());
        assert!(sessions.find("1", now).is_some());
        sessions.end_of_user("ana");
        assert!(sessions.find("1", now).is_none());
    }
}
