//! Who waits for what comes of a message of this agent: watches of doors, and what waits for its replies to have arrived. Told by
//! the mailbox's own thread, so nothing is missed, and each waits for its own messages only.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dci_proto::MessageId;
use dci_proto::message::Envelope;
use shoal_mailbox::{Direction, Observer, Place, RecipientStatus};
use tokio::sync::{mpsc, oneshot};

/// Messages waited for at once, at most; of further ones nothing is heard, and who waits is told so.
const INTERESTS_LIMIT: usize = 65_536;
/// Things that wait for one watch, at most: a little one for each. What is over that is looked up in the mailbox.
pub(super) const QUEUE_LIMIT: usize = 1_024;

/// What came of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum News {
    State {
        message: MessageId,
        recipient: RecipientStatus,
    },
    /// A reply stands there.
    Reply(Place),
    /// Some was left out: look it up.
    Lost,
}

/// Where a watch hears from.
#[derive(Clone)]
pub(super) struct Listener {
    news: mpsc::Sender<News>,
    lost: Arc<std::sync::atomic::AtomicBool>,
}

/// The other end.
pub(super) struct Hearing {
    news: mpsc::Receiver<News>,
    lost: Arc<std::sync::atomic::AtomicBool>,
}

pub(super) fn listening() -> (Listener, Hearing) {
    let (sender, receiver) = mpsc::channel(QUEUE_LIMIT);
    let lost = Arc::default();
    (Listener { news: sender, lost: Arc::clone(&lost) }, Hearing { news: receiver, lost })
}

impl Listener {
    fn tell(&self, news: News) {
        if self.news.try_send(news).is_err() {
            self.lost.store(true, std::sync::atomic::Ordering::SeqCst);
        }
    }
}

impl Hearing {
    /// The next; that some was lost comes before what is left.
    pub(super) async fn next(&mut self) -> Option<News> {
        if self.lost.swap(false, std::sync::atomic::Ordering::SeqCst) {
            return Some(News::Lost);
        }
        self.news.recv().await
    }
}

enum Interest {
    Watch(Listener),
    /// It is on its way; opened when it has arrived.
    Gate(oneshot::Sender<()>),
}

/// All of them.
#[derive(Default)]
pub(super) struct Interests(Mutex<BTreeMap<MessageId, Interest>>);

impl Interests {
    /// What comes of a message is told from now on. To be called before it is posted.
    pub(super) fn watch(&self, id: MessageId, listener: &Listener) {
        let mut interests = self.interests();
        if interests.len() < INTERESTS_LIMIT {
            interests.insert(id, Interest::Watch(listener.clone()));
        } else {
            listener.tell(News::Lost);
        }
    }

    /// Hears when a message has arrived, or errs when that is not waited for. To be called before it is posted.
    pub(super) fn gate(&self, id: MessageId) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut interests = self.interests();
        if interests.len() < INTERESTS_LIMIT {
            interests.insert(id, Interest::Gate(sender));
        }
        receiver
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&self, id: MessageId) {
        self.interests().remove(&id);
    }

    fn interests(&self) -> MutexGuard<'_, BTreeMap<MessageId, Interest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Interests {
    fn logged(&self, place: Place, direction: Direction, envelope: &Envelope) {
        let Some(answered) = envelope.message.in_reply_to.filter(|_| direction == Direction::Received) else { return };
        if let Some(Interest::Watch(listener)) = self.interests().get(&answered) {
            listener.tell(News::Reply(place));
        }
    }

    fn changed(&self, _place: Place, id: MessageId, recipient: &RecipientStatus) {
        let mut interests = self.interests();
        match interests.get(&id) {
            Some(Interest::Watch(listener)) => {
                listener.tell(News::State { message: id, recipient: recipient.clone() });
            }
            Some(Interest::Gate(_)) if !recipient.status.state.is_waiting() => {
                if let Some(Interest::Gate(gate)) = interests.remove(&id) {
                    let _ = gate.send(());
                }
            }
            Some(Interest::Gate(_)) | None => {}
        }
    }
}
