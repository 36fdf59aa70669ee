//! The handle of a mailbox.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use dci_proto::message::{Envelope, Receipt, ReceiptState, Recipient};
use dci_proto::{AgentId, MessageId};
use tokio::sync::{Semaphore, broadcast, oneshot};

use crate::clock::{Clock, SystemClock};
use crate::disk::Disk;
use crate::log::{self, Follower, Happening, LogEntry, Observer, Page, Query};
use crate::outlets::{Incoming, Outgoing};
use crate::writer::{Command, Commands, Reply, UNIT_BYTES, Writer};
use crate::{Accepted, Limits, MailboxError, Place, ReceiptOutcome, Retention, Settlement, Status};

/// Pages of the log that are put together at once; others wait. Each keeps a processor busy and holds some memory.
const QUERIES_AT_ONCE: usize = 2;

/// How a mailbox is opened.
#[derive(Clone)]
pub struct MailboxConfig {
    /// The file; made if there is none.
    pub path: PathBuf,
    /// The agent whose mailbox it is.
    pub agent: AgentId,
    /// How much may wait.
    pub limits: Limits,
    /// How long and how much the log keeps.
    pub retention: Retention,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Hears of everything that happens.
    pub observer: Option<Arc<dyn Observer>>,
}

impl MailboxConfig {
    /// Usual limits, the clocks of the system.
    pub fn new(path: impl Into<PathBuf>, agent: AgentId) -> Self {
        let (limits, retention) = (Limits::default(), Retention::default());
        let clock = Arc::new(SystemClock::default());
        Self { path: path.into(), agent, limits, retention, clock, observer: None }
    }
}

/// What became of a message at one recipient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecipientStatus {
    /// The recipient.
    pub agent: AgentId,
    /// What became of it.
    pub status: Status,
}

/// A mailbox, and what comes out of it.
pub struct Opened {
    /// The handle.
    pub mailbox: Mailbox,
    /// Messages to be sent.
    pub outgoing: Outgoing,
    /// Messages for peerlets.
    pub incoming: Incoming,
}

/// The messages of one agent. Dropped, it waits for what is being written.
pub struct Mailbox {
    disk: Arc<Disk>,
    agent: AgentId,
    commands: Commands,
    happenings: broadcast::Sender<Arc<Happening>>,
    queries: Arc<Semaphore>,
    thread: Option<JoinHandle<()>>,
}

impl Mailbox {
    /// Opens a mailbox and takes up what waits in it. Blocks; call it where that is allowed.
    ///
    /// # Errors
    /// If the file cannot be read or written, is damaged, in use, or of a newer version.
    pub fn open(config: MailboxConfig) -> Result<Opened, MailboxError> {
        let disk = Disk::open(&config.path)?;
        Self::open_on(disk, config)
    }

    pub(crate) fn open_on(disk: Disk, config: MailboxConfig) -> Result<Opened, MailboxError> {
        let disk = Arc::new(disk);
        let agent = config.agent;
        let (writer, parts) = Writer::new(Arc::clone(&disk), config)?;
        let thread = std::thread::Builder::new().name("shoal-mailbox".into()).spawn(move || writer.run());
        let thread = thread.map_err(|error| MailboxError::Io {
            action: "start the writer of",
            path: disk.path().to_owned(),
            reason: error.to_string(),
        })?;
        let (commands, happenings) = (parts.commands, parts.happenings);
        let queries = Arc::new(Semaphore::new(QUERIES_AT_ONCE));
        let mailbox = Self { disk, agent, commands, happenings, queries, thread: Some(thread) };
        Ok(Opened { mailbox, outgoing: Outgoing(parts.outgoing), incoming: Incoming(parts.incoming) })
    }

    /// Keeps a message of this agent for its recipients: agents, groups resolved. Durable when this returns; then it is sent
    /// until each has acknowledged it or it has expired.
    ///
    /// # Errors
    /// [`MailboxError::Post`] if it is not taken, else what the disk said. After an error of the disk it may have been
    /// kept all the same; posted again, it is then refused as known.
    pub async fn post(&self, envelope: Arc<Envelope>, recipients: Vec<AgentId>) -> Result<Place, MailboxError> {
        let bytes = crate::envelopes::size_bytes(&envelope) + recipients.len() * size_of::<AgentId>();
        self.ask(bytes, |reply| Command::Post { envelope, recipients, reply }).await
    }

    /// Agents are in a group, or in the pool: messages to it that are still valid are sent to those of them that are
    /// no recipients yet. Answers how many more now wait.
    ///
    /// # Errors
    /// What the disk said.
    pub async fn joined(&self, to: Recipient, agents: Vec<AgentId>) -> Result<usize, MailboxError> {
        let bytes = agents.len() * size_of::<AgentId>();
        self.ask(bytes, |reply| Command::Joined { to, agents, reply }).await
    }

    /// Takes in a receipt, signed by `from`, of a message of this agent. What [`Mailbox::receipts`] does for one.
    ///
    /// # Errors
    /// What the disk said.
    pub async fn receipt(&self, from: AgentId, receipt: Receipt) -> Result<ReceiptOutcome, MailboxError> {
        let outcomes = self.receipts(from, vec![receipt]).await?;
        Ok(outcomes.first().copied().unwrap_or(ReceiptOutcome::Nothing))
    }

    /// Takes in several at once, signed by `from`, in their order; answers for each.
    ///
    /// # Errors
    /// What the disk said.
    pub async fn receipts(&self, from: AgentId, receipts: Vec<Receipt>) -> Result<Vec<ReceiptOutcome>, MailboxError> {
        // Each changes as much as a call of its own.
        let bytes = receipts.len() * UNIT_BYTES;
        self.ask(bytes, |reply| Command::Receipts { from, receipts, reply }).await
    }

    /// An agent was seen to come back: what waits for it is sent now.
    pub fn seen(&self, agent: AgentId) {
        self.commands.send_now(Command::Seen(agent));
    }

    /// Keeps a message that came, once. Durable when this returns; then it is handed out.
    ///
    /// # Errors
    /// What the disk said.
    pub async fn accept(&self, envelope: Arc<Envelope>) -> Result<Accepted, MailboxError> {
        let bytes = crate::envelopes::size_bytes(&envelope);
        self.ask(bytes, |reply| Command::Accept { envelope, refused: None, reply }).await
    }

    /// Keeps in mind that a message came and was refused, once. It is in the log, and is not handed out.
    ///
    /// # Errors
    /// What the disk said.
    pub async fn refuse(&self, envelope: Arc<Envelope>, reason: String) -> Result<Accepted, MailboxError> {
        let bytes = crate::envelopes::size_bytes(&envelope);
        self.ask(bytes, |reply| Command::Accept { envelope, refused: Some(reason), reply }).await
    }

    /// A message that was handed out is dealt with. Durable when this returns what is to be told its sender.
    ///
    /// # Errors
    /// [`MailboxError::NotPending`] if it was dealt with before, else what the disk said.
    pub async fn settle(&self, place: Place, settlement: Settlement) -> Result<ReceiptState, MailboxError> {
        self.ask(0, |reply| Command::Settle { place, settlement, reply }).await
    }

    /// What became of a message of this agent, at each recipient; `None` if it is not known (any more).
    ///
    /// # Errors
    /// What the disk said.
    pub async fn states(&self, id: MessageId) -> Result<Option<Vec<RecipientStatus>>, MailboxError> {
        self.read(move |disk, _| log::states_of(disk, id)).await
    }

    /// One entry of the log.
    ///
    /// # Errors
    /// What the disk said.
    pub async fn entry(&self, place: Place) -> Result<Option<LogEntry>, MailboxError> {
        self.read(move |disk, agent| log::entry(disk, agent, place)).await
    }

    /// A page of the log. Its work is bounded, so it may have few entries, or none, and yet a next one.
    ///
    /// # Errors
    /// What the disk said.
    pub async fn query(&self, query: Query) -> Result<Page, MailboxError> {
        let turn = Arc::clone(&self.queries).acquire_owned().await.ok();
        self.read(move |disk, agent| {
            // Kept until it is done, also where nobody waits for it any more.
            let _turn = turn;
            log::query(disk, agent, &query)
        })
        .await
    }

    /// What happens from now on. Who is too slow misses some, and is told how many.
    #[must_use]
    pub fn follow(&self) -> Follower {
        Follower::new(self.happenings.subscribe())
    }

    /// Has the writer look at the clock at once; for tests with a clock of their own.
    pub fn wake(&self) {
        self.commands.send_now(Command::Wake);
    }

    async fn ask<T>(&self, bytes: usize, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, MailboxError> {
        let closed = || MailboxError::Closed(self.disk.path().to_owned());
        let (reply, answer) = oneshot::channel();
        self.commands.send(bytes, command(reply)).await.ok_or_else(closed)?;
        answer.await.map_err(|_| closed())?
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Disk, AgentId) -> Result<T, MailboxError> + Send + 'static,
    ) -> Result<T, MailboxError> {
        let (disk, agent) = (Arc::clone(&self.disk), self.agent);
        let joined = tokio::task::spawn_blocking(move || read(&disk, agent)).await;
        joined.map_err(|_| MailboxError::Closed(self.disk.path().to_owned()))?
    }
}

impl Drop for Mailbox {
    /// Waits for the writer, so that the file is free when this returns.
    fn drop(&mut self) {
        self.commands.send_now(Command::Stop);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.disk.path().display(), "the writer of the mailbox panicked");
        }
    }
}
