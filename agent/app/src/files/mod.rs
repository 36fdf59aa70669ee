//! Files that this agent sends to others and gets from them.
//!
//! ```text
//!  door ─ pieces ─► outgoing (DATA/files/out) ─ offering ─ message `files` ─► peerlet of the recipient: fine?
//!                        │                                                          │ handled
//!  recipients ─ FilePiece ─► serving                   following (mailbox) ◄────────┘
//!                        ▲                                    │
//!                        └───── data channel ─────── pulling ◄┘ ─► incoming (DATA/files/in) ─ replies ─► the sender
//! ```
//!
//! - An offer is fetched once its peerlet has said yes, checked again here; bytes are asked for, never sent unasked, so that a
//!   recipient decides how much comes and how fast.
//! - Nothing is shown as received before its hash is right and it is on disk.
//! - What is on disk ([`record`]) says where to go on after a restart; what is in memory is progress.
//! - What others can make this agent keep is bounded: by a cap, the owner's reserve ([`room`]) and numbers of transfers.

mod following;
mod incoming;
mod offering;
mod outgoing;
mod pace;
mod places;
mod pulling;
mod receiving;
mod record;
mod room;
mod serving;
mod uploading;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dci_proto::AgentId;
use shoal_file_exchange::{FormatError, TransferId};
use shoal_net::Network;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::AgentError;
use crate::config::FilesConfig;
use crate::messages::{Messages, SendError};

pub(crate) use incoming::Incoming;
pub(crate) use offering::OfferRequest;
pub(crate) use outgoing::{DraftEntry, Outgoing, RecipientState, RecipientView};
pub(crate) use places::blocking;
pub(crate) use record::{IncomingRecord, IncomingState, OutgoingRecord, OutgoingState};

use room::Room;

/// How often it is looked for what has expired or is too old.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
/// Transfers from one agent that are fetched at once, all agents together; further ones wait for their turn.
const PULLING_LIMIT: usize = 3;
/// Pieces that are fetched at once, all transfers together: what they take of memory.
const PIECES_LIMIT: usize = 8;
/// How long work under way may take when the agent ends.
const END_DEADLINE: Duration = Duration::from_secs(3);

/// What it works with.
pub(crate) struct FilesParts {
    pub(crate) agent: AgentId,
    pub(crate) data: PathBuf,
    pub(crate) config: FilesConfig,
    pub(crate) network: Arc<dyn Network>,
    pub(crate) messages: Arc<Messages>,
}

/// Files sent and received by an agent.
pub(crate) struct Files {
    agent: AgentId,
    folder: PathBuf,
    network: Arc<dyn Network>,
    messages: Arc<Messages>,
    room: Room,
    outgoing: Mutex<BTreeMap<TransferId, Arc<Outgoing>>>,
    incoming: Mutex<BTreeMap<TransferId, Arc<Incoming>>>,
    pulling: Arc<Semaphore>,
    pieces: Semaphore,
    counts: Counts,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

/// Bytes since the start.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Fetched from others.
    pub(crate) pulled: AtomicU64,
    /// Given to others.
    pub(crate) served: AtomicU64,
    /// Pieces asked for that are not given.
    pub(crate) refused: AtomicU64,
}

/// Why something cannot be done with files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FilesError {
    /// No such transfer, or no such file in it.
    #[error("{0}")]
    Missing(String),
    /// What is asked for is not as it should be.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// Nor is this.
    #[error("{0}")]
    Bad(String),
    /// Not in this state.
    #[error("{0}")]
    Conflict(String),
    /// It does not fit.
    #[error("{0}")]
    NoRoom(String),
    /// Too much of that is under way.
    #[error("{0}")]
    Busy(String),
    /// The offer cannot be sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The disk says no.
    #[error("{what}: {reason}")]
    Disk {
        /// What was tried.
        what: String,
        /// Why it did not work.
        reason: String,
    },
}

impl FilesError {
    fn disk(what: impl Into<String>, error: &std::io::Error) -> Self {
        Self::Disk { what: what.into(), reason: error.to_string() }
    }

    /// Nothing more of it is taken.
    fn not_handed_in(record: OutgoingRecord) -> Self {
        Self::Conflict(record.given_up.unwrap_or_else(|| "that transfer is on its way already".to_owned()))
    }

    fn missing(transfer: TransferId) -> Self {
        Self::Missing(format!("there is no transfer {transfer} here"))
    }
}

impl From<AgentError> for FilesError {
    fn from(error: AgentError) -> Self {
        Self::Disk { what: "keeping what is known of files".to_owned(), reason: error.to_string() }
    }
}

impl Files {
    /// Takes up what is on disk and sets all going; ends with `shutdown`.
    pub(crate) async fn start(parts: FilesParts, shutdown: CancellationToken) -> Result<Arc<Self>, FilesError> {
        let folder = parts.data.join("files");
        let room = Room::new(folder.clone(), parts.config.clone());
        let kept = folder.clone();
        let (outgoing, incoming) = blocking(move || {
            places::make_folder(&places::out_folder(&kept))?;
            places::make_folder(&places::in_folder(&kept))?;
            Ok((outgoing::load_all(&kept)?, incoming::load_all(&kept)?))
        })
        .await?;
        for one in &outgoing {
            room.keep(room::Key::Out(one.transfer), one.held_bytes());
        }
        for one in &incoming {
            room.keep(room::Key::In(one.transfer), one.held_bytes());
        }
        let files = Arc::new(Self {
            agent: parts.agent,
            folder,
            network: parts.network,
            messages: parts.messages,
            room,
            outgoing: Mutex::new(outgoing.into_iter().map(|one| (one.transfer, Arc::new(one))).collect()),
            incoming: Mutex::new(incoming.into_iter().map(|one| (one.transfer, Arc::new(one))).collect()),
            pulling: Arc::new(Semaphore::new(PULLING_LIMIT)),
            pieces: Semaphore::new(PIECES_LIMIT),
            counts: Counts::default(),
            tasks: TaskTracker::new(),
            shutdown,
        });
        for one in files.all_incoming() {
            files.go_on(&one);
        }
        let mut unfinished = files.all_outgoing();
        unfinished.retain(|one| one.record().state == OutgoingState::Sending);
        files.tasks.spawn(files.clone().follow(unfinished));
        files.tasks.spawn(files.clone().sweep());
        Ok(files)
    }

    /// Waits for `shutdown`, then for what is under way.
    pub(crate) async fn run(self: Arc<Self>) {
        self.shutdown.cancelled().await;
        self.tasks.close();
        let _ = tokio::time::timeout(END_DEADLINE, self.tasks.wait()).await;
    }

    /// Bytes moved since the start.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Bytes kept of all transfers, and how many may be.
    pub(crate) fn room_bytes(&self) -> (u64, u64) {
        self.room.used_and_cap()
    }

    /// All that is being sent, the newest first.
    pub(crate) fn all_outgoing(&self) -> Vec<Arc<Outgoing>> {
        let mut all: Vec<_> = self.outgoing_map().values().cloned().collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.record().created_ms));
        all
    }

    /// All that came or is coming, the newest first; what was removed is not among it.
    pub(crate) fn all_incoming(&self) -> Vec<Arc<Incoming>> {
        let there = |one: &&Arc<Incoming>| one.record().state != IncomingState::Removed;
        let mut all: Vec<_> = self.incoming_map().values().filter(there).cloned().collect();
        all.sort_by_key(|one| std::cmp::Reverse(one.record().received_ms));
        all
    }

    /// One that is being sent.
    pub(crate) fn outgoing(&self, transfer: TransferId) -> Result<Arc<Outgoing>, FilesError> {
        self.outgoing_map().get(&transfer).cloned().ok_or_else(|| FilesError::missing(transfer))
    }

    /// One that came or is coming.
    pub(crate) fn incoming(&self, transfer: TransferId) -> Result<Arc<Incoming>, FilesError> {
        let found = self.incoming_map().get(&transfer).cloned();
        found.filter(|one| one.record().state != IncomingState::Removed).ok_or_else(|| FilesError::missing(transfer))
    }

    fn outgoing_map(&self) -> MutexGuard<'_, BTreeMap<TransferId, Arc<Outgoing>>> {
        self.outgoing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn incoming_map(&self) -> MutexGuard<'_, BTreeMap<TransferId, Arc<Incoming>>> {
        self.incoming.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        self.messages.now_ms()
    }

    async fn sweep(self: Arc<Self>) {
        while self.shutdown.run_until_cancelled(tokio::time::sleep(SWEEP_INTERVAL)).await.is_some() {
            self.sweep_outgoing().await;
            self.sweep_incoming().await;
        }
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(bytes as u64, Ordering::Relaxed);
}
