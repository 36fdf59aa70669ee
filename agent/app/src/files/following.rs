//! What the mailbox tells of files: offers whose peerlet has said yes, and what recipients say of how far they are.

use std::collections::BTreeSet;
use std::sync::Arc;

use shoal_file_exchange::{Progress, TYPE};
use shoal_mailbox::{Direction, Happening, LogEntry, Order, Place, Query, State};

use super::{Files, Outgoing};

/// Offers whose peerlets have not said yes or no yet, at most; of others the log tells.
const UNDECIDED_LIMIT: usize = 10_000;
/// How far the log is looked through, in ms: no message is valid longer.
const LOOK_BACK_MS: u64 = 31 * 24 * 60 * 60 * 1000;

impl Files {
    /// Takes up what is in the log, then what happens.
    pub(super) async fn follow(self: Arc<Self>, unfinished: Vec<Arc<Outgoing>>) {
        let mut follower = self.messages.follow();
        let sent = self.look_through().await;
        self.take_up_offers(&unfinished, &sent).await;
        drop((unfinished, sent));
        let mut undecided = BTreeSet::new();
        while let Some(Some(happening)) = self.shutdown.run_until_cancelled(follower.next()).await {
            match &*happening {
                Happening::Logged(entry) if is_ours(entry) => {
                    if entry.direction == Direction::Received && entry.envelope.message.in_reply_to.is_none() {
                        undecided.insert(entry.place);
                        if undecided.len() > UNDECIDED_LIMIT {
                            undecided.pop_first();
                        }
                    }
                    self.logged(entry).await;
                }
                Happening::Changed { place, recipient, .. } if undecided.contains(place) => {
                    if recipient.status.state.is_final() {
                        undecided.remove(place);
                        self.decided(*place).await;
                    }
                }
                Happening::Missed(_) => drop(self.look_through().await),
                Happening::Logged(_) | Happening::Changed { .. } => {}
            }
        }
    }

    /// Takes up what came; returns what was offered from here.
    async fn look_through(self: &Arc<Self>) -> Vec<LogEntry> {
        let mut sent = Vec::new();
        let mut query = Query {
            kind: super::offering::kind().ok(),
            from_ms: Some(self.now_ms().saturating_sub(LOOK_BACK_MS)),
            order: Order::OldestFirst,
            ..Query::default()
        };
        loop {
            let page = match self.messages.mailbox().query(query.clone()).await {
                Ok(page) => page,
                Err(error) => {
                    tracing::warn!(%error, "the log cannot be looked through for files");
                    break;
                }
            };
            for entry in page.entries {
                match entry.direction {
                    Direction::Received => self.logged(&entry).await,
                    Direction::Sent if entry.envelope.message.in_reply_to.is_none() => sent.push(entry),
                    Direction::Sent | Direction::Relayed => {}
                }
            }
            query.after = page.next;
            if page.next.is_none() || self.shutdown.is_cancelled() {
                break;
            }
        }
        sent
    }

    async fn decided(self: &Arc<Self>, place: Place) {
        if let Ok(Some(entry)) = self.messages.mailbox().entry(place).await {
            self.logged(&entry).await;
        }
    }

    async fn logged(self: &Arc<Self>, entry: &LogEntry) {
        let message = &entry.envelope.message;
        if entry.direction != Direction::Received || !is_ours(entry) {
            return;
        }
        if message.in_reply_to.is_none() {
            if entry.states.iter().any(|state| state.status.state == State::Handled { exit_status: 0 }) {
                self.receive(message).await;
            }
            return;
        }
        // That it answers a message of ours to that agent was seen to when it was taken.
        let refused = entry.states.iter().any(|state| matches!(state.status.state, State::Refused { .. }));
        let Ok(progress) = Progress::of_xml(message.body.as_xml()) else { return };
        if let Ok(one) = self.outgoing(progress.transfer)
            && !refused
        {
            self.heard(&one, message.from.agent, progress.state, progress.bytes, &progress.why).await;
        }
    }
}

fn is_ours(entry: &LogEntry) -> bool {
    entry.envelope.message.kind.as_str() == TYPE
}
