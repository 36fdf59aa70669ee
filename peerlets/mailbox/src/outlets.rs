//! What comes out of a mailbox by itself: messages to be sent and messages for peerlets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dci_proto::AgentId;
use dci_proto::message::Envelope;
use tokio::sync::mpsc;

use crate::Place;
use crate::writer::{Command, Commands};

/// One sending of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// The message.
    pub envelope: Arc<Envelope>,
    /// How often it was sent before, for routers to tell sendings apart. It stays at 255.
    pub attempt: u8,
    /// For whom it is.
    pub recipients: Vec<AgentId>,
    /// Recipients that must not take it yet, because an earlier message of its session has not reached them. A message to
    /// many passes them too: whoever sends must see to it that they only pass it on.
    pub not_yet: Vec<AgentId>,
}

/// A message for a peerlet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What [`crate::Mailbox::settle`] wants to be told.
    pub place: Place,
    /// The message. It may have expired by now.
    pub envelope: Arc<Envelope>,
    /// 1 for the first time; more if the agent was started again before the message was dealt with. Then it may
    /// have been begun before.
    pub attempt: u32,
}

/// Bytes that wait in one queue, about; and what was put in at once before that was seen.
const QUEUE_LIMIT_BYTES: usize = 16 * 1024 * 1024;
/// Put in at once, at most.
const AT_ONCE_LIMIT: usize = 128;

/// How full a queue is, and whether the writer waits for it to be emptier.
#[derive(Default)]
struct Level {
    bytes: AtomicUsize,
    starving: AtomicBool,
}

/// A queue towards one consumer, which wakes the writer when there is room again.
pub(crate) struct Outlet<T> {
    items: mpsc::Receiver<(T, usize)>,
    level: Arc<Level>,
    commands: Commands,
}

/// The writer's end of an [`Outlet`].
pub(crate) struct Inlet<T> {
    items: mpsc::Sender<(T, usize)>,
    level: Arc<Level>,
}

pub(crate) fn queue<T>(limit: usize, commands: &Commands) -> (Inlet<T>, Outlet<T>) {
    let (sender, receiver) = mpsc::channel(limit);
    let level = Arc::<Level>::default();
    let inlet = Inlet { items: sender, level: Arc::clone(&level) };
    (inlet, Outlet { items: receiver, level, commands: commands.clone() })
}

impl Level {
    /// Whether at least half of a queue is empty.
    fn is_low(&self, waiting: usize, limit: usize) -> bool {
        waiting <= limit / 2 && self.bytes.load(Ordering::SeqCst) <= QUEUE_LIMIT_BYTES / 2
    }
}

impl<T> Inlet<T> {
    /// How many more it takes now; none if nobody takes them any more.
    pub(crate) fn room(&self) -> usize {
        let full = self.items.is_closed() || self.level.bytes.load(Ordering::SeqCst) >= QUEUE_LIMIT_BYTES;
        if full { 0 } else { self.items.capacity().min(AT_ONCE_LIMIT) }
    }

    /// Puts one in that has so many bytes; [`Inlet::room`] said that there is room.
    pub(crate) fn push(&self, item: T, bytes: usize) {
        self.level.bytes.fetch_add(bytes, Ordering::SeqCst);
        if self.items.try_send((item, bytes)).is_err() {
            tracing::debug!("nobody takes what the mailbox hands out");
        }
    }

    /// There is more than there was room for: who takes some is to wake the writer.
    pub(crate) fn starve(&self) {
        self.level.starving.store(true, Ordering::SeqCst);
        // Taken out in the meantime: nobody will wake it.
        let limit = self.items.max_capacity();
        if self.level.is_low(limit - self.items.capacity(), limit) {
            self.level.starving.store(false, Ordering::SeqCst);
        }
    }

    /// Whether it makes no sense to look for more before the writer is woken.
    pub(crate) fn is_starving(&self) -> bool {
        self.items.is_closed() || self.level.starving.load(Ordering::SeqCst)
    }
}

impl<T> Outlet<T> {
    async fn next(&mut self) -> Option<T> {
        let (item, bytes) = self.items.recv().await?;
        self.level.bytes.fetch_sub(bytes, Ordering::SeqCst);
        let low = self.level.is_low(self.items.len(), self.items.max_capacity());
        if low && self.level.starving.swap(false, Ordering::SeqCst) {
            self.commands.send_now(Command::Wake);
        }
        Some(item)
    }
}

/// Messages to be sent, as they become due.
pub struct Outgoing(pub(crate) Outlet<Sending>);

impl Outgoing {
    /// Waits for the next one; `None` when the mailbox is closed. May be dropped half-way.
    pub async fn next(&mut self) -> Option<Sending> {
        self.0.next().await
    }
}

/// Messages for peerlets: those of one sender in the order in which they came; senders take turns.
pub struct Incoming(pub(crate) Outlet<Received>);

impl Incoming {
    /// Waits for the next one; `None` when the mailbox is closed. May be dropped half-way.
    pub async fn next(&mut self) -> Option<Received> {
        self.0.next().await
    }
}
