//! Changing the log's files. Blocking: runs on the log's own thread, one change after the other.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{IoSlice, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dci_proto::AgentId;

use super::index::{LogIndex, Place, Segment};
use super::segment::{self, FrameWriter, HEADER_BYTES};
use super::vote::Remembered;
use crate::files::{make_directory, replace_file, sync_directory};
use crate::types::{Entry, LogId, Vote};
use crate::{ConsensusError, Headroom};

/// A segment this long is closed and the next one begun: the unit in which the log is purged.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// The log's files; owned by the thread that changes them.
pub(super) struct LogDisk {
    directory: PathBuf,
    segments_directory: PathBuf,
    pub(super) remembered: Remembered,
    index: Arc<Mutex<LogIndex>>,
    segment_bytes: u64,
    headroom: Arc<Headroom>,
}

/// What opening found.
pub(super) struct Opened {
    pub(super) disk: LogDisk,
    pub(super) index: Arc<Mutex<LogIndex>>,
    pub(super) committed: Option<LogId>,
}

impl LogDisk {
    pub(super) fn open(directory: &Path, agent: AgentId, headroom: Arc<Headroom>) -> Result<Opened, ConsensusError> {
        let remembered = Remembered::open(directory, agent)?;
        let segments_directory = directory.join("log");
        // With it the name of the vote: this member acts by what it found, which may not be durable yet.
        make_directory(&segments_directory)?;
        sync_directory(&segments_directory)?;
        let purged_next = remembered.purged.map_or(0, |id| id.index + 1);
        let (mut segments, committed_next) = open_segments(&segments_directory, purged_next)?;
        remove_purged(&mut segments, purged_next)?;
        if let Some(first) = segments.front()
            && first.first_index > purged_next
        {
            let reason = format!("entries {purged_next} to {} are missing", first.first_index - 1);
            return Err(ConsensusError::damaged(&segments_directory, reason));
        }
        let mut index = LogIndex::new(segments, remembered.purged, remembered.purged);
        index.last = last_id(&index)?.or(remembered.purged);
        let committed = committed_id(&index, committed_next, remembered.purged)?;
        let index = Arc::new(Mutex::new(index));
        let disk = Self {
            directory: directory.to_owned(),
            segments_directory,
            remembered,
            index: Arc::clone(&index),
            segment_bytes: SEGMENT_BYTES,
            headroom,
        };
        Ok(Opened { disk, index, committed })
    }

    #[cfg(test)]
    pub(super) fn set_segment_bytes(&mut self, bytes: u64) {
        self.segment_bytes = bytes;
    }

    /// Appends entries; durable when this returns.
    pub(super) fn append(&mut self, entries: Vec<Entry>, committed_next: u64) -> Result<(), ConsensusError> {
        let Some(first_index) = entries.first().map(|entry| entry.log_id.index) else { return Ok(()) };
        let expected = self.lock().end_index();
        if first_index != expected {
            let reason = format!("entry {first_index} was to be appended where {expected} comes next");
            return Err(ConsensusError::damaged(&self.segments_directory, reason));
        }
        let mut frame = FrameWriter::new(committed_next);
        for entry in &entries {
            frame.push(entry)?;
        }
        let offsets = std::mem::take(&mut frame.offsets);
        let bytes = frame.finish()?;
        let full = self.lock().segments.back().is_none_or(|segment| segment.length_bytes >= self.segment_bytes);
        if full {
            let segment = self.new_segment(first_index)?;
            self.lock().segments.push_back(segment);
        }
        let Some((file, path, at)) =
            self.lock().segments.back().map(|last| (Arc::clone(&last.file), last.path.clone(), last.length_bytes))
        else {
            return Ok(());
        };
        let write = || {
            shoal_files::write_at(&file, at, &mut [IoSlice::new(&bytes)])?;
            shoal_files::sync(&file)
        };
        self.headroom.write(|| write().map_err(ConsensusError::io("append to", &path)))?;
        let mut index = self.lock();
        if let Some(segment) = index.segments.back_mut() {
            segment.offsets.extend(offsets.iter().map(|offset| (at + *offset as u64) as u32));
            segment.length_bytes = at + bytes.len() as u64;
        }
        index.appended_bytes += bytes.len() as u64;
        index.remember(entries);
        Ok(())
    }

    /// Removes the entries from `since` on; durable when this returns.
    pub(super) fn truncate(&mut self, since: u64, committed_next: u64) -> Result<(), ConsensusError> {
        let last = match since.checked_sub(1) {
            Some(before) => self.read(before)?.map(|entry| entry.log_id),
            None => None,
        };
        // From the end, so that a crash in between leaves no hole.
        while let Some((path, _)) = self.last_segment(|segment| segment.first_index >= since) {
            shoal_files::remove(&path).map_err(ConsensusError::io("remove", &path))?;
            sync_directory(&self.segments_directory)?;
            self.lock().segments.pop_back();
        }
        if let Some((_, first)) = self.last_segment(|segment| since < segment.end_index()) {
            let segment = self.rewrite_segment(first, since, committed_next)?;
            let mut index = self.lock();
            index.segments.pop_back();
            index.segments.push_back(segment);
        }
        let mut index = self.lock();
        index.forget_from(since);
        index.last = last.or(index.purged);
        Ok(())
    }

    /// Replaces a segment by one that ends before `end`: frames cannot be cut in the middle.
    fn rewrite_segment(&self, first: u64, end: u64, committed_next: u64) -> Result<Segment, ConsensusError> {
        let mut frame = FrameWriter::new(committed_next);
        for index in first..end {
            let place = self.lock().find_on_disk(index);
            if let Some(place) = place {
                frame.push(&read_entry(place)?)?;
            }
        }
        let offsets = frame.offsets.iter().map(|offset| (HEADER_BYTES + offset) as u32).collect();
        let mut bytes = segment::header(first).to_vec();
        bytes.extend(frame.finish()?);
        let name = format!("{first:020}.log");
        self.headroom.write(|| replace_file(&self.segments_directory, &name, &bytes))?;
        let path = self.segments_directory.join(name);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(ConsensusError::io("open", &path))?;
        Ok(Segment { path, file: Arc::new(file), first_index: first, offsets, length_bytes: bytes.len() as u64 })
    }

    /// Forgets the entries up to `upto`; durable when this returns.
    pub(super) fn purge(&mut self, upto: LogId) -> Result<(), ConsensusError> {
        // First the note, then the files: a crash in between leaves files that the next start removes.
        self.remembered.purged = Some(upto);
        self.save()?;
        let mut index = self.lock();
        index.purged = Some(upto);
        index.forget_through(upto.index);
        if index.last.is_none_or(|last| last.index <= upto.index) {
            index.last = Some(upto);
            index.forget_from(0);
        }
        remove_purged(&mut index.segments, upto.index + 1)
    }

    /// Keeps the vote; durable when this returns.
    pub(super) fn save_vote(&mut self, vote: Vote) -> Result<(), ConsensusError> {
        self.remembered.vote = Some(vote);
        self.save()
    }

    fn save(&self) -> Result<(), ConsensusError> {
        self.headroom.write(|| self.remembered.save(&self.directory))
    }

    /// Path and first index of the last segment, if it is as wanted.
    fn last_segment(&self, wanted: impl Fn(&Segment) -> bool) -> Option<(PathBuf, u64)> {
        let index = self.lock();
        index
            .segments
            .back()
            .filter(|segment| wanted(segment))
            .map(|segment| (segment.path.clone(), segment.first_index))
    }

    fn read(&self, index: u64) -> Result<Option<Entry>, ConsensusError> {
        let place = self.lock().find(index);
        place.map(read_entry).transpose()
    }

    fn new_segment(&self, first_index: u64) -> Result<Segment, ConsensusError> {
        let path = self.segments_directory.join(format!("{first_index:020}.log"));
        let create = || {
            let mut options = OpenOptions::new();
            let file = shoal_files::create(&path, options.create(true).truncate(true).read(true).write(true))?;
            shoal_files::write_at(&file, 0, &mut [IoSlice::new(&segment::header(first_index))])?;
            shoal_files::sync(&file)?;
            Ok(file)
        };
        let file = Arc::new(self.headroom.write(|| create().map_err(ConsensusError::io("create", &path)))?);
        sync_directory(&self.segments_directory)?;
        Ok(Segment { path, file, first_index, offsets: Vec::new(), length_bytes: HEADER_BYTES as u64 })
    }

    fn lock(&self) -> MutexGuard<'_, LogIndex> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads an entry from where the index says it is.
pub(super) fn read_entry(place: Place) -> Result<Entry, ConsensusError> {
    let (file, path, offset) = match place {
        Place::Memory(entry) => return Ok(entry),
        Place::Disk { file, path, offset } => (file, path, offset),
    };
    let read = || {
        let mut head = [0; 8];
        read_exact_at(&file, &mut head, offset)?;
        let mut bytes = vec![0; segment::entry_length(head).min(segment::FRAME_LIMIT_BYTES)];
        read_exact_at(&file, &mut bytes, offset)?;
        Ok(bytes)
    };
    let bytes = read().map_err(ConsensusError::io("read", &path))?;
    segment::decode_entry(&bytes).map_err(|reason| ConsensusError::damaged(&path, reason))
}

#[cfg(unix)]
fn read_exact_at(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> std::io::Result<()> {
    while !buffer.is_empty() {
        let read = std::os::windows::fs::FileExt::seek_read(file, buffer, offset)?;
        if read == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        buffer = &mut buffer[read..];
        offset += read as u64;
    }
    Ok(())
}

/// Opens all segments in order. A torn end of the last one is cut off. A crash may have kept the removal of some
/// segments below `purged_next` and lost that of others: what is before such a gap goes.
fn open_segments(directory: &Path, purged_next: u64) -> Result<(VecDeque<Segment>, u64), ConsensusError> {
    let read_directory = ConsensusError::io("list", directory);
    let listing = || std::fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = listing().map_err(read_directory)?;
    // Names are first indices of equal width, so this is the order of the log.
    paths.sort();
    let (paths, unfinished): (Vec<_>, Vec<_>) =
        paths.into_iter().partition(|path| path.extension().is_some_and(|extension| extension == "log"));
    for path in unfinished {
        shoal_files::remove(&path).map_err(ConsensusError::io("remove", &path))?;
    }
    let mut segments: VecDeque<Segment> = VecDeque::new();
    let mut committed_next = 0;
    let count = paths.len();
    for (position, path) in paths.into_iter().enumerate() {
        let Some((segment, committed)) = open_segment(&path, position + 1 == count)? else {
            shoal_files::remove(&path).map_err(ConsensusError::io("remove", &path))?;
            continue;
        };
        if let Some(previous) = segments.back()
            && previous.end_index() != segment.first_index
        {
            if previous.end_index() <= purged_next && segment.first_index <= purged_next {
                remove_purged(&mut segments, purged_next)?;
                committed_next = committed_next.max(committed);
                segments.push_back(segment);
                continue;
            }
            let reason = format!("it begins with entry {}, not {}", segment.first_index, previous.end_index());
            return Err(ConsensusError::damaged(&path, reason));
        }
        committed_next = committed_next.max(committed);
        segments.push_back(segment);
    }
    Ok((segments, committed_next))
}

fn open_segment(path: &Path, is_last: bool) -> Result<Option<(Segment, u64)>, ConsensusError> {
    let open = || {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok((file, bytes))
    };
    let (file, bytes) = open().map_err(ConsensusError::io("read", path))?;
    let Some(scanned) = segment::scan(path, &bytes, is_last)? else { return Ok(None) };
    let length_bytes = scanned.sound_bytes as u64;
    if scanned.sound_bytes < bytes.len() {
        tracing::info!(path = %path.display(), bytes = bytes.len() - scanned.sound_bytes, "cut off an unfinished write");
        shoal_files::set_length(&file, length_bytes)
            .map_err(ConsensusError::io("cut off the unfinished end of", path))?;
    }
    if is_last {
        // The process before may have died between a write and its sync; what is found counts as durable from now on.
        shoal_files::sync(&file).map_err(ConsensusError::io("make durable the end of", path))?;
    }
    let segment = Segment {
        path: path.to_owned(),
        file: Arc::new(file),
        first_index: scanned.first_index,
        offsets: scanned.offsets,
        length_bytes,
    };
    Ok(Some((segment, scanned.committed_next)))
}

/// Removes segments that end before `first_kept`.
fn remove_purged(segments: &mut VecDeque<Segment>, first_kept: u64) -> Result<(), ConsensusError> {
    while let Some(segment) = segments.front()
        && segment.end_index() <= first_kept
        // An empty last segment may just have been begun for what comes next.
        && !(segment.offsets.is_empty() && segment.first_index == first_kept)
    {
        shoal_files::remove(&segment.path).map_err(ConsensusError::io("remove", &segment.path))?;
        segments.pop_front();
    }
    Ok(())
}

fn last_id(index: &LogIndex) -> Result<Option<LogId>, ConsensusError> {
    let Some(end) = index.segments.back().map(Segment::end_index) else { return Ok(None) };
    if end <= index.first_index() {
        return Ok(None);
    }
    entry_id(index, end - 1).map(Some)
}

/// The id of the last entry known to be committed.
fn committed_id(index: &LogIndex, committed_next: u64, purged: Option<LogId>) -> Result<Option<LogId>, ConsensusError> {
    let next = committed_next.min(index.end_index());
    if next <= index.first_index() { Ok(purged) } else { entry_id(index, next - 1).map(Some) }
}

fn entry_id(index: &LogIndex, at: u64) -> Result<LogId, ConsensusError> {
    let place = index
        .find_on_disk(at)
        .ok_or_else(|| ConsensusError::Format(format!("log entry {at} is not where the log's index says")))?;
    Ok(read_entry(place)?.log_id)
}
