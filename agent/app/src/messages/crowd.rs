//! How much of each user is under way from here: whoever floods is told to wait, and others go on as if nobody did.
//!
//! A message counts until all its recipients are done with it, for a while at most: after that they are away, and it is merely kept
//! for them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dci_proto::MessageId;
use dci_proto::message::UserName;

/// Messages of one user that nobody is done with yet, at most: a quarter of what a recipient takes of all users of an agent.
pub(super) const MESSAGES_OF_USER_LIMIT: usize = 2_048;
/// How long a message counts, in ms.
const COUNTED_MS: u64 = 10 * 60 * 1_000;
/// Requests of one user whose answers are waited for, at most: seven eighths of all there may be.
pub(super) const WATCHES_OF_USER_LIMIT: usize = super::watch::WATCHES_LIMIT / 8 * 7;

/// One of a user's messages.
#[derive(Debug)]
struct UnderWay {
    since_ms: u64,
    /// Recipients that are not done with it.
    left: usize,
}

#[derive(Debug, Default)]
struct OfUser {
    /// Ids of later messages are greater.
    messages: BTreeMap<MessageId, UnderWay>,
    watches: usize,
}

#[derive(Debug, Default)]
struct Users {
    users: BTreeMap<UserName, OfUser>,
    of: BTreeMap<MessageId, UserName>,
}

impl Users {
    /// How many messages of a user count now.
    fn count(&mut self, user: &UserName, now_ms: u64) -> usize {
        let Some(of_user) = self.users.get_mut(user) else { return 0 };
        while let Some(first) = of_user.messages.first_entry()
            && first.get().since_ms.saturating_add(COUNTED_MS) <= now_ms
        {
            self.of.remove(&first.remove_entry().0);
        }
        of_user.messages.len()
    }

    fn done(&mut self, id: MessageId, all: bool) {
        let Some(user) = self.of.get(&id) else { return };
        let Some(of_user) = self.users.get_mut(user) else { return };
        if let Some(under_way) = of_user.messages.get_mut(&id) {
            under_way.left = under_way.left.saturating_sub(1);
            if under_way.left > 0 && !all {
                return;
            }
        }
        of_user.messages.remove(&id);
        if let Some(user) = self.of.remove(&id) {
            self.forget_if_idle(&user);
        }
    }

    fn forget_if_idle(&mut self, user: &UserName) {
        if self.users.get(user).is_some_and(|of_user| of_user.messages.is_empty() && of_user.watches == 0) {
            self.users.remove(user);
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Crowd(Mutex<Users>);

/// A request whose answers are waited for, until it is dropped.
#[derive(Debug)]
pub(super) struct WatchOfUser {
    crowd: Arc<Crowd>,
    user: UserName,
}

impl Drop for WatchOfUser {
    fn drop(&mut self) {
        let mut users = self.crowd.users();
        if let Some(of_user) = users.users.get_mut(&self.user) {
            of_user.watches = of_user.watches.saturating_sub(1);
        }
        users.forget_if_idle(&self.user);
    }
}

impl Crowd {
    /// Whether a user may send one more now.
    pub(super) fn has_room(&self, user: &UserName, now_ms: u64) -> bool {
        self.users().count(user, now_ms) < MESSAGES_OF_USER_LIMIT
    }

    /// A user sends a message to so many. To be called before it is posted.
    pub(super) fn sends(&self, user: &UserName, id: MessageId, recipients: usize, now_ms: u64) {
        let mut users = self.users();
        let under_way = UnderWay { since_ms: now_ms, left: recipients };
        users.users.entry(user.clone()).or_default().messages.insert(id, under_way);
        users.of.insert(id, user.clone());
    }

    /// It was not posted.
    pub(super) fn was_not_sent(&self, id: MessageId) {
        self.users().done(id, true);
    }

    /// A recipient is done with it.
    pub(super) fn done(&self, id: MessageId) {
        self.users().done(id, false);
    }

    /// A user waits for answers. `None`: they wait for too many.
    pub(super) fn watch(self: &Arc<Self>, user: &UserName) -> Option<WatchOfUser> {
        let mut users = self.users();
        let of_user = users.users.entry(user.clone()).or_default();
        if of_user.watches >= WATCHES_OF_USER_LIMIT {
            return None;
        }
        of_user.watches += 1;
        Some(WatchOfUser { crowd: self.clone(), user: user.clone() })
    }

    fn users(&self) -> MutexGuard<'_, Users> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: usize) -> MessageId {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        MessageId(id)
    }

    fn user(name: &str) -> UserName {
        name.parse().expect("a name")
    }

    #[test]
    fn who_floods_waits_until_something_is_dealt_with_and_others_do_not() {
        let (crowd, ana, ben) = (Crowd::default(), user("ana"), user("ben"));
        for number in 0..MESSAGES_OF_USER_LIMIT {
            assert!(crowd.has_room(&ana, 0), "{number}");
            crowd.sends(&ana, id(number), 2, 0);
        }
        assert!(!crowd.has_room(&ana, 0) && crowd.has_room(&ben, 0));
        crowd.done(id(0));
        assert!(!crowd.has_room(&ana, 0), "one of its two recipients is not done with it");
        crowd.done(id(0));
        assert!(crowd.has_room(&ana, 0));
        crowd.sends(&ana, id(5_000), 1, 0);
        crowd.was_not_sent(id(5_000));
        assert!(crowd.has_room(&ana, 0));
        assert!(crowd.0.lock().expect("no panic").of.len() < MESSAGES_OF_USER_LIMIT);
    }

    #[test]
    fn what_waits_for_those_who_are_away_counts_for_a_while_only() {
        let (crowd, ana) = (Crowd::default(), user("ana"));
        (0..MESSAGES_OF_USER_LIMIT).for_each(|number| crowd.sends(&ana, id(number), 1, 1_000));
        assert!(!crowd.has_room(&ana, COUNTED_MS));
        assert!(crowd.has_room(&ana, COUNTED_MS + 1_000));
        assert!(crowd.0.lock().expect("no panic").of.is_empty());
        crowd.done(id(1));
    }

    #[test]
    fn one_user_leaves_places_to_wait_to_others_and_nothing_is_left_of_who_has_gone() {
        let (crowd, ana) = (Arc::new(Crowd::default()), user("ana"));
        let watches: Vec<_> = (0..WATCHES_OF_USER_LIMIT).map(|_| crowd.watch(&ana).expect("a place")).collect();
        assert!(crowd.watch(&ana).is_none() && crowd.watch(&user("ben")).is_some());
        drop(watches);
        assert!(crowd.watch(&ana).is_some());
        assert!(crowd.0.lock().expect("no panic").users.is_empty());
    }
}
