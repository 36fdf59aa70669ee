//! Waiting for what comes of messages: their states and the replies to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use dci_proto::message::{Envelope, MessageType, UserName};
use dci_proto::{AgentId, MessageId};
use shoal_mailbox::{Direction, LogEntry, Order, Query, RecipientStatus, State};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::crowd::WatchOfUser;
use super::interests::{Hearing, Listener, News, listening};
use super::{Draft, Messages, SendError, Sent};

/// Watches at once, at most.
pub(super) const WATCHES_LIMIT: usize = 256;
/// How long a recipient of whose message a copy could go no further is still waited for: others may be on the way.
const DROPPED_PATIENCE: Duration = Duration::from_secs(3);
/// How long before the first message of a watch its replies may be in the log, by clocks that are set meanwhile.
const EARLY_MS: u64 = 60_000;

/// Something that came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Watched {
    State {
        message: MessageId,
        recipient: RecipientStatus,
    },
    Reply(Arc<Envelope>),
    /// The last.
    Done {
        finished: bool,
    },
}

/// What is waited for.
pub(crate) struct Watch {
    messages: Arc<Messages>,
    listener: Listener,
    hearing: Hearing,
    deadline: Instant,
    /// What became of each message at each recipient.
    states: BTreeMap<MessageId, BTreeMap<AgentId, State>>,
    /// Until when those of whose message a copy could go no further are waited for.
    dropped: BTreeMap<(MessageId, AgentId), Instant>,
    kinds: BTreeSet<MessageType>,
    replies: BTreeSet<MessageId>,
    since_ms: u64,
    ready: VecDeque<Watched>,
    done: bool,
    _places: (WatchOfUser, OwnedSemaphorePermit),
}

impl Messages {
    /// A watch of a user that waits so long.
    pub(crate) fn watch(self: &Arc<Self>, user: &UserName, timeout: Duration) -> Result<Watch, SendError> {
        let of_user = self.crowd.watch(user).ok_or_else(|| SendError::TooManyWatches(user.clone()))?;
        let place = self.watches.clone().try_acquire_owned().map_err(|_| SendError::TooManyWaits)?;
        let (listener, hearing) = listening();
        Ok(Watch {
            _places: (of_user, place),
            listener,
            hearing,
            deadline: Instant::now() + timeout,
            states: BTreeMap::new(),
            dropped: BTreeMap::new(),
            kinds: BTreeSet::new(),
            replies: BTreeSet::new(),
            since_ms: self.now_ms().saturating_sub(EARLY_MS),
            ready: VecDeque::new(),
            done: false,
            messages: self.clone(),
        })
    }
}

impl Watch {
    /// Sends a message and watches it.
    pub(crate) async fn send(&mut self, draft: Draft) -> Result<Sent, SendError> {
        let (id, kind) = (draft.id, draft.kind.clone());
        self.messages.interests.watch(id, &self.listener);
        match self.messages.send(draft).await {
            Ok(sent) => {
                self.kinds.insert(kind);
                self.states.insert(id, sent.recipients.iter().map(|agent| (*agent, State::Waiting)).collect());
                Ok(sent)
            }
            Err(error) => {
                self.messages.interests.forget(id);
                Err(error)
            }
        }
    }

    /// The next thing that came; `None` after the last. May be dropped half-way.
    pub(crate) async fn next(&mut self) -> Option<Watched> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if self.done {
                return None;
            }
            if self.is_finished() {
                self.done = true;
                return Some(Watched::Done { finished: true });
            }
            let until = self.dropped.values().copied().fold(self.deadline, Instant::min);
            let news = match tokio::time::timeout_at(until, self.hearing.next()).await {
                Ok(Some(news)) => news,
                Err(_) if until < self.deadline => {
                    self.give_up_dropped();
                    continue;
                }
                _ => {
                    self.done = true;
                    return Some(Watched::Done { finished: false });
                }
            };
            match news {
                News::State { message, recipient } => self.changed(message, &recipient),
                News::Reply(place) => {
                    if let Ok(Some(entry)) = self.messages.mailbox().entry(place).await {
                        self.logged(&entry);
                    }
                }
                News::Lost => self.look_again().await,
            }
        }
    }

    /// Whether nothing more is waited for: every recipient has dealt with its message, whose replies are here by then, or no copy of it
    /// gets as far as there.
    fn is_finished(&self) -> bool {
        let is_over = |state: &State| state.is_final() || matches!(state, State::ExpiredOnTheWay { .. });
        self.dropped.is_empty() && self.states.values().flat_map(BTreeMap::values).all(is_over)
    }

    /// Those are waited for no more whose time to hear of another copy is over.
    fn give_up_dropped(&mut self) {
        let now = Instant::now();
        self.dropped.retain(|_, until| *until > now);
    }

    fn logged(&mut self, entry: &LogEntry) {
        let message = &entry.envelope.message;
        let answers = message.in_reply_to.and_then(|id| self.states.get(&id));
        let is_reply = entry.direction == Direction::Received
            && answers.is_some_and(|recipients| recipients.contains_key(&message.from.agent))
            && !entry.states.iter().any(|state| matches!(state.status.state, State::Refused { .. }));
        if is_reply && self.replies.insert(message.id) {
            self.ready.push_back(Watched::Reply(entry.envelope.clone()));
        }
    }

    fn changed(&mut self, id: MessageId, recipient: &RecipientStatus) {
        let Some(recipients) = self.states.get_mut(&id) else { return };
        // Who joined a group meanwhile counts too.
        if recipients.get(&recipient.agent) != Some(&recipient.status.state) {
            recipients.insert(recipient.agent, recipient.status.state.clone());
            match &recipient.status.state {
                State::ExpiredOnTheWay { .. } => {
                    self.dropped.insert((id, recipient.agent), Instant::now() + DROPPED_PATIENCE);
                }
                _ => drop(self.dropped.remove(&(id, recipient.agent))),
            }
            self.ready.push_back(Watched::State { message: id, recipient: recipient.clone() });
        }
    }

    /// Some was missed: it is read from the disk, states first, so that all replies to what is dealt with are there after.
    async fn look_again(&mut self) {
        let mut states = Vec::new();
        for id in self.states.keys().copied().collect::<Vec<_>>() {
            let known = self.messages.mailbox().states(id).await.ok().flatten().unwrap_or_default();
            states.extend(known.into_iter().map(|recipient| (id, recipient)));
        }
        self.look_for_replies().await;
        for (id, recipient) in &states {
            self.changed(*id, recipient);
        }
    }

    async fn look_for_replies(&mut self) {
        for kind in self.kinds.clone() {
            let mut query = Query {
                kind: Some(kind),
                direction: Some(Direction::Received),
                from_ms: Some(self.since_ms),
                order: Order::OldestFirst,
                ..Query::default()
            };
            while let Ok(page) = self.messages.mailbox().query(query.clone()).await {
                page.entries.iter().for_each(|entry| self.logged(entry));
                query.after = page.next;
                if page.next.is_none() {
                    break;
                }
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        for id in self.states.keys() {
            self.messages.interests.forget(*id);
        }
    }
}
