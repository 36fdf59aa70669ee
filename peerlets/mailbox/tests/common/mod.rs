//! A mailbox in a directory of its own, with a clock that stands still.

#![allow(dead_code, reason = "not every test file needs all of it")]

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use dci_proto::message::{Body, Envelope, Message, Receipt, ReceiptState, Recipient, Sender};
use dci_proto::{AgentId, MessageId, SessionId};
use shoal_mailbox::{Clock, Incoming, Mailbox, MailboxConfig, Now, Opened, Outgoing, Received, Sending};
use tempfile::TempDir;

pub(crate) const ME: AgentId = AgentId([1; 32]);
pub(crate) const ANA: AgentId = AgentId([2; 32]);
pub(crate) const BEN: AgentId = AgentId([3; 32]);
pub(crate) const START_MS: u64 = 1_700_000_000_000;
pub(crate) const LIFE_MS: u64 = 600_000;
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A clock that goes when it is told to.
#[derive(Default)]
pub(crate) struct StoppedClock(AtomicU64);

impl Clock for StoppedClock {
    fn now(&self) -> Now {
        let steady_ms = self.0.load(Ordering::SeqCst);
        Now { steady_ms, wall_ms: START_MS + steady_ms }
    }
}

/// Where a mailbox is.
pub(crate) struct Home {
    directory: TempDir,
    pub(crate) clock: Arc<StoppedClock>,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self { directory: TempDir::new().expect("a directory"), clock: Arc::default() }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("data/mailbox.redb")
    }

    pub(crate) fn config(&self) -> MailboxConfig {
        MailboxConfig { clock: Arc::clone(&self.clock) as Arc<dyn Clock>, ..MailboxConfig::new(self.path(), ME) }
    }

    pub(crate) fn open(&self) -> Opened {
        Mailbox::open(self.config()).expect("opens")
    }

    pub(crate) fn set_ms(&self, mailbox: &Mailbox, now_ms: u64) {
        self.clock.0.store(now_ms, Ordering::SeqCst);
        mailbox.wake();
    }
}

/// A message from `from`, to one agent, with an id of this number.
pub(crate) fn message(number: u64, session: Option<u8>, from: AgentId, to: AgentId) -> Envelope {
    let message = Message {
        id: id(number),
        kind: "test".parse().expect("a type"),
        session: session.map(|session| SessionId([session; 16])),
        sent_ms: START_MS,
        expires_ms: START_MS + LIFE_MS,
        from: Sender { agent: from, user: None, session: None },
        to: Recipient::Agent(to),
        in_reply_to: None,
        replay_of: None,
        body: Body::of_text(&format!("number {number}")).expect("a body"),
    };
    Envelope { message, ttl: 9, signature: [7; 64] }
}

pub(crate) fn id(number: u64) -> MessageId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    MessageId(id)
}

pub(crate) fn sent(number: u64, session: Option<u8>) -> Arc<Envelope> {
    Arc::new(message(number, session, ME, ANA))
}

pub(crate) fn came(number: u64, session: Option<u8>) -> Arc<Envelope> {
    Arc::new(message(number, session, ANA, ME))
}

pub(crate) fn delivered(number: u64) -> Receipt {
    Receipt { of: id(number), state: ReceiptState::Delivered }
}

/// The next message to be sent.
pub(crate) async fn next_sending(outgoing: &mut Outgoing) -> Sending {
    within("something to send", outgoing.next()).await.expect("is open")
}

/// The next message for a peerlet.
pub(crate) async fn next_received(incoming: &mut Incoming) -> Received {
    within("something for a peerlet", incoming.next()).await.expect("is open")
}

/// Waits for something that must happen.
pub(crate) async fn within<T>(what: &str, happens: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, happens).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Waits until something is so.
pub(crate) async fn wait_until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    within(what, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
}
