//! A disk that is full for a while: what is written then fails half-way; and one that does what it says it did not do.

use std::collections::BTreeSet;
use std::io;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dci_proto::message::{Body, Envelope, Message, Recipient, Sender};
use dci_proto::{AgentId, MessageId};
use redb::{BackendError, StorageBackend};

use super::Disk;
use crate::{Limits, Mailbox, MailboxConfig, MailboxError, Opened};

const ME: AgentId = AgentId([1; 32]);

/// What is wrong with the disk.
#[derive(Debug, Default)]
struct Trouble {
    full: AtomicBool,
    /// Syncs are done, and then said to have failed.
    denies: AtomicBool,
}

/// The real file, while nothing is wrong.
#[derive(Debug)]
struct Limited {
    inner: shoal_files::Backend,
    trouble: Arc<Trouble>,
}

fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

impl StorageBackend for Limited {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.inner.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if self.trouble.full.load(Ordering::SeqCst) && length > self.inner.len()? {
            Err(no_room())
        } else {
            self.inner.set_len(length)
        }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data()?;
        if self.trouble.denies.load(Ordering::SeqCst) { Err(io::Error::other("input/output error")) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if !self.trouble.full.load(Ordering::SeqCst) {
            return self.inner.write(offset, data);
        }
        self.inner.write(offset, &data[..data.len() / 2])?;
        Err(no_room())
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}

fn open(path: &Path, trouble: &Arc<Trouble>) -> Opened {
    let trouble = Arc::clone(trouble);
    let disk = Disk::open_with(
        path,
        Box::new(move |builder, path| {
            let inner = shoal_files::Backend::create(path)?;
            builder.create_with_backend(Limited { inner, trouble: Arc::clone(&trouble) })
        }),
    );
    // Nobody answers here, and all are to be sent all the same.
    let limits = Limits { on_the_way: 10_000, on_the_way_unanswered: 10_000, ..Limits::default() };
    Mailbox::open_on(disk.expect("opens"), MailboxConfig { limits, ..MailboxConfig::new(path, ME) }).expect("opens")
}

fn message(number: u32) -> Arc<Envelope> {
    let mut id = [0; 16];
    id[..4].copy_from_slice(&number.to_be_bytes());
    let now = crate::Clock::now(&crate::SystemClock::default());
    let message = Message {
        id: MessageId(id),
        kind: "test".parse().expect("a type"),
        session: None,
        sent_ms: now.wall_ms,
        expires_ms: now.wall_ms + 3_600_000,
        from: Sender { agent: ME, user: None, session: None },
        to: Recipient::Agent(AgentId([2; 32])),
        in_reply_to: None,
        replay_of: None,
        body: Body::of_text(&"text ".repeat(1_000)).expect("a body"),
    };
    Arc::new(Envelope { message, ttl: 9, signature: [0; 64] })
}

#[tokio::test]
async fn on_a_full_disk_calls_fail_clearly_and_with_room_it_goes_on_with_all_that_was_acknowledged() {
    let home = tempfile::TempDir::new().expect("a directory");
    let (path, trouble) = (home.path().join("mailbox.redb"), Arc::<Trouble>::default());
    let Opened { mailbox, mut outgoing, incoming: _incoming } = open(&path, &trouble);
    let mut acknowledged = BTreeSet::new();
    let mut number = 0;
    for _ in 0..5 {
        for _ in 0..20 {
            number += 1;
            mailbox.post(message(number), vec![AgentId([2; 32])]).await.expect("there is room");
            acknowledged.insert(number);
        }
        trouble.full.store(true, Ordering::SeqCst);
        number += 1;
        let error = mailbox.post(message(number), vec![AgentId([2; 32])]).await.expect_err("there is no room");
        assert!(matches!(error, MailboxError::DiskFull { .. }), "{error}");
        assert!(error.to_string().contains("make room, it goes on by itself"), "{error}");
        trouble.full.store(false, Ordering::SeqCst);
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            number += 1;
            match mailbox.post(message(number), vec![AgentId([2; 32])]).await {
                Ok(_) => break,
                Err(error) => assert!(Instant::now() < deadline, "there is room again, but {error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        acknowledged.insert(number);
    }
    let mut sent = BTreeSet::new();
    while acknowledged.len() > sent.len() {
        let sending = tokio::time::timeout(Duration::from_secs(30), outgoing.next()).await.expect("is sent");
        let id = sending.expect("is open").envelope.message.id;
        sent.insert(u32::from_be_bytes(*id.0.first_chunk().expect("4 bytes")));
    }
    drop(mailbox);
    let Opened { mailbox, .. } = open(&path, &trouble);
    for number in acknowledged {
        let states = mailbox.states(message(number).message.id).await.expect("reads");
        assert!(states.is_some(), "{number} was acknowledged, then lost");
    }
}

#[tokio::test]
async fn what_became_durable_though_the_disk_said_no_is_sent_too() {
    let home = tempfile::TempDir::new().expect("a directory");
    let (path, trouble) = (home.path().join("mailbox.redb"), Arc::<Trouble>::default());
    let Opened { mailbox, mut outgoing, incoming: _incoming } = open(&path, &trouble);
    trouble.denies.store(true, Ordering::SeqCst);
    let error = mailbox.post(message(1), vec![AgentId([2; 32])]).await.expect_err("the disk says no");
    assert!(matches!(error, MailboxError::Io { .. }), "{error}");
    trouble.denies.store(false, Ordering::SeqCst);
    let sending = tokio::time::timeout(Duration::from_secs(30), outgoing.next()).await.expect("it is sent");
    assert_eq!(sending.map(|sending| sending.envelope), Some(message_like(1, &mailbox).await));
    let again = mailbox.post(message(1), vec![AgentId([2; 32])]).await;
    assert_eq!(again, Err(MailboxError::Post(crate::PostRefused::Known)));
}

/// The message of this number as the mailbox has it: times differ from one to the next.
async fn message_like(number: u32, mailbox: &Mailbox) -> Arc<Envelope> {
    let page = mailbox.query(crate::Query::default()).await.expect("reads");
    let found = page.entries.into_iter().find(|entry| entry.envelope.message.id == message(number).message.id);
    found.expect("is in the log").envelope
}
