//! The format of a segment file, and reading one back after a stop or a crash.
//!
//! ```text
//! segment = "SHOALLOG" version:u32 first_index:u64 crc32c(before):u32  frame*
//! frame   = "FRAM" body_bytes:u32 crc32c(body_bytes, body):u32  body
//! body    = committed:u64 (index + 1; 0: nothing)  entry+
//! entry   = bytes:u32 crc32c:u32  postcard(openraft::Entry)
//! ```
//!
//! A frame is what one append wrote before one fsync, so a crash can damage only the last frame: that one was never
//! acknowledged and is cut off. Anything broken before a sound frame is damage and is reported. `committed` rides
//! along so that a restart knows how far to apply without another fsync.

use std::ops::Range;
use std::path::Path;

use crate::ConsensusError;
use crate::files::unseal;
use crate::log::vote::FORMAT_VERSION;
use crate::types::Entry;

pub(super) const HEADER_BYTES: usize = 24;
const MAGIC: &[u8; 8] = b"SHOALLOG";
const FRAME_MAGIC: &[u8; 4] = b"FRAM";
const FRAME_HEAD_BYTES: usize = 12;
const ENTRY_HEAD_BYTES: usize = 8;
/// Bytes of one frame, at most: a whole segment when it is rewritten; appends are far smaller.
pub(super) const FRAME_LIMIT_BYTES: usize = 64 * 1024 * 1024;

/// The first bytes of a segment.
pub(super) fn header(first_index: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&first_index.to_le_bytes());
    let checksum = crc32c::crc32c(&bytes[..20]);
    bytes[20..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

/// Builds one frame.
pub(super) struct FrameWriter {
    bytes: Vec<u8>,
    /// Where each entry begins, from the start of the frame.
    pub(super) offsets: Vec<usize>,
}

impl FrameWriter {
    pub(super) fn new(committed_next: u64) -> Self {
        let mut bytes = vec![0; FRAME_HEAD_BYTES];
        bytes.extend_from_slice(&committed_next.to_le_bytes());
        Self { bytes, offsets: Vec::new() }
    }

    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), ConsensusError> {
        let start = self.bytes.len();
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.extend_from_slice(&[0; ENTRY_HEAD_BYTES]);
        self.bytes = postcard::to_extend(entry, bytes)
            .map_err(|error| ConsensusError::Format(format!("a log entry cannot be encoded: {error}")))?;
        let content = &self.bytes[start + ENTRY_HEAD_BYTES..];
        let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
        let checksum = crc32c::crc32c(content);
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.bytes[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
        self.offsets.push(start);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Result<Vec<u8>, ConsensusError> {
        let length = self.bytes.len() - FRAME_HEAD_BYTES;
        if length > FRAME_LIMIT_BYTES {
            return Err(ConsensusError::Format(format!("{length} bytes are too many for one append to the log")));
        }
        let length = (length as u32).to_le_bytes();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), &self.bytes[FRAME_HEAD_BYTES..]);
        self.bytes[..4].copy_from_slice(FRAME_MAGIC);
        self.bytes[4..8].copy_from_slice(&length);
        self.bytes[8..12].copy_from_slice(&checksum.to_le_bytes());
        Ok(self.bytes)
    }
}

/// Decodes the entry whose head begins `bytes`.
pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, String> {
    let (content, _) = entry_content(bytes).ok_or("an entry's checksum does not hold")?;
    postcard::from_bytes(content).map_err(|error| format!("an entry does not decode ({error})"))
}

/// Bytes of the whole entry whose head is this.
pub(super) fn entry_length(head: [u8; ENTRY_HEAD_BYTES]) -> usize {
    ENTRY_HEAD_BYTES + u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize
}

fn entry_content(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<ENTRY_HEAD_BYTES>()?;
    let (content, rest) = rest.split_at_checked(entry_length(*head) - ENTRY_HEAD_BYTES)?;
    let checksum = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    (crc32c::crc32c(content) == checksum).then_some((content, rest))
}

/// The body of a sound frame at the start of `bytes`.
fn frame_body(bytes: &[u8]) -> Option<&[u8]> {
    let (head, rest) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    if head[..4] != *FRAME_MAGIC {
        return None;
    }
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let checksum = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    let body = rest.get(..length as usize)?;
    let found = crc32c::crc32c_append(crc32c::crc32c(&length.to_le_bytes()), body);
    (length as usize <= FRAME_LIMIT_BYTES && found == checksum).then_some(body)
}

/// What a segment holds.
pub(super) struct Scanned {
    pub(super) first_index: u64,
    /// Where each entry begins in the file.
    pub(super) offsets: Vec<u32>,
    /// Where the last sound frame ends.
    pub(super) sound_bytes: usize,
    /// One past the index that was known to be committed; 0: none.
    pub(super) committed_next: u64,
}

/// Reads a segment back. With `torn_tail_allowed` (the last segment), a broken end is left out of `sound_bytes`.
/// `None`: not even the header is there, which only a crash while making the file explains.
pub(super) fn scan(path: &Path, bytes: &[u8], torn_tail_allowed: bool) -> Result<Option<Scanned>, ConsensusError> {
    let sound = |head: &&[u8; HEADER_BYTES]| head[..8] == *MAGIC && unseal(*head).is_some();
    let Some(head) = bytes.first_chunk::<HEADER_BYTES>().filter(sound) else {
        let unfinished = torn_tail_allowed && next_sound_frame(bytes).is_none();
        return if unfinished { Ok(None) } else { Err(ConsensusError::damaged(path, "it does not begin as a log")) };
    };
    let found = u32::from_le_bytes([head[8], head[9], head[10], head[11]]);
    if found > FORMAT_VERSION {
        return Err(ConsensusError::NewerVersion { path: path.to_owned(), found, known: FORMAT_VERSION });
    }
    let mut first_index = [0; 8];
    first_index.copy_from_slice(&head[12..20]);
    let mut scanned = Scanned {
        first_index: u64::from_le_bytes(first_index),
        offsets: Vec::new(),
        sound_bytes: HEADER_BYTES,
        committed_next: 0,
    };
    while scanned.sound_bytes < bytes.len() {
        let rest = &bytes[scanned.sound_bytes..];
        let Some(body) = frame_body(rest) else {
            if torn_tail_allowed && next_sound_frame(&rest[1..]).is_none() {
                break;
            }
            let at = scanned.sound_bytes;
            return Err(ConsensusError::damaged(path, format!("what was written at byte {at} does not read back")));
        };
        scan_frame(path, body, &mut scanned)?;
    }
    Ok(Some(scanned))
}

fn scan_frame(path: &Path, body: &[u8], scanned: &mut Scanned) -> Result<(), ConsensusError> {
    let damaged = || ConsensusError::damaged(path, "a frame with a sound checksum does not read back");
    let (committed, mut entries) = body.split_first_chunk::<8>().ok_or_else(damaged)?;
    scanned.committed_next = scanned.committed_next.max(u64::from_le_bytes(*committed));
    scanned.sound_bytes += FRAME_HEAD_BYTES + 8;
    while !entries.is_empty() {
        let (content, rest) = entry_content(entries).ok_or_else(damaged)?;
        scanned.offsets.push(u32::try_from(scanned.sound_bytes).map_err(|_| damaged())?);
        scanned.sound_bytes += ENTRY_HEAD_BYTES + content.len();
        entries = rest;
    }
    Ok(())
}

/// The same bytes with magics, lengths and checksums put right where that is possible, for who tries what else can be
/// wrong with them.
#[cfg(feature = "fuzzing")]
pub(super) fn mend(bytes: &[u8]) -> Vec<u8> {
    let mut mended = bytes.to_vec();
    let Some((head, mut rest)) = mended.split_first_chunk_mut::<HEADER_BYTES>() else { return mended };
    let mut first_index = [0; 8];
    first_index.copy_from_slice(&head[12..20]);
    *head = header(u64::from_le_bytes(first_index));
    while rest.len() >= FRAME_HEAD_BYTES {
        let (head, body) = rest.split_at_mut(FRAME_HEAD_BYTES);
        let announced = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (body, after) = body.split_at_mut(announced.min(body.len()));
        mend_entries(body.get_mut(8..).unwrap_or_default());
        let length = (body.len() as u32).to_le_bytes();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), body);
        head[..4].copy_from_slice(FRAME_MAGIC);
        head[4..8].copy_from_slice(&length);
        head[8..].copy_from_slice(&checksum.to_le_bytes());
        rest = after;
    }
    mended
}

#[cfg(feature = "fuzzing")]
fn mend_entries(mut entries: &mut [u8]) {
    while let Some((head, rest)) = entries.split_first_chunk_mut::<ENTRY_HEAD_BYTES>() {
        let length = (entry_length(*head) - ENTRY_HEAD_BYTES).min(rest.len());
        let (content, after) = rest.split_at_mut(length);
        head[..4].copy_from_slice(&(length as u32).to_le_bytes());
        head[4..].copy_from_slice(&crc32c::crc32c(content).to_le_bytes());
        entries = after;
    }
}

/// A place where a frame may begin, by its head.
struct MaybeFrame {
    at: usize,
    /// Where its body begins and ends.
    body: Range<usize>,
    /// The checksum of the length in its head, and that of both length and body, as the head has it.
    length_crc: u32,
    checksum: u32,
}

fn maybe_frame(bytes: &[u8], at: usize) -> Option<MaybeFrame> {
    let (head, rest) = bytes.get(at..)?.split_first_chunk::<FRAME_HEAD_BYTES>()?;
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let fits = head[..4] == *FRAME_MAGIC && length as usize <= FRAME_LIMIT_BYTES.min(rest.len());
    let begin = at + FRAME_HEAD_BYTES;
    fits.then(|| MaybeFrame {
        at,
        body: begin..begin + length as usize,
        length_crc: crc32c::crc32c(&length.to_le_bytes()),
        checksum: u32::from_le_bytes([head[8], head[9], head[10], head[11]]),
    })
}

/// Where the next sound frame begins. Each byte is looked at a bounded number of times, however many places look like the
/// beginning of a frame: the checksum of a body follows from those of all bytes before its begin and before its end.
fn next_sound_frame(bytes: &[u8]) -> Option<usize> {
    let places: Vec<MaybeFrame> = (0..bytes.len()).filter_map(|at| maybe_frame(bytes, at)).collect();
    let mut ends: Vec<usize> = places.iter().flat_map(|place| [place.body.start, place.body.end]).collect();
    ends.sort_unstable();
    ends.dedup();
    let (mut done, mut crc) = (0, 0);
    let crcs = ends.iter().map(|end| {
        crc = crc32c::crc32c_append(crc, &bytes[done..*end]);
        done = *end;
        crc
    });
    let crcs: Vec<u32> = crcs.collect();
    let crc_before = |end: usize| ends.binary_search(&end).map_or(0, |at| crcs[at]);
    let is_sound = |place: &&MaybeFrame| {
        let before = crc_before(place.body.start) ^ place.length_crc;
        crc_before(place.body.end) ^ crc32c::crc32c_combine(before, 0, place.body.len()) == place.checksum
    };
    places.iter().find(is_sound).map(|place| place.at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u32).to_le_bytes();
        let checksum = crc32c::crc32c_append(crc32c::crc32c(&length), body);
        [FRAME_MAGIC, &length[..], &checksum.to_le_bytes(), body].concat()
    }

    #[test]
    fn a_sound_frame_is_found_wherever_it_lies_and_nothing_else_is() {
        let sound = frame(b"what was written");
        let mut broken = sound.clone();
        broken[20] ^= 1;
        for (before, at) in
            [(Vec::new(), 0), (vec![7; 33], 33), ([broken.clone(), vec![0; 5]].concat(), broken.len() + 5)]
        {
            let bytes = [&before[..], &sound, b"and more"].concat();
            assert_eq!(next_sound_frame(&bytes), Some(at));
            assert!(frame_body(&bytes[at..]).is_some());
        }
        for bytes in [broken, sound[..sound.len() - 1].to_vec(), b"FRAM".to_vec(), Vec::new()] {
            assert_eq!(next_sound_frame(&bytes), None);
        }
        assert_eq!(next_sound_frame(&[b"FRAM".to_vec(), frame(b"")].concat()), Some(4), "an empty one");
    }

    #[test]
    fn many_heads_that_each_announce_all_that_follows_are_looked_through_in_one_go() {
        let mut bytes = Vec::new();
        let heads: u32 = 40_000;
        for head in 0..heads {
            let length = (heads - head - 1) * FRAME_HEAD_BYTES as u32;
            bytes.extend_from_slice(&[FRAME_MAGIC, &length.to_le_bytes()[..], &[0; 4]].concat());
        }
        assert_eq!(next_sound_frame(&bytes), None);
    }
}
