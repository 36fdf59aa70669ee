//! The log as openraft wants it: changes go to the log's own thread, one after the other; reads come from memory,
//! or from disk on a blocking thread.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use dci_proto::AgentId;
use openraft::storage::{LogFlushed, RaftLogStorage};
use openraft::{EntryPayload, LogState, RaftLogReader, StorageIOError};
use tokio::sync::{oneshot, watch};

use super::disk::{LogDisk, read_entry};
use super::index::{LogIndex, Place};
use crate::state::DurablePosition;
use crate::types::{Entry, LogId, Membership, Raft, StorageError, Vote, entry_bytes};
use crate::{ConsensusError, Headroom};

/// Bytes of entries handed to one replication message, at most; a message may be twice that.
const READ_LIMIT_BYTES: usize = 2 * 1024 * 1024;

type Job = Box<dyn FnOnce(&mut LogDisk) + Send>;

/// The log. Clones share it.
#[derive(Clone)]
pub(crate) struct LogStore {
    jobs: mpsc::Sender<Job>,
    index: Arc<Mutex<LogIndex>>,
    shared: Arc<LogShared>,
    durable: watch::Receiver<DurablePosition>,
}

/// How long the log is.
pub(crate) struct LogExtent {
    /// Bytes on disk.
    pub(crate) total_bytes: u64,
    /// Bytes appended since the start, purged ones included.
    pub(crate) appended_bytes: u64,
    /// The first entry that can be read.
    pub(crate) first_index: u64,
    /// One past the last.
    pub(crate) end_index: u64,
}

/// What others look at while the log works.
pub(crate) struct LogShared {
    /// The greatest vote this agent has given, set before it is written and so before anyone can learn of it.
    vote: Mutex<Option<Vote>>,
    /// The newest membership appended here since the last truncation, set before it is replicated.
    membership: Mutex<Option<(LogId, Membership)>>,
    /// One past the index known to be committed.
    committed_next: AtomicU64,
    committed_at_start: Option<LogId>,
    /// The vote when this process started, and one past the log's end then.
    at_start: (Option<Vote>, u64),
}

impl LogShared {
    pub(crate) fn vote(&self) -> Option<Vote> {
        *self.vote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One past the last entry that a leader by `vote` may have acknowledged before this process started: openraft lets
    /// a leader that restarts go on leading by the vote it has, without an entry that marks the beginning.
    pub(crate) fn acknowledged_before_start(&self, vote: Vote) -> u64 {
        let (vote_then, end_then) = self.at_start;
        if vote_then.is_some_and(|then| then.leader_id == vote.leader_id) { end_then } else { 0 }
    }

    pub(crate) fn membership(&self) -> Option<(LogId, Membership)> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_membership(&self, membership: Option<(LogId, Membership)>) {
        *self.membership.lock().unwrap_or_else(PoisonError::into_inner) = membership;
    }
}

impl LogStore {
    /// Opens the log in `directory`, of agent `agent`, beside a state whose durable position is `durable`.
    pub(crate) fn open(
        directory: &Path,
        agent: AgentId,
        durable: watch::Receiver<DurablePosition>,
        headroom: Arc<Headroom>,
    ) -> Result<Self, ConsensusError> {
        let opened = LogDisk::open(directory, agent, headroom)?;
        let mut disk = opened.disk;
        let shared = Arc::new(LogShared {
            vote: Mutex::new(disk.remembered.vote),
            membership: Mutex::new(None),
            committed_next: AtomicU64::new(opened.committed.map_or(0, |id| id.index + 1)),
            committed_at_start: opened.committed,
            at_start: (disk.remembered.vote, opened.index.lock().unwrap_or_else(PoisonError::into_inner).end_index()),
        });
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new()
            .name("ledger-log".to_owned())
            .spawn(move || {
                // Ends when the last sender is gone.
                while let Ok(job) = queue.recv() {
                    job(&mut disk);
                }
            })
            .map_err(ConsensusError::io("start the thread that writes", directory))?;
        Ok(Self { jobs, index: opened.index, shared, durable })
    }

    pub(crate) fn shared(&self) -> Arc<LogShared> {
        Arc::clone(&self.shared)
    }

    /// The last entry, where there was one.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    pub(crate) fn extent(&self) -> LogExtent {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        LogExtent {
            total_bytes: index.total_bytes(),
            appended_bytes: index.appended_bytes,
            first_index: index.first_index(),
            end_index: index.end_index(),
        }
    }

    /// Up to where to purge so that about `kept_bytes` stay, and nothing from `before` on goes.
    pub(crate) fn purge_point(&self, kept_bytes: u64, before: u64) -> Option<u64> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let kept_from = index.segments.iter().rev().find_map(|segment| {
            bytes += segment.length_bytes;
            (bytes >= kept_bytes).then_some(segment.first_index)
        })?;
        kept_from.min(before).checked_sub(1).filter(|upto| *upto >= index.first_index())
    }

    /// Has the log's thread do something and waits for it.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut LogDisk) -> Result<T, ConsensusError> + Send + 'static,
    ) -> Result<T, std::io::Error> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |disk| {
            // The caller may have given up; the work is done all the same.
            let _ = reply.send(work(disk));
        });
        let gone = || std::io::Error::other("the thread that writes the log has ended");
        self.jobs.send(job).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(std::io::Error::other)
    }

    fn place(&self, index: u64) -> Option<Place> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner).find(index)
    }

    /// The entries of `start..end` that are there, up to a number of bytes, at least one.
    async fn read(&self, start: u64, end: u64, limit_bytes: usize) -> Result<Vec<Entry>, StorageError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        let mut index = start;
        while index < end {
            match self.place(index) {
                Some(Place::Memory(entry)) => {
                    bytes += entry_bytes(&entry);
                    if bytes > limit_bytes && !entries.is_empty() {
                        break;
                    }
                    entries.push(entry);
                    index += 1;
                }
                Some(Place::Disk { .. }) => {
                    let (read, read_bytes) = self.read_disk(index, end, limit_bytes.saturating_sub(bytes)).await?;
                    if read.is_empty() || (read_bytes > limit_bytes.saturating_sub(bytes) && !entries.is_empty()) {
                        break;
                    }
                    bytes += read_bytes;
                    index += read.len() as u64;
                    entries.extend(read);
                }
                None => break,
            }
            if bytes >= limit_bytes {
                break;
            }
        }
        Ok(entries)
    }

    /// Reads a run of entries that are not in memory, on a blocking thread.
    async fn read_disk(&self, start: u64, end: u64, limit_bytes: usize) -> Result<(Vec<Entry>, usize), StorageError> {
        /// Entries read in one go: openraft asks for many at a start, and memory is bounded by bytes anyway.
        const RUN_ENTRIES: u64 = 256;
        let this = self.clone();
        let read = move || {
            let mut entries = Vec::new();
            let mut bytes = 0;
            for index in start..end.min(start + RUN_ENTRIES) {
                let Some(place) = this.place(index) else { break };
                let entry = read_entry(place)?;
                bytes += entry_bytes(&entry);
                entries.push(entry);
                if bytes >= limit_bytes {
                    break;
                }
            }
            Ok::<_, ConsensusError>((entries, bytes))
        };
        let read = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other);
        read.and_then(|result| result.map_err(std::io::Error::other))
            .map_err(|error| StorageIOError::read_logs(&error).into())
    }
}

impl RaftLogReader<Raft> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let extent = self.extent();
        self.read(start.max(extent.first_index), end.min(extent.end_index), usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.read(start, end, READ_LIMIT_BYTES).await
    }
}

impl RaftLogStorage<Raft> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Raft>, StorageError> {
        let index = self.index.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(LogState { last_purged_log_id: index.purged, last_log_id: index.last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        *self.shared.vote.lock().unwrap_or_else(PoisonError::into_inner) = Some(vote);
        self.run(move |disk| disk.save_vote(vote)).await.map_err(|error| StorageIOError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.shared.vote())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let next = committed.map_or(0, |id| id.index + 1);
        self.shared.committed_next.fetch_max(next, Ordering::Relaxed);
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.shared.committed_at_start)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Raft>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        for entry in &entries {
            if let EntryPayload::Membership(membership) = &entry.payload {
                self.shared.set_membership(Some((entry.log_id, membership.clone())));
            }
        }
        let committed_next = self.shared.committed_next.load(Ordering::Relaxed);
        let result = self.run(move |disk| disk.append(entries, committed_next)).await;
        callback.log_io_completed(result);
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.shared.set_membership(None);
        let committed_next = self.shared.committed_next.load(Ordering::Relaxed);
        self.run(move |disk| disk.truncate(log_id.index, committed_next))
            .await
            .map_err(|error| StorageIOError::write_logs(&error).into())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        // openraft purges while a snapshot it counts on is still being installed. An entry goes only when the
        // durable state has it.
        let covered = self.durable.wait_for(|durable| durable.failed || durable.next > log_id.index).await;
        if !covered.is_ok_and(|durable| !durable.failed) {
            let error = std::io::Error::other("the state that covers the entries could not be made durable");
            return Err(StorageIOError::write_logs(&error).into());
        }
        self.run(move |disk| disk.purge(log_id)).await.map_err(|error| StorageIOError::write_logs(&error).into())
    }
}
