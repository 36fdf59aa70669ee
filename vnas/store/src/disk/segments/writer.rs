//! The one thread that changes segments: it takes all that waits, writes it at once, syncs once, then tells the index.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, IoSlice};
use std::sync::Arc;

use bytes::Bytes;
use dci_proto::ShardKey;
use tokio::sync::{mpsc, oneshot};

use super::super::existing::{Existing, look};
use super::super::record::{Header, Kind};
use super::super::shared::Shared;
use super::super::space::Reservation;
use super::compaction::Compaction;
use super::index::{Change, Location, Position};
use crate::StoreError;
use crate::key_locks::KeyGuard;

/// Bytes written with one sync, at most (and one shard more).
const BATCH_LIMIT_BYTES: usize = 4 * 1024 * 1024;
/// Changes written with one sync, at most.
const BATCH_LIMIT_COMMANDS: usize = 512;
/// Changes after which the index is made durable: what a restart after a crash reads again is no more than this.
const INDEX_DURABLE_AFTER_CHANGES: usize = 8192;

/// What is asked of the writer.
pub(crate) enum Command {
    Put { header: Header, data: Bytes, reservation: Reservation, guard: KeyGuard, reply: Reply },
    Delete { key: ShardKey, guard: KeyGuard, reply: Reply },
}

/// Where the writer answers.
pub(crate) type Reply = oneshot::Sender<Result<(), StoreError>>;

#[derive(Debug, Clone, Copy)]
pub(crate) struct WriterConfig {
    /// Bytes after which a new segment is begun.
    pub(crate) segment_bytes: u32,
}

pub(crate) struct Writer {
    pub(super) shared: Arc<Shared>,
    config: WriterConfig,
    pub(super) head: Option<Head>,
    /// Bytes in use, by segment.
    pub(super) live: BTreeMap<u32, u64>,
    /// Bytes there are, by segment.
    pub(super) lengths: BTreeMap<u32, u64>,
    changes_since_durable: usize,
    pub(super) compaction: Option<Compaction>,
    /// Something was dropped since compaction was last considered.
    pub(super) compaction_due: bool,
    /// Segments that hold damaged records and so cannot be dropped.
    pub(super) stuck: BTreeSet<u32>,
    /// Set when index and segments may disagree: nothing is written until the store is opened anew.
    broken: Option<StoreError>,
}

/// The segment being appended to.
pub(super) struct Head {
    pub(super) segment: u32,
    file: Arc<File>,
    end: u32,
    /// An append failed in a way that leaves its tail unknown: the next append begins a new segment.
    sealed: bool,
}

/// One record to append.
pub(super) struct Entry {
    pub(super) header: Header,
    pub(super) data: Bytes,
}

/// A change that waits for its batch, with what is due when it is durable.
struct Pending {
    reservation: Option<Reservation>,
    guard: KeyGuard,
    reply: Reply,
    replaces: bool,
}

impl Writer {
    /// `end`: where the last segment ends, as recovered.
    pub(crate) fn new(shared: Arc<Shared>, config: WriterConfig, end: Option<Position>) -> Result<Self, StoreError> {
        let segments = &shared.segments;
        let head = match end {
            None => None,
            Some(Position { segment, offset }) => {
                Some(Head { segment, file: segments.append_file(segment)?, end: offset, sealed: false })
            }
        };
        let lengths = segments.lengths()?;
        let live = segments.index.live_bytes()?;
        shared.space.add(lengths.values().sum(), segments.index.shards()?);
        shared.space.set_index_bytes(segments.index.file_bytes());
        Ok(Self {
            shared,
            config,
            head,
            live,
            lengths,
            changes_since_durable: 0,
            compaction: None,
            compaction_due: true,
            stuck: BTreeSet::new(),
            broken: None,
        })
    }

    /// Serves until all senders are gone.
    pub(crate) fn run(mut self, mut commands: mpsc::Receiver<Command>) {
        loop {
            let compacting = self.broken.is_none() && self.has_compaction();
            let first = if compacting {
                match commands.try_recv() {
                    Ok(command) => Some(command),
                    Err(mpsc::error::TryRecvError::Empty) => None,
                    Err(mpsc::error::TryRecvError::Disconnected) => break,
                }
            } else {
                match commands.blocking_recv() {
                    Some(command) => Some(command),
                    None => break,
                }
            };
            if let Some(first) = first {
                self.serve(collect(first, &mut commands));
            }
            if compacting && let Err(error) = self.compact_step() {
                tracing::warn!(%error, "compaction of small shards stopped; it goes on after the next deletion");
                self.compaction = None;
            }
        }
        if let Err(error) = self.commit(&[], true) {
            tracing::warn!(%error, "the index of small shards was not saved; the next start reads the segments again");
        }
    }

    fn serve(&mut self, commands: Vec<Command>) {
        let ready = self.broken.clone().map_or(Ok(()), Err).and_then(|()| self.shared.identity.require_plugged());
        let (mut entries, mut pending) = (Vec::new(), Vec::new());
        for command in commands {
            let (guard, reply, prepared) = match command {
                Command::Put { header, data, reservation, guard, reply } => {
                    let prepared = ready.clone().and_then(|()| self.prepare_put(&header));
                    let entry = prepared.map(|done| done.map(|replaces| (Entry { header, data }, replaces)));
                    (guard, reply, entry.map(|done| done.map(|(entry, replaces)| (entry, replaces, Some(reservation)))))
                }
                Command::Delete { key, guard, reply } => {
                    let prepared = ready.clone().and_then(|()| self.prepare_delete(key));
                    (guard, reply, prepared.map(|entry| entry.map(|entry| (entry, false, None))))
                }
            };
            match prepared {
                Ok(Some((entry, replaces, reservation))) => {
                    entries.push(entry);
                    pending.push(Pending { reservation, guard, reply, replaces });
                }
                done => answer(guard, reply, done.map(|_| ())),
            }
        }
        if entries.is_empty() {
            return;
        }
        let result = self.append(&entries);
        for (entry, pending) in entries.iter().zip(pending) {
            let Pending { reservation, guard, reply, replaces } = pending;
            if result.is_ok() {
                self.account(&entry.header, reservation, replaces);
            }
            answer(guard, reply, result.clone());
        }
    }

    /// What a durable change does to the space.
    fn account(&mut self, header: &Header, reservation: Option<Reservation>, replaces: bool) {
        match reservation {
            Some(reservation) => reservation.confirm(1),
            None => self.shared.space.add(header.record_bytes(), 0),
        }
        let dropped = replaces || matches!(header.kind, Kind::Tombstone { .. });
        if dropped {
            self.shared.space.remove(0, 1);
        }
        self.compaction_due |= dropped;
    }

    /// Whether the shard is to be written, and if so, whether over a damaged one; `None` if it is there already.
    fn prepare_put(&self, header: &Header) -> Result<Option<bool>, StoreError> {
        match look(&self.shared, header.key, header.hash())? {
            Existing::None => Ok(Some(false)),
            Existing::Same => Ok(None),
            Existing::Other => Err(StoreError::Conflict(header.key)),
            Existing::DamagedRecord => Ok(Some(true)),
            Existing::DamagedFile => self.shared.files.delete(header.key).map(|_| Some(false)),
        }
    }

    /// The record that drops a shard; `None` if it is not here.
    fn prepare_delete(&self, key: ShardKey) -> Result<Option<Entry>, StoreError> {
        Ok(self.shared.segments.index.get(key)?.map(|location| Entry {
            header: Header {
                kind: Kind::Tombstone { victim: location.segment },
                key,
                bytes: 0,
                durable_below: 0,
                blocks: Vec::new(),
            },
            data: Bytes::new(),
        }))
    }

    /// Appends records, durably, and tells the index. All of them or none.
    pub(super) fn append(&mut self, entries: &[Entry]) -> Result<(), StoreError> {
        let total: u64 = entries.iter().map(|entry| entry.header.record_bytes()).sum();
        self.make_room(total)?;
        let Some(head) = &mut self.head else {
            return Err(StoreError::Io { action: "append to a segment".into(), reason: "there is none".into() });
        };
        let start = head.end;
        let mut offset = start;
        let (mut headers, mut changes) = (Vec::with_capacity(entries.len()), Vec::with_capacity(entries.len()));
        for Entry { header, .. } in entries {
            headers.push(Header { durable_below: start, ..header.clone() }.encode(&self.shared.segments.salt));
            changes.push(match header.kind {
                Kind::Shard => {
                    let (segment, bytes, hash) = (head.segment, header.bytes, header.hash());
                    Change::Put(header.key, Location { segment, offset, bytes, hash })
                }
                Kind::Tombstone { .. } => Change::Remove(header.key),
            });
            // A segment is far below 4 GiB: its configured length and one batch.
            offset = offset.saturating_add(u32::try_from(header.record_bytes()).unwrap_or(u32::MAX));
        }
        let mut slices = Vec::with_capacity(entries.len() * 2);
        for (header, entry) in headers.iter().zip(entries) {
            slices.push(IoSlice::new(header));
            slices.push(IoSlice::new(&entry.data));
        }
        if let Err(error) = shoal_files::write_at(&head.file, u64::from(start), &mut slices)
            .and_then(|()| shoal_files::sync(&head.file))
        {
            return Err(self.undo_append(start, &error));
        }
        head.end = offset;
        self.lengths.insert(head.segment, u64::from(offset));
        self.commit(&changes, false)
    }

    /// Leaves nothing of a failed append.
    fn undo_append(&mut self, start: u32, error: &io::Error) -> StoreError {
        let Some(head) = &mut self.head else {
            return StoreError::Io { action: "append to a segment".into(), reason: error.to_string() };
        };
        // After a failed sync nobody knows what the disk has; the segment is left for good.
        head.sealed = true;
        if let Err(truncating) = shoal_files::set_length(&head.file, u64::from(start)) {
            tracing::warn!(segment = head.segment, %truncating, "the tail of a failed write stays");
        }
        let error = self.shared.segments.error("append to", head.segment, error);
        self.shared.identity.explain(error)
    }

    /// Begins a new segment if the current one is full, sealed or missing.
    fn make_room(&mut self, total: u64) -> Result<(), StoreError> {
        let segment_bytes = u64::from(self.config.segment_bytes);
        let next = match &self.head {
            Some(head) if !head.sealed && (head.end == 0 || u64::from(head.end) + total <= segment_bytes) => {
                return Ok(());
            }
            Some(head) => head.segment + 1,
            None => self.shared.segments.index.position()?.segment + 1,
        };
        let file = self.shared.segments.create(next).map_err(|error| self.shared.identity.explain(error))?;
        self.head = Some(Head { segment: next, file, end: 0, sealed: false });
        self.lengths.insert(next, 0);
        self.compaction_due = true;
        // From now on a crash never looks at the tail of the one before.
        self.commit(&[], true)
    }

    /// Tells the index; durably if asked or when enough has come together.
    pub(super) fn commit(&mut self, changes: &[Change], durable: bool) -> Result<(), StoreError> {
        let Some(head) = &self.head else { return Ok(()) };
        let position = Position { segment: head.segment, offset: head.end };
        self.changes_since_durable += changes.len();
        let durable = durable || self.changes_since_durable >= INDEX_DURABLE_AFTER_CHANGES;
        if let Err(error) = self.shared.segments.index.apply(changes, position, durable, &mut self.live) {
            tracing::error!(%error, "the index of small shards failed; no small shard is taken until a restart");
            self.broken = Some(error.clone());
            return Err(error);
        }
        if durable {
            self.changes_since_durable = 0;
            self.shared.space.set_index_bytes(self.shared.segments.index.file_bytes());
        }
        Ok(())
    }
}

/// The first command and all that wait behind it, within a batch's limits.
fn collect(first: Command, commands: &mut mpsc::Receiver<Command>) -> Vec<Command> {
    let bytes_of = |command: &Command| match command {
        Command::Put { data, .. } => data.len(),
        Command::Delete { .. } => 0,
    };
    let mut bytes = bytes_of(&first);
    let mut batch = vec![first];
    while batch.len() < BATCH_LIMIT_COMMANDS && bytes < BATCH_LIMIT_BYTES {
        let Ok(command) = commands.try_recv() else { break };
        bytes += bytes_of(&command);
        batch.push(command);
    }
    batch
}

/// Answers, the key given back first: who is answered may use it at once. Nobody may be waiting any more.
fn answer(guard: KeyGuard, reply: Reply, result: Result<(), StoreError>) {
    drop(guard);
    let _ = reply.send(result);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::DiskStoreConfig;
    use crate::contract::{bytes, key};
    use crate::disk::open_parts;

    fn entry(number: u8) -> Entry {
        let data = bytes(number.into(), 1000);
        let blocks = dci_proto::block_hashes(&data);
        let header = Header { kind: Kind::Shard, key: key(number), bytes: 1000, durable_below: 0, blocks };
        Entry { header, data }
    }

    #[test]
    fn a_write_that_fails_leaves_nothing_and_the_next_one_works() {
        let directory = tempfile::TempDir::new().expect("a temporary directory");
        let config = DiskStoreConfig { create_if_new: true, ..DiskStoreConfig::new(directory.path().join("store")) };
        let (shared, mut writer) = open_parts(&config).expect("opens");
        writer.append(&[entry(1)]).expect("the first append");
        let head = writer.head.as_mut().expect("there is a segment");
        // Opened for reading only, so that writing fails.
        head.file = Arc::new(File::open(shared.segments.path(head.segment)).expect("opens"));
        let failed = writer.append(&[entry(2), entry(3)]);
        assert!(matches!(failed, Err(StoreError::Io { .. })), "{failed:?}");
        writer.append(&[entry(4)]).expect("the next append");
        drop((writer, shared));
        let (shared, _writer) = open_parts(&config).expect("opens again");
        let kept: Vec<_> = shared.list(None, 10).expect("list").into_iter().map(|info| info.key).collect();
        assert_eq!(kept, [key(1), key(4)]);
        assert!(shared.get(key(4), None).expect("get") == bytes(4, 1000));
    }
}
