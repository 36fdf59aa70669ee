//! A picture of all messages of a type: made from the log when it is first wanted, kept as the log grows.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::MessageId;
use dci_proto::message::MessageType;
use shoal_mailbox::{Follower, Happening, LogEntry, MailboxError, Place, RecipientStatus};
use tokio::sync::{OnceCell, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::messages::{Messages, TakenBefore, is_taken};

/// News that wait for one listener, at most; who is slower is told to look again.
const NEWS_LIMIT: usize = 512;
/// How long changes of states are gathered before they are told.
const STATES_SETTLE: Duration = Duration::from_millis(100);

/// What is made of messages.
pub(crate) trait Picture: Default + Send + 'static {
    /// What is told of a change.
    type News: Clone + Send + 'static;

    /// Takes an entry in, in any order and also one that is known.
    fn take(&mut self, entry: &LogEntry) -> Option<Self::News>;

    /// Whether it matters what becomes of the message that stands there as sent.
    fn minds(&self, place: Place) -> bool;

    /// What became of a message at its recipients.
    fn set_states(&mut self, id: MessageId, states: &[RecipientStatus]) -> Option<Self::News>;

    /// What is told when all was made anew.
    fn anew() -> Self::News;
}

/// A picture, kept.
pub(crate) struct Kept<P: Picture> {
    kind: MessageType,
    messages: Arc<Messages>,
    picture: Arc<Mutex<P>>,
    news: broadcast::Sender<P::News>,
    begun: OnceCell<()>,
    shutdown: CancellationToken,
}

impl<P: Picture> Kept<P> {
    pub(crate) fn new(kind: MessageType, messages: Arc<Messages>, shutdown: CancellationToken) -> Self {
        let (news, _) = broadcast::channel(NEWS_LIMIT);
        Self { kind, messages, picture: Arc::default(), news, begun: OnceCell::new(), shutdown }
    }

    /// The picture, made if need be.
    pub(crate) async fn picture(&self) -> Result<MutexGuard<'_, P>, MailboxError> {
        self.begun.get_or_try_init(|| self.begin()).await?;
        Ok(lock(&self.picture))
    }

    /// What changes from now on.
    pub(crate) fn news(&self) -> broadcast::Receiver<P::News> {
        self.news.subscribe()
    }

    /// Tells listeners something that is not in the log.
    pub(crate) fn tell(&self, news: P::News) {
        // Nobody may listen.
        let _ = self.news.send(news);
    }

    async fn begin(&self) -> Result<(), MailboxError> {
        // Followed first: what comes while the log is read is taken in twice rather than never.
        let follower = self.messages.follow();
        let keeper = Keeper {
            kind: self.kind.clone(),
            messages: self.messages.clone(),
            picture: self.picture.clone(),
            news: self.news.clone(),
        };
        keeper.make().await?;
        let shutdown = self.shutdown.clone();
        tokio::spawn(async move { shutdown.run_until_cancelled(keeper.keep(follower)).await });
        Ok(())
    }
}

fn lock<P>(picture: &Mutex<P>) -> MutexGuard<'_, P> {
    picture.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps one.
struct Keeper<P: Picture> {
    kind: MessageType,
    messages: Arc<Messages>,
    picture: Arc<Mutex<P>>,
    news: broadcast::Sender<P::News>,
}

impl<P: Picture> Keeper<P> {
    /// Makes it from the log, whatever it was.
    async fn make(&self) -> Result<(), MailboxError> {
        let mut made = P::default();
        let mut before = TakenBefore::new(&self.kind, self.messages.now_ms());
        while let Some(entries) = before.next(self.messages.mailbox()).await? {
            entries.iter().for_each(|entry| drop(made.take(entry)));
        }
        *lock(&self.picture) = made;
        Ok(())
    }

    async fn keep(self, mut follower: Follower) {
        let mut changed = BTreeSet::new();
        let mut due = None;
        loop {
            // May be dropped half-way.
            let next = match due {
                None => Some(follower.next().await),
                Some(due) => tokio::time::timeout_at(due, follower.next()).await.ok(),
            };
            match next {
                None => {
                    due = None;
                    self.look_at_states(std::mem::take(&mut changed)).await;
                }
                Some(None) => return,
                Some(Some(happening)) => match &*happening {
                    Happening::Logged(entry) => self.logged(entry),
                    Happening::Changed { place, id, .. } => {
                        if lock(&self.picture).minds(*place) {
                            changed.insert(*id);
                            due.get_or_insert(Instant::now() + STATES_SETTLE);
                        }
                    }
                    Happening::Missed(_) => self.make_again().await,
                },
            }
            if changed.len() >= NEWS_LIMIT {
                due = None;
                self.look_at_states(std::mem::take(&mut changed)).await;
            }
        }
    }

    fn logged(&self, entry: &LogEntry) {
        if entry.envelope.message.kind != self.kind || !is_taken(entry) {
            return;
        }
        let news = lock(&self.picture).take(entry);
        self.tell(news);
    }

    async fn look_at_states(&self, changed: BTreeSet<MessageId>) {
        for id in changed {
            if let Ok(Some(states)) = self.messages.mailbox().states(id).await {
                let news = lock(&self.picture).set_states(id, &states);
                self.tell(news);
            }
        }
    }

    async fn make_again(&self) {
        match self.make().await {
            Ok(()) => self.tell(Some(P::anew())),
            Err(error) => tracing::warn!(%error, kind = %self.kind, "the log cannot be read again"),
        }
    }

    fn tell(&self, news: Option<P::News>) {
        if let Some(news) = news {
            let _ = self.news.send(news);
        }
    }
}
